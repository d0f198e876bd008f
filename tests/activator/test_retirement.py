"""An activator that ends while others go on: clients move over, none is turned away."""

from __future__ import annotations

import asyncio

from activator.drain import count_all, drain
from activator.tunnel import FATE_SECONDS, Ending
from tests.activator.test_tunnel import SWITCH, switched
from tests.activator.world import Asked, Gate, World, get, post, until


async def retiring(world: World) -> asyncio.Task[int]:
    """As a worker does it: the queues have gone to others, and nobody is told that we stop."""
    for server, _ in world.activator.listening():
        world.activator.stop_listening(server)
    world.activator.retiring = True
    ending = asyncio.create_task(drain(world.activator, 60.0))
    await until(lambda: world.activator.draining, "draining")
    return ending


async def test_connections_get_one_more_answer(world: World) -> None:
    """A kept one, a new one and a slow one are answered, and told that it was the last."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    kept, new, slow = [await world.client() for _ in range(3)]
    gate.let()
    assert (await kept.ask(get())).get("connection") is None
    await slow.send(post(b"slow"))
    await until(lambda: world.model.throttler.active == 1, "active")
    await world.connections(3)
    ending = await retiring(world)
    gate.let(3)
    for client in (kept, new):
        answer = await client.ask(get())
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert await client.at_end()
    answer = await slow.answer("POST")
    assert (answer.status, answer.get("connection")) == (200, "close")
    assert await ending == 0


async def test_ready_is_still_said(world: World) -> None:
    """Whoever asks on an old connection must not conclude that Stoker goes away."""
    await world.start()
    client = await world.client()
    await world.connections(1)
    ending = await retiring(world)
    assert (await client.ask(get("/v2/health/ready", "x"))).status == 200
    assert await ending == 0


async def test_all_that_is_over_is_counted_at_the_end(world: World) -> None:
    """A tunnel whose replica ended it is no longer there to be counted later: it is known first
    whether the replica had died, or that nobody says so.
    """
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(SWITCH)
        asked.close()

    replica = await world.replica(script)
    for told, counted in ((True, Ending.REPLICA_LOST), (False, Ending.DONE)):
        client = await switched(world)
        assert await client.at_end()
        client.close()
        await until(lambda: not world.activator.tunnels)
        before = world.model.tunnel_counts().endings[counted]
        counting = asyncio.create_task(count_all(world.activator))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not counting.done()
        if told:
            world.platform.fail(replica.id, "exited with code -9")
            replica = await world.replica(script)
        else:
            world.clock.jump(FATE_SECONDS)
        await counting
        assert world.model.tunnel_counts().endings[counted] == before + 1
