"""Clients that end their sending side: gone, or waiting for their answer, as is set."""

from __future__ import annotations

import asyncio
import socket

import pytest

from activator.tickets import Reason
from stoker.settings.process_rows import HalfClose
from tests.activator.world import (
    Client,
    Gate,
    World,
    assert_clean,
    echo,
    get,
    ok,
    post,
    request,
    says,
    until,
)

SERVE = HalfClose.SERVE


async def ended(world: World, data: bytes) -> Client:
    """A client that has sent ``data`` and ended its side."""
    client = await world.client()
    await client.send(data)
    client.writer.write_eof()
    return client


async def test_by_default_it_has_left(world: World) -> None:
    """Its held request gives up its place at once; nobody starts a replica for it."""
    await world.start()
    (client,) = await world.held(get())
    client.writer.write_eof()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await assert_clean(world)


@pytest.mark.parametrize("how", ["now", "held", "pipelined", "streamed"])
async def test_served_in_full(world: World, how: str) -> None:
    """With half-close: serve it gets every answer it asked for, then the end."""
    await world.start(half_close=SERVE)
    answer = ok(b"x" * 3_000_000) if how == "streamed" else None
    count = 5 if how == "pipelined" else 1
    if how == "held":
        (client,) = await world.held(post(b"0"))
        client.writer.write_eof()
        (connection,) = await world.connections(1)
        await until(lambda: connection._ended)
        assert world.activator.admission.held == 1
        await world.replica(echo)
    else:
        await world.replica(says(answer) if answer else echo)
        client = await ended(world, b"".join(post(b"%d" % n) for n in range(count)))
    for number in range(count):
        got = await client.answer()
        assert got.body == (b"x" * 3_000_000 if answer else b"%d" % number)
    assert await client.at_end()
    await assert_clean(world)
    assert not world.refused


async def test_the_last_answer_says_close(world: World) -> None:
    """There can be no further request on that connection."""
    await world.start(half_close=SERVE)
    gate = Gate()
    await world.replica(gate)
    client = await ended(world, get())
    (connection,) = await world.connections(1)
    await until(lambda: connection._ended)
    gate.let()
    assert (await client.answer()).get("Connection") == "close"


async def test_one_that_leaves_after_all_is_noticed(world: World) -> None:
    """A reset ends what a half-closed client was held for."""
    await world.start(half_close=SERVE)
    (client,) = await world.held(get())
    client.writer.write_eof()
    (connection,) = await world.connections(1)
    await until(lambda: connection._ended)
    client.reset()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await assert_clean(world)


async def test_one_that_leaves_before_its_second_answer_is_noticed(world: World) -> None:
    """It is watched for as long as anything is owed to it."""
    await world.start(half_close=SERVE)
    gate = Gate()
    replica = await world.replica(gate)
    client = await ended(world, post(b"one") + post(b"two"))
    gate.let()
    assert (await client.answer()).body == b"one"
    await until(lambda: gate.inside == 1)
    client.reset()
    await until(lambda: world.refused == {Reason.CLIENT_GONE: 1})
    gate.let()
    await until(lambda: not replica.open)
    await assert_clean(world)


async def test_one_that_is_not_being_read_is_not_gone(world: World) -> None:
    """Its end stands behind bytes that wait: they are read in their turn, and so is the end."""
    await world.start(half_close=SERVE, body_memory=1000, spool_bytes=0)
    body = b"x" * 500_000
    client = await world.client()
    await client.send(post(body))
    client.writer.write_eof()
    (connection,) = await world.connections(1)
    await until(lambda: connection._paused)
    # That the kernel has seen its end: a watch that minded would have called by now.
    await until(lambda: world.activator.admission.held == 1)
    await world.replica(echo)
    assert (await client.answer()).body == body
    assert await client.at_end()


@pytest.mark.parametrize("half_close", list(HalfClose))
@pytest.mark.parametrize("data", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_an_unfinished_head_is_an_error(
    world: World, half_close: HalfClose, data: bytes
) -> None:
    """400, whatever is set: nobody can still be served."""
    await world.start(half_close=half_close)
    client = await ended(world, data)
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (400, "close")
    assert "before its request was complete" in answer.error
    assert await client.at_end()
    assert world.activator.malformed == {400: 1}
    await assert_clean(world)


async def test_an_unfinished_body_is_an_error(world: World) -> None:
    """Alone, and behind a request that is answered first; no replica gets it whole."""
    await world.start(half_close=SERVE)
    gate = Gate()
    replica = await world.replica(gate)
    unfinished = post(b"12345")[:-1]
    client = await ended(world, unfinished)
    assert (await client.answer()).status == 400
    assert await client.at_end()
    client = await ended(world, get() + unfinished)
    await until(lambda: gate.inside)
    gate.let(2)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 400
    assert await client.at_end()
    assert [seen.body for seen in replica.seen if seen.method == "POST"] in ([], [b""])
    await assert_clean(world)


@pytest.mark.parametrize("half_close", list(HalfClose))
async def test_the_rest_of_an_answered_request_is_owed_to_nobody(
    world: World, half_close: HalfClose
) -> None:
    """Who was refused before he had sent everything is not told a second time."""
    await world.start(half_close=half_close)
    client = await world.client()
    await client.send(request("PUT", "/", "nobody", body=b"12345")[:-2])
    assert (await client.answer()).status == 404
    client.writer.write_eof()
    assert await client.at_end()


async def test_an_unfinished_body_of_one_that_left(world: World) -> None:
    """By default that is a client which has left in the middle."""
    await world.start()
    client = await world.client()
    await client.send(post(b"12345")[:-1])
    await until(lambda: world.activator.admission.held)
    client.writer.write_eof()
    await until(lambda: world.refused == {Reason.CLIENT_GONE: 1})
    await assert_clean(world)


@pytest.mark.parametrize("half_close", list(HalfClose))
async def test_an_idle_connection_ends(world: World, half_close: HalfClose) -> None:
    """Between requests an end is an end."""
    await world.start(half_close=half_close)
    await world.replica(echo)
    client = await world.client()
    await client.ask(get())
    client.writer.write_eof()
    assert await client.at_end()
    fresh = await ended(world, b"")
    assert await fresh.at_end()
    assert not world.activator.malformed


async def test_a_client_of_http_1_0_that_ends_its_side(world: World) -> None:
    """As the simplest of clients do: send, end, read to the end."""
    await world.start(half_close=SERVE)
    await world.replica(echo)
    host, port = world.address()

    def ask() -> bytes:
        with socket.create_connection((host, port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\nHost: digits.localhost\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(4096), b""))

    assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_expected_continue_after_the_end(world: World) -> None:
    """Who ends before the body it announced will never send it."""
    await world.start(half_close=SERVE)
    head = request("POST", "/", "digits.localhost", "Expect: 100-continue", "Content-Length: 5")
    client = await ended(world, head)
    assert (await client.answer()).status == 400
    await assert_clean(world)
