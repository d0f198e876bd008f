"""An activator among scripted replicas and raw clients, with a look at what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from activator import server
from activator.http1 import ClientConnection
from activator.models import Model
from activator.server import DEFAULT_LISTENER, Activator
from activator.tickets import Reason
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase, Poke, ServingConfig, StatReport
from stoker.vocabulary import Replica as ReplicaState

DIGITS = ModelKey.parse("digits")
PATIENCE = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition; it is the test's failure if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE:g} s: {what or condition}")
        await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[Any]) -> Any:
    """The awaitable's result, within the test's patience."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


class JumpingClock:
    """The machine's clock, which a test may put forward."""

    def __init__(self) -> None:
        self._jumped = 0.0

    def now(self) -> float:
        return time.monotonic() + self._jumped

    def wall(self) -> float:
        return time.time() + self._jumped

    def jump(self, seconds: float) -> None:
        self._jumped += seconds


def chunks(*pieces: bytes, trailer: bytes = b"") -> bytes:
    """A whole chunked body."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n" + trailer + b"\r\n"


def get(target: str = "/", host: str = "digits.localhost", *lines: str) -> bytes:
    """A GET's bytes."""
    return request("GET", target, host, *lines)


def request(method: str, target: str, host: str, *lines: str, body: bytes | None = None) -> bytes:
    """A request's bytes; with ``body`` comes its Content-Length."""
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *lines]
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")


def post(body: bytes, target: str = "/", host: str = "digits.localhost", *lines: str) -> bytes:
    """A POST's bytes."""
    return request("POST", target, host, *lines, body=body)


def ok(body: bytes, *lines: str) -> bytes:
    """A replica's plain answer."""
    head = ["HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


@dataclass
class Message:
    """A head, and the body if it has been read."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    raw_body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def parse(cls, head: bytes) -> Message:
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return cls(first, [(name, value.strip()) for name, _, value in pairs])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        found = self.all(name)
        assert len(found) < 2, f"{name} more than once: {found}"
        return found[0] if found else None

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def error(self) -> str:
        content = json.loads(self.body)["error"]
        return str(content["message"] if isinstance(content, Mapping) else content)


class Peer:
    """One end of a connection, with HTTP/1.1 read and written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        """Each piece of ``data`` in a packet of its own, as far as one can tell."""
        for piece in data:
            self.writer.write(piece)
            await soon(self.writer.drain())

    async def head(self) -> Message:
        return Message.parse(await soon(self.reader.readuntil(b"\r\n\r\n")))

    async def body(self, head: Message, *, to_the_end: bool = False) -> Message:
        """Read what the head announces. Raises IncompleteReadError where it ends early."""
        coding = head.get("Transfer-Encoding")
        length = head.get("Content-Length")
        assert coding is None or length is None
        if coding is not None:
            assert coding == "chunked"
            raw, pieces = [], []
            while size := int(line := await soon(self.reader.readuntil(b"\r\n")), 16):
                data = await soon(self.reader.readexactly(size + 2))
                raw += [line, data]
                pieces.append(data[:-2])
            raw.append(line)
            while (line := await soon(self.reader.readuntil(b"\r\n"))) != b"\r\n":
                raw.append(line)
                name, _, value = line.decode("latin-1").partition(":")
                head.trailers.append((name, value.strip()))
            head.body, head.raw_body = b"".join(pieces), b"".join([*raw, line])
        elif length is not None:
            head.body = await soon(self.reader.readexactly(int(length)))
        elif to_the_end:
            head.body = await soon(self.reader.read())
        return head

    async def at_end(self) -> bool:
        """Wait for the other side's clean end; False if something else comes."""
        return bool(await soon(self.reader.read(1)) == b"")

    def reset(self) -> None:
        """End the connection with a reset."""
        if not self.writer.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


class Client(Peer):
    """A client that is connected to the activator."""

    async def answer(self, method: str = "GET", *, to_the_end: bool = False) -> Message:
        """The next answer, its body included; 100 Continue is not one."""
        head = await self.head()
        while head.status < 200:
            head = await self.head()
        if method == "HEAD" or head.status in (204, 304):
            return head
        return await self.body(head, to_the_end=to_the_end)

    async def ask(self, data: bytes) -> Message:
        """Send a request and read its answer."""
        await self.send(data)
        return await self.answer(data.split(b" ")[0].decode())


class Asked(Peer):
    """A request as a scripted replica sees it."""

    def __init__(self, replica: ScriptedReplica, peer: Peer, message: Message) -> None:
        super().__init__(peer.reader, peer.writer)
        self.replica = replica
        self.message = message

    async def read(self) -> bytes:
        """The request's body."""
        return (await self.body(self.message)).body


Script = Callable[[Asked], Awaitable[None]]


async def echo(asked: Asked) -> None:
    """Answers with the request's body."""
    body = await asked.read()
    head_only = asked.message.method == "HEAD"
    answer = ok(body)
    await asked.send(answer[: len(answer) - len(body)] if head_only else answer)


async def gone(asked: Asked) -> None:
    """Ends the connection without an answer."""
    asked.close()


async def resets(asked: Asked) -> None:
    """Resets the connection without an answer."""
    asked.reset()


def says(answer: bytes) -> Script:
    """A script that reads the request and answers with these very bytes."""

    async def script(asked: Asked) -> None:
        await asked.read()
        await asked.send(answer)

    return script


def says_and_ends(answer: bytes) -> Script:
    """... and then ends the connection."""

    async def script(asked: Asked) -> None:
        await asked.read()
        await asked.send(answer)
        asked.close()

    return script


def in_turn(*scripts: Script) -> Script:
    """The first request gets the first script, and so on; the last one goes on for ever."""
    left = list(scripts)

    async def script(asked: Asked) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(asked)

    return script


class Gate:
    """A script that keeps requests until they are let go, and counts them."""

    def __init__(self, then: Script = echo) -> None:
        self.inside = 0
        self.most = 0
        self._open = asyncio.Semaphore(0)
        self._then = then

    async def __call__(self, asked: Asked) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._open.acquire()
        finally:
            self.inside -= 1
        await self._then(asked)

    def let(self, count: int = 1) -> None:
        for _ in range(count):
            self._open.release()


@dataclass(eq=False)
class ScriptedReplica:
    """A replica on loopback that does what its script says, connection by connection."""

    script: Script
    state: ReplicaState | None = None
    seen: list[Message] = field(default_factory=list)
    accepted: int = 0
    open: set[Peer] = field(default_factory=set)
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self) -> Address:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        return Address(*self.server.sockets[0].getsockname()[:2])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.accepted += 1
        peer = Peer(reader, writer)
        self.open.add(peer)
        try:
            while not writer.is_closing():
                message = Message.parse(await reader.readuntil(b"\r\n\r\n"))
                self.seen.append(message)
                await self.script(Asked(self, peer, message))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(peer)
            self.tasks.discard(task)
            writer.close()

    @property
    def id(self) -> str:
        assert self.state is not None
        return self.state.id

    def refuse_connections(self) -> None:
        """Nobody listens any more; connections that are open stay."""
        if self.server is not None:
            self.server.close()

    async def stop(self) -> None:
        self.refuse_connections()
        for peer in list(self.open):
            peer.writer.transport.abort()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Load:
    """Takes in what is reported to an autoscaler."""

    def __init__(self) -> None:
        self.reports: list[StatReport] = []
        self.pokes: list[Poke] = []

    def report(self, report: StatReport) -> None:
        self.reports.append(report)

    def poke(self, poke: Poke) -> None:
        self.pokes.append(poke)


class _Complaints(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))


def spec(key: ModelKey = DIGITS, **serving: Any) -> ModelSpec:
    """A model with these serving settings."""
    return ModelSpec(key, serving=ServingConfig(**serving))


class World:
    """See the module. ``complaints``: what was logged as an error, or raised in a callback."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        self.platform = FakePlatform(clock=self.clock, replaces_lost=False)
        self.link = MemoryLink()
        self.load = Load()
        self.link.attach(self.load)
        self.complaints: list[str] = []
        self.replicas: list[ScriptedReplica] = []
        self.clients: list[Client] = []
        self.eta: float | None = None
        self.activator: Activator

    async def start(self, *specs: ModelSpec, **process: Any) -> None:
        """Start the activator with these models (by default ``digits``)."""
        for each in specs or (spec(),):
            self.platform.add_model(each)
        process.setdefault("listen", Address("127.0.0.1", 0))
        self.activator = Activator(
            ProcessConfig(**process),
            self.platform,
            self.link,
            self.clock,
            eta=lambda model, now: self.eta,
        )
        await self.activator.start()

    def jump(self, seconds: float) -> None:
        """Let time pass at once, for the activator's timers too."""
        self.clock.jump(seconds)
        self.activator._expire()
        self.activator._sweep()

    @property
    def model(self) -> Model:
        return self.activator.models[DIGITS]

    def address(self, listener: str = DEFAULT_LISTENER) -> Address:
        return self.activator.addresses[listener]

    async def replica(self, script: Script = echo, key: ModelKey = DIGITS) -> ScriptedReplica:
        """One more replica, ready."""
        replica = await self.unready(script)
        self.make_ready(replica, key)
        return replica

    async def unready(self, script: Script = echo) -> ScriptedReplica:
        """A server that no platform knows of yet."""
        replica = ScriptedReplica(script)
        self.replicas.append(replica)
        await replica.listen()
        return replica

    def make_ready(self, replica: ScriptedReplica, key: ModelKey = DIGITS) -> None:
        assert replica.server is not None
        address = Address(*replica.server.sockets[0].getsockname()[:2])
        replica.state = self.platform.add_replica(key, address=address)

    def drain(self, replica: ScriptedReplica) -> None:
        self.platform.set_phase(replica.id, Phase.DRAINING)

    async def client(self, listener: str = DEFAULT_LISTENER, limit: int = 2**20) -> Client:
        host, port = self.address(listener)
        client = Client(*await asyncio.open_connection(host, port, limit=limit))
        self.clients.append(client)
        return client

    async def held(self, *requests: bytes) -> list[Client]:
        """Clients whose requests are held, in this order."""
        clients = []
        for data in requests:
            client = await self.client()
            more = self.activator.admission.held + 1
            await client.send(data)
            await until(partial(self._holds, more), "held")
            clients.append(client)
        return clients

    async def connections(self, count: int = 1) -> list[ClientConnection]:
        """The activator's ends of the clients' connections, once there are so many."""
        await until(lambda: len(self.activator.connections) == count)
        return list(self.activator.connections)

    def _holds(self, count: int) -> bool:
        return self.activator.admission.held >= count

    @property
    def refused(self) -> dict[Reason, int]:
        return dict(self.model.refusals)

    def left(self) -> list[str]:
        """What the activator still holds on to."""
        activator = self.activator
        admission = activator.admission
        left = {
            "held": admission.held,
            "held bytes": admission.held_bytes,
            "connections": len(activator.connections),
            "spool files": activator.spool.files,
            "spool bytes": activator.spool.used,
            "watched": len(activator.departures),
        }
        for model in activator.models.values():
            throttler = model.throttler
            left |= {
                f"{throttler.key} queued": throttler.queued,
                f"{throttler.key} queued bytes": throttler.queued_bytes,
                f"{throttler.key} active": throttler.active,
                f"{throttler.key} slots": sum(b.in_flight for b in throttler.slots.backends),
            }
        return [f"{what}: {count}" for what, count in left.items() if count]

    def descriptors(self) -> int:
        """Sockets that this process has open."""
        count = 0
        for entry in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                count += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
        return count

    async def close(self) -> None:
        """Let everybody leave, then say what the activator did not let go of."""
        for client in self.clients:
            # A mere close would wait in line behind what a paused activator does not read.
            client.reset()
        left: list[str] = []
        if hasattr(self, "activator"):
            activator = self.activator
            try:
                await until(lambda: self.left() == [])
            except AssertionError:
                left = self.left()
            await soon(activator.close())
        for replica in self.replicas:
            await replica.stop()
        assert left == []
        if hasattr(self, "activator"):
            assert self.left() == []
            assert not activator.replica_connections
        await until(lambda: len(asyncio.all_tasks()) == 1, f"only {asyncio.all_tasks()}")
        assert self.complaints == []


async def assert_clean(world: World, *, descriptors: int | None = None) -> None:
    """Nothing is left of any request once all clients have left, though Stoker runs on.

    No connection, place, slot, byte, spool file or task of the activator, and, where
    ``descriptors`` says how many sockets there were before (``World.descriptors``), no
    socket, but for connections to replicas that are kept for the next request.
    """
    activator = world.activator
    for client in world.clients:
        client.reset()
    world.clients.clear()

    def left() -> list[str]:
        pools = [pool for model in activator.models.values() for pool in model.pools.values()]
        idle = sum(len(pool.idle) for pool in pools)
        busy = len(activator.replica_connections) - idle
        more = {
            "busy replica connections": busy,
            "tasks": len(activator._tasks),
            "turned away": activator.turning_away,
        }
        if descriptors is not None:
            # Both ends of a kept connection are in this process.
            more["descriptors"] = max(0, world.descriptors() - descriptors - 2 * idle)
        return [*world.left(), *(f"{what}: {count}" for what, count in more.items() if count)]

    try:
        await until(lambda: left() == [])
    except AssertionError:
        assert left() == []


@asynccontextmanager
async def make_world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world whose timers are quick, and the check of what it leaves behind."""
    monkeypatch.setattr(server, "EXPIRY_SECONDS", 0.005)
    monkeypatch.setattr(server, "SWEEP_SECONDS", 0.01)
    world = World()
    handler = _Complaints(world.complaints)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: world.complaints.append(repr(context)))
    loggers = [logging.getLogger(name) for name in ("stoker", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield world
        await world.close()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
