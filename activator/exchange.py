"""One request's life: routed, admitted, held, forwarded, answered.

The exchange joins a client connection to a replica connection. It decides nothing by
itself: routing, admission and retries are asked of their pure modules; this does what
they say with bytes.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from activator.peek import Peek, find_model
from activator.responses import (
    CONTINUE,
    STATUS_OF,
    error_content,
    json_answer,
    refusal_message,
)
from activator.router import Builtin, NeedBody, NotFound
from activator.spool import Body
from activator.tickets import Failure, Reason, Refusal, State, Ticket
from stoker.vocabulary import ModelKey

if TYPE_CHECKING:
    from activator.http1 import ClientConnection
    from activator.models import Model
    from activator.upstream import ReplicaConnection

log = logging.getLogger("stoker.activator")

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
REPLICA: Final = Commit.REPLICA
GRANTED: Final = State.GRANTED


class Exchange:
    """One request and its answer. The parser fills it in; see ``ClientConnection``."""

    # Defaults live on the class: most requests set less than half of these, and making
    # the object is paid by every one of them.
    host: bytes | None = None
    content_length = 0
    chunked = False
    connection = b""
    expects_continue = False
    upgrade = b""
    model_header = b""
    forwarded = b""
    agent = b""
    head_complete = False
    body_complete = False
    length = b"0"
    http10 = False
    stage = RECEIVING
    commit = NOTHING
    ticket: Ticket | None = None
    upstream: ReplicaConnection | None = None
    model: Model | None = None
    held_at = 0.0
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
        specials = len(self.host or b"") + len(self.connection) + len(self.forwarded)
        lines = self.fields if self.head_complete else self.head
        return len(self.target) + len(self.model_header) + specials + sum(map(len, lines))

    # --- the body arrives ---

    def receive(self, data: bytes) -> None:
        """A piece of body, from inside the parser: keep it or pass it on."""
        stage = self.stage
        if stage is RECEIVING:
            kept = self._kept
            if kept is None:
                kept = self._kept = Body()
            if kept.size < self.client.activator.process.json_peek_bytes:
                kept.keep(data)
                return
        if stage is FORWARDING and self._pump is None:
            self._pass_on(data)
            return
        if stage is DONE:
            return
        activator = self.client.activator
        process = activator.process
        body = self.body
        body.hold(data, process.body_memory, activator.spool)
        ticket = self.ticket
        if ticket is not None and not activator.admission.grow(ticket, len(data)):
            self._over = True
        self._watch_spool(body)

    def _watch_spool(self, body: Body) -> None:
        if body.file is not None:
            body.file.on_change = self._spooled
        if self._over or body.full:
            self.client.pause_reading()

    def _spooled(self) -> None:
        """The spool caught up (or failed): read on if there is room."""
        file = self.body.file
        if file is None or self.stage is DONE:
            return
        if file.error is not None:
            log.error("cannot write to spool-directory: %s", file.error)
            why = f"its body could not be spooled: {file.error.strerror or file.error}"
            self.refuse(Refusal(Reason.TOTAL_BYTES_FULL, why))
        else:
            self.client.resume_reading()

    def takes_more(self) -> bool:
        """Whether there is a place for more of what its client sends."""
        if self.stage is DONE:
            return True
        if self.stage is FORWARDING and self._pump is None:
            upstream = self.upstream
            return upstream is None or not upstream.write_paused
        kept = self._kept
        return not self._over and (kept is None or not kept.full)

    def _pass_on(self, data: bytes) -> None:
        upstream, model = self.upstream, self.model
        assert upstream is not None
        assert model is not None
        self.body.pass_on(data, self.client.activator.process.body_memory)
        upstream.send_body(self._framed(data))
        self._sent_some(model)

    def _sent_some(self, model: Model) -> None:
        """While the request is on its way the replica need not have answered."""
        if self.commit is NOTHING:
            now = self.client.activator.clock.now()
            self.deadline = now + model.spec.serving.first_byte_timeout

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data

    # --- moving on ---

    def advance(self) -> None:
        """Called after each read: the head is known, maybe more of the body."""
        if self.stage is RECEIVING:
            self._route()
        elif self.stage is FORWARDING and self.body_complete and self._pump is None:
            upstream = self.upstream
            if upstream is not None and not upstream.request_complete:
                upstream.end_body(b"0\r\n\r\n" if self.chunked else b"")

    def _route(self) -> None:
        client = self.client
        activator = client.activator
        host = self.host
        assert host is not None
        route = activator.router.route(
            client.listener, self.method, self.target, host, self.model_header
        )
        if route is NEED_BODY:
            found = self._peek()
            if found is Peek.NEED_MORE:
                return
            route = activator.router.by_body(found if isinstance(found, str) else None, host)
        if isinstance(route, ModelKey):
            self._admit(activator.models[route])
        elif isinstance(route, Builtin):
            status, content = activator.builtin(route)
            self._own(content, status)
        else:
            assert isinstance(route, NotFound)
            message = f"no model for {route.looked_for[:LONGEST_TOLD]}"
            if route.known:
                message += f"; known: {', '.join(route.known)}"
            activator.count_unrouted(message, client.peer)
            self._answer(404, message, "model-not-found")

    def _peek(self) -> str | Peek:
        client, body = self.client, self.body
        limit = client.activator.process.json_peek_bytes
        complete = self.body_complete or body.size >= limit
        if not complete:
            self._continue()
            if self.deadline == NEVER:
                now = client.activator.clock.now()
                self.deadline = now + client.activator.process.head_timeout
            if body.size < self._look_at:
                return Peek.NEED_MORE
            # Not at every byte: a body that trickles in would be read a thousand times.
            self._look_at = body.size + body.size // 8
        chunks = body.chunks
        text = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return find_model(text[:limit], complete)

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.expects_continue and not self._continued and not self.body_complete:
            self._continued = True
            self.client.transport.write(CONTINUE)

    def _admit(self, model: Model) -> None:
        self.model = model
        activator = self.client.activator
        now = self.arrived
        if self.agent and self.agent.startswith(activator.probe_agents):
            self._own(activator.answer_probe(model), HTTPStatus.OK)
            return
        spec = model.spec
        serving = spec.serving
        if serving.total_timeout:
            self.total_deadline = now + serving.total_timeout
        kept = self._kept
        ticket = activator.admission.offer(
            model.throttler,
            "",
            serving.priority,
            self.total_deadline if serving.total_timeout else None,
            0 if kept is None else kept.size,
            now,
            self,
        )
        self.ticket = ticket
        state = ticket.state
        if self.expects_continue and state is not State.REFUSED:
            self._continue()
        if state is GRANTED:
            self.forward()
        elif state is State.HELD:
            if kept is not None:
                kept.spill(activator.process.body_memory, activator.spool)
                self._watch_spool(kept)
            self.stage = HELD
            self.held_at = now
            activator.held(model, now)
        else:
            assert ticket.refusal is not None
            self.refuse(ticket.refusal)

    def granted(self, now: float) -> None:
        """A held request got its slot."""
        model = self.model
        assert model is not None
        if now > self.held_at:  # else it was tried again at once
            model.note_hold(now - self.held_at, now)
        self.forward()

    # --- to a replica and back ---

    def forward(self) -> None:
        """A slot is ours: send the request to its replica."""
        ticket, model = self.ticket, self.model
        assert ticket is not None
        assert model is not None
        backend = ticket.backend
        assert backend is not None
        self.deadline = NEVER
        pool = model.pools.get(backend.replica_id)
        if pool is None:
            pool = model.pool(backend.replica_id, backend.address)
        # What cannot be sent twice is not risked on a connection that may have been closed.
        if pool.idle and (self.body_complete or self._is_small()):
            self.connected(pool.idle.pop())
        else:
            self.stage = CONNECTING
            pool.connect(self)

    def _is_small(self) -> bool:
        limit = self.client.activator.process.body_memory
        return not self.chunked and self.content_length <= limit

    def connected(self, connection: ReplicaConnection) -> None:
        """A connection to the replica is open: write the head and what is kept of the body."""
        client = self.client
        activator = client.activator
        self.stage = FORWARDING
        self.upstream = connection
        host = self.host
        assert host is not None
        assert self.model is not None
        parts = [self.method, b" ", self.target, b" HTTP/1.1\r\nHost: ", host, b"\r\n"]
        parts += self.fields
        if self.forwarded:
            parts.append(self.forwarded)
        else:
            parts += (client.forwarded, b"X-Forwarded-Host: ", host, b"\r\n")
        if self.chunked:
            parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
        elif self.content_length or self.method in (b"POST", b"PUT", b"PATCH"):
            parts += (b"Content-Length: ", self.length, b"\r\n\r\n")
        else:
            parts.append(b"\r\n")
        kept = self._kept
        complete = self.body_complete
        if kept is not None:
            if self.chunked:
                parts += map(self._framed, kept.chunks)
            else:
                parts += kept.chunks
            if kept.file is not None or kept.overflow:
                complete = False
        if complete and self.chunked:
            parts.append(b"0\r\n\r\n")
        now = activator.clock.now()
        self.deadline = now + self.model.spec.serving.first_byte_timeout
        connection.start(self, b"".join(parts), complete)
        if complete:
            return
        self._over = False
        if kept is not None and (kept.file is not None or kept.overflow):
            self._pump = activator.spawn(self._replay(kept, connection))
        client.resume_reading()

    async def _replay(self, body: Body, upstream: ReplicaConnection) -> None:
        """Send the spooled part, then what follows it, then let the client go on."""
        model = self.model
        assert model is not None
        offset = 0
        try:
            while body.file is not None:
                block = await body.file.read(offset)
                if not block:
                    break
                offset += len(block)
                upstream.send_body(self._framed(block))
                self._sent_some(model)
                await upstream.drained()
        except OSError as caught:
            self._pump = None
            why = f"its body could not be read from the spool: {caught.strerror or caught}"
            self.refuse(Refusal(Reason.TOTAL_BYTES_FULL, why))
            return
        self._pump = None
        for data in body.overflow:
            upstream.send_body(self._framed(data))
        if self.body_complete:
            upstream.end_body(b"0\r\n\r\n" if self.chunked else b"")
        else:
            # From here on bytes pass through without being kept.
            body.forget()
            self.client.resume_reading()

    def note_progress(self) -> None:
        """A part of the answer was passed on, more is to come."""
        model = self.model
        assert model is not None
        self.deadline = self.client.activator.clock.now() + model.spec.serving.idle_timeout

    def finished(self, status: int, now: float) -> None:
        """The replica's answer is complete and written to the client."""
        client = self.client
        activator = client.activator
        ticket, model = self.ticket, self.model
        assert ticket is not None
        assert model is not None
        self.stage = DONE
        self.upstream = None
        self.ticket = None
        kept = self._kept
        if self._pump is not None or (kept is not None and kept.file is not None):
            self._end()
        backend = ticket.backend
        assert backend is not None
        ticket.owner = None  # a ticket that was held stays in the heap of deadlines
        model.count(status, now - self.arrived)
        granted = activator.admission.finish(ticket, now, answered=True)
        if backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)
        if granted:
            activator.dispatch(granted, now)
        client.finished(self, now)

    # --- things go wrong ---

    def connect_failed(self, reason: str) -> None:
        """No connection to the replica came about."""
        self._replica_failed(reason, stale=False)

    def upstream_lost(self, reason: str, *, stale: bool) -> None:
        """The replica's connection broke before its answer was complete.

        ``stale``: an idle connection that was reused and had been closed meanwhile, which
        says nothing about the replica.
        """
        if self.commit is REPLICA:
            self._broken_off(reason)
        else:
            self._replica_failed(reason, stale=stale)

    def _replica_failed(self, reason: str, *, stale: bool) -> None:
        activator = self.client.activator
        ticket, model = self.ticket, self.model
        assert ticket is not None
        assert model is not None
        now = activator.clock.now()
        self.upstream = None
        self._stop_pump()
        backend, kept = ticket.backend, self._kept
        assert backend is not None
        failure = Failure(reason, stale, self.method in IDEMPOTENT, kept is None or kept.replayable)
        refusal = activator.admission.failed(ticket, failure, now)
        if not stale:
            model.ejections += 1
        if backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)
        if refusal is None:
            model.retries += 1
            self.stage = HELD
            self.held_at = now
            activator.dispatch(activator.admission.retry(ticket, now), now)
            if ticket.state is State.HELD:
                activator.held(model, now)
            return
        # The slot that this one had is free: somebody else may have been waiting for it.
        activator.dispatch(ticket.throttler.grant(now), now)
        self.refuse(refusal)

    def _broken_off(self, why: str, reason: Reason = Reason.REPLICA_DIED_MID_RESPONSE) -> None:
        """The answer had begun: all that can be done is to end it visibly."""
        model = self.model
        assert model is not None
        model.refused(Refusal(reason, why), self.client.peer)
        self._release()
        self.client.break_off()

    def refuse(self, refusal: Refusal) -> None:
        """Stoker's own answer instead of a replica's, if that can still be."""
        model = self.model
        assert model is not None
        if self.commit is REPLICA:
            self._broken_off(refusal.detail, refusal.reason)
            return
        self._release()
        model.refused(refusal, self.client.peer)
        status = STATUS_OF[refusal.reason]
        model.count(status, self.client.activator.clock.now() - self.arrived)
        message = refusal_message(model.spec.key.name, refusal)
        self._answer(status, message, refusal.reason.value, refusal.retry_after)

    def client_left(self, why: str = "") -> None:
        """The client's connection is gone or of no use any more, at whatever stage."""
        if self.stage is DONE or self.ticket is None:
            self._end()
            return
        model = self.model
        assert model is not None
        model.refused(Refusal(Reason.CLIENT_GONE, why), self.client.peer)
        self._release()

    def client_write_paused(self) -> None:
        if self.upstream is not None:
            self.upstream.pause_reading()

    def client_write_resumed(self) -> None:
        if self.upstream is not None:
            self.upstream.resume_reading()

    def check(self, now: float) -> None:
        """Called now and then: enforce the budgets, but for the hold's, which has a heap."""
        if (now < self.deadline and now < self.total_deadline) or self.stage is HELD:
            return
        model = self.model
        if model is None:
            self.client.refuse(408, "what names the model did not arrive within head-timeout")
            return
        serving = model.spec.serving
        if now >= self.total_deadline:
            why = f"total-timeout = {serving.total_timeout:g} s has passed"
        elif self.commit is NOTHING:
            why = f"no answer within first-byte-timeout = {serving.first_byte_timeout:g} s"
        elif self.client.write_paused:
            why = f"it took nothing for idle-timeout = {serving.idle_timeout:g} s"
            self._broken_off(why, Reason.CLIENT_GONE)
            return
        else:
            why = f"nothing came for idle-timeout = {serving.idle_timeout:g} s"
        self.refuse(Refusal(Reason.REPLICA_TIMEOUT, why))

    # --- endings ---

    def _release(self) -> None:
        """Give back the slot or the place in the queue, and the replica's connection."""
        activator = self.client.activator
        ticket, self.ticket = self.ticket, None
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        self._end()
        if ticket is None:
            return
        ticket.owner = None
        now = activator.clock.now()
        backend, model = ticket.backend, self.model
        assert model is not None
        activator.dispatch(activator.admission.give_up(ticket, now), now)
        if backend is not None and backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)

    def _end(self) -> None:
        self.stage = DONE
        self._stop_pump()
        if self._kept is not None:
            self._kept.close()

    def _stop_pump(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None

    def _answer(
        self, status: int, message: str, reason: str, retry_after: float | None = None
    ) -> None:
        self._own(error_content(status, message, reason, self.target), status, retry_after)

    def _own(self, content: object, status: int, retry_after: float | None = None) -> None:
        """Answer with JSON of Stoker's own."""
        self._end()
        client = self.client
        if (
            self.http10
            or client.activator.draining
            or not (self.body_complete or client.can_discard(self))
        ):
            self.keep_alive = False
        if not client.closing:
            client.transport.write(
                json_answer(
                    status,
                    content,
                    keep_alive=self.keep_alive,
                    head_only=self.method == b"HEAD",
                    retry_after=retry_after,
                )
            )
        client.finished(self, client.activator.clock.now())
