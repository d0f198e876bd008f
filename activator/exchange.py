"""One request's life: routed, admitted, held, forwarded, answered.

The exchange joins a client connection to a replica connection. It decides nothing by
itself: routing, admission and retries are asked of their pure modules; this does what
they say with bytes. Its state is in ``activator.request``, what becomes of its body in
``activator.intake``, how it ends when things go wrong in ``activator.endings``. They are one
object by inheritance because each call from one object to another costs every request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from activator.balancer import PREFIX
from activator.claiming import Claiming
from activator.peek import Peek, find_model
from activator.request import (
    CONNECTING,
    DONE,
    FORWARDING,
    GRANTED,
    HELD,
    LONGEST_TOLD,
    NEED_BODY,
    NEVER,
    RECEIVING,
    REPLICA,
)
from activator.router import Builtin, NotFound
from activator.tickets import Reason, State
from activator.trust import forwarded_lines
from activator.tunnel import Tunnel
from stoker.vocabulary import ModelKey

if TYPE_CHECKING:
    from activator.models import Model
    from activator.upstream import ReplicaConnection


log = logging.getLogger("stoker.activator")


class Exchange(Claiming):
    """One request and its answer."""

    # --- moving on ---

    def advance(self) -> None:
        """Called after each read: the head is known, maybe more of the body."""
        stage = self.stage
        if stage is not RECEIVING:
            if stage is FORWARDING and self.body_complete and self._pump is None:
                upstream = self.upstream
                if upstream is not None and not upstream.request_complete:
                    upstream.end_body(self.body_end())
            return
        client = self.client
        activator = client.activator
        if client.is_peer:
            self._route_from_peer()
            return
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
            if self.distrusted:
                message += f"; its stoker-* fields were ignored: {client.peer} is not trusted"
            activator.count_unrouted(message, client.peer)
            self._answer(404, message, "model-not-found")

    def _route_from_peer(self) -> None:
        """Another member passed this on, and says which model it is for."""
        key = self.client.route(self)
        if key is None:
            self.send_back()
        else:
            self._admit(self.client.activator.models[key])

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

    def _admit(self, model: Model) -> None:
        self.model = model
        activator = self.client.activator
        now = self.arrived
        serving = model.spec.serving
        # Without special fields it is no use to look for what each of them would have set:
        # what is not set on an object costs twice as much to read as what is.
        special = self.specials
        controls = self.controls if special else None
        if (
            activator.agents[self.agent]
            or (special and self.is_probe)
            or (controls is not None and b"stoker-probe" in controls)
            or (serving.probe_paths and self._asks_for(serving.probe_paths))
        ):
            self._own(*activator.answer_probe(model))
            return
        if model.extras is not None and self._has_alternative(model.extras, now):
            return
        tenant, priority, deadline, key = "", serving.priority, None, 0
        if serving.total_timeout:
            deadline = self.total_deadline = now + serving.total_timeout
        if controls is not None or activator.tenants is not None or serving.balancing is PREFIX:
            claim = self._claim(serving)
            if claim is None:
                return  # more of it has to come, or it was answered
            tenant, priority, deadline, key = claim
        kept = self._kept
        ticket = activator.admission.offer(
            model.throttler,
            tenant,
            priority,
            deadline,
            0 if kept is None else kept.size,
            # What came before this process stood still must not be granted by that time.
            now if activator.cluster is None else activator.clock.now(),
            self,
            key,
        )
        self.ticket = ticket
        if activator.observer is not None:
            activator.observer.admitted(self, ticket)
        state = ticket.state
        if special and self.expects_continue and state is not State.REFUSED:
            self._continue()
        if state is GRANTED:
            self.forward()
        elif state is State.HELD:
            self._settle()
            self.stage = HELD
            self.held_at = now
            activator.held(self, model, now)
        else:
            assert ticket.refusal is not None
            if ticket.refusal.reason is Reason.DEADLINE_UNREACHABLE:
                # It will come back, and shall find a model that is awake.
                activator.reporter.poke(model.throttler, now)
            self.refuse(ticket.refusal)

    def _asks_for(self, paths: tuple[str, ...]) -> bool:
        """Whether the target's path is one of these."""
        return self.target.partition(b"?")[0].decode("latin-1") in paths

    def granted(self, now: float) -> None:
        """A held request got its slot."""
        model = self.model
        assert model is not None
        self._unsettle()
        if now > self.held_at:  # else it was tried again at once
            model.note_hold(self, now)
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
        if model.activator.observer is not None:
            model.activator.observer.forwarding(self, backend)
        pool = model.pools.get(backend.replica_id)
        if pool is None:
            pool = model.pool(backend.replica_id, backend.address)
            if not pool.may_have(self):
                self.send_back()
                return
        if pool.idle and (self.body_complete or self._is_small() or pool.has_fresh()):
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
        special = self.specials  # see _admit
        if special and self.forwarded:
            peer = "" if client.is_peer else client.peer
            parts.append(forwarded_lines(self.forwarded, peer, client.scheme, host))
        else:
            parts += (client.forwarded, b"X-Forwarded-Host: ", host, b"\r\n")
        if special and self.hop:
            parts.append(self.hop)
        pool = connection.pool
        to_member = pool.peer is not None
        if to_member:
            parts.append(pool.lines(self))
        chunked = special and self.chunked
        if chunked:
            if self.trailer:
                parts += (b"Trailer: ", self.trailer, b"\r\n")
            parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
        elif self.content_length or self.method in (b"POST", b"PUT", b"PATCH"):
            parts += (b"Content-Length: ", self.length, b"\r\n\r\n")
        else:
            parts.append(b"\r\n")
        kept = self._kept
        complete = self.body_complete
        if kept is not None:
            if chunked:
                parts += map(self._framed, kept.chunks)
            else:
                parts += kept.chunks
            if kept.file is not None or kept.overflow:
                complete = False
        if complete and chunked:
            parts.append(self.body_end())
        if not to_member:
            self.deadline = activator.clock.now() + self.model.spec.serving.first_byte_timeout
        # Else: the member holds it for as long as it may, then has budgets of its own.
        data = b"".join(parts)
        self.sent_in += len(data)
        connection.start(self, data, complete)
        if complete:
            return
        self._over = False
        if kept is not None and (kept.file is not None or kept.overflow):
            self._pump = activator.spawn(self._replay(kept, connection))
        client.resume_reading()

    def switched(self, connection: ReplicaConnection, head: bytes, first: bytes) -> None:
        """The replica answered with 101, and ``first`` behind it: this is a tunnel now."""
        model = self.model
        assert model is not None
        now = self.client.activator.clock.now()
        self.commit = REPLICA
        # Neither the budgets of an answer nor total-timeout; tunnel-idle-timeout counts.
        self.deadline = self.total_deadline = NEVER
        if not self.client.is_peer:
            model.count(101, now - self.arrived)
            model.tunnel_counts().open += 1
        early, self.early = self.early, b""
        Tunnel(self, connection).begin(connection, head, first, early)

    def note_progress(self) -> None:
        """A part of the answer was passed on, more is to come."""
        model = self.model
        assert model is not None
        self.deadline = self.client.activator.clock.now() + model.spec.serving.idle_timeout
        kept = self._kept
        if kept is not None and kept.lent:
            kept.forget()  # it cannot be sent again any more

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
        if self._pump is not None or (kept is not None and (kept.file is not None or kept.lent)):
            self._end()
        backend = ticket.backend
        assert backend is not None
        ticket.owner = None  # a ticket that was held stays in the heap of deadlines
        if not client.is_peer:  # else it is counted where it came in
            model.count(status, now - self.arrived)
            model.bytes_in += self.sent_in
            model.bytes_out += self.sent_out
        if activator.observer is not None:
            activator.observer.ended(self, status, now)
        granted = ticket.throttler.finish(ticket, now, answered=True)
        if backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)
        if granted:
            activator.dispatch(granted, now)
        client.finished(self, now)

    def client_write_paused(self) -> None:
        if self.upstream is not None:
            self.upstream.pause_reading()

    def client_write_resumed(self) -> None:
        if self.upstream is not None:
            self.upstream.resume_reading()
