"""What one client, or all clients together, may take: each limit by its setting."""

from __future__ import annotations

import asyncio

import pytest

from activator import http1
from activator.tickets import Reason
from stoker import telemetry
from tests.activator.world import (
    Asked,
    Client,
    Gate,
    World,
    assert_clean,
    chunks,
    echo,
    get,
    ok,
    post,
    request,
    says,
    soon,
    spec,
    until,
)

CHUNKED = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: nobody\r\n\r\n"


def counted(world: World, spec: telemetry.MetricSpec, *labels: str) -> float:
    """A metric's value now."""
    readings = list(world.activator.readings())
    found = [r.value for r in readings if r.spec is spec and r.labels == labels]
    assert all(isinstance(value, int | float) for value in found)
    return sum(value for value in found if isinstance(value, int | float))


async def is_let_in(world: World) -> Client | None:
    """A client that gets an answer; None if it was told that there are too many."""
    client = await world.client()
    await client.send(MODELS)
    return client if (await client.answer()).status == 200 else None


async def test_one_connection_too_many(world: World) -> None:
    """503 with Retry-After and a clean end, counted; room again once somebody has left."""
    await world.start(max_connections=2)
    clients = [await is_let_in(world) for _ in range(2)]
    client = await world.client()
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (503, "close")
    assert answer.get("Retry-After") == "1"
    assert "max-connections = 2" in answer.error
    assert await client.at_end()
    assert counted(world, telemetry.REFUSED_CONNECTIONS, "max-connections") == 1
    first = clients[0]
    assert first is not None
    assert (await first.ask(MODELS)).status == 200, "whoever was in stays in"
    first.close()
    client.close()
    await until(lambda: len(world.activator.connections) == 1)
    assert await is_let_in(world)


async def test_no_limit_of_connections(world: World) -> None:
    """0 is none."""
    await world.start(max_connections=0)
    for _ in range(5):
        assert await is_let_in(world)


async def test_what_one_too_many_sends_does_not_destroy_its_answer(world: World) -> None:
    """It is read and thrown away: closing on unread bytes would reset the connection."""
    await world.start(max_connections=1)
    assert await is_let_in(world)
    client = await world.client()
    client.writer.write(post(b"x" * 100_000))
    assert (await client.answer()).status == 503
    assert await client.at_end()


async def test_one_too_many_does_not_stay(world: World) -> None:
    """Whoever was told and keeps his connection open loses it after a while."""
    await world.start(max_connections=1)
    assert await is_let_in(world)
    client = await world.client()
    assert (await client.answer()).status == 503
    assert len(world.activator.connections) == 2
    world.jump(http1.LINGER_SECONDS + 1)
    await until(lambda: len(world.activator.connections) == 1)
    assert world.activator.turning_away == 0


async def test_those_who_were_told_take_nobody_s_place(world: World) -> None:
    """Once there is room the next one is let in, though one that was refused is still there."""
    await world.start(max_connections=1)
    first = await is_let_in(world)
    assert first is not None
    told = await world.client()
    assert (await told.answer()).status == 503
    first.close()
    await until(lambda: len(world.activator.connections) == 1)
    assert world.activator.turning_away == 1
    assert await is_let_in(world)


async def test_a_flood_of_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come, only so many are kept at a time; all are counted, the rest served."""
    monkeypatch.setattr(http1, "TURNED_AWAY", 8)
    await world.start(max_connections=4)
    gate = Gate()
    await world.replica(gate)
    inside = [await world.client() for _ in range(4)]
    for client in inside:
        await client.send(get())
    await until(lambda: gate.inside == 4)
    most = 0
    flood = []
    for _ in range(20):
        flood += await asyncio.gather(*[world.client() for _ in range(15)])
        most = max(most, len(world.activator.connections))
    await until(
        lambda: counted(world, telemetry.REFUSED_CONNECTIONS, "max-connections") == 300,
        "everybody was turned away",
    )
    assert most <= 4 + 8
    assert len(world.activator.connections) <= 4 + 8
    gate.let(4)
    for client in inside:
        assert (await client.answer()).status == 200
    await assert_clean(world)


async def test_body_timeout(world: World) -> None:
    """A client that stops in the middle of its body gets 408, its replica's slot is free."""
    await world.start(body_timeout=50.0)
    started = asyncio.Event()

    async def script(asked: Asked) -> None:
        await soon(asked.reader.readexactly(3))
        started.set()
        await asked.at_end()

    await world.replica(script)
    client = await world.client()
    await client.send(post(b"x" * 1000)[:-997])
    await soon(started.wait())
    world.jump(40.0)
    assert world.activator.connections
    (connection,) = world.activator.connections
    fed = connection._fed
    await client.send(b"y")
    await until(lambda: connection._fed == fed + 1)
    world.jump(40.0)
    assert world.model.throttler.active == 1, "the silence began anew"
    world.jump(11.0)
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (408, "close")
    assert "body-timeout = 50 s" in answer.error
    assert await client.at_end()
    assert world.activator.malformed == {408: 1}
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await assert_clean(world)


async def test_body_timeout_of_a_held_request(world: World) -> None:
    """Also while there is no replica yet: its place in the queue is free at once."""
    await world.start(body_timeout=50.0)
    (client,) = await world.held(post(b"x" * 100)[:-10])
    world.jump(51.0)
    assert (await client.answer()).status == 408
    assert world.activator.admission.held == 0


async def test_body_timeout_of_a_pipelined_request(world: World) -> None:
    """The one before it is answered first."""
    await world.start(body_timeout=50.0)
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    await client.send(get() + post(b"x" * 100)[:-10])
    await until(lambda: gate.inside == 1)
    gate.let()
    assert (await client.answer()).status == 200
    (connection,) = world.activator.connections
    await until(lambda: connection.exchange is not None and not connection._paused)
    world.jump(51.0)
    assert (await client.answer()).status == 408
    assert await client.at_end()


async def test_a_client_may_listen_while_its_request_is_open(world: World) -> None:
    """Once the replica answers, a client that is silent is one that waits for the answer."""
    await world.start(body_timeout=50.0)
    gate = Gate()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await gate(asked)

    async def last(asked: Asked) -> None:
        await asked.send(b"0\r\n\r\n")

    gate._then = last
    await world.replica(script)
    client = await world.client()
    await client.send(CHUNKED + b"3\r\nhel\r\n")
    head = await client.head()
    assert head.status == 200
    await until(lambda: gate.inside == 1)
    world.jump(60.0)
    gate.let()
    assert (await client.body(head)).body == b"one"


async def test_a_client_that_is_not_read_is_not_silent(world: World) -> None:
    """body-timeout is about clients that send nothing, not about those who may not."""
    await world.start(body_timeout=50.0, body_memory=1000, spool_bytes=0)
    client = await world.client()
    body = b"x" * 3_000_000
    sending = asyncio.create_task(client.send(post(body)))
    (connection,) = await world.connections(1)
    await until(lambda: connection._paused)
    world.jump(100.0)
    await world.replica(echo)
    assert (await client.answer()).body == body
    await sending


async def test_the_silence_of_one_who_was_not_read_does_not_count(world: World) -> None:
    """body-timeout begins when the client is read again."""
    await world.start(body_timeout=50.0)
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    data = post(b"late")
    await client.send(data[:-2])
    (connection,) = await world.connections(1)
    await until(lambda: gate.inside == 1)
    connection.pause_reading()
    world.jump(100.0)
    connection.resume_reading()
    world.jump(40.0)
    gate.let()
    await client.send(data[-2:])
    assert (await client.answer()).body == b"late"


async def test_a_slow_body_is_not_the_replica_s_fault(world: World) -> None:
    """first-byte-timeout begins when the request is complete."""
    await world.start(spec(first_byte_timeout=5.0), body_timeout=50.0)
    replica = await world.replica(echo)
    client = await world.client()
    data = post(b"slow")
    await client.send(data[:-2])
    await until(lambda: replica.seen)
    world.jump(20.0)
    await client.send(data[-2:])
    assert (await client.answer()).body == b"slow"


@pytest.mark.parametrize(("limit", "passes"), [(0, False), (200, True), (2000, True)])
async def test_chunk_extensions_by_setting(world: World, limit: int, passes: bool) -> None:
    """What is around the chunks is counted from read to read, whatever the chunks' number."""
    await world.start(max_chunk_extension_bytes=limit)
    replica = await world.replica(echo)
    client = await world.client()
    extension = b";" + b"e" * 150
    await client.send(CHUNKED)
    await until(lambda: replica.seen)
    await client.send(b"1" + extension[:70])
    (connection,) = world.activator.connections
    await until(lambda: connection._fed or connection._lingering)
    await client.send(extension[70:] + b"\r\na\r\n", b"1\r\nb\r\n" * 50 + b"0\r\n\r\n")
    answer = await client.answer()
    if passes:
        assert answer.body == b"a" + b"b" * 50
    else:
        assert answer.status == 400
        assert "max-chunk-extension-bytes = 0" in answer.error


async def test_tiny_chunks_without_extensions_pass(world: World) -> None:
    """A limit of 0 refuses extensions only, however the chunks are cut into reads."""
    await world.start(max_chunk_extension_bytes=0)
    await world.replica(echo)
    client = await world.client()
    data = CHUNKED + chunks(*[b"%d" % (n % 10) for n in range(60)])
    await client.send(*[data[at : at + 1] for at in range(len(data))])
    assert len((await client.answer()).body) == 60


async def test_chunked_bodies_are_bounded_too(world: World) -> None:
    """max-body-bytes counts what is in the chunks, to the byte."""
    await world.start(max_body_bytes=1000)
    await world.replica(echo)
    client = await world.client()
    fits = CHUNKED + chunks(b"x" * 600, b"y" * 400)
    assert len((await client.ask(fits)).body) == 1000
    assert (await client.ask(CHUNKED + chunks(b"x" * 600, b"y" * 401))).status == 413


async def test_endless_chunks_end(world: World) -> None:
    """A body without an end is cut off at the limit while it streams."""
    await world.start(max_body_bytes=100_000)

    async def script(asked: Asked) -> None:
        await asked.reader.read()

    await world.replica(script)
    client = await world.client()
    await client.send(CHUNKED)
    for _ in range(2000):
        await client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    assert (await client.answer()).status == 413
    assert await client.at_end()
    assert world.activator.malformed == {413: 1}
    await assert_clean(world)


async def test_more_pipelined_than_may_wait(world: World) -> None:
    """Those that fit are answered, the last says close, then the connection ends; counted."""
    await world.start(max_pipelined=3)
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    await client.send(b"".join(post(b"%d" % n) for n in range(9)))
    gate.let(9)
    answers = [await client.answer() for _ in range(4)]
    assert [answer.body for answer in answers] == [b"0", b"1", b"2", b"3"]
    assert [answer.get("Connection") for answer in answers] == [None] * 3 + ["close"]
    assert await client.at_end()
    assert len(replica.seen) == 4
    assert counted(world, telemetry.CUT_PIPELINES) == 1
    assert not world.activator.malformed


async def test_as_many_pipelined_as_may_wait(world: World) -> None:
    """At the limit nothing is cut, and the connection goes on."""
    await world.start(max_pipelined=3)
    await world.replica(echo)
    client = await world.client()
    for _ in range(3):
        await client.send(get() * 4)
        for _ in range(4):
            answer = await client.answer()
            assert (answer.status, answer.get("Connection")) == (200, None)
    assert counted(world, telemetry.CUT_PIPELINES) == 0


async def test_a_client_that_takes_nothing_of_a_streaming_answer(world: World) -> None:
    """The reading side of slow-loris: let go after idle-timeout, and so is the replica."""
    await world.start(spec(idle_timeout=60.0))
    replica = await world.replica(says(ok(b"x" * 20_000_000)))
    before = world.descriptors()
    client = await world.client(limit=4096)
    await client.send(get())
    (connection,) = await world.connections(1)
    await until(lambda: connection.write_paused)
    assert connection.transport.get_write_buffer_size() < 1_000_000
    world.jump(61.0)
    await until(lambda: not world.activator.connections)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await until(lambda: not replica.open)
    await assert_clean(world, descriptors=before)


async def test_slow_heads_do_not_keep_anybody_out(world: World) -> None:
    """Slow-loris: heads that trickle end at head-timeout, however often a byte comes."""
    await world.start(head_timeout=50.0)
    await world.replica(echo)
    slow = [await world.client() for _ in range(20)]
    for client in slow:
        await client.send(b"GET / HTTP/1.1\r\nX-")
    connections = await world.connections(20)
    await until(lambda: all(c._receiving is not None for c in connections))
    for _ in range(4):
        world.jump(10.0)
        for client in slow:
            await client.send(b"a")
    other = await world.client()
    assert (await other.ask(get())).status == 200
    other.close()
    world.jump(11.0)
    for client in slow:
        assert (await client.answer()).status == 408
    assert world.activator.malformed == {408: 20}
    await assert_clean(world)


async def test_expectations_and_limits(world: World) -> None:
    """Whoever asks before sending too much is refused without having sent it."""
    await world.start(max_body_bytes=1000)
    await world.replica(echo)
    client = await world.client()
    expect = "Expect: 100-continue"
    await client.send(request("POST", "/", "digits.localhost", expect, "Content-Length: 1001"))
    answer = await client.body(await client.head())
    assert (answer.status, answer.get("Connection")) == (413, "close")
    assert await client.at_end()
    client = await world.client()
    chunked = request("POST", "/", "digits.localhost", expect, "Transfer-Encoding: chunked")
    await client.send(chunked)
    assert (await client.head()).status == 100
    await client.send(b"3e9\r\n" + b"x" * 1001)
    assert (await client.body(await client.head())).status == 413
    await assert_clean(world)
