"""Clients that vanish, at each stage of a request: the counts return to zero."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from stoker.settings.process_rows import HalfClose
from tests.activator.world import (
    Asked,
    Client,
    Gate,
    World,
    assert_clean,
    echo,
    get,
    ok,
    post,
    request,
    until,
)

CHUNKED = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
CLIENTS = 12
LARGE = b"x" * 400_000


async def stalls(asked: Asked) -> None:
    """Answers a part, then nothing."""
    await asked.send(ok(b"x" * 3_000_000)[:1_000_000])
    await asked.at_end()


async def at_once(world: World, client: Client) -> None:
    """Nothing was sent."""


async def in_the_head(world: World, client: Client) -> None:
    await client.send(b"POST / HTTP/1.1\r\nHost: digits.loc")


async def peeked_at(world: World, client: Client) -> None:
    """The body is being looked at for the model's name."""
    await client.send(post(b'{"prompt": "' + b"x" * 500, "/v1/completions", "nobody")[:-100])


async def in_the_body(world: World, client: Client) -> None:
    await client.send(post(LARGE)[:-1000])


async def in_a_chunk(world: World, client: Client) -> None:
    await client.send(CHUNKED + b"5\r\nhel")


async def in_a_chunk_extension(world: World, client: Client) -> None:
    await client.send(CHUNKED + b"5\r\nhello\r\n5;exten")


async def in_the_trailers(world: World, client: Client) -> None:
    await client.send(CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Ot")


async def complete(world: World, client: Client) -> None:
    await client.send(post(b"hello"))


async def complete_and_large(world: World, client: Client) -> None:
    await client.send(post(LARGE))


async def pipelined(world: World, client: Client) -> None:
    await client.send(post(b"one") * 5 + post(b"two")[:-1])


async def expecting(world: World, client: Client) -> None:
    await client.send(
        request("POST", "/", "digits.localhost", "Expect: 100-continue", "Content-Length: 9")
    )


async def malformed(world: World, client: Client) -> None:
    await client.send(get() + b"BAD\r\n\r\n")


Step = Callable[[World, Client], Awaitable[None]]
STEPS: list[Step] = [
    *(at_once, in_the_head, peeked_at, in_the_body, in_a_chunk, in_a_chunk_extension),
    *(in_the_trailers, complete, complete_and_large, pipelined, expecting, malformed),
]


async def come_and_go(world: World, step: Step, how: str) -> None:
    """Many clients get as far as ``step``, together, and then leave."""
    clients = [await world.client() for _ in range(CLIENTS)]
    await until(lambda: len(world.activator.connections) == CLIENTS)
    sending = [asyncio.ensure_future(step(world, client)) for client in clients]
    if step is not at_once:
        begun = world.activator.connections
        await until(lambda: all(c._receiving or c.exchange for c in begun), "all have begun")
    for client in clients:
        if how == "reset":
            client.reset()
        else:
            client.close()
    for each in sending:
        each.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__.replace("_", "-"))
async def test_while_there_is_no_replica(world: World, step: Step, how: str) -> None:
    """Held requests give up their places; spool files and sockets go."""
    await world.start(body_memory=1000)
    before = world.descriptors()
    await come_and_go(world, step, how)
    await assert_clean(world, descriptors=before)


@pytest.mark.parametrize("half_close", list(HalfClose))
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__.replace("_", "-"))
async def test_while_a_replica_thinks(world: World, step: Step, half_close: HalfClose) -> None:
    """Slots are free again and the replica's connections are not used for anybody else."""
    await world.start(body_memory=1000, half_close=half_close)
    gate = Gate()
    replica = await world.replica(gate)
    before = world.descriptors()
    await come_and_go(world, step, "reset")
    await assert_clean(world)
    replica.script = echo
    for number in range(5):
        client = await world.client()
        assert (await client.ask(post(b"%d" % number))).body == b"%d" % number
    gate.let(10 * CLIENTS)
    await assert_clean(world, descriptors=before)


@pytest.mark.parametrize("taking", [False, True], ids=["taking-nothing", "taking"])
async def test_in_the_answer(world: World, taking: bool) -> None:
    """Of what nobody reads any more nothing is left, here or at the replica."""
    await world.start()
    replica = await world.replica(stalls)
    before = world.descriptors()
    clients = [await world.client(limit=2**20 if taking else 4096) for _ in range(CLIENTS)]
    for client in clients:
        await client.send(get())
    for client in clients:
        await client.head()
        if taking:
            await client.reader.readexactly(500_000)
    for client in clients:
        client.reset()
    await until(lambda: not replica.open)
    await assert_clean(world, descriptors=before)


async def test_between_answers(world: World) -> None:
    """Idle connections leave nothing either."""
    await world.start()
    await world.replica(echo)
    before = world.descriptors()
    clients = [await world.client() for _ in range(CLIENTS)]
    for client in clients:
        await client.ask(get())
    for client in clients:
        client.close()
    await assert_clean(world, descriptors=before)


async def test_while_they_are_refused(world: World) -> None:
    """Lingering for those who were refused ends with them."""
    await world.start(max_connections=1)
    before = world.descriptors()
    first = await world.client()
    assert (await first.ask(get("/v1/models", "nobody"))).status == 200
    clients = [await world.client() for _ in range(CLIENTS)]
    await until(partial(counted, world, CLIENTS))
    for client in clients:
        client.close()
    await until(lambda: len(world.activator.connections) == 1)
    assert world.activator.turning_away == 0
    await assert_clean(world, descriptors=before)


def counted(world: World, count: int) -> bool:
    return world.activator.refused_connections["max-connections"] == count
