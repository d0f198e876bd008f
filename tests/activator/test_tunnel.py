"""Upgraded connections: asked for like any request, then bytes both ways until it ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from activator.tickets import Reason
from activator.tunnel import Ending, Tunnel, TunnelCounts, is_offered, tunnelled
from stoker import telemetry
from stoker.vocabulary import Address
from tests.activator.world import (
    DIGITS,
    Asked,
    Client,
    World,
    echo,
    get,
    gone,
    in_turn,
    ok,
    post,
    request,
    resets,
    says,
    soon,
    spec,
    until,
)
from tests.pki import make_pair

UPGRADE = ["Connection: Upgrade", "Upgrade: websocket"]
ASK = get("/chat", "digits.localhost", *UPGRADE, "Sec-WebSocket-Key: abc")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: def\r\n\r\n"
)
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
BLOCK = bytes(range(256)) * 256


async def talks_back(asked: Asked) -> None:
    """Switches protocols, then says everything twice until its caller ends."""
    await asked.send(SWITCH)
    while data := await soon(asked.reader.read(65_536)):
        await asked.send(data * 2)
    asked.close()


async def switched(world: World, *requests: bytes) -> Client:
    """A client whose connection has become a tunnel."""
    client = await world.client()
    await client.send(*(requests or (ASK,)))
    answer = await client.head()
    assert answer.status == 101
    return client


def the_tunnel(world: World) -> Tunnel:
    (tunnel,) = world.activator.tunnels
    return tunnel


async def ended(world: World) -> dict[Ending, int]:
    """How tunnels ended, once all have and every slot is free."""
    await until(lambda: not world.activator.tunnels and not world.model.throttler.active)
    counts = world.model.tunnel_counts()
    assert counts.open == 0
    counts.settle(float("inf"))
    return dict(counts.endings)


# --- asking for one ---


async def test_a_tunnel_from_its_first_byte_to_its_last(world: World) -> None:
    """The offer and the 101 pass with their fields; the slot is held until both sides ended."""
    await world.start(spec(container_concurrency=1))
    replica = await world.replica(talks_back)
    client = await world.client()
    await client.send(ASK)
    answer = await client.head()
    assert (answer.status, answer.get("Upgrade")) == (101, "websocket")
    assert (answer.get("Connection"), answer.get("Sec-WebSocket-Accept")) == ("Upgrade", "def")
    (asked,) = replica.seen
    assert (asked.get("Connection"), asked.get("Upgrade")) == ("Upgrade", "websocket")
    assert (asked.target, asked.get("Sec-WebSocket-Key")) == ("/chat", "abc")
    assert asked.get("X-Forwarded-For") == "127.0.0.1"
    for data in (b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\xff" * 1000):
        await client.send(data)
        assert await soon(client.reader.readexactly(2 * len(data))) == data * 2
    assert world.model.throttler.active == 1
    client.writer.write_eof()
    assert await client.at_end()
    assert await ended(world) == {Ending.DONE: 1}
    counts = world.model.tunnel_counts()
    assert (counts.bytes_in, counts.bytes_out) == (2020, 4040)
    assert world.model.codes[1] == 1
    assert world.refused == {}
    name = str(DIGITS)
    readings = {(r.spec, r.labels): r.value for r in world.model.readings()}
    assert readings[telemetry.TUNNELS_OPEN, (name,)] == 0
    assert readings[telemetry.TUNNELS, (name, "done")] == 1
    assert readings[telemetry.TUNNEL_BYTES, (name, "out")] == 4040


async def test_a_sleeping_model_wakes_for_one(world: World) -> None:
    """It is held like any request; what its client sends meanwhile waits for the 101."""
    await world.start()
    (client,) = await world.held(ASK + b"early ")
    assert len(world.load.pokes) == 1
    await client.send(b"and late")
    replica = await world.replica(talks_back)
    answer = await client.head()
    assert (answer.status, answer.get("stoker-queued-ms") is None) == (101, False)
    want = b"early early and lateand late"
    assert sorted(await soon(client.reader.readexactly(len(want)))) == sorted(want)
    assert len(replica.seen) == 1


async def test_early_bytes_wait_for_the_101(world: World) -> None:
    """The replica sees nothing of them before it has switched, and they are bounded."""
    await world.start()
    go_on = asyncio.Event()
    before = b"-"

    async def script(asked: Asked) -> None:
        nonlocal before
        await soon(go_on.wait())
        before = bytes(asked.reader._buffer)  # type: ignore[attr-defined]
        await talks_back(asked)

    replica = await world.replica(script)
    client = await world.client()
    flood = BLOCK * 160
    sending = asyncio.create_task(client.send(ASK + flood))
    await until(lambda: replica.seen)
    (connection,) = await world.connections()
    await until(lambda: connection._paused)
    exchange = connection.exchange
    assert exchange is not None
    assert len(exchange.early) <= 65_536
    go_on.set()
    assert (await client.head()).status == 101
    left = 2 * len(flood)
    while left:
        left -= len(await soon(client.reader.read(2**18)))
    await sending
    assert before == b""


async def test_early_bytes_and_no_101(world: World) -> None:
    """They are no request: the answer is the connection's last."""
    await world.start()
    replica = await world.replica(says(ok(b"just http")))
    client = await world.client()
    await client.send(ASK + get("/smuggled"))
    answer = await client.answer()
    assert (answer.body, answer.get("Connection")) == (b"just http", "close")
    assert await client.at_end()
    assert [message.target for message in replica.seen] == ["/chat"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (ok(b"plain"), b"plain"),
        (ok(b""), b""),
        (ok(b"advertised", "Connection: Upgrade", "Upgrade: h2,h2c"), b"advertised"),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n4\r\nneed\r\n0\r\n\r\n",
            b"need",
        ),
        (b"HTTP/1.1 204 No\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b""),
        (
            b"HTTP/1.1 103 Early Hints\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            + ok(b"later"),
            b"later",
        ),
    ],
)
@pytest.mark.parametrize("offered", [True, False])
async def test_an_ordinary_answer(world: World, answer: bytes, body: bytes, offered: bool) -> None:
    """Anything but 101 is one, whatever it says about upgrades; both connections go on."""
    await world.start()
    replica = await world.replica(in_turn(says(answer), echo))
    client = await world.client()
    assert (await client.ask(ASK if offered else get())).body == body
    assert (await client.ask(post(b"next"))).body == b"next"
    assert replica.accepted == 1
    assert not world.activator.tunnels


async def test_an_answer_until_the_end_that_advertises(world: World) -> None:
    """Without a length it ends with the connection, advertisement or not."""
    await world.start()

    async def script(asked: Asked) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
        await asked.send(head + b"one", b"two")
        asked.close()

    await world.replica(script)
    client = await world.client()
    assert (await client.ask(get())).body == b"onetwo"
    assert (await client.ask(get())).body == b"onetwo"


async def test_behind_another_request(world: World) -> None:
    """Pipelined: the first is answered, then comes the tunnel."""
    await world.start()
    await world.replica(in_turn(echo, talks_back))
    client = await world.client()
    await client.send(post(b"first") + ASK)
    assert (await client.answer()).body == b"first"
    assert (await client.head()).status == 101
    await client.send(b"x")
    assert await soon(client.reader.readexactly(2)) == b"xx"


async def test_bytes_in_one_packet_with_the_101(world: World) -> None:
    """What the replica says right behind its head is the tunnel's first."""
    await world.start()
    await world.replica(says(SWITCH + b"hello"))
    client = await switched(world)
    assert await soon(client.reader.readexactly(5)) == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        post(b"a body", "/", "digits.localhost", *UPGRADE),
        request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked", *UPGRADE)
        + b"6\r\na body\r\n0\r\n\r\n",
        post(b"a body", "/", "digits.localhost", *UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["length", "chunked", "1.0"],
)
async def test_offers_that_are_ignored(world: World, data: bytes) -> None:
    """With a body, or in HTTP/1.0: an ordinary request."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(data)).body == b"a body"
    (asked,) = replica.seen
    assert (asked.get("Upgrade"), asked.get("Connection")) == (None, None)


async def test_a_post_without_a_body_may_become_a_tunnel(world: World) -> None:
    """As containers' exec and attach do."""
    await world.start()
    await world.replica(talks_back)
    client = await switched(world, post(b"", "/", "digits.localhost", *UPGRADE))
    await client.send(b"x")
    assert await soon(client.reader.readexactly(2)) == b"xx"


async def test_http_2_is_never_offered_to_replicas(world: World) -> None:
    """In a list with other protocols it is left out."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    lines = ["Connection: Upgrade", "Upgrade: h2c, chat/2, HTTP/2.0", "Upgrade: websocket"]
    await client.ask(get("/", "digits.localhost", *lines))
    assert replica.seen[0].get("Upgrade") == "chat/2, websocket"


def test_what_may_be_tunnelled() -> None:
    """Everything but HTTP/2; a replica may choose among what it was offered only."""
    assert tunnelled(b"websocket") == b"websocket"
    assert tunnelled(b"h2c") == tunnelled(b"H2C,http/2,, h2 ") == b""
    assert tunnelled(b"h2c-14, foo/1") == b"h2c-14, foo/1"
    assert is_offered(b"WebSocket", b"chat, websocket")
    assert not is_offered(b"websocket, h2c", b"chat, websocket")


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT digits.localhost:80 HTTP/1.1\r\nHost: digits.localhost\r\n\r\nx",
        b"CONNECT / HTTP/1.1\r\nHost: digits.localhost\r\n\r\n",
        b"CONNECT /x HTTP/1.1\r\nHost: digits.localhost\r\nContent-Length: 3\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\nabc",
    ],
)
async def test_connect(world: World, data: bytes) -> None:
    """405 that says so, however it is written."""
    await world.start()
    replica = await world.replica(talks_back)
    client = await world.client()
    await client.send(data)
    answer = await client.answer()
    assert (answer.status, "CONNECT is not served" in answer.error) == (405, True)
    assert await client.at_end()
    assert replica.seen == []


@pytest.mark.parametrize(
    ("ask", "answer", "why"),
    [
        (get(), SWITCH, "switched protocols unasked"),
        (ASK, SWITCH.replace(b"websocket", b"h2c"), "b'h2c', which it was not offered"),
        (ASK, SWITCH.replace(b"Upgrade: websocket\r\n", b""), "without saying to which"),
        (ASK, SWITCH.replace(b"Connection: upgrade\r\n", b""), "without saying to which"),
    ],
)
async def test_garbage_for_a_switch(world: World, ask: bytes, answer: bytes, why: str) -> None:
    """502: a replica switches to what it was asked to, or not at all."""
    await world.start(spec(retry_attempts=0))
    await world.replica(says(answer))
    client = await world.client()
    refusal = await client.ask(ask)
    assert (refusal.status, why in refusal.error) == (502, True)
    assert world.refused == {Reason.REPLICA_FAILED: 1}


@pytest.mark.parametrize("breaks", [gone, resets])
async def test_a_replica_that_dies_before_the_101(world: World, breaks: object) -> None:
    """The request is tried again, with the early bytes."""
    await world.start()
    first = await world.replica(breaks)  # type: ignore[arg-type]
    await world.replica(talks_back)
    for _ in range(4):
        client = await switched(world, ASK + b"early")
        assert await soon(client.reader.readexactly(10)) == b"earlyearly"
        if first.seen:
            break
    assert first.seen
    assert world.model.retries >= 1


async def test_no_101_in_time(world: World) -> None:
    """first-byte-timeout counts until the replica has switched, total-timeout too."""
    await world.start(spec(first_byte_timeout=20.0, total_timeout=100.0))
    replica = await world.replica(in_turn(lambda asked: _until_end(asked), talks_back))
    client = await world.client()
    await client.send(ASK)
    await until(lambda: replica.seen)
    world.jump(21.0)
    answer = await client.answer()
    assert (answer.status, "first-byte-timeout" in answer.error) == (504, True)
    client = await switched(world)
    world.jump(1000.0 - 500.0)
    await client.send(b"x")
    assert await soon(client.reader.readexactly(2)) == b"xx", "neither counts any more"


async def _until_end(asked: Asked) -> None:
    await asked.at_end()


# --- flow ---


async def test_a_replica_that_does_not_read(world: World) -> None:
    """Its client waits; nothing piles up in Stoker, and all of it arrives."""
    await world.start()
    go_on = asyncio.Event()
    total = 64 * 1024 * 1024

    async def script(asked: Asked) -> None:
        asked.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asked.send(SWITCH)
        await soon(go_on.wait())
        asked.writer.transport.resume_reading()  # type: ignore[attr-defined]
        left = total
        while left:
            left -= len(await soon(asked.reader.read(2**18)))
        await asked.send(b"all")

    await world.replica(script)
    client = await switched(world)
    sending = asyncio.create_task(client.send(*[BLOCK] * (total // len(BLOCK))))
    tunnel = the_tunnel(world)
    await until(lambda: tunnel._client.paused)
    assert tunnel._replica.transport.get_write_buffer_size() < 4 * 65_536
    go_on.set()
    assert await soon(client.reader.readexactly(3)) == b"all"
    await sending


async def test_a_client_that_does_not_read(world: World) -> None:
    """And the other way round."""
    await world.start()
    total = 64 * 1024 * 1024

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH, *[BLOCK] * (total // len(BLOCK)))
        asked.close()

    await world.replica(script)
    client = await world.client(limit=4096)
    await client.send(ASK)
    await until(lambda: world.activator.tunnels)
    tunnel = the_tunnel(world)
    await until(lambda: tunnel._replica.paused)
    assert tunnel._client.transport.get_write_buffer_size() < 4 * 65_536
    assert (await client.head()).status == 101
    left = total
    while left:
        left -= len(await soon(client.reader.read(2**18)))
    client.writer.write_eof()
    assert await client.at_end()
    assert await ended(world) == {Ending.DONE: 1}
    assert world.model.tunnel_counts().bytes_out == total


async def test_early_bytes_that_a_replica_does_not_take(world: World) -> None:
    """The client stays unread until it does."""
    await world.start()
    await world.replica(talks_back)
    client = await switched(world)
    tunnel = the_tunnel(world)
    tunnel._replica.pause_writing()
    await client.send(b"unread")
    assert tunnel._client.paused
    assert tunnel.bytes_in == 0
    tunnel._replica.resume_writing()
    assert await soon(client.reader.readexactly(12)) == b"unreadunread"


# --- endings ---


async def test_half_close_from_the_client(world: World) -> None:
    """The replica sees its end and may still answer."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        said = await soon(asked.reader.read())
        await asked.send(b"you said " + said)
        asked.close()

    await world.replica(script)
    client = await switched(world)
    await client.send(b"this")
    client.writer.write_eof()
    assert await soon(client.reader.read()) == b"you said this"
    assert await ended(world) == {Ending.DONE: 1}


@pytest.mark.parametrize("when", ["before", "after", "never"])
async def test_a_replica_that_dies_in_an_orderly_way(world: World, when: str) -> None:
    """The kernel ends the connections of a process that is killed as it does any other's. What
    the platform tells of it, before or after, says that the tunnel was lost.
    """
    await world.start()
    may_end = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        await may_end.wait()
        asked.close()

    replica = await world.replica(script)
    client = await switched(world)
    if when == "before":
        world.platform.fail(replica.id, "exited with code -9")
    may_end.set()
    assert await client.at_end()
    client.close()
    if when == "after":
        await until(lambda: not world.activator.tunnels)
        assert not world.model.tunnel_counts().endings
        world.platform.fail(replica.id, "exited with code -9")
    lost = Ending.DONE if when == "never" else Ending.REPLICA_LOST
    assert await ended(world) == {lost: 1}


async def test_tunnels_wait_to_be_counted_for_a_few_seconds(world: World) -> None:
    """Then nothing is remembered of them, nor of the replicas that died."""
    counts = TunnelCounts()
    counts.ended(Ending.DONE, 0.0, "one")
    counts.replica_crashed("other", 0.0)
    assert not [reading for reading in counts.readings("m", 4.9) if reading.labels == ("m", "done")]
    done = [reading for reading in counts.readings("m", 5.0) if reading.labels == ("m", "done")]
    assert [reading.value for reading in done] == [1]
    counts.ended(Ending.DONE, 5.0, "other")
    counts.settle(10.0)
    assert counts.endings == {Ending.DONE: 2}


async def test_half_close_from_the_replica(world: World) -> None:
    """The client sees its end and may still send."""
    await world.start()
    said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH + b"bye")
        asked.writer.write_eof()
        said.set_result(await soon(asked.reader.read()))

    await world.replica(script)
    client = await switched(world)
    assert await soon(client.reader.read()) == b"bye"
    assert world.model.throttler.active == 1
    await client.send(b"one ", b"two")
    client.writer.write_eof()
    assert await soon(said) == b"one two"
    assert await ended(world) == {Ending.DONE: 1}


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_client_that_resets(world: World, half_closed: bool) -> None:
    """The replica learns of it, the slot is free; it is counted."""
    await world.start()
    over = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        if half_closed:
            asked.writer.write_eof()
        try:
            await soon(asked.reader.read())
        except ConnectionResetError:
            pass
        finally:
            over.set()

    await world.replica(script)
    client = await switched(world)
    if half_closed:
        assert await client.at_end()
    client.reset()
    await soon(over.wait())
    assert await ended(world) == {Ending.CLIENT_LOST: 1}
    assert world.refused == {}


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_replica_that_dies(world: World, half_closed: bool) -> None:
    """The client cannot take it for an orderly end; it is counted."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        await asked.reader.readexactly(4)
        asked.reset()

    await world.replica(script)
    client = await switched(world)
    await client.send(b"die!")
    if half_closed:
        client.writer.write_eof()
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())
    assert await ended(world) == {Ending.REPLICA_LOST: 1}
    assert world.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}


async def test_idle(world: World) -> None:
    """After tunnel-idle-timeout without a byte in either direction both sides are closed."""
    await world.start(spec(tunnel_idle_timeout=30.0))
    replica = await world.replica(talks_back)
    client = await switched(world)
    for _ in range(3):
        world.jump(20.0)
        await client.send(b"x")
        assert await soon(client.reader.readexactly(2)) == b"xx"
    assert the_tunnel(world).last_activity > world.clock.now() - 20.0
    world.jump(31.0)
    assert await client.at_end()
    assert await ended(world) == {Ending.IDLE: 1}
    await until(lambda: not replica.open)


async def test_without_a_bound_only_a_half_closed_one_ends(world: World) -> None:
    """One that left for good looks half-closed: idle-timeout counts for it."""
    await world.start(spec(tunnel_idle_timeout=0.0, idle_timeout=60.0))

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        await asyncio.Event().wait()

    await world.replica(script)
    client = await switched(world)
    world.jump(1_000_000.0)
    assert len(world.activator.tunnels) == 1
    client.writer.write_eof()
    await until(lambda: the_tunnel(world).half_open)
    world.jump(61.0)
    assert await client.at_end()
    assert await ended(world) == {Ending.IDLE: 1}


async def test_closed_by_stoker(world: World) -> None:
    """What was read is still delivered; asking twice does no harm."""
    await world.start()
    await world.replica(talks_back)
    client = await switched(world)
    await client.send(b"x" * 100_000)
    tunnel = the_tunnel(world)
    await until(lambda: tunnel.bytes_out == 200_000)
    tunnel.close()
    tunnel.close()
    assert len(await soon(client.reader.read())) == 200_000
    assert await ended(world) == {Ending.CLOSED: 1}


async def test_closed_but_not_taken(world: World) -> None:
    """A client that takes nothing does not keep its connection for ever."""
    await world.start(client_idle_timeout=60.0)

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH, *[BLOCK] * 400)

    await world.replica(script)
    client = await world.client(limit=4096)
    await client.send(ASK)
    await until(lambda: world.activator.tunnels)
    tunnel = the_tunnel(world)
    await until(lambda: tunnel._replica.paused)
    tunnel.close()
    assert world.model.throttler.active == 0
    assert tunnel in world.activator.tunnels
    world.jump(61.0)
    assert await ended(world) == {Ending.CLOSED: 1}
    assert not world.activator.connections


async def test_the_activator_ends(world: World) -> None:
    """Tunnels are broken off, the counts are right and nothing is left."""
    await world.start()
    replica = await world.replica(talks_back)
    client = await switched(world)
    await soon(world.activator.close())
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())
    assert await ended(world) == {Ending.CLOSED: 1}
    await until(lambda: not replica.open)


async def test_a_draining_replica_with_a_tunnel(world: World) -> None:
    """It is drained when the tunnel has ended, not before."""
    await world.start()
    replica = await world.replica(talks_back)
    client = await switched(world)
    world.drain(replica)
    await client.send(b"x")
    assert await soon(client.reader.readexactly(2)) == b"xx"
    assert world.platform.drained_ids == []
    client.writer.write_eof()
    assert await client.at_end()
    assert world.platform.drained_ids == [replica.id]


async def test_a_slot_goes_to_the_next_in_line(world: World) -> None:
    """A request that waited behind a tunnel is served when that has ended."""
    await world.start(spec(container_concurrency=1))
    await world.replica(in_turn(talks_back, echo))
    client = await switched(world)
    (waiting,) = await world.held(post(b"next"))
    client.reset()
    assert (await waiting.answer()).body == b"next"


# --- real WebSockets ---


async def _chat(asked: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
    await socket.prepare(asked)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data[::-1])
        elif message.data == b"close":
            await socket.close(code=4001, message=b"as you wish")
        else:
            await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def websocket_server() -> AsyncIterator[Address]:
    """A WebSocket server that was not written for this."""
    app = web.Application()
    app.router.add_get("/chat", _chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Address(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def test_websockets(world: World) -> None:
    """Text, binary, 5 MB, pings, protocols and close codes, many at once, from zero."""
    await world.start(spec(container_concurrency=100))
    async with (
        websocket_server() as address,
        aiohttp.ClientSession(headers={"Host": "digits.localhost"}) as session,
    ):
        url = f"ws://127.0.0.1:{world.address().port}/chat"

        async def talk(number: int) -> None:
            async with session.ws_connect(url, protocols=["chat"], max_msg_size=0) as socket:
                assert socket.protocol == "chat"
                await socket.send_str(f"number {number}")
                assert await socket.receive_str() == f"number {number}"[::-1]
                big = BLOCK * (80 if number == 0 else 1)
                await socket.send_bytes(big)
                assert await socket.receive_bytes() == big
                await socket.ping(b"still there?")
                await socket.send_bytes(b"close")
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert (message.data, message.extra) == (4001, "as you wish")

        talks = [asyncio.create_task(talk(number)) for number in range(20)]
        await until(lambda: world.activator.admission.held == 20)
        world.platform.add_replica(DIGITS, address=address)
        await soon(asyncio.gather(*talks))
        async with session.get(f"http://127.0.0.1:{world.address().port}/chat") as answer:
            assert answer.status == 400, "not a WebSocket: the server's own answer"
    assert await ended(world) == {Ending.DONE: 20}


async def test_a_broken_off_websocket_is_seen(world: World) -> None:
    """A client library notices that its replica died."""
    await world.start()

    async def dies(asked: Asked) -> None:
        key = asked.message.get("Sec-WebSocket-Key")
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key.encode() + WEBSOCKET_GUID).digest())
        await asked.send(SWITCH.replace(b"def", accept))
        await asked.reader.read(1)
        asked.reset()

    await world.replica(dies)
    async with aiohttp.ClientSession(headers={"Host": "digits.localhost"}) as session:
        url = f"ws://127.0.0.1:{world.address().port}/"
        async with session.ws_connect(url) as socket:
            await socket.send_str("x")
            message = await soon(socket.receive())
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert socket.close_code == 1006
    assert await ended(world) == {Ending.REPLICA_LOST: 1}


async def test_secure_websockets(world: World, tmp_path: Path) -> None:
    """From a client with TLS: the same, and one side's end ends both."""
    pair = make_pair(tmp_path, "server")
    await world.start(tls_certificate=str(pair.certificate), tls_key=str(pair.key))
    async with (
        websocket_server() as address,
        aiohttp.ClientSession(headers={"Host": "digits.localhost"}) as session,
    ):
        world.platform.add_replica(DIGITS, address=address)
        url = f"wss://127.0.0.1:{world.address().port}/chat"
        async with session.ws_connect(
            url, ssl=pair.client_context(), server_hostname="localhost", max_msg_size=0
        ) as socket:
            big = BLOCK * 80
            await socket.send_bytes(big)
            assert await socket.receive_bytes() == big
            await socket.send_str("abc")
            assert await socket.receive_str() == "cba"
        async with session.ws_connect(
            url, ssl=pair.client_context(), server_hostname="localhost"
        ) as socket:
            the_tunnel(world).close()
            message = await soon(socket.receive())
            assert message.type is not aiohttp.WSMsgType.TEXT
    assert await ended(world) == {Ending.DONE: 1, Ending.CLOSED: 1}
