"""A request's body: looked at, kept while it is held, then passed on as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activator.body import Body
from activator.endings import Endings
from activator.request import (
    CONNECTING,
    DONE,
    FORWARDING,
    NEVER,
    RECEIVING,
    REPLICA,
)
from activator.tickets import Reason, Refusal

if TYPE_CHECKING:
    from activator.models import Model
    from activator.upstream import ReplicaConnection


class Intake(Endings):
    """The body of an exchange on its way through."""

    # --- the body arrives ---

    def receive(self, data: bytes) -> None:
        """A piece of body, from inside the parser: keep it or pass it on."""
        stage = self.stage
        if stage is RECEIVING:
            # It is looked at when this read is through, so it stays where it can be: no more
            # than json-peek-bytes and one read.
            kept = self._kept
            if kept is None:
                self._kept = Body(data)
            else:
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
        if stage is CONNECTING and body.file is None:
            # Its replica is about to take it: a connection is sooner there than a spool file.
            body.keep(data)
            self._over = body.size >= process.body_memory
        else:
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
            self.client.activator.log_spool_failed(file.error)
            why = f"its body could not be spooled: {file.error.strerror or file.error}"
            self.refuse(Refusal(Reason.TOTAL_BYTES_FULL, why))
        else:
            self.client.resume_reading()

    def takes_more(self) -> bool:
        """Whether there is a place for more of what its client sends."""
        if self.stage is DONE:
            return True
        if self.offer:
            return False  # what follows is for HTTP or for a tunnel: its replica decides
        if self.stage is FORWARDING and self._pump is None:
            upstream = self.upstream
            return upstream is None or not upstream.write_paused
        kept = self._kept
        return not self._over and (kept is None or not kept.full)

    def _pass_on(self, data: bytes) -> None:
        upstream, model = self.upstream, self.model
        assert upstream is not None
        assert model is not None
        activator = self.client.activator
        self.body.pass_on(data, activator.process.body_memory, activator.replays)
        framed = self._framed(data)
        self.sent_in += len(framed)
        upstream.send_body(framed)
        self._sent_some(model)

    def _sent_some(self, model: Model) -> None:
        """While the request is on its way the replica need not have answered."""
        if self.commit is not REPLICA and self.deadline != NEVER:
            now = self.client.activator.clock.now()
            self.deadline = now + model.spec.serving.first_byte_timeout

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data

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
                framed = self._framed(block)
                self.sent_in += len(framed)
                upstream.send_body(framed)
                self._sent_some(model)
                await upstream.drained()
        except OSError as caught:
            self._pump = None
            why = f"its body could not be read from the spool: {caught.strerror or caught}"
            self.refuse(Refusal(Reason.TOTAL_BYTES_FULL, why))
            return
        self._pump = None
        for data in body.overflow:
            framed = self._framed(data)
            self.sent_in += len(framed)
            upstream.send_body(framed)
        if self.body_complete:
            upstream.end_body(self.body_end())
        else:
            # From here on bytes pass through without being kept.
            body.forget()
            self.client.resume_reading()
