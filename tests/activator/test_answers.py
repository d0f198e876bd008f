"""What replicas say beside plain answers: interim answers, trailers, early answers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket

import aiohttp
import pytest

from activator import http1
from activator.tickets import Reason
from activator.upstream import MAX_HEAD, MAX_INTERIM
from stoker.vocabulary import Address
from tests.activator.world import (
    DIGITS,
    RESET_ON_CLOSE,
    Asked,
    World,
    chunks,
    echo,
    get,
    gone,
    in_turn,
    ok,
    post,
    request,
    says,
    soon,
    spec,
    until,
)

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n"

# --- interim answers ---


async def test_hints_are_passed_on(world: World) -> None:
    """At once and without what is between Stoker and the replica; the answer follows."""
    await world.start()
    go_on = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 102 Processing\r\nContent-Length: 3\r\n\r\n", HINTS)
        await soon(go_on.wait())
        await asked.send(ok(b"done"))

    await world.replica(script)
    client = await world.client()
    await client.send(get())
    assert (await client.head()).start == "HTTP/1.1 102 Processing"
    hints = await client.head()
    assert (hints.status, hints.headers) == (103, [("Link", "</x>")])
    go_on.set()
    assert (await client.answer()).body == b"done"


async def test_hints_are_not_for_1_0(world: World) -> None:
    """A client that does not know of them gets the answer alone; a 100 goes to nobody."""
    await world.start()
    await world.replica(says(b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + ok(b"done")))
    client = await world.client()
    await client.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await client.head()).status == 200
    client = await world.client()
    await client.send(get())
    assert [(await client.head()).status for _ in range(2)] == [103, 200]


async def test_expect_is_answered_once(world: World) -> None:
    """By Stoker, as soon as the request is let in; what the replica says is dropped."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asked.send(ok(await asked.read()))

    replica = await world.replica(script)
    client = await world.client()
    data = post(b"body", "/", "digits.localhost", "Expect: 100-continue")
    await client.send(data[:-4])
    assert (await client.head()).status == 100
    await client.send(data[-4:])
    answer = await client.head()
    assert answer.status == 200
    assert (await client.body(answer)).body == b"body"
    assert replica.seen[0].get("Expect") is None


async def test_hints_and_then_nothing(world: World) -> None:
    """A hint is no answer: the request is tried again."""
    await world.start()

    async def hints_and_goes(asked: Asked) -> None:
        await asked.send(HINTS)
        await gone(asked)

    replica = await world.replica(in_turn(hints_and_goes, echo))
    client = await world.client()
    await client.send(post(b"again"))
    assert (await client.head()).status == 103
    await until(lambda: replica.seen and world.model.retries)
    world.jump(60.0)
    assert (await client.answer()).body == b"again"


async def test_many_hints(world: World) -> None:
    """As many as a patient server may send pass; more are garbage."""
    await world.start(spec(retry_attempts=0))
    hint = b"HTTP/1.1 102 P\r\n\r\n"
    await world.replica(
        in_turn(says(hint * MAX_INTERIM + ok(b"x")), says(hint * (MAX_INTERIM + 1) + ok(b"x")))
    )
    client = await world.client()
    assert (await client.ask(get())).body == b"x"
    answer = await client.ask(get())
    assert (answer.status, f"more than {MAX_INTERIM} interim" in answer.error) == (502, True)


# --- trailers ---


async def test_trailers_are_passed_on(world: World) -> None:
    """With the Trailer field that announced them, and asked for by who asked for them."""
    await world.start()
    tail = b"X-Checksum: 1\r\ngrpc-status: 0\r\nX-Checksum: 2\r\n"
    answer = CHUNKED % b"Trailer: X-Checksum\r\n" + chunks(b"one", b"two", trailer=tail)
    replica = await world.replica(says(answer))
    client = await world.client()
    await client.send(get("/", "digits.localhost", "TE: gzip, Trailers", "Connection: TE"))
    head = await client.head()
    assert head.get("Trailer") == "X-Checksum"
    raw = await soon(client.reader.readuntil(b"0\r\n"))
    assert raw == chunks(b"one", b"two")[:-2]
    assert await soon(client.reader.readuntil(b"\r\n\r\n")) == tail + b"\r\n"
    (asked,) = replica.seen
    assert (asked.get("TE"), asked.get("Connection")) == ("trailers", "TE")
    assert (await client.ask(get("/", "digits.localhost", "TE: gzip"))).status == 200
    assert replica.seen[1].get("TE") is None
    assert replica.accepted == 1


async def test_trailers_that_would_change_the_answer(world: World) -> None:
    """Framing, hop-by-hop fields and what belongs in the head are left out."""
    await world.start()
    tail = (
        b"Transfer-Encoding: chunked\r\nConnection: close\r\nKeep-Alive: 5\r\nTE: x\r\n"
        b"Set-Cookie: a=b\r\nContent-Encoding: gzip\r\nX-Hop: 1\r\nX-Good: 2\r\n"
    )
    answer = CHUNKED % b"Connection: X-Hop\r\n" + chunks(b"x", trailer=tail)
    await world.replica(says(answer))
    client = await world.client()
    await client.send(get())
    await client.head()
    assert await soon(client.reader.readuntil(b"\r\n\r\n")) == b"1\r\nx\r\n0\r\nX-Good: 2\r\n\r\n"
    await client.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await client.answer(to_the_end=True)).body == b"x", "1.0 knows none"
    assert world.model.retries == 0


async def test_trailers_both_ways(world: World) -> None:
    """Those of a request reach the replica too."""
    await world.start()

    async def script(asked: Asked) -> None:
        assert (await soon(asked.reader.readuntil(b"\r\n\r\n"))).endswith(b"X-Sum: 1\r\n\r\n")
        await asked.send(CHUNKED % b"" + chunks(b"ok", trailer=b"X-Sum: 2\r\n"))

    await world.replica(script)
    client = await world.client()
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    await client.send(head + chunks(b"abc", trailer=b"X-Sum: 1\r\n"))
    await client.head()
    assert await soon(client.reader.readuntil(b"\r\n\r\n")) == b"2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n"


@pytest.mark.parametrize(
    "flood",
    [
        b"0\r\n" + b"X: y\r\n" * (MAX_HEAD // 2),
        b"0\r\nX: " + b"y" * (3 * MAX_HEAD),
        b"5;" + b"x" * (3 * MAX_HEAD),
        b"0" * (3 * MAX_HEAD),
    ],
    ids=["trailers", "one-trailer", "extension", "zeros"],
)
async def test_floods_that_are_no_body(world: World, flood: bytes) -> None:
    """Broken off: nothing that a replica sends makes Stoker keep more and more."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(CHUNKED % b"" + b"5\r\nhello\r\n", flood)
        await asked.at_end()

    await world.replica(script)
    client = await world.client()
    await client.send(get())
    assert (await client.head()).status == 200
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())
    assert world.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}


async def test_many_small_chunks_in_two_reads_each(world: World) -> None:
    """A chunk's line that comes apart from its data is no flood, however many there are."""
    await world.start()
    count = 3000

    async def script(asked: Asked) -> None:
        await asked.send(CHUNKED % b"")
        for _ in range(count):
            await asked.send(b"1;" + b"x" * 30)
            await asked.send(b"\r\ny\r\n")
        await asked.send(b"0\r\n\r\n")

    await world.replica(script)
    client = await world.client()
    assert (await client.ask(get())).body == b"y" * count


# --- answers before the request has come in full ---

LARGE = 50 * 1024 * 1024


async def _refuses_early(asked: Asked) -> None:
    """Takes 1 KB of the body, then answers and closes with the rest unread."""
    asked.writer.transport.pause_reading()  # type: ignore[attr-defined]
    answer = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge"
    asked.writer.write(answer)
    asked.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_early_refusal_of_a_large_body(world: World, chunked: bool) -> None:
    """The client that is still writing gets the replica's answer, not a reset."""
    await world.start(spec(retry_attempts=0))
    await world.replica(_refuses_early)
    block = b"x" * 65_536
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LARGE)
    if chunked:
        head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
        block = b"10000\r\n" + block + b"\r\n"
    for _ in range(3):
        client = await world.client()
        sending = asyncio.create_task(client.send(head, *[block] * (LARGE // 65_536)))
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"large")
        assert answer.get("Connection") == "close"
        await asyncio.gather(sending, return_exceptions=True)
        world.jump(60.0)
    assert world.refused == {}


async def test_early_refusal_with_aiohttp(world: World) -> None:
    """A client library that writes while it reads."""
    await world.start(spec(retry_attempts=0))
    await world.replica(_refuses_early)
    url = f"http://127.0.0.1:{world.address().port}/"
    async with (
        aiohttp.ClientSession(headers={"Host": "digits.localhost"}) as session,
        session.post(url, data=io.BytesIO(b"x" * LARGE)) as answer,
    ):
        assert (answer.status, await answer.read()) == (413, b"large")


async def test_early_refusal_of_a_client_that_writes_first(world: World) -> None:
    """A client that reads nothing before it has written everything gets the answer too."""
    await world.start(spec(retry_attempts=0))
    await world.replica(_refuses_early)
    host, port = world.address()

    def talk() -> bytes:
        with socket.create_connection((host, port)) as sock:
            head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LARGE)
            sock.sendall(head + b"x" * LARGE)
            answer = b""
            while data := sock.recv(65_536):
                answer += data
        return answer

    answer = await soon(asyncio.to_thread(talk))
    assert answer.startswith(b"HTTP/1.1 413 Too Large")
    assert answer.endswith(b"\r\n\r\nlarge")


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\nlarge", b"\r\nlarge"])
async def test_early_refusal_behind_which_writing_fails(world: World, framing: bytes) -> None:
    """An answer that lies in the socket is not lost because the next write meets a reset."""
    await world.start(spec(retry_attempts=0))
    loop = asyncio.get_running_loop()
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        for sock in (listening, client):
            sock.setblocking(False)
        world.platform.add_replica(DIGITS, address=Address(*listening.getsockname()))
        await loop.sock_connect(client, tuple(world.address()))
        head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LARGE)
        await loop.sock_sendall(client, head)
        replica, _ = await soon(loop.sock_accept(listening))
        with replica:
            replica.setblocking(False)
            await loop.sock_sendall(client, b"x" * 200_000)
            left = 200_000
            while left > 0:
                left -= len(await soon(loop.sock_recv(replica, 65_536)))
            # In one go, so that both ends are seen to be ready at once, the client's first.
            client.send(b"x" * 1000)
            replica.send(b"HTTP/1.1 413 Too Large\r\n" + framing)
            replica.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await soon(loop.sock_recv(client, 65_536)):
                answer += data
    if b"Content-Length" in framing:
        assert answer.startswith(b"HTTP/1.1 413 Too Large")
        assert answer.endswith(b"\r\n\r\nlarge")
        assert world.refused == {}
    else:
        # It would have ended with the connection, but that broke: nobody knows if this is all.
        assert world.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}
    await until(lambda: not world.activator.connections)


async def test_early_refusal_of_a_client_that_is_slow(world: World) -> None:
    """It is listened to for as long as it writes, up to a cap: a reset would take its answer."""
    await world.start(spec(retry_attempts=0))
    await world.replica(_refuses_early)
    client = await world.client()
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LARGE)
    await client.send(head + b"x" * 100_000)
    (connection,) = await world.connections()
    await until(lambda: connection._lingering)
    for seconds in [0.5] * 8:
        world.jump(seconds)
        before = connection.deadline
        await client.send(b"x" * 1000)
        await until(lambda before=before: connection.deadline > before)  # type: ignore[misc]
        assert world.activator.connections
    answer = await client.answer()
    assert (answer.status, answer.body) == (413, b"large")
    world.jump(http1.LINGER_SECONDS_CAP)
    await until(lambda: not world.activator.connections)


async def test_early_answer_that_streams(world: World) -> None:
    """It is passed on while the body still comes, and the body still arrives."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(CHUNKED % b"")
        left = LARGE
        while left:
            data = await soon(asked.reader.read(2**18))
            left -= len(data)
            await asked.send(b"1\r\n.\r\n")
        await asked.send(b"0\r\n\r\n")

    await world.replica(script)
    client = await world.client()
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % LARGE)
    await client.send(head + b"x")
    answer = await client.head()
    assert answer.get("Connection") == "close", "who knows whether the rest will come"
    sending = asyncio.create_task(client.send(b"x" * (LARGE - 1)))
    assert set((await client.body(answer)).body) == {ord(".")}
    await sending
    assert await client.at_end()


async def test_reset_content_is_an_answer_like_any_other(world: World) -> None:
    """205 has framing of its own, unlike 204 and 304."""
    await world.start()
    answers = [
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n",
    ]
    replica = await world.replica(in_turn(*map(says, answers)))
    client = await world.client()
    got = [await client.ask(get()) for _ in answers]
    assert [answer.status for answer in got] == [205, 205, 204, 304]
    assert [answer.get("Content-Length") for answer in got] == ["0", None, None, "1000"]
    assert replica.accepted == 1
