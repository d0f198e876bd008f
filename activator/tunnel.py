"""Bytes both ways once a replica has switched protocols (101): WebSocket and the like.

The two connections leave HTTP behind: their parsers are let go, and each side's bytes are
written to the other as they come. A side that cannot take more keeps the other from being
read. A side that ends its sending (half-close) has that passed on; the tunnel is over when
both have, when one is lost, when nothing moved for too long, or when it is closed.

Between two plain connections only: TLS has no half-close, so there one side's end ends both.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from stoker import telemetry
from stoker.telemetry import Reading

if TYPE_CHECKING:
    from activator.endings import Endings
    from activator.server import Activator
    from activator.upstream import ReplicaConnection

# A process that is killed ends its connections as one that is done does. So long it may take
# until the platform tells which it was; its parent may have stood still.
FATE_SECONDS: Final = 5.0
# Offered with many a first request by clients that would rather speak HTTP/2. A tunnel of
# that would carry requests past everything that Stoker checks, routes and counts.
NEVER_TUNNELLED: Final = frozenset((b"h2c", b"h2", b"http"))


def tunnelled(upgrade: bytes) -> bytes:
    """The protocols among those offered that may be tunnelled, as a field's value."""
    offered = (token.strip() for token in upgrade.split(b","))
    return b", ".join(
        token
        for token in offered
        if token and token.partition(b"/")[0].lower() not in NEVER_TUNNELLED
    )


def is_offered(chosen: bytes, offer: bytes) -> bool:
    """Whether all that a replica switched to was offered to it (RFC 9110, 7.8)."""
    offered = {token.strip().lower() for token in offer.split(b",")}
    return all(token.strip().lower() in offered for token in chosen.split(b","))


class Ending(enum.StrEnum):
    """Why a tunnel is over."""

    DONE = "done"
    CLIENT_LOST = "client-lost"
    REPLICA_LOST = "replica-lost"
    IDLE = "idle"
    CLOSED = "closed"


class TunnelCounts:
    """One model's tunnels: how many there are, what they carried, how they ended.

    One whose replica was the first to end its side is counted once it is known whether that
    replica had died, or after FATE_SECONDS.
    """

    __slots__ = ("_crashed", "_undecided", "bytes_in", "bytes_out", "endings", "open")

    def __init__(self) -> None:
        self.open = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.endings: Counter[Ending] = Counter()
        # When each ended, and with which replica; when those died of which it is known.
        self._undecided: deque[tuple[float, str]] = deque()
        self._crashed: dict[str, float] = {}

    def ended(self, ending: Ending, now: float, replica_id: str = "") -> None:
        """A tunnel is over. ``replica_id``: that replica was the first to end its side."""
        self.settle(now)
        if ending is not Ending.DONE or not replica_id:
            self.endings[ending] += 1
        elif replica_id in self._crashed:
            self.endings[Ending.REPLICA_LOST] += 1
        else:
            self._undecided.append((now, replica_id))

    def replica_crashed(self, replica_id: str, now: float) -> None:
        """It was not stopped: what it ended it left unfinished."""
        self._crashed[replica_id] = now
        left = [each for each in self._undecided if each[1] != replica_id]
        if lost := len(self._undecided) - len(left):
            self.endings[Ending.REPLICA_LOST] += lost
            self._undecided = deque(left)

    def settle(self, now: float) -> None:
        """Nothing was heard of a replica's death for long enough."""
        while self._undecided and now - self._undecided[0][0] >= FATE_SECONDS:
            self._undecided.popleft()
            self.endings[Ending.DONE] += 1
        while self._crashed:
            replica_id, died = next(iter(self._crashed.items()))
            if now - died < FATE_SECONDS:
                break
            del self._crashed[replica_id]

    def undecided(self, now: float) -> bool:
        """Whether a tunnel that is over has yet to be counted."""
        self.settle(now)
        return bool(self._undecided)

    def readings(self, model: str, now: float) -> Iterator[Reading]:
        """The metrics now. Bytes are those of tunnels that have ended."""
        self.settle(now)
        yield Reading(telemetry.TUNNELS_OPEN, (model,), self.open)
        yield Reading(telemetry.TUNNEL_BYTES, (model, "in"), self.bytes_in)
        yield Reading(telemetry.TUNNEL_BYTES, (model, "out"), self.bytes_out)
        for ending, count in self.endings.items():
            yield Reading(telemetry.TUNNELS, (model, ending.value), count)


class _End(asyncio.BufferedProtocol):
    """One side: what it sends goes to ``other``, unless that cannot take more."""

    __slots__ = (
        "_lost_to",
        "_tunnel",
        "_view",
        "ended",
        "full",
        "lost",
        "moved",
        "other",
        "paused",
        "transport",
    )

    other: _End

    def __init__(
        self,
        tunnel: Tunnel,
        transport: asyncio.Transport,
        lost_to: Callable[[Exception | None], None],
    ) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self._lost_to = lost_to
        # Shared with all client connections: a read is copied before the next one.
        self._view = tunnel.activator.client_buffer
        self.full = False  # it cannot take more for now
        self.paused = False  # it is not read for now
        self.moved = 0
        self.ended = False
        self.lost = False

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        tunnel = self._tunnel
        tunnel.last_activity = tunnel.activator.clock.now()
        self.moved += nbytes
        if not self.other.lost:
            self.other.transport.write(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        self.ended = True
        return self._tunnel.half_closed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._tunnel.lost(self, exc)
        self._lost_to(exc)

    def pause_writing(self) -> None:
        self.full = True
        self.other.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self.other.resume_reading()

    def pause_reading(self) -> None:
        if not (self.paused or self.ended or self.lost):
            self.paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.paused and not (self.ended or self.lost):
            self.paused = False
            self.transport.resume_reading()


class Tunnel:
    """One client and one replica that have switched protocols.

    ``last_activity``: when the last byte moved, on the activator's clock. It is among
    ``Activator.tunnels`` until both connections are gone; ``ending`` None: it is in use.
    """

    __slots__ = (
        "_client",
        "_deadline",
        "_exchange",
        "_replica",
        "activator",
        "ended_first",
        "ending",
        "last_activity",
        "protocol",
    )

    def __init__(self, exchange: Endings, replica: ReplicaConnection) -> None:
        client = exchange.client
        self.activator: Activator = client.activator
        self.protocol = replica.upgrade
        self.ending: Ending | None = None
        self.ended_first: _End | None = None
        self.last_activity = self.activator.clock.now()
        self._exchange = exchange
        self._deadline = 0.0
        self._client = _End(self, client.transport, client.connection_lost)
        self._replica = _End(self, replica.transport, replica.connection_lost)
        self._client.other, self._replica.other = self._replica, self._client

    def begin(self, replica: ReplicaConnection, head: bytes, first: bytes, early: bytes) -> None:
        """Take both connections over.

        The client gets ``head`` and what came ``first`` behind it. It has not been read since
        its own head; what came with that (``early``) is the replica's now.
        """
        self.activator.tunnels.add(self)
        self._exchange.client.hand_over(self._client)
        replica.hand_over(self._replica)
        self._client.paused = True
        self._replica.full = replica.write_paused
        self._client.transport.write(head + first)
        self._replica.moved += len(first)
        if early:
            self._client.moved += len(early)
            self._replica.transport.write(early)
        if not self._replica.full:
            self._client.resume_reading()

    @property
    def bytes_in(self) -> int:
        """Bytes from the client so far."""
        return self._client.moved

    @property
    def bytes_out(self) -> int:
        """Bytes from the replica so far."""
        return self._replica.moved

    @property
    def replica_ended_first(self) -> bool:
        """It ended its side, and was the first to do so."""
        return self.ended_first is self._replica

    @property
    def half_open(self) -> bool:
        """One side has ended its sending."""
        return self._client.ended or self._replica.ended

    def close(self, ending: Ending = Ending.CLOSED) -> None:
        """End it: what was read is still sent, then both connections close. Idempotent."""
        if self.ending is None:
            self._end(ending)
            for end in (self._client, self._replica):
                if not end.lost:
                    end.transport.close()

    def check(self, now: float) -> None:
        """Called now and then: close it when idle for too long; let go what cannot be sent."""
        if self.ending is not None:
            if now >= self._deadline:
                for end in (self._client, self._replica):
                    if not end.lost:
                        end.transport.abort()
            return
        model = self._exchange.model
        assert model is not None
        serving = model.spec.serving
        limit = serving.tunnel_idle_timeout
        if self.half_open and (not limit or limit > serving.idle_timeout):
            # One that left for good looks half-closed too, until something is sent to it.
            limit = serving.idle_timeout
        if limit and now - self.last_activity >= limit:
            self.close(Ending.IDLE)

    # --- what its ends tell ---

    def half_closed(self, end: _End) -> bool:
        """``end`` will send no more. Returns whether it still may be sent to."""
        other = end.other
        if self.ending is not None:
            return False
        self.last_activity = self.activator.clock.now()
        if self.ended_first is None:
            self.ended_first = end
        both_can = end.transport.can_write_eof() and other.transport.can_write_eof()
        if other.ended or not both_can:
            self.close(Ending.DONE)
            return False
        other.transport.write_eof()
        return True

    def lost(self, end: _End, exc: Exception | None) -> None:
        """The connection of ``end`` is gone."""
        other = end.other
        if self.ending is None:
            lost = Ending.CLIENT_LOST if end is self._client else Ending.REPLICA_LOST
            # Nobody but us ends a connection without an error and without an end of file.
            self._end(Ending.CLOSED if exc is None and not self.half_open else lost)
            if not other.lost:
                self._break_off(other)
        if other.lost:
            self.activator.tunnels.discard(self)

    def _break_off(self, end: _End) -> None:
        """With a reset, so that its peer cannot take it for an orderly end."""
        if end is self._client:
            self._exchange.client.break_off()
        else:
            end.transport.abort()

    def _end(self, ending: Ending) -> None:
        now = self.activator.clock.now()
        self.ending = ending
        self._deadline = now + self.activator.process.client_idle_timeout
        self._exchange.tunnel_ended(self, ending, now)
