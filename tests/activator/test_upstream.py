"""The replica's side: pooled connections, back-pressure in both directions."""

from __future__ import annotations

import asyncio
import hashlib
import socket

import pytest

from activator import pool
from activator.exchange import Exchange
from activator.http1 import ClientConnection
from activator.pool import Pool
from activator.spool import READ_BLOCK
from activator.tickets import Reason
from activator.upstream import ReplicaConnection
from stoker.vocabulary import Address, ServingConfig
from tests.activator.world import (
    DIGITS,
    Asked,
    Client,
    Gate,
    World,
    chunks,
    echo,
    get,
    in_turn,
    ok,
    post,
    request,
    says,
    soon,
    spec,
    until,
)

BIG = 48 * 1024 * 1024
BLOCK = bytes(range(256)) * 1024


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def digest_of(peer: asyncio.StreamReader, length: int) -> str:
    """Reads exactly so much; what of it there was."""
    seen, left = hashlib.sha256(), length
    while left:
        data = await soon(peer.read(min(left, 2**18)))
        assert data, f"{left} bytes are missing"
        seen.update(data)
        left -= len(data)
    return seen.hexdigest()


EXPECTED = digest(BLOCK * (BIG // len(BLOCK)))


async def slow_client(world: World) -> Client:
    """A client that lets little pile up on its own side."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, tuple(world.address()))
    client = Client(*await asyncio.open_connection(sock=sock, limit=8192))
    world.clients.append(client)
    return client


@pytest.mark.parametrize("framing", ["length", "chunked", "until-the-end"])
async def test_slow_client_pauses_the_replica(world: World, framing: str) -> None:
    """The answer waits in the replica, not in Stoker's memory, and arrives intact."""
    await world.start()
    sent = 0

    async def script(asked: Asked) -> None:
        nonlocal sent
        head = {
            "length": b"Content-Length: %d\r\n" % BIG,
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "until-the-end": b"",
        }[framing]
        asked.writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        for _ in range(BIG // len(BLOCK)):
            if framing == "chunked":
                asked.writer.write(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))
            else:
                asked.writer.write(BLOCK)
            await asked.writer.drain()
            sent += len(BLOCK)
        if framing == "chunked":
            asked.writer.write(b"0\r\n\r\n")
        elif framing == "until-the-end":
            asked.close()

    await world.replica(script)
    client = await slow_client(world)
    await client.send(get())
    (connection,) = await world.connections()
    await until(lambda: (up := upstream_of(connection)) is not None and up._reading_paused)
    assert connection.transport.get_write_buffer_size() < 4 * 65_536
    assert sent < BIG
    head = await client.head()
    if framing == "length":
        assert await digest_of(client.reader, BIG) == EXPECTED
    else:
        assert digest((await client.body(head)).body) == EXPECTED
    assert (await client.ask(MODELS)).status == 200


MODELS = get("/v1/models", "nobody")


def upstream_of(connection: ClientConnection) -> ReplicaConnection | None:
    """The replica's connection that this client's request is on."""
    return None if connection.exchange is None else connection.exchange.upstream


@pytest.mark.parametrize("chunked", [False, True])
async def test_slow_replica_pauses_the_client(world: World, chunked: bool) -> None:
    """The body waits in the client, not in Stoker's memory, and arrives intact."""
    await world.start()
    go_on = asyncio.Event()

    async def script(asked: Asked) -> None:
        asked.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await soon(go_on.wait())
        asked.writer.transport.resume_reading()  # type: ignore[attr-defined]
        if chunked:
            seen = digest(await asked.read())
        else:
            seen = await digest_of(asked.reader, BIG)
        await asked.send(ok(seen.encode()))

    await world.replica(script)
    client = await world.client()
    if chunked:
        head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
        data = head + chunks(*[BLOCK] * (BIG // len(BLOCK)))
    else:
        data = post(BLOCK * (BIG // len(BLOCK)))
    sending = asyncio.create_task(client.send(data))
    (connection,) = await world.connections()
    await until(lambda: (up := upstream_of(connection)) is not None and up.write_paused)
    upstream = upstream_of(connection)
    assert upstream is not None
    await until(lambda: connection._paused)
    # A block of the spool, for what came while connecting, and what is on its way.
    assert upstream.transport.get_write_buffer_size() < READ_BLOCK + 4 * 65_536
    assert not sending.done()
    go_on.set()
    assert (await client.answer()).body.decode() == EXPECTED
    await sending
    assert (await client.ask(MODELS)).status == 200


async def test_large_body_echoed_both_ways_at_once(world: World) -> None:
    """The answer comes while the body is still on its way."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        left = BIG
        while left:
            data = await soon(asked.reader.read(2**18))
            left -= len(data)
            await asked.send(data)

    await world.replica(script)
    client = await world.client()
    sending = asyncio.create_task(client.send(post(BLOCK * (BIG // len(BLOCK)))))
    assert (await client.head()).status == 200
    assert await digest_of(client.reader, BIG) == EXPECTED
    await sending


async def test_a_held_spool_is_replayed_to_a_slow_replica(world: World) -> None:
    """What follows behind a spooled body stays in the client until the file is through."""
    await world.start(spool_bytes=20_000_000)
    body = BLOCK * (BIG // len(BLOCK))
    client = await world.client()
    sending = asyncio.create_task(client.send(post(body)))
    (connection,) = await world.connections()
    await until(lambda: connection.exchange is not None and connection._paused)
    exchange = connection.exchange
    assert exchange is not None
    await until(lambda: exchange.body.overflow)
    read = 0

    async def script(asked: Asked) -> None:
        nonlocal read
        seen = hashlib.sha256()
        while read < BIG:
            data = await soon(asked.reader.read(65_536))
            seen.update(data)
            read += len(data)
            if read < 20_000_000:
                assert sum(map(len, exchange.body.overflow)) <= 2 * 65_536
        await asked.send(ok(seen.hexdigest().encode()))

    await world.replica(script)
    assert (await client.answer()).body.decode() == EXPECTED
    await sending
    assert read == BIG


async def test_connection_that_was_paused_is_reused_unpaused(world: World) -> None:
    """A slow client's answer leaves nothing behind on the replica's connection."""
    await world.start()
    replica = await world.replica(says(ok(b"x" * 20_000_000)))
    client = await slow_client(world)
    await client.send(get())
    (connection,) = await world.connections()
    await until(lambda: connection.write_paused)
    assert len((await client.answer()).body) == 20_000_000
    await until(lambda: not connection.write_paused)
    other = await world.client()
    assert len((await other.ask(get())).body) == 20_000_000
    assert len((await client.ask(get())).body) == 20_000_000
    assert replica.accepted == 1


async def test_next_request_of_a_client_that_lags_behind(world: World) -> None:
    """Its next answer is not read from the replica before it has taken the last one."""
    await world.start()
    replica = await world.replica(says(ok(b"x" * 700_000)))
    client = await slow_client(world)
    await client.send(get() * 10)
    (connection,) = await world.connections()
    await until(lambda: connection.write_paused)
    assert connection.transport.get_write_buffer_size() < 4 * 65_536
    for _ in range(10):
        assert (await client.answer()).body == b"x" * 700_000
    assert len(replica.seen) == 10


async def test_idle_connections_to_replicas_are_swept(world: World) -> None:
    """After pool-idle-timeout they are closed."""
    await world.start(pool_idle_timeout=60.0)
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get())
    assert len(world.model.pools[replica.id].idle) == 1
    world.jump(61.0)
    await until(lambda: not replica.open)
    assert not world.model.pools[replica.id].idle


async def test_connections_are_reused_most_recent_first(world: World) -> None:
    """So that those that are not needed grow old and go."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    clients = [await world.client() for _ in range(4)]
    for client in clients:
        await client.send(get())
    await until(lambda: gate.inside == 4)
    gate.let(100)
    for client in clients:
        await client.answer()
    for _ in range(10):
        await clients[0].ask(get())
    assert replica.accepted == 4
    assert len(world.model.pools[replica.id].idle) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_connections_that_end_are_not_reused(world: World, answer: bytes) -> None:
    """The replica said that this was the last answer."""
    await world.start()
    replica = await world.replica(says(answer))
    client = await world.client()
    for _ in range(3):
        assert (await client.ask(get())).body == b"ok"
    assert replica.accepted == 3
    assert world.model.retries == 0


async def test_connection_with_an_unread_request_is_not_reused(world: World) -> None:
    """A replica that answered early has not read all of the body: who knows what it makes of it."""
    await world.start()
    go_on = asyncio.Event()

    async def script(asked: Asked) -> None:
        asked.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asked.send(ok(b"early"))
        await soon(go_on.wait())

    replica = await world.replica(script)
    client = await world.client()
    sending = asyncio.create_task(client.send(post(b"x" * 30_000_000)))
    assert (await client.answer()).body == b"early"
    assert world.model.pools[replica.id].idle == []
    go_on.set()
    sending.cancel()
    await until(lambda: not world.activator.replica_connections)


async def test_connect_timeout(world: World) -> None:
    """A replica that does not take the connection is given up after connect-timeout."""
    await world.start(spec(connect_timeout=0.05, retry_attempts=0))
    with socket.socket() as full, socket.socket() as filler, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for sock in (filler, second):  # a queue of 0 holds one; Linux rounds up to two
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        world.platform.add_replica(DIGITS, address=Address(*full.getsockname()))
        client = await world.client()
        answer = await client.ask(get())
    assert answer.status == 502
    assert "within connect-timeout = 0.05 s" in answer.error
    assert world.refused == {Reason.REPLICA_FAILED: 1}


async def test_an_unusable_address(world: World) -> None:
    """Whatever goes wrong in connecting is told, not thrown."""
    await world.start(spec(retry_attempts=0))
    world.platform.add_replica(DIGITS, address=Address("256.0.0.1.invalid", 1))
    client = await world.client()
    answer = await client.ask(get())
    assert answer.status == 502
    assert "cannot connect to 256.0.0.1.invalid:1" in answer.error


async def test_replica_closes_right_after_accepting(world: World) -> None:
    """The request is tried again; it does not wait for an answer that cannot come."""
    await world.start(spec(retry_attempts=0))
    accepted = 0

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.transport.abort()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    world.platform.add_replica(DIGITS, address=Address(*server.sockets[0].getsockname()))
    for number in range(20):
        client = await world.client()
        await client.send(get())
        await until(lambda n=number: accepted == n + 1)  # type: ignore[misc]
        assert (await client.answer()).status == 502
        world.jump(60.0)
    server.close()


async def test_answer_trailers_and_many_fields(world: World) -> None:
    """Repeated fields stay apart and in order."""
    await world.start()
    await world.replica(says(ok(b"x", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Odd: \xe4")))
    client = await world.client()
    answer = await client.ask(get())
    assert answer.all("Set-Cookie") == ["a=1", "b=2"]


async def test_status_and_reason_are_passed_on(world: World) -> None:
    """Whatever phrase the replica chose, none included."""
    await world.start()
    replica = await world.replica()
    client = await world.client()
    for line in ("HTTP/1.1 299 Just Fine", "HTTP/1.1 500 ", "HTTP/1.1 404 Nobody's Here"):
        replica.script = says(line.encode() + b"\r\nContent-Length: 0\r\n\r\n")
        assert (await client.ask(get())).start == line
    assert world.model.codes[2:] == [1, 0, 1, 1]


async def test_head_answered_with_a_body(world: World) -> None:
    """What follows the head goes no further, and the connection with it."""
    await world.start()
    replica = await world.replica(in_turn(says(ok(b"not asked for")), echo))
    client = await world.client()
    await client.send(get().replace(b"GET", b"HEAD") + post(b"next"))
    assert (await client.answer("HEAD")).get("Content-Length") == "13"
    assert (await client.answer()).body == b"next"
    assert replica.accepted == 2


async def test_unasked_bytes_on_an_idle_connection(world: World) -> None:
    """Such a connection is not used again."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get())
    (peer,) = replica.open
    await peer.send(ok(b"out of turn"))
    await until(lambda: not world.model.pools[replica.id].idle)
    assert (await client.ask(post(b"x"))).body == b"x"


async def test_trailers_that_pose_as_fields_of_consequence(world: World) -> None:
    """They change nothing."""
    await world.start()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Stays: 1\r\n\r\n"
    replica = await world.replica(says(head + chunks(b"x", trailer=b"Connection: X-Stays\r\n")))
    client = await world.client()
    for _ in range(2):
        answer = await client.ask(get())
        assert (answer.body, answer.get("X-Stays")) == (b"x", "1")
    assert replica.accepted == 1


async def test_answer_to_a_client_that_lags_from_the_start(world: World) -> None:
    """Nothing is read for a client that cannot take anything yet."""
    await world.start()
    (client,) = await world.held(get())
    (connection,) = await world.connections()
    connection.pause_writing()
    await world.replica(says(ok(b"x" * 1000)))
    await until(lambda: (up := upstream_of(connection)) is not None and up._reading_paused)
    connection.resume_writing()
    assert (await client.answer()).body == b"x" * 1000


async def test_the_first_request_of_a_new_replica_goes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that its start lets go at once one is sent before the others connect."""
    monkeypatch.setattr(pool, "HEAD_START_SECONDS", 3600.0)
    await world.start()
    replica = await world.unready()
    clients = await world.held(*(post(b"%d" % number) for number in range(5)))
    done: list[str] = []
    opening, starting = Pool._open, ReplicaConnection.start

    async def opens(pool: Pool, serving: ServingConfig) -> ReplicaConnection:
        done.append("opened")
        return await opening(pool, serving)

    def starts(
        connection: ReplicaConnection, exchange: Exchange, data: bytes, complete: bool
    ) -> None:
        done.append("sent")
        starting(connection, exchange, data, complete)

    monkeypatch.setattr(Pool, "_open", opens)
    monkeypatch.setattr(ReplicaConnection, "start", starts)
    world.make_ready(replica)
    for number, client in enumerate(clients):
        assert (await client.answer()).body == b"%d" % number
    assert done == ["opened", "sent", *["opened"] * 4, *["sent"] * 4]


async def test_the_others_do_not_wait_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first connection takes its time the others are opened beside it."""
    await world.start()
    replica = await world.unready()
    clients = await world.held(*(post(b"%d" % number) for number in range(5)))
    stuck = asyncio.Event()
    begun: list[int] = []
    opening = Pool._open

    async def slow(pool: Pool, serving: ServingConfig) -> ReplicaConnection:
        if not begun:
            begun.append(1)
            await stuck.wait()
        return await opening(pool, serving)

    monkeypatch.setattr(Pool, "_open", slow)
    world.make_ready(replica)
    answers = [(await client.answer()).body for client in clients[1:]]
    assert answers == [b"1", b"2", b"3", b"4"]
    stuck.set()
    assert (await clients[0].answer()).body == b"0"


@pytest.mark.parametrize("how", ["leaves", "goes"])
async def test_who_waits_behind_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A client that leaves gets no connection; if the replica goes all are sent to another."""
    monkeypatch.setattr(pool, "HEAD_START_SECONDS", 3600.0)
    await world.start()
    replica = await world.unready()
    clients = await world.held(*(post(b"%d" % number) for number in range(3)))
    stuck = asyncio.Event()
    opening = Pool._open

    async def slow(pool: Pool, serving: ServingConfig) -> ReplicaConnection:
        await stuck.wait()
        return await opening(pool, serving)

    monkeypatch.setattr(Pool, "_open", slow)
    world.make_ready(replica)
    await until(lambda: world.model.throttler.active == 3)
    if how == "leaves":
        clients.pop().reset()
        await until(lambda: world.model.throttler.active == 2)
        stuck.set()
    else:
        stuck.set()
        world.platform.vanish(replica.id)
        await world.replica()
    assert [(await client.answer()).body for client in clients] == [
        b"%d" % number for number in range(len(clients))
    ]
    assert replica.accepted == (2 if how == "leaves" else 0)
