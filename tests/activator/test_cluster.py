"""Several activators, one limit: who serves what, and how requests get there."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial

from stoker.vocabulary import ModelKey
from tests.activator.crowd import Crowd, make_crowd
from tests.activator.world import DIGITS, get, post, until

# Five times the usual: for tests that fail when a member that is merely slow is taken for dead.
# Three heartbeats of 0.05 s pass where another process has the processor for some slices.
UNHURRIED = {"slot_expiry": 2.5, "heartbeat": 0.25}


async def test_one_owner_and_the_others_pass_on() -> None:
    """A small model's replicas belong to one member; requests to the others get there too."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=2)
        state, script = await crowd.replica(2)
        await until(lambda: crowd.slots() == {state.id: 2})
        for name, member in crowd.members.items():
            status, body = await member.ask(post(name.encode()))
            assert status == 200
            assert json.loads(body)["body"] == name
        owner = crowd.owner()
        assert sum(sum(m.cluster.forwarded.values()) for m in crowd.others()) == 2
        assert not owner.cluster.forwarded
        assert (script.served, script.violations) == (3, 0)


async def test_cold_start_is_held_by_the_owner() -> None:
    """Requests that come anywhere before there is a replica wait at the owner, within limits."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=1)
        asked = [
            asyncio.create_task(member.ask(get()))
            for member in crowd.members.values()
            for _ in range(10)
        ]
        await until(
            lambda: any(m.activator.admission.held == 30 for m in crowd.members.values()),
            "all held by one",
        )
        _, script = await crowd.replica(1, 0.001)
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 30
        assert (script.most, script.violations) == (1, 0)


async def test_unlimited_models_need_no_owner() -> None:
    """Without a limit every member uses every replica itself."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model()
        await crowd.replica(0)
        for member in crowd.members.values():
            assert (await member.ask(get()))[0] == 200
            assert not member.cluster.forwarded


async def test_large_models_are_divided() -> None:
    """With replicas and slots enough for each, every member serves with replicas of its own."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", share_slots=2)
        crowd.model(container_concurrency=1)
        for _ in range(4):
            await crowd.replica(1)
        await until(lambda: sum(crowd.slots().values()) == 4)
        await until(
            lambda: all(
                len(m.cluster._models[DIGITS].allowances) == 2 for m in crowd.members.values()
            )
        )
        for member in crowd.members.values():
            assert (await member.ask(get()))[0] == 200
            assert not member.cluster.forwarded


async def test_models_spread_over_members() -> None:
    """Each of many small models has one owner, and no member has them all."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", "c")
        keys = [ModelKey("default", f"m{number}") for number in range(30)]
        for key in keys:
            crowd.model(key, container_concurrency=1)
            crowd.platform.add_replica(key)
        owners = [crowd.owner(key).name for key in keys]
        assert set(owners) == {"a", "b", "c"}


async def ask_for_ever(crowd: Crowd, stop: asyncio.Event, answers: Counter[int]) -> None:
    """One client that asks this member and that, one request after the other."""
    number = 0
    while not stop.is_set():
        members = list(crowd.members.values())
        number += 1
        try:
            status, _ = await members[number % len(members)].ask(post(b"x" * 100))
        except (OSError, asyncio.IncompleteReadError):
            status = -1  # its member went away
        answers[status] += 1


async def more(answers: Counter[int]) -> None:
    """Wait until some more requests were answered well."""
    enough = answers[200] + 25
    await until(lambda: answers[200] > enough, "answers")


async def test_limit_holds_while_members_come_and_go() -> None:
    """Under load, with joins and leaves: never one request too many, and all are answered."""
    async with make_crowd(slot_expiry=5.0) as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=2)
        for _ in range(2):
            await crowd.replica(2, 0.002)
        stop, answers = asyncio.Event(), Counter[int]()
        clients = [asyncio.create_task(ask_for_ever(crowd, stop, answers)) for _ in range(24)]
        for name in ("d",):
            await crowd.join(name, fresh=False)
            await more(answers)
        for name in ("a", "b"):
            await crowd.leave(name)
            await more(answers)
        stop.set()
        await asyncio.gather(*clients)
        assert crowd.violations == 0
        assert set(answers) <= {200, -1}
        # A connection that was made to a member's port as it closed is the client's own loss.
        assert answers[-1] <= 24


async def test_killed_owner() -> None:
    """What a killed owner had in a replica counts until slot-expiry; nobody else is refused."""
    async with make_crowd(**UNHURRIED) as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=2)
        state, script = await crowd.replica(2, 0.2)
        owner = crowd.owner()
        others = crowd.others()
        asked = [asyncio.create_task(m.ask(get())) for m in others for _ in range(4)]
        await until(lambda: script.inside == 2)
        await owner.crash()
        answers = await asyncio.gather(*asked)
        assert [status for status, _ in answers] == [200] * 8
        assert script.violations == 0
        await until(lambda: crowd.slots()[state.id] == 2)


async def test_replica_drains_when_no_member_uses_it() -> None:
    """A draining replica is given back once, when the last request of any member has ended."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=3)
        state, script = await crowd.replica(3)
        script.gate = asyncio.Event()
        asked = [asyncio.create_task(m.ask(get())) for m in crowd.members.values()]
        await until(lambda: script.inside == 3)
        crowd.drain(state.id)
        await asyncio.sleep(0)
        assert crowd.platform.drained_ids == []
        script.gate.set()
        assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 3
        await until(lambda: crowd.platform.drained_ids)
        assert set(crowd.platform.drained_ids) == {state.id}


async def test_unlimited_replica_drains_when_no_member_uses_it() -> None:
    """... also where all members use it without asking."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model()
        state, script = await crowd.replica(0)
        script.gate = asyncio.Event()
        asked = [asyncio.create_task(m.ask(get())) for m in crowd.members.values()]
        await until(lambda: script.inside == 2)
        crowd.drain(state.id)
        assert crowd.platform.drained_ids == []
        script.gate.set()
        await asyncio.gather(*asked)
        await until(lambda: crowd.platform.drained_ids == [state.id])


async def test_each_says_for_itself_where_the_platform_collects() -> None:
    """With a platform that waits for every member, each tells it of itself alone."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", collects_drains=True)
        crowd.model(container_concurrency=1)
        state, _ = await crowd.replica(1)
        for member in crowd.members.values():
            assert (await member.ask(get()))[0] == 200
        crowd.drain(state.id)
        await until(lambda: crowd.platform.drained_ids.count(state.id) >= 1)


async def test_limit_changes_at_run_time() -> None:
    """A limit raised, lowered, taken away and set again holds as soon as all know of it."""
    async with make_crowd(**UNHURRIED) as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=1)
        state, script = await crowd.replica(1, 0.002)
        stop, answers = asyncio.Event(), Counter[int]()
        clients = [asyncio.create_task(ask_for_ever(crowd, stop, answers)) for _ in range(12)]
        for limit in (4, 2, 0, 3, 1):
            if not limit or limit > script.limit > 0:
                script.limit = limit
            crowd.model(container_concurrency=limit)
            # What was granted before may still be on its way to the replica.
            if limit:
                await until(partial(crowd.has_at_most, state.id, limit))
            script.limit = limit
            await more(answers)
        stop.set()
        await asyncio.gather(*clients)
        assert (crowd.violations, set(answers)) == (0, {200})


async def test_model_comes_and_goes() -> None:
    """A model that is removed refuses who waits anywhere, and may come back."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        for _ in range(2):
            crowd.model(container_concurrency=1)
            asked = [asyncio.create_task(m.ask(get())) for m in crowd.members.values()]
            await until(lambda: crowd.held == 2)
            crowd.platform.remove_model(DIGITS)
            assert {status for status, _ in await asyncio.gather(*asked)} == {404}


async def test_load_is_reported_once() -> None:
    """What was passed on is load of the member that has it, and of no other."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=5)
        _, script = await crowd.replica(5)
        script.gate = asyncio.Event()
        (other,) = crowd.others()
        owner = crowd.owner()
        asked = [asyncio.create_task(other.ask(get())) for _ in range(4)]
        await until(lambda: script.inside == 4)
        other.activator._report()
        owner.activator._report()
        assert other.load.reports[-1].stats == ()
        (stat,) = owner.load.reports[-1].stats
        assert stat.arrivals == 4
        owner.activator._report()
        (stat,) = owner.load.reports[-1].stats
        assert round(stat.active) == 4
        script.gate.set()
        await asyncio.gather(*asked)
