"""What is known of one request, and how far it has come: the state that its life works on."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Final

from activator.body import Body
from activator.headers import NOWHERE, trailer_lines
from activator.router import NeedBody
from activator.tickets import Refusal, State, Ticket

if TYPE_CHECKING:
    from activator.http1 import ClientConnection
    from activator.models import Model
    from activator.observer import Story
    from activator.upstream import ReplicaConnection
    from activator.waits import Cause


NEVER: Final = float("inf")
# So much of what a client asked for is told back to it.
LONGEST_TOLD: Final = 300
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"))


class Stage(enum.IntEnum):
    """How far an exchange has come."""

    RECEIVING = 0  # its head is known; the model may depend on the body
    HELD = 1
    CONNECTING = 2
    FORWARDING = 3
    DONE = 4


class Commit(enum.IntEnum):
    """What the client has been sent: what may still be done follows from it.

    NOTHING: a retry, any status, any header. COMMENTS: 200 and SSE comments, so errors
    become events. REPLICA: a replica's bytes, so nothing but going on or breaking off.
    """

    NOTHING = 0
    COMMENTS = 1
    REPLICA = 2


# Looking a member up on its class costs as much as a call; these are looked up ten times
# per request.
RECEIVING: Final = Stage.RECEIVING
HELD: Final = Stage.HELD
CONNECTING: Final = Stage.CONNECTING
FORWARDING: Final = Stage.FORWARDING
DONE: Final = Stage.DONE
NEED_BODY: Final = NeedBody.NEED_BODY
NOTHING: Final = Commit.NOTHING
COMMENTS: Final = Commit.COMMENTS
REPLICA: Final = Commit.REPLICA
GRANTED: Final = State.GRANTED


class Request:
    """One request. The parser fills it in; see ``ClientConnection``."""

    # Defaults live on the class: most requests set less than half of these, and making
    # the object is paid by every one of them.
    host: bytes | None = None
    content_length = 0
    chunked = False
    connection = b""
    expects_continue = False
    upgrade = b""
    # Protocols that its client wants to switch to and a replica may; what came behind the
    # head of such a request, which is the replica's once it has switched.
    offer = b""
    early = b""
    # Connection, with the fields that it names, for the replica. Empty: nothing to say.
    hop = b""
    interim = 0  # interim answers (1xx) so far
    model_header = b""
    # What a trusted proxy said of where the request came from: lower-case names, values.
    forwarded: list[tuple[bytes, bytes]] | None = None
    # stoker-* fields of a trusted peer by lower-case name, but for stoker-model.
    controls: dict[bytes, bytes] | None = None
    distrusted = False  # it had stoker-* fields, but its peer is not trusted
    specials = 0  # fields that are not kept as they came
    specials_size = 0
    # Fields that came behind a chunked body; see trailer_lines. ``trailer`` announced them.
    trailers: list[bytes] = NOWHERE
    trailer = b""
    counted = False  # what surrounds its chunks is being counted: see _check_chunks
    agent = b""
    is_probe = False  # a header says so
    head_complete = False
    body_complete = False
    length = b"0"
    http10 = False
    stage = RECEIVING
    commit = NOTHING
    marked = False  # its answer gets header lines of Stoker's own, or is joined to comments
    ticket: Ticket | None = None
    upstream: ReplicaConnection | None = None
    model: Model | None = None
    # The model that it was for, when another is to answer: see ``activator.waiting``.
    instead_of: Model | None = None
    held_at = 0.0
    waited = 0.0  # how long it was held, all its holds together
    cause: Cause | None = None  # of its last hold
    sent_in = 0  # bytes to replicas, heads included
    sent_out = 0  # bytes of replicas' answers to the client, heads included
    refusal: Refusal | None = None
    told = ""  # the reason in an error answer of Stoker's own
    story: Story | None = None  # for the activator's observer, if there is one
    deadline = NEVER
    total_deadline = NEVER
    _kept: Body | None = None
    _pump: asyncio.Task[None] | None = None
    _over = False  # what is held for its model is more than it may be
    _continued = False
    _look_at = 0
    method = b""
    keep_alive = True
    arrived = 0.0
    # Set by on_headers_complete, before anything else can look at it.
    fields: list[bytes]

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.target = b""
        self.head: list[bytes] = []

    @property
    def answer_began(self) -> bool:
        return self.commit is not NOTHING

    @property
    def body(self) -> Body:
        """What is kept of the body; made when first needed (a GET never does)."""
        kept = self._kept
        if kept is None:
            kept = self._kept = Body()
        return kept

    def head_size(self) -> int:
        """Bytes of the head as far as they have come and are kept."""
        specials = len(self.host or b"") + self.specials_size
        lines = self.fields if self.head_complete else self.head
        return len(self.target) + specials + sum(map(len, lines))

    def awaits_body(self, now: float) -> bool:
        """Whether its replica cannot have answered yet because the client still sends."""
        return self.stage is FORWARDING and self.commit is NOTHING and now < self.total_deadline

    def body_end(self) -> bytes:
        """What ends its body on the way to a replica: the last chunk with trailers, or nothing."""
        if not self.chunked:
            return b""
        if not self.trailers:
            return b"0\r\n\r\n"
        return b"0\r\n%b\r\n" % trailer_lines(self.trailers, self.connection)
