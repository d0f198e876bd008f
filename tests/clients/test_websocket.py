"""WebSockets through a real Stoker, with aiohttp's client and the websockets library's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.cli.running import Running
from tests.clients.places import example

LARGE = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def stoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The example's model, asleep at first, with two places in one replica."""
    model = example(
        "websocket", **{"stable-window": "1h", "container-concurrency": 2, "max-scale": 1}
    )
    with Running(tmp_path_factory.mktemp("stoker"), {"models": {"chat": model}}) as running:
        yield running


@pytest.fixture
def url(stoker: Running) -> str:
    return f"ws://127.0.0.1:{stoker.port}/ws"


HEADERS = {"stoker-model": "chat"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def free(stoker: Running) -> None:
    """No conversation is open any more."""
    await asyncio.to_thread(stoker.wait_for, "chat", lambda m: m["active"] == 0, "free")


async def test_a_handshake_wakes_the_model(
    stoker: Running, url: str, session: aiohttp.ClientSession
) -> None:
    """Held while it starts, then switched: texts, bytes and a subprotocol pass both ways."""
    assert stoker.model("chat")["phase"] == "zero"
    async with session.ws_connect(
        url, headers=HEADERS, protocols=("other", "echo"), max_msg_size=0
    ) as socket:
        assert socket.protocol == "echo"
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\x00\xff")
        assert await socket.receive_bytes() == b"\x00\xff"
        assert stoker.model("chat")["active"] == 1
    await free(stoker)
    assert stoker.metric('stoker_hold_seconds_count{model="default/chat"}') == 1


async def test_large_messages_pass_while_others_are_on_their_way(
    url: str, session: aiohttp.ClientSession
) -> None:
    """3 MiB of random bytes back unchanged, and small messages before and after in order."""
    noise = os.urandom(LARGE)
    async with session.ws_connect(url, headers=HEADERS, max_msg_size=0) as socket:
        await socket.send_str("before")
        sending = asyncio.create_task(socket.send_bytes(noise))
        assert await socket.receive_str() == "before"
        assert await socket.receive_bytes() == noise
        await sending
        await socket.send_str("after")
        assert await socket.receive_str() == "after"


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (3333, "own reason")])
async def test_close_codes_of_the_server_arrive(
    stoker: Running, url: str, session: aiohttp.ClientSession, code: int, reason: str
) -> None:
    """The number and the words that the server closed with."""
    async with session.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str(f"close {code} {reason}")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
        assert message.extra == reason
    await free(stoker)


async def test_the_websockets_library_too(stoker: Running, url: str) -> None:
    """Compression, pings, fragments and a close by the client."""
    async with connect(url, additional_headers=HEADERS, max_size=None) as socket:
        assert socket.response is not None
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        await (await socket.ping())
        await socket.send(["one ", "message ", "in pieces"])
        assert await socket.recv() == "one message in pieces"
        await socket.send(b"x" * LARGE)
        assert await socket.recv() == b"x" * LARGE
        await socket.close(4001, "enough")
    assert (socket.close_code, socket.close_reason) == (4001, "enough")
    await free(stoker)


async def test_a_third_conversation_waits_for_a_place(
    stoker: Running, url: str, session: aiohttp.ClientSession
) -> None:
    """Each takes a slot while it lasts; the next handshake is held until one has ended."""
    first = await session.ws_connect(url, headers=HEADERS)
    second = await session.ws_connect(url, headers=HEADERS)
    third = asyncio.create_task(session.ws_connect(url, headers=HEADERS).__aenter__())
    await asyncio.to_thread(stoker.wait_for, "chat", lambda m: m["queued"] == 1, "full")
    assert not third.done()
    await first.close()
    async with await third as socket:
        await socket.send_str("at last")
        assert await socket.receive_str() == "at last"
        assert stoker.model("chat")["active"] == 2
    await second.close()
    await free(stoker)


async def test_a_server_that_dies_ends_the_conversation_visibly(
    stoker: Running, url: str, session: aiohttp.ClientSession
) -> None:
    """No close code is made up: the connection is broken off."""
    async with session.ws_connect(url, headers=HEADERS) as socket:
        await socket.send_str("here?")
        assert await socket.receive_str() == "here?"
        (pid,) = stoker.pids("chat")
        os.kill(pid, 9)
        message = await socket.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert socket.close_code in (None, 1006)
    await free(stoker)


async def test_plain_requests_go_on_beside(stoker: Running, session: aiohttp.ClientSession) -> None:
    """The same model answers HTTP; a WebSocket handshake to another path gets its refusal."""
    base = f"http://127.0.0.1:{stoker.port}"
    async with session.get(f"{base}/health", headers=HEADERS) as answer:
        assert (answer.status, await answer.json()) == (200, {"ready": True})
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{stoker.port}/none", additional_headers=HEADERS)
    assert caught.value.response.status_code == 404
    await free(stoker)
