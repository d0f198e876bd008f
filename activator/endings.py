"""How a request ends otherwise than by an answer in full: failures, refusals, budgets.

Also the answers of Stoker's own. A slot, a place in the queue, a spool file or a connection
that a request has is given back here, whatever happened.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from activator.request import (
    COMMENTS,
    CONNECTING,
    DONE,
    HELD,
    IDEMPOTENT,
    NOTHING,
    REPLICA,
    Request,
)
from activator.responses import (
    MOVED,
    MOVED_CLOSE,
    STATUS_OF,
    error_content,
    json_answer,
    refusal_message,
)
from activator.tickets import Failure, Reason, Refusal, State
from activator.tunnel import Ending, Tunnel
from stoker.logs import tell

log = logging.getLogger("stoker.activator")


class Endings(Request):
    """The endings of an exchange."""

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
        model.attempt_failed(self, backend.replica_id, reason, now)
        # Whom nobody was connected to for has not been asked once yet.
        once = self.method in IDEMPOTENT or self.stage is CONNECTING
        failure = Failure(reason, stale, once, kept is None or kept.replayable)
        refusal = activator.admission.failed(ticket, failure, now)
        if backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)
        if refusal is None:
            model.retries += 1
            self.stage = HELD
            self.held_at = now
            size = 0 if kept is None else kept.size
            activator.dispatch(activator.admission.retry(ticket, size, now), now)
            if ticket.state is State.HELD:
                activator.held(self, model, now)
            return
        # The slot that this one had is free: somebody else may have been waiting for it.
        activator.dispatch(ticket.throttler.grant(now), now)
        self.refuse(refusal)

    def _broken_off(self, why: str, reason: Reason = Reason.REPLICA_DIED_MID_RESPONSE) -> None:
        """The answer had begun: all that can be done is to end it visibly."""
        self._given_up(Refusal(reason, why))
        self._release()
        self.client.break_off()

    def refuse(self, refusal: Refusal) -> None:
        """Stoker's own answer instead of a replica's, if that can still be."""
        model = self.model
        assert model is not None
        if self.commit is REPLICA:
            self._broken_off(refusal.detail, refusal.reason)
            return
        if self.client.is_peer and refusal.reason is Reason.SHUTDOWN and self.commit is NOTHING:
            self.send_back()  # the other member lives on
            return
        self.refusal = refusal
        if self.stage is HELD and self.ticket is not None:
            model.note_hold(self, self.client.activator.clock.now(), refusal.reason.value)
        self._release()
        model.refused(refusal, self.client.peer)
        status = STATUS_OF[refusal.reason]
        if not self.client.is_peer:  # else it is counted where it came in
            model.count(status, self.client.activator.clock.now() - self.arrived)
        message = refusal_message(model.spec.key.name, refusal)
        self._answer(status, message, refusal.reason.value, refusal.retry_after)

    def send_back(self) -> None:
        """To a member that passed it on: it is not for us; try elsewhere, or later."""
        if self.commit is not NOTHING:
            why = "its model went to another member of the cluster when its answer had begun"
            self.refuse(Refusal(Reason.REPLICA_FAILED, why, 1.0))
            return
        self._release()
        client = self.client
        if not self.body_complete:
            self.keep_alive = False
        if not client.closing:
            client.transport.write(MOVED if self.keep_alive else MOVED_CLOSE)
        client.finished(self, client.activator.clock.now())

    def client_left(self, why: str = "", status: int = STATUS_OF[Reason.CLIENT_GONE]) -> None:
        """The client's connection is gone or of no use any more, at whatever stage."""
        if self.stage is DONE or self.ticket is None:
            if self.stage is not DONE and self.head_complete:
                self._account(status)  # before it was its turn
            self._end()
            return
        self._given_up(Refusal(Reason.CLIENT_GONE, why), status)
        self._release()

    def malformed(self, status: int, why: str, size: int) -> None:
        """Its connection refuses the rest of it, in ``size`` bytes if no answer has begun."""
        self.told = "malformed"
        if not self.answer_began:
            self.sent_out += size
        self.client_left(why, status)

    def _given_up(self, refusal: Refusal, status: int = 0) -> None:
        """No answer in full will come: count it, keep it for explain, tell who looks on."""
        model = self.model
        assert model is not None
        self.refusal = refusal
        if self.stage is HELD and self.ticket is not None:
            model.note_hold(self, self.client.activator.clock.now(), refusal.reason.value)
        if not self.client.is_peer:
            model.refused(refusal, self.client.peer)
        elif refusal.reason is not Reason.CLIENT_GONE:
            # Counted where it came in, which sees its answer break off, but not why.
            self.client.activator.log_refused(model, refusal, self.client.peer)
        self._account(status or STATUS_OF[refusal.reason])

    def _account(self, status: int) -> None:
        """The request is over, otherwise than by ``finished``: what it moved is counted."""
        model, activator = self.model, self.client.activator
        if model is not None and not self.client.is_peer:  # else it is counted where it came in
            model.bytes_in += self.sent_in
            model.bytes_out += self.sent_out
        if activator.observer is not None:
            activator.observer.ended(self, status, activator.clock.now())

    def tunnel_ended(self, tunnel: Tunnel, ending: Ending, now: float) -> None:
        """The tunnel it became is over: its slot is free; what it carried is counted."""
        client, model, ticket = self.client, self.model, self.ticket
        assert model is not None
        assert ticket is not None
        client.exchange = None
        if not client.is_peer:
            counts = model.tunnel_counts()
            counts.open -= 1
            counts.bytes_in += tunnel.bytes_in
            counts.bytes_out += tunnel.bytes_out
            backend = ticket.backend
            assert backend is not None
            replica_id = backend.replica_id if tunnel.replica_ended_first else ""
            counts.ended(ending, now, replica_id)
        self.sent_in += tunnel.bytes_in
        self.sent_out += tunnel.bytes_out
        if ending is Ending.REPLICA_LOST:
            why = "it broke off a tunnel"
            self._given_up(Refusal(Reason.REPLICA_DIED_MID_RESPONSE, why))
        else:
            self._account(101)
        # No line for each: clients end them all the time, and what replicas break off is told.
        tell(
            *(log, logging.DEBUG, "tunnel ended"),
            model=model.label,
            protocol=tunnel.protocol.decode("latin-1"),
            ending=ending.value,
            client=client.peer,
            seconds=now - self.arrived,
            bytes_in=tunnel.bytes_in,
            bytes_out=tunnel.bytes_out,
        )
        self._end()
        self.upstream = self.ticket = ticket.owner = None
        backend, activator = ticket.backend, client.activator
        assert backend is not None
        answered = ending is not Ending.REPLICA_LOST
        granted = activator.admission.finish(ticket, now, answered=answered)
        if backend.draining and not backend.in_flight:
            activator.replica_drained(model, backend.replica_id)
        activator.dispatch(granted, now)

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
        elif self.commit is not REPLICA:
            why = f"no answer within first-byte-timeout = {serving.first_byte_timeout:g} s"
        elif self.client.write_paused:
            why = f"it took nothing for idle-timeout = {serving.idle_timeout:g} s"
            self._broken_off(why, Reason.CLIENT_GONE)
            return
        else:
            why = f"nothing came for idle-timeout = {serving.idle_timeout:g} s"
        self.refuse(Refusal(Reason.REPLICA_TIMEOUT, why))

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
        self.told = reason
        self._own(error_content(status, message, reason, self.target), status, retry_after)

    def _own(self, content: object, status: int, retry_after: float | None = None) -> None:
        """Answer with JSON of Stoker's own."""
        self._before_own()
        if self.commit is COMMENTS:
            data = self._as_event(content)
        else:
            data = json_answer(
                status,
                content,
                keep_alive=self.keep_alive,
                head_only=self.method == b"HEAD",
                retry_after=retry_after,
                lines=self._own_lines(),
            )
        self._send_own(data, status)

    if TYPE_CHECKING:

        def _as_event(self, content: object) -> bytes: ...

        def _own_lines(self) -> bytes: ...

    def _before_own(self) -> None:
        """No replica will answer: let go of the body, and see whether the connection can stay."""
        self._end()
        client = self.client
        if (
            self.http10
            or client.activator.draining
            or client.retired
            or not (self.body_complete or client.can_discard(self))
        ):
            self.keep_alive = False

    def _send_own(self, data: bytes, status: int) -> None:
        """Write a whole answer of Stoker's own (or its last event); that was that."""
        client = self.client
        if not client.closing:
            self.sent_out += len(data)
            client.transport.write(data)
        self._account(status)
        client.finished(self, client.activator.clock.now())
