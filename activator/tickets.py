"""One request's claim on a slot, what may become of it, and why it may be refused. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from activator.balancer import Backend

if TYPE_CHECKING:
    from activator.throttler import Throttler


class Reason(enum.StrEnum):
    """Why a request was refused or given up."""

    QUEUE_FULL = "queue-full"
    QUEUE_BYTES_FULL = "queue-bytes-full"
    TENANT_QUEUE_FULL = "tenant-queue-full"
    DISPLACED = "displaced"
    TOTAL_FULL = "total-full"
    TOTAL_BYTES_FULL = "total-bytes-full"
    OUTAGE = "cannot-start"
    HOLD_DEADLINE = "hold-deadline"
    DEADLINE_UNREACHABLE = "deadline-unreachable"
    DEADLINE_PASSED = "deadline-passed"
    CLIENT_GONE = "client-gone"
    MODEL_REMOVED = "model-removed"
    REPLICA_FAILED = "replica-failed"
    REPLICA_DIED_MID_RESPONSE = "replica-died-mid-response"
    REPLICA_TIMEOUT = "replica-timeout"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Refusal:
    """``retry_after``: seconds until another try may well succeed; None: not known."""

    reason: Reason
    detail: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """How a replica failed a request before a byte of its answer was passed on.

    ``stale``: on a pooled connection that had been closed meanwhile, which says nothing
    about the replica. ``idempotent``: by its method, or because nothing was asked.
    ``replayable``: all that was sent of its body is still kept.
    """

    why: str
    stale: bool = False
    idempotent: bool = True
    replayable: bool = True


class State(enum.IntEnum):
    HELD = 0
    GRANTED = 1
    DONE = 2
    REFUSED = 3


# Looking a member up on its class costs as much as a call.
HELD: Final = State.HELD
GRANTED: Final = State.GRANTED
DONE: Final = State.DONE
REFUSED: Final = State.REFUSED


class Ticket:
    """One request's claim on a slot. ``owner`` is the shell's own object, never looked at.

    ``held_since`` is when it arrived, moved on by what it then spent in replicas that
    failed it: the time it may wait is a budget of its own. ``deadline`` is the latest one
    put into the heap of deadlines, ``key`` the hash of what its prompt begins with (0: none).
    """

    __slots__ = (
        "avoid",
        "backend",
        "deadline",
        "failures",
        "granted",
        "hard_deadline",
        "held_since",
        "key",
        "owner",
        "priority",
        "refusal",
        "size",
        "state",
        "tenant",
        "throttler",
    )

    def __init__(
        self,
        throttler: Throttler,
        tenant: str,
        priority: int,
        hard_deadline: float | None,
        size: int,
        now: float,
        owner: object,
        key: int = 0,
    ) -> None:
        self.throttler = throttler
        self.tenant = tenant
        self.priority = priority
        self.hard_deadline = hard_deadline
        self.deadline = 0.0
        self.size = size
        self.held_since = now
        self.granted = now
        self.owner = owner
        self.key = key
        self.state = HELD
        self.backend: Backend | None = None
        self.refusal: Refusal | None = None
        self.avoid = ""
        self.failures = 0

    def __repr__(self) -> str:
        return f"<Ticket {self.throttler.key} {self.state.name.lower()} {self.backend or ''}>"
