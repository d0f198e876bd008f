"""Clients over TLS that vanish, at each stage of a request: the counts return to zero."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.activator.test_vanishing import STEPS, Step, stalls
from tests.activator.world import Client, Gate, World, assert_clean, echo, post, soon, until
from tests.pki import Pair, make_pair

CLIENTS = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The pair that the activator uses."""
    return make_pair(tmp_path_factory.mktemp("made"), "one")


async def secured(world: World, context: ssl.SSLContext) -> Client:
    """A client with TLS agreed on."""
    host, port = world.address()
    client = Client(*await soon(asyncio.open_connection(host, port, ssl=context)))
    world.clients.append(client)
    return client


async def come_and_go(world: World, pair: Pair, step: Step, how: str) -> None:
    """Some clients get as far as ``step``, together, and then leave."""
    context = pair.client_context()
    clients = [await secured(world, context) for _ in range(CLIENTS)]
    await until(lambda: len(world.activator.connections) == CLIENTS)
    sending = [asyncio.ensure_future(step(world, client)) for client in clients]
    await asyncio.wait(sending, timeout=0.05)
    for client in clients:
        if how == "reset":
            client.reset()
        else:
            # Without a goodbye (close_notify), as from a machine that lost its network.
            client.writer.transport.abort()
    for each in sending:
        each.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


@pytest.mark.parametrize("how", ["reset", "abort"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__.replace("_", "-"))
async def test_at_each_stage(world: World, pair: Pair, step: Step, how: str) -> None:
    """Held or in a replica: places, slots, spool files and sockets go with the client."""
    key, certificate = str(pair.key), str(pair.certificate)
    await world.start(body_memory=1000, tls_certificate=certificate, tls_key=key)
    before = world.descriptors()
    await come_and_go(world, pair, step, how)
    await assert_clean(world, descriptors=before)
    gate = Gate()
    replica = await world.replica(gate)
    before = world.descriptors()
    await come_and_go(world, pair, step, how)
    await assert_clean(world)
    replica.script = echo
    client = await secured(world, pair.client_context())
    assert (await client.ask(post(b"next"))).body == b"next"
    client.reset()
    gate.let(10 * CLIENTS)
    await assert_clean(world, descriptors=before)


async def test_in_the_answer(world: World, pair: Pair) -> None:
    """Of what nobody reads any more nothing is left, here or at the replica."""
    key, certificate = str(pair.key), str(pair.certificate)
    await world.start(tls_certificate=certificate, tls_key=key)
    replica = await world.replica(stalls)
    before = world.descriptors()
    context = pair.client_context()
    clients = [await secured(world, context) for _ in range(CLIENTS)]
    for client in clients:
        await client.send(post(b"hello"))
    for client in clients:
        await client.head()
        client.reset()
    await until(lambda: not replica.open)
    await assert_clean(world, descriptors=before)


async def test_noticed_by_the_transport(world: World, pair: Pair) -> None:
    """What TLS goes on reading tells of a reset before the watch on paused sockets does."""
    key, certificate = str(pair.key), str(pair.certificate)
    await world.start(spool_bytes=0, tls_certificate=certificate, tls_key=key)
    before = world.descriptors()
    activator = world.activator
    clients = [await secured(world, pair.client_context()) for _ in range(CLIENTS)]
    for client in clients:
        # More than is kept of it without a spool, less than TLS reads ahead.
        client.writer.write(post(b"x" * 200_000))
    await until(lambda: len(activator.departures) == CLIENTS)
    asyncio.get_running_loop().remove_reader(activator.departures._epoll.fileno())
    for client in clients:
        client.reset()
    await assert_clean(world, descriptors=before)
