"""Where the body of a held request stays: in memory, on disk, or in its client."""

from __future__ import annotations

from activator import receive_buffer
from activator.body import Room
from activator.intake import Intake


class Settling(Intake):
    """The body of an exchange while it is held."""

    _narrowed = False  # the kernel's buffer for what its client sends

    def _settle(self) -> None:
        """It will be held: find a place for its body, or leave the body to its client."""
        kept = self._kept
        activator = self.client.activator
        memory, spool = activator.process.body_memory, activator.spool
        if self.body_complete:
            if kept is None:
                return
            kept.spill(memory, spool)
        else:
            kept = self.body
            room = kept.settle(self.content_length, memory, spool)
            if room is not Room.ALL:
                self._narrowed = True
                receive_buffer.narrow(self.client.transport, much=room is Room.SOME)
        self._watch_spool(kept)

    def _unsettle(self) -> None:
        """The hold is over: what was left to the client may come."""
        if self._narrowed:
            self._narrowed = False
            receive_buffer.widen(self.client.transport)

    def _end(self) -> None:
        if self._narrowed and not self.client.closing:
            Settling._unsettle(self)  # for its next request
        super()._end()
