"""What answers tell of their requests: how long they waited, for what, and who answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from activator.waits import ASLEEP

if TYPE_CHECKING:
    from activator.request import Request


NOT_HELD: Final = b"stoker-queued-ms: 0\r\n"


def lines(request: Request, now: float) -> bytes:
    """Header lines for a replica's answer."""
    ticket, model = request.ticket, request.model
    assert ticket is not None
    assert model is not None
    backend = ticket.backend
    assert backend is not None
    told = queued(request)
    if request.cause is not None and request.cause.kind == ASLEEP and request.waited:
        start = model.starts.get(backend.replica_id)
        began = request.arrived
        ready = began + request.waited
        # Then it waited for its turn as well; a fallback's replica was there all the time, and
        # what was waited for was the first model's.
        if start is not None and start.since > began:
            ready = min(ready, start.since)
        told += b"stoker-cold-start: %.3f\r\n" % (ready - began)
    return told + b"stoker-replica: %b\r\n" % backend.replica_id.encode()


def queued(request: Request) -> bytes:
    """The line that Stoker's own answers have too."""
    waited = request.waited
    return b"stoker-queued-ms: %d\r\n" % round(1000 * waited) if waited else NOT_HELD
