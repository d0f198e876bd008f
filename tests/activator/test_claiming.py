"""Tenants, priorities, deadlines and prompts of real requests, from head to replica."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from activator import claiming
from activator.tickets import Reason, State
from stoker.vocabulary import Balancing, Phase, Tenancy
from tests.activator.crowd import make_crowd
from tests.activator.world import DIGITS, Client, Gate, Message, World, echo, get, post, spec, until

COMPLETIONS = "/v1/chat/completions"


def ask(name: str, *lines: str) -> bytes:
    """A GET that its replica can be told apart by."""
    return get(f"/{name}", "digits.localhost", *lines)


async def served(world: World, clients: list[Client]) -> list[str]:
    """In what order the replica got them, one at a time."""
    replica = await world.replica(echo)
    for client in clients:
        assert (await client.answer()).status == 200
    return [seen.target for seen in replica.seen]


class TestPriority:
    async def test_of_a_trusted_peer_decides(self, world: World) -> None:
        """The highest first; without one it is the model's own; replicas are not told."""
        await world.start(spec(container_concurrency=1, priority=5))
        clients = await world.held(
            ask("default"),
            ask("low", "Stoker-Priority: -7"),
            ask("same", "stoker-priority: 5"),
            ask("high", "stoker-priority: 6"),
        )
        assert await served(world, clients) == ["/high", "/default", "/same", "/low"]
        assert all(seen.get("stoker-priority") is None for seen in world.replicas[0].seen)

    async def test_of_others_is_ignored(self, world: World) -> None:
        """Nobody may call himself important."""
        await world.start(spec(container_concurrency=1), trusted_peers=("10.0.0.0/8",))
        clients = await world.held(ask("first"), ask("second", "stoker-priority: 9"))
        assert await served(world, clients) == ["/first", "/second"]

    @pytest.mark.parametrize("line", ["stoker-priority: high", "stoker-deadline: soon"])
    async def test_what_cannot_be_read_gets_400(self, world: World, line: str) -> None:
        """With the value and what is allowed; counted as malformed; the connection goes on."""
        await world.start(spec())
        await world.replica(echo)
        client = await world.client()
        answer = await client.ask(ask("x", line))
        assert answer.status == 400
        assert line.partition(": ")[2] in answer.error
        assert world.activator.malformed[400] == 1
        assert (await client.ask(ask("y"))).status == 200


class TestTenancy:
    async def test_by_a_header_of_trusted_peers(self, world: World) -> None:
        """They take turns, by their weights."""
        await world.start(
            spec(container_concurrency=1),
            tenancy=Tenancy.HEADER,
            tenant_header="x-team",
            tenant_weights=(("gold", 2.0),),
        )
        teams = ["blue", "blue", "blue", "gold", "gold", "gold", "gold"]
        clients = await world.held(
            *(ask(f"{team}{n}", f"X-Team: {team}") for n, team in enumerate(teams))
        )
        order = await served(world, clients)
        teams = ["gold", "blue", "gold", "gold", "blue", "gold", "blue"]
        assert [name[1:5] for name in order] == teams
        assert world.replicas[0].seen[0].get("x-team") == "gold"

    async def test_by_api_key(self, world: World) -> None:
        """Of anybody; the key is nowhere in what is kept, and reaches the replica as it came."""
        await world.start(spec(container_concurrency=1), tenancy=Tenancy.API_KEY, trusted_peers=())
        keys = ["Authorization: Bearer sk-one", "x-api-key: sk-two"]
        clients = await world.held(
            ask("a1", keys[0]), ask("a2", keys[0]), ask("b1", keys[1]), ask("none")
        )
        tenants = [ticket.tenant for ticket in world.model.throttler.held()]
        assert len(set(tenants)) == 3
        assert "sk-" not in "".join(tenants)
        assert await served(world, clients) == ["/a1", "/b1", "/none", "/a2"]
        assert world.replicas[0].seen[0].get("authorization") == "Bearer sk-one"

    async def test_off_is_one_line(self, world: World) -> None:
        """As they came, and so again once it is switched off."""
        await world.start(spec(container_concurrency=1), tenancy=Tenancy.API_KEY)
        process = world.activator.process
        world.activator.reconfigure(type(process)(listen=process.listen))
        assert world.activator.tenants is None
        clients = await world.held(
            ask("1", "x-api-key: a"), ask("2", "x-api-key: a"), ask("3", "x-api-key: b")
        )
        assert await served(world, clients) == ["/1", "/2", "/3"]

    async def test_who_makes_room_is_answered(self, world: World) -> None:
        """At once, with 429 and when to come again."""
        await world.start(spec(queue_requests=2), tenancy=Tenancy.API_KEY)
        _, last = await world.held(ask("a1", "x-api-key: a"), ask("a2", "x-api-key: a"))
        other = await world.client()
        await other.send(ask("b", "x-api-key: b"))
        answer = await last.answer()
        assert (answer.status, answer.get("retry-after")) == (429, "5")
        assert "made room for another request for model digits" in answer.error
        assert world.refused == {Reason.DISPLACED: 1}
        await until(lambda: world.activator.admission.held == 2)

    async def test_who_makes_room_may_have_left(self, world: World) -> None:
        """Its refusal is then nobody's, and breaks nothing."""
        await world.start(spec(queue_requests=2), tenancy=Tenancy.API_KEY)
        admission = world.activator.admission
        first, last = await world.held(ask("a1", "x-api-key: a"), ask("a2", "x-api-key: a"))
        victim = world.model.throttler.held()[1]
        held = admission.offer(world.model.throttler, "b", 0, None, 0, world.clock.now())
        assert (held.state, victim.state) == (State.HELD, State.REFUSED)
        last.reset()
        await until(lambda: victim.owner is None)
        assert admission.displaced == 0
        admission.give_up(held, world.clock.now())
        first.reset()
        await until(lambda: not admission.held)


class TestDeadline:
    async def test_that_cannot_be_met_is_refused_at_once(self, world: World) -> None:
        """With 504 and when to come again; and the model is woken all the same."""
        await world.start(spec())
        world.eta = 40.0
        client = await world.client()
        answer = await client.ask(ask("x", "stoker-deadline: 2.5"))
        assert answer.status == 504
        assert 40 <= int(answer.get("retry-after") or 0) <= 50
        assert "about 40.0 s until a replica is ready, 2.5 s until its deadline" in answer.error
        assert world.refused == {Reason.DEADLINE_UNREACHABLE: 1}
        assert [(poke.queued, poke.active) for poke in world.load.pokes] == [(1, 0)]
        await world.replica(echo)
        assert (await client.ask(ask("x", "stoker-deadline: 2.5"))).status == 200

    async def test_that_passes_while_held(self, world: World) -> None:
        """Ends the wait with 504."""
        await world.start(spec())
        (client,) = await world.held(ask("x", "stoker-deadline: 90s"))
        world.jump(89.0)
        assert world.activator.admission.held == 1
        world.jump(1.5)
        answer = await client.answer()
        assert answer.status == 504
        assert "its deadline passed before an answer of model digits: held for" in answer.error
        assert answer.get("retry-after") is not None
        assert world.refused == {Reason.DEADLINE_PASSED: 1}

    @pytest.mark.parametrize("total", [0.0, 100.0, 3.0])
    async def test_that_passes_in_a_replica(self, world: World, total: float) -> None:
        """Bounds the whole request, as total-timeout does; whichever is first says so."""
        await world.start(spec(total_timeout=total))
        gate = Gate()
        await world.replica(gate)
        client = await world.client()
        await client.send(ask("x", "stoker-deadline: 8s"))
        await until(lambda: gate.inside == 1)
        world.jump(9.0)
        answer = await client.answer()
        assert answer.status == 504
        if total == 3.0:
            assert "total-timeout = 3 s has passed" in answer.error
            assert world.refused == {Reason.REPLICA_TIMEOUT: 1}
        else:
            assert "stoker-deadline = 8 s has passed" in answer.error
            assert world.refused == {Reason.DEADLINE_PASSED: 1}

    async def test_that_had_passed_before_it_came(self, world: World) -> None:
        """Is refused although a slot is free: nobody waits for the answer."""
        await world.start(spec())
        replica = await world.replica(echo)
        client = await world.client()
        for passed in ("0", "-3.5"):
            answer = await client.ask(ask("x", f"stoker-deadline: {passed}"))
            assert answer.status == 504
            assert f"stoker-deadline = {passed} s: it had passed" in answer.error
        assert not replica.seen
        assert world.refused == {Reason.DEADLINE_PASSED: 2}


def chat(prompt: str, **fields: Any) -> bytes:
    """A chat completion's body in the order in which OpenAI's client writes it."""
    return json.dumps(
        {
            "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": prompt}],
            "model": "digits",
            **fields,
        }
    ).encode()


async def where(world: World, data: bytes, *cuts: int) -> str:
    """Which replica gets the request, sent in these pieces."""
    before = {replica.id: len(replica.seen) for replica in world.replicas}
    client = await world.client()
    for start, end in pairwise([0, *cuts, len(data)]):
        await client.send(data[start:end])
    assert (await client.answer()).status == 200
    (home,) = [r.id for r in world.replicas if len(r.seen) > before[r.id]]
    return home


class TestPrefix:
    async def test_prompts_that_begin_alike_meet(self, world: World) -> None:
        """At one replica, however the body comes in and whatever comes behind the beginning."""
        await world.start(spec(balancing=Balancing.PREFIX, prefix_chars=20))
        for _ in range(4):
            await world.replica(echo)
        homes = {}
        for number in range(12):
            prompt = f"{number:02} what is this " + "?" * 40
            data = post(chat(prompt), COMPLETIONS)
            body = len(data) - len(chat(prompt))
            home = homes[number] = await where(world, data)
            assert await where(world, post(chat(prompt + "more" * 500), COMPLETIONS)) == home
            assert await where(world, data, body) == home
            assert await where(world, data, body + 5, body + 60, len(data) - 4) == home
        assert len(set(homes.values())) > 1

    async def test_the_model_field_counts(self, world: World) -> None:
        """Adapters of one model have caches of their own."""
        await world.start(spec(balancing=Balancing.PREFIX))
        for _ in range(4):
            await world.replica(echo)
        homes = {
            await where(world, post(chat("hello", model=f"adapter{n}"), COMPLETIONS))
            for n in range(16)
        }
        assert len(homes) > 1

    async def test_a_prompt_that_trickles_in_is_not_waited_for(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a second its request goes to any replica, and the rest of it follows."""
        monkeypatch.setattr(claiming, "PROMPT_SECONDS", 30.0)
        await world.start(spec(balancing=Balancing.PREFIX))
        replica = await world.replica(echo)
        data = post(chat("hello"), COMPLETIONS)
        client = await world.client()
        await client.send(data[:-30])
        await until(lambda: world.activator.connections)
        (connection,) = world.activator.connections
        await until(lambda: connection.exchange is not None)
        (exchange,) = [connection.exchange]
        assert exchange is not None
        before = exchange.body.size
        await client.send(data[-30:-29])
        await until(lambda: exchange.body.size == before + 1)
        await client.send(data[-29:-20])
        assert not replica.seen
        world.jump(31.0)
        await until(lambda: replica.seen)
        await client.send(data[-20:])
        assert (await client.answer()).body == chat("hello")

    async def test_a_client_that_waits_is_told_to_go_on(self, world: World) -> None:
        """Expect: 100-continue; and without a body to look at there is nothing to wait for."""
        await world.start(spec(balancing=Balancing.PREFIX))
        await world.replica(echo)
        client = await world.client()
        body = chat("hello")
        data = post(body, COMPLETIONS, "digits.localhost", "Expect: 100-continue")
        await client.send(data[: -len(body)])
        assert (await client.head()).status == 100
        await client.send(body)
        assert (await client.answer()).body == body
        assert (await client.ask(get())).status == 200
        assert (await client.ask(post(b"", COMPLETIONS))).status == 200
        assert (await client.ask(post(b"no json", COMPLETIONS))).status == 200


async def test_ejections_are_counted_once_each(world: World) -> None:
    """Not once for every request that failed with the same cause."""
    await world.start(spec(retry_attempts=0))
    gate = Gate()
    replica = await world.replica(gate)
    clients = []
    for _ in range(3):
        client = await world.client()
        await client.send(get())
        clients.append(client)
    await until(lambda: len(replica.seen) == 3)
    await replica.stop()
    statuses = Counter[int]()
    for client in clients:
        answer: Message = await client.answer()
        statuses[answer.status] += 1
    assert statuses == {502: 3}
    assert world.model.throttler.ejections == 1


async def test_what_members_pass_on() -> None:
    """Claims reach the owner of a model; of whom the first member does not trust, none do."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        state, script = await crowd.replica(1)
        script.gate = asyncio.Event()
        await until(lambda: crowd.slots() == {state.id: 1})
        owner, (other,) = crowd.owner(), crowd.others()
        running = await owner.client()
        await running.send(ask("0"))
        await until(lambda: script.inside == 1)
        for member in crowd.members.values():
            process = member.activator.process
            member.activator.reconfigure(
                replace(process, tenancy=Tenancy.HEADER, tenant_header="x-team")
            )
        lines = ("X-Team: blue", "stoker-priority: 3", "stoker-deadline: 60", "stoker-tenant: red")
        trusted = await other.client()
        await trusted.send(ask("1", *lines))
        throttler = owner.activator.models[DIGITS].throttler
        await until(lambda: throttler.queued == 1)
        process = other.activator.process
        other.activator.reconfigure(replace(process, trusted_peers=()))
        stranger = await other.client()
        await stranger.send(ask("2", *lines))
        await until(lambda: throttler.queued == 2)
        claims = [(t.tenant, t.priority, t.hard_deadline is None) for t in throttler.held()]
        assert claims == [("blue", 3, False), ("", 0, True)]
        script.gate.set()
        for client in (running, trusted, stranger):
            assert (await client.answer()).status == 200


async def test_a_hold_lasts_while_its_replica_gets_on(world: World) -> None:
    """As the platform tells; up to the cap; and a start on schedule is waited for."""
    await world.start(spec(hold_timeout=100.0, hold_timeout_cap=1000.0))
    (client,) = await world.held(get())
    admission = world.activator.admission
    starting = world.platform.add_replica(DIGITS, phase=Phase.PENDING_NODE)
    for phase, reason in (
        (Phase.PULLING_IMAGE, "10 %"),
        (Phase.PULLING_IMAGE, "80 %"),
        (Phase.STARTING, ""),
    ):
        world.jump(90.0)
        world.platform.set_phase(starting.id, phase, reason)
        assert admission.held == 1
    world.jump(90.0)
    world.eta = 300.0
    world.platform.set_phase(starting.id, Phase.STARTING, "loading")
    world.jump(290.0)
    assert admission.held == 1
    # Told once more, with nothing new about it.
    world.eta = None
    world.platform.set_phase(starting.id, Phase.STARTING, "loading")
    world.jump(20.0)
    answer = await client.answer()
    assert answer.status == 504
    assert "the furthest is in phase starting (loading)" in answer.error
    assert world.refused == {Reason.HOLD_DEADLINE: 1}
