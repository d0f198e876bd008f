"""A whole activator in memory: the real parts, with connections held by whoever tests.

Nothing here opens a socket, waits or depends on a clock: what happens follows from what is
asked of a ``Stage``, so a run can be repeated from the bytes that it was made from.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from unittest import mock

from activator import http1
from activator.exchange import Exchange
from activator.http1 import ClientConnection
from activator.server import Activator
from activator.upstream import ReplicaConnection
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform, ManualClock
from stoker.vocabulary import ModelKey, ModelSpec, Replica
from tests.fuzz.loop import Disk, SteppedLoop
from tests.fuzz.wire import NO_DESCRIPTOR, Watch, Wire

DIGITS = ModelKey.parse("digits")
# Within so many steps of so many seconds every budget of the runs' settings runs out, for all
# requests that one connection may have pipelined one after the other.
STEP, MANY_STEPS = 70.0, 400

_T = TypeVar("_T")


class InOrder(set[_T], Generic[_T]):
    """A set that is walked through in one order, whatever its members' addresses."""

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[_T, None] = {}

    def add(self, item: _T) -> None:
        super().add(item)
        self._order[item] = None

    def discard(self, item: object) -> None:
        super().discard(item)
        self._order.pop(item, None)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[_T]:
        return iter(list(self._order))


class Watched(Exchange):
    """Notes its place among its client's requests, and the body that was made of the bytes."""

    def __init__(self, client: ClientConnection) -> None:
        super().__init__(client)
        self.got = bytearray()
        # What of the client's bytes had been read when its head was complete.
        self.segments: list[Segment] = []
        wire = client.transport
        assert isinstance(wire, Wire)
        self.wire = wire
        guests = wire.on_write.__self__  # type: ignore[attr-defined]
        assert isinstance(guests, Guest)
        self.guest = guests
        self.number = len(guests.exchanges)
        guests.exchanges.append(self)

    def receive(self, data: bytes) -> None:
        self.got += data
        super().receive(data)


class Guest:
    """A client's end of a connection. ``exchanges``: all that was taken for a request."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.exchanges: list[Watched] = []
        self.plan: Any = None
        wire.on_write = self.written

    def written(self, wire: Wire) -> None:
        """The activator writes something."""


class Segment:
    """What one replica was sent for one request."""

    def __init__(self, server: Server, exchange: Watched, at: int) -> None:
        self.server = server
        self.exchange = exchange
        self.at = at
        self.tunnel_at = -1  # from here on it is no HTTP
        self.plan: Any = None


class Server:
    """A replica's end of a connection, and what of it was for which request."""

    def __init__(self, wire: Wire, address: object) -> None:
        self.wire = wire
        self.address = address
        self.segments: list[Segment] = []
        self.on_request: Callable[[Segment], None] = lambda segment: None
        wire.on_write = self.written

    def written(self, wire: Wire) -> None:
        protocol = wire.protocol
        if self.segments and not isinstance(protocol, ReplicaConnection):
            segment = self.segments[-1]
            segment.tunnel_at = len(wire.written) if segment.tunnel_at < 0 else segment.tunnel_at
            return
        exchange = protocol.exchange if isinstance(protocol, ReplicaConnection) else None
        if exchange is None or (self.segments and self.segments[-1].exchange is exchange):
            return
        assert isinstance(exchange, Watched)
        at = len(wire.written)
        segment = Segment(self, exchange, at)
        self.segments.append(segment)
        exchange.segments.append(segment)
        self.on_request(segment)

    def parts(self) -> Iterator[tuple[Segment, bytes]]:
        received = bytes(self.wire.written)
        if not self.segments:
            assert not received, "something was sent for nobody"
            return
        ends = [segment.at for segment in self.segments[1:]] + [len(received)]
        for segment, end in zip(self.segments, ends, strict=True):
            yield (
                segment,
                received[segment.at : end if segment.tunnel_at < 0 else segment.tunnel_at],
            )


class _Complaints(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith("cannot write to spool-directory"):
            self._kept.append(self.format(record))


class Stage:
    """See the module. Use it within ``staged``."""

    def __init__(self, spec: ModelSpec, process: ProcessConfig, *more: ModelSpec) -> None:
        self.clock = ManualClock()
        self.loop = SteppedLoop(self.clock)  # type: ignore[abstract]
        self.loop.connect = self._connect
        self.platform = FakePlatform([spec, *more], clock=self.clock, replaces_lost=False)
        self.watch = Watch()
        self.disk = Disk()
        self.loop.meanwhile = self.disk.work
        self.guests: list[Guest] = []
        self.servers: list[Server] = []
        # Connections that are being made, until somebody says how that ends.
        self.knocking: list[tuple[asyncio.Future[Any], Any]] = []
        self.on_request: Callable[[Segment], None] = lambda segment: None
        # Where connections are made at once, as they are on loopback.
        self.welcoming = True
        self.high = 64 * 1024
        self._numbers = iter(range(1, 1_000_000))
        self.wires: dict[int, Wire] = {}
        self._running: list[asyncio.Task[Any]] = []
        self.activator = Activator(process, self.platform, MemoryLink(), self.clock)

    @property
    def complaints(self) -> list[str]:
        return self.loop.complaints

    def begin(self) -> None:
        activator = self.activator
        activator.connections = InOrder()
        activator.replica_connections = InOrder()
        activator.tunnels = InOrder()
        activator.spool._thread.shutdown()
        activator.spool._thread = self.disk  # type: ignore[assignment]
        spool_write = activator.spool._write

        def write(data: bytes, blocks: list[int], begin: int) -> None:
            if self.disk.broken:
                raise OSError(28, "No space left on device")
            spool_write(data, blocks, begin)

        activator.spool._write = write  # type: ignore[method-assign]
        self.loop.finish(activator.start({}))
        activator.departures.close()
        activator.departures = self.watch  # type: ignore[assignment]

    # --- who comes ---

    def _wire(self, secure: bool = False, address: str = "127.0.0.1") -> Wire:
        number = next(self._numbers)
        wire = Wire(self.loop, self.watch, number, high=self.high, secure=secure, address=address)
        self.wires[wire.socket.fd] = wire
        return wire

    def guest(self, *, secure: bool = False, address: str = "127.0.0.1") -> Guest:
        """A client connects."""
        wire = self._wire(secure, address)
        guest = Guest(wire)
        self.guests.append(guest)
        wire.protocol = ClientConnection(self.activator, "")
        wire.protocol.connection_made(wire)
        return guest

    def replica(self, key: ModelKey = DIGITS) -> Replica:
        """One more replica, ready."""
        return self.platform.add_replica(key)

    # --- connections to replicas ---

    async def _connect(self, factory: Callable[[], Any], host: str, port: int, **_: Any) -> Any:
        future = self.loop.create_future()
        if self.welcoming:
            future.set_result(None)
        else:
            self.knocking.append((future, (host, port)))
        await future
        wire = self._wire()
        protocol = wire.protocol = factory()
        protocol.connection_made(wire)
        server = Server(wire, (host, port))
        server.on_request = self.on_request
        self.servers.append(server)
        return wire, protocol

    def answer_door(self, error: OSError | None = None) -> bool:
        """Let the first that waits for a connection have it, or not. False: nobody waits."""
        while self.knocking:
            future, _ = self.knocking.pop(0)
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
                return True
        return False

    # --- at the end ---

    def readv(self, fd: int, views: list[memoryview]) -> int:
        wire = self.wires.get(fd)
        assert wire is not None, "of no connection"
        return wire.rescued(views[0])

    def vanish(self) -> None:
        """Everybody is gone at once."""
        for guest in self.guests:
            guest.wire.reset()
        for server in self.servers:
            server.wire.reset()
        self.rest()

    def rest(self) -> None:
        """Let all that is on its way arrive."""
        self.loop.settle()
        moved = True
        for _ in range(10_000):
            moved = self.disk.work()
            for wire in list(self.wires.values()):
                moved = wire.read() or moved
            self.loop.settle()
            if not moved:
                return
        raise AssertionError("it never comes to rest")

    def pass_time(self) -> None:
        """Let time pass until nothing is left, or would ever be gone."""
        for _ in range(MANY_STEPS):
            self.loop.advance(STEP)
            self.rest()
            if not self.left():
                return

    def left(self) -> dict[str, int]:
        """What is still held on to, and should not be when nobody is there."""
        activator = self.activator
        admission = activator.admission
        left = {
            "held": admission.held,
            "held bytes": admission.held_bytes,
            "connections": len(activator.connections),
            "replica connections": len(activator.replica_connections),
            "tunnels": len(activator.tunnels),
            "spool files": activator.spool.files,
            "spool bytes": activator.spool.used,
            "spool promises": activator.spool.promised,
            "spool pending": activator.spool.pending,
            "watched": len(self.watch.watched),
            "tasks": len(activator._tasks),
            "turned away": activator.turning_away,
            "open wires": sum(not wire.lost for wire in self.wires.values()),
        }
        for model in (*activator.models.values(), *activator._removed):
            throttler = model.throttler
            left |= {
                f"{throttler.key} queued": throttler.queued,
                f"{throttler.key} queued bytes": throttler.queued_bytes,
                f"{throttler.key} active": throttler.active,
                f"{throttler.key} slots": sum(b.in_flight for b in throttler.slots.backends),
                f"{throttler.key} idle": sum(len(p.idle) for p in model.pools.values()),
                f"{throttler.key} tunnels": model.tunnel_counts().open,
            }
        return {what: count for what, count in left.items() if count}

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run this beside everything else, to its end or ours."""
        self._running.append(self.loop.create_task(work))

    def finish(self) -> None:
        """Close, and see that nothing is left of anything."""
        for task in self._running:
            task.cancel()
        self.loop.finish(self.activator.close())
        self.loop.settle()
        for task in list(self.loop.tasks):
            self.complaints.append(f"still runs: {task!r}")
            task.cancel()
        self.loop.settle()


@contextmanager
def staged(spec: ModelSpec, process: ProcessConfig, *more: ModelSpec) -> Iterator[Stage]:
    """A stage with the activator running; at the end it is closed, and must not complain."""
    stage = Stage(spec, process, *more)
    handler = _Complaints(stage.complaints)
    loggers = [logging.getLogger(name) for name in ("stoker", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with (
            stage.loop,
            mock.patch.object(http1, "Exchange", Watched),
            mock.patch.object(os, "readv", stage.readv),
        ):
            stage.begin()
            yield stage
            stage.finish()
        assert stage.complaints == [], stage.complaints
    finally:
        stage.activator.spool.close()
        for logger in loggers:
            logger.removeHandler(handler)


assert NO_DESCRIPTOR > 2**19, "no process has so many open files"
