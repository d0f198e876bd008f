"""Readiness probes against real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from stoker.platforms.local import probe
from stoker.platforms.local.pauses import Probed
from stoker.platforms.local.ports import Ports
from stoker.platforms.local.probe import probe_until_ready
from stoker.testing import FakePlatform, poll_until
from stoker.vocabulary import Address

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Probing:
    """A probe in the background and what it reported."""

    def __init__(self, address: Address, path: str) -> None:
        self.outcomes: list[str] = []
        self.ready = asyncio.Event()
        self.probing = Probed()
        self.task = asyncio.ensure_future(
            probe_until_ready(
                *(address, path),
                probing=self.probing,
                on_ready=self.ready.set,
                on_outcome=self.outcomes.append,
            )
        )

    async def outcome(self, text: str) -> None:
        await poll_until(FakePlatform(), lambda: text in self.outcomes)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Address]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2])


def answering(*answers: bytes) -> Handler:
    """Each connection gets the next answer, the last one for ever."""
    left = list(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return handler


async def test_http_passes_with_2xx_only() -> None:
    """Everything else is told in words until a 2xx comes; the answer is heard to its end."""
    bad = {
        b"HTTP/1.1 503 Loading\r\n\r\n": "HTTP 503",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n": "HTTP 302",
        b"SSH-2.0-OpenSSH_9.2\r\n": "answer is not HTTP/1.1",
        b"HTTP/1.1 OK ??????\r\n\r\n": "answer is not HTTP/1.1",
        b"HTTP/1.1": "connection closed without an answer",
    }
    async with serving(answering(*bad, b"HTTP/1.1 204 No Content\r\n\r\n")) as address:
        probing = Probing(address, "/ready")
        await probing.task
        assert probing.ready.is_set()
        assert list(dict.fromkeys(probing.outcomes)) == list(dict.fromkeys(bad.values()))


async def test_ready_before_the_answer_has_ended() -> None:
    """The status line decides; a body that never ends does not hold it up."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")
        await over.wait()

    async with serving(handler) as address:
        probing = Probing(address, "/v2/health/ready")
        await probing.ready.wait()
        assert not probing.task.done()
        over.set()
        await probing.task
    assert asked[0].startswith(b"GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_tcp_passes_when_connected() -> None:
    """Without a path, refused until somebody listens; nothing need be answered."""
    port = Ports().take(())
    probing = Probing(Address("127.0.0.1", port), "")
    await probing.outcome("connection refused")
    assert probing.probing.now == 1
    with socket.create_server(("127.0.0.1", port)):
        await probing.ready.wait()
    await probing.task
    assert probing.probing.now == 0


async def test_silence_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing is asked again, and told of."""
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probing = Probing(Address(*listener.getsockname()), "/")
        await probing.outcome("no answer within 0.05 s")
        await probing.stop()
    assert not probing.ready.is_set()


async def test_full_backlog_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect that the kernel does not decide at once goes on in the background."""
    monkeypatch.setattr(probe, "ANSWER_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = Address(*listener.getsockname())
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            probing = Probing(address, "")
            await probing.outcome("no answer within 0.05 s")
            await probing.stop()
        finally:
            for filler in fillers:
                filler.close()


async def test_meeting_oneself_is_not_ready() -> None:
    """TCP lets a socket connect to itself when ports coincide; that is nobody listening."""
    with socket.socket() as loner:
        loner.bind(("127.0.0.1", 0))
        address = Address(*loner.getsockname())
        loner.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            probe._connect(loner, address)
