"""Ports that open, move and close while the activator runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from activator import service_ports
from activator.service_ports import ServicePorts
from stoker.vocabulary import ModelKey
from tests.activator.world import DIGITS, Client, Gate, World, get, ok, says, spec, until

LLAMA = ModelKey.parse("llama")
HOST = "127.0.0.1"


@asynccontextmanager
async def ports_of(world: World, **more: Any) -> AsyncIterator[tuple[ServicePorts, list[Any]]]:
    """The ports, and what they were each time that they said they are others."""
    told: list[frozenset[int]] = []
    ports = ServicePorts(world.activator, HOST, lambda: told.append(ports.accepting), **more)
    ports.start()
    try:
        yield ports, told
    finally:
        await ports.close()


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody else gets; it is taken until the context ends."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        sock.listen()
        yield sock.getsockname()[1]


def unused_port() -> int:
    with free_port() as port:
        return port


async def connect(world: World, port: int) -> Client:
    client = Client(*await asyncio.open_connection(HOST, port))
    world.clients.append(client)
    return client


async def test_the_port_says_which_model_a_request_is_for(world: World) -> None:
    """Whatever its Host is; what accepts is told only once it does."""
    await world.start(spec(), spec(LLAMA))
    await world.replica(says(ok(b"digits")))
    await world.replica(says(ok(b"llama")), LLAMA)
    one, two = unused_port(), unused_port()
    async with ports_of(world) as (ports, told):
        assert ports.accepting == frozenset()
        ports.set({one: DIGITS, two: LLAMA})
        await until(lambda: ports.accepting == {one, two})
        for port, name in ((one, b"digits"), (two, b"llama")):
            client = await connect(world, port)
            answer = await client.ask(get("/v1/models/digits", "llama.localhost"))
            assert (answer.status, answer.body) == (200, name)
        assert told == [{one, two}]
        ports.set({two: LLAMA, one: DIGITS})
        assert told == [{one, two}]


async def test_a_taken_port_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and told once; the others open; nothing that ran before is touched."""
    monkeypatch.setattr(service_ports, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(service_ports, "RETRY_SECONDS_CAP", 0.01)
    await world.start()
    await world.replica()
    other = unused_port()
    async with ports_of(world) as (ports, _):
        with free_port() as taken:
            ports.set({taken: DIGITS, other: DIGITS})
            await until(lambda: ports.failures > 2)
            assert ports.accepting == {other}
            states = {r.labels: r.value for r in ports.readings() if r.labels}
            assert states == {("accepting",): 1, ("failing",): 1, ("ending",): 0}
        await until(lambda: ports.accepting == {other, taken})
        assert (await (await connect(world, taken)).ask(get())).status == 200
    assert caplog.text.count("Address already in use") == 1
    assert (await (await world.client()).ask(get())).status == 200


async def test_a_port_that_goes_lets_everybody_finish(world: World) -> None:
    """It is not named any more at once, accepts for a while longer, and then: who is held or
    answered goes on, with word that it was the last; the quiet leave; nobody new comes in.
    """
    await world.start()
    gate = Gate()
    await world.replica(gate)
    port = unused_port()
    async with ports_of(world, linger=0.05) as (ports, told):
        ports.set({port: DIGITS})
        await until(lambda: ports.accepting == {port})
        slow, quiet = await connect(world, port), await connect(world, port)
        gate.let()
        assert (await quiet.ask(get())).get("connection") is None
        await slow.send(get())
        await until(lambda: gate.inside == 1)
        ports.set({})
        assert told == [{port}, frozenset()]
        await until(lambda: len(world.activator.listening()) == 1)
        with pytest.raises(OSError):
            await connect(world, port)
        await until(lambda: all(c.retired for c in world.activator.connections))
        gate.let()
        answer = await slow.answer()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert await slow.at_end()
        assert await quiet.at_end()
        await until(lambda: not world.activator.router._ports)


async def test_a_port_that_is_wanted_again_in_time_stays_open(world: World) -> None:
    """Nobody notices."""
    await world.start()
    await world.replica()
    port = unused_port()
    async with ports_of(world) as (ports, told):
        ports.set({port: DIGITS})
        await until(lambda: ports.accepting == {port})
        client = await connect(world, port)
        ports.set({})
        ports.set({port: DIGITS})
        await until(lambda: told == [{port}, frozenset(), {port}])
        assert (await client.ask(get())).get("connection") is None


async def test_a_port_that_another_model_gets(world: World) -> None:
    """Who came for the first is served by the first, once more; whoever comes now by the
    second. No connection is refused meanwhile."""
    await world.start(spec(), spec(LLAMA))
    await world.replica(says(ok(b"digits")))
    await world.replica(says(ok(b"llama")), LLAMA)
    port = unused_port()
    async with ports_of(world) as (ports, _):
        ports.set({port: DIGITS})
        await until(lambda: ports.accepting == {port})
        old = await connect(world, port)
        assert (await old.ask(get())).body == b"digits"
        ports.set({port: LLAMA})
        assert ports.accepting == frozenset()
        await until(lambda: ports.accepting == {port})
        assert (await (await connect(world, port)).ask(get())).body == b"llama"
        answer = await old.ask(get())
        assert (answer.body, answer.get("connection")) == (b"digits", "close")


async def test_a_port_whose_model_is_gone_says_so(world: World) -> None:
    """404 with the model's name, not another model's answer."""
    await world.start()
    port = unused_port()
    async with ports_of(world) as (ports, _):
        ports.set({port: LLAMA})
        await until(lambda: ports.accepting == {port})
        answer = await (await connect(world, port)).ask(get())
        assert answer.status == 404
        assert "default/llama" in answer.error


async def test_nothing_is_opened_while_the_activator_leaves(world: World) -> None:
    """A stopping one takes no new Service; what it has drains with all the rest."""
    await world.start()
    await world.replica()
    port, late = unused_port(), unused_port()
    async with ports_of(world) as (ports, _):
        ports.set({port: DIGITS})
        await until(lambda: ports.accepting == {port})
        client = await connect(world, port)
        world.activator.leaving = True
        ports.set({port: DIGITS, late: DIGITS})
        assert await world.activator.drain(10.0) == 0
        assert ports.accepting == {port}
        assert await client.at_end()
