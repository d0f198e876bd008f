"""What is measured of a cluster: wakes, thousands of models, failover, an API server away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.clustered.command import Stoker, stoker
from benchmarks.clustered.world import World
from tests.kubernetes.api.faults import Hang, Reset

PATIENCE = 60.0
PODS_KNOWN = 'stoker_kubernetes_objects{resource="pods"}'


class Wake(NamedTuple):
    """Seconds from the request's first byte to ``/scale``, from ready to the answer's first."""

    scaled: float
    answered: float


async def ask(port: int, model: str) -> tuple[float, float]:
    """One request: when its first byte was sent, and when the answer's first came.

    Raises ConnectionError unless the answer is 200.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        sent = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: %b.localhost\r\n\r\n" % model.encode())
        async with asyncio.timeout(PATIENCE):
            head = await reader.readline()
        came = time.monotonic()
        if b" 200 " not in head:
            raise ConnectionError(f"{model}: {(head + await reader.read(300)).decode()}")
        return sent, came
    finally:
        writer.close()


async def wakes(directory: Path, count: int) -> list[Wake]:
    """Models at zero woken one after the other."""
    async with World(directory) as world, world.controllers():
        names = [f"m{number}" for number in range(count)]
        for name in names:
            world.deployment(name, initial_scale="0")
        async with stoker(world, directory, "wakes") as one:
            await one.until_ready("leading")
            found = []
            for name in names:
                sent, answered = await ask(one.port, name)
                found.append(Wake(world.scaled[name] - sent, answered - world.ready[name]))
            return found


class Thousands(NamedTuple):
    """Seconds to ready, bytes, seconds per tick, requests per second at rest."""

    ready: float
    rss: int
    tick: float
    requests: float


async def thousands(directory: Path, models: int, pods: int, rest: float) -> Thousands:
    """A start over so many models with so many pods each, and ``rest`` seconds of nothing."""
    async with World(directory) as world:
        world.many(models, pods)
        begun = time.monotonic()
        async with stoker(world, directory, "thousands") as one:
            ready = await one.until_ready("leading") - begun
            if (known := await one.metric(PODS_KNOWN)) != models * pods:
                raise RuntimeError(f"{known:g} pods are known of {models * pods}")
            ticks = "stoker_tick_seconds"
            before = [await one.metric(f"{ticks}_{what}") for what in ("sum", "count")]
            asked = len(world.api.requests)
            await asyncio.sleep(rest)
            after = [await one.metric(f"{ticks}_{what}") for what in ("sum", "count")]
            requests = (len(world.api.requests) - asked) / rest
            tick = (after[0] - before[0]) / max(after[1] - before[1], 1)
            return Thousands(ready, one.rss(), tick, requests)


class Failover(NamedTuple):
    """Seconds without a leader; how often a count was lowered meanwhile."""

    seconds: float
    lowered: int


async def failover(directory: Path, rounds: int) -> list[Failover]:
    """The leader is killed with -9, again and again; another has been waiting."""
    found = []
    async with World(directory) as world, world.controllers():
        for number in range(8):
            world.deployment(f"m{number}", 1, min_scale="1", max_scale="3")
        for number in range(rounds):
            async with stoker(world, directory, f"first-{number}") as first:
                await first.until_ready("leading")
                async with stoker(world, directory, f"second-{number}") as second:
                    await second.until_ready("following")
                    lowered, killed = world.lowered, time.monotonic()
                    os.kill(first.pid, signal.SIGKILL)
                    led = await second.until_ready("leading")
                    found.append(Failover(led - killed, world.lowered - lowered))
    return found


class Outage(NamedTuple):
    """Requests sent, and those that were not answered."""

    sent: int
    lost: int
    why: str


async def outage(directory: Path, seconds: float, clients: int) -> Outage:
    """The API server hangs, with every watch broken off, while clients go on asking."""
    async with World(directory) as world, world.controllers():
        names = [f"m{number}" for number in range(4)]
        for name in names:
            world.deployment(name, 1, min_scale="1")
        async with stoker(world, directory, "outage") as one:
            await one.until_ready("leading")
            for name in names:
                await ask(one.port, name)
            world.api.faults.add(Hang(), path="/api")
            world.api.faults.add(Reset(), verb="watch")
            world.api.reset_watches()
            return await _load(one, names, clients, seconds)


async def _load(one: Stoker, names: list[str], clients: int, seconds: float) -> Outage:
    sent = lost = 0
    why = ""
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        nonlocal sent, lost, why
        while time.monotonic() < end:
            sent += 1
            try:
                await ask(one.port, names[sent % len(names)])
            except (OSError, TimeoutError) as error:
                lost += 1
                why = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.02)  # a bounded load: some 40 requests per second and client

    await asyncio.gather(*(client(number) for number in range(clients)))
    return Outage(sent, lost, why)
