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


# Resets are not always noticed while the machine is overloaded: see docs/roadmap.md.
@pytest.mark.parametrize("how", [pytest.param("reset", marks=pytest.mark.long), "abort"])
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
