"""What is told of requests while somebody records them: arrivals, and seconds in a replica."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from activator.arrivals import NUMBERS, Tap
from activator.tickets import Reason
from stoker.arrivals import Batch
from stoker.vocabulary import ModelKey
from tests.activator.crowd import make_crowd
from tests.activator.test_held_at_members import held
from tests.activator.test_held_callers import page, with_
from tests.activator.world import (
    DIGITS,
    Gate,
    World,
    get,
    gone,
    in_turn,
    ok,
    post,
    says,
    says_and_ends,
    spec,
    until,
)

SMALL = ModelKey.parse("small")


async def told(tap: Tap, count: int = 1) -> Batch:
    """What was told, once so many requests have ended."""
    await until(lambda: len(tap._ended) == count, f"{count} ends")
    return tap.take(0.0)


async def test_a_held_request(world: World) -> None:
    """Its arrival is when it came, before it was held; its seconds are those in the replica."""
    await world.start()
    tap = Tap()
    world.activator.record(tap)
    now = world.clock.now()
    (client,) = await world.held(post(b"secret", "/v1?key=secret"))
    (arrived,) = tap.take(0.0).arrived
    assert (arrived.number, arrived.model) == (1, DIGITS)
    assert now <= arrived.time <= world.clock.now()
    world.jump(50.0)
    gate = Gate()
    await world.replica(gate)
    await until(lambda: gate.inside == 1, "it came to the replica")
    world.jump(7.0)
    gate.let()
    assert (await client.answer()).status == 200
    (ended,) = (await told(tap)).ended
    assert ended.number == 1
    assert ended.seconds is not None
    assert 7.0 <= ended.seconds < 50.0


async def test_only_the_last_try_counts(world: World) -> None:
    """What a replica that failed it took is no time of service."""
    await world.start()
    tap = Tap()
    world.activator.record(tap)

    async def fails_late(asked: object) -> None:
        world.clock.jump(30.0)
        await gone(asked)  # type: ignore[arg-type]

    await world.replica(in_turn(fails_late, says(ok(b"fine"))))
    client = await world.client()
    assert (await client.ask(get())).body == b"fine"
    batch = await told(tap)
    assert [event.number for event in batch.arrived] == [1]
    assert batch.ended[0].seconds is not None
    assert batch.ended[0].seconds < 30.0


async def test_without_an_answer_in_full_there_are_no_seconds(world: World) -> None:
    """Refused at once, left while held, broken off: arrivals all the same."""
    await world.start(spec(queue_requests=1))
    tap = Tap()
    world.activator.record(tap)
    (client,) = await world.held(get())
    other = await world.client()
    assert (await other.ask(get())).status == 429
    client.close()
    await until(lambda: world.refused.get(Reason.CLIENT_GONE) == 1, "it is known to have left")
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"
    await world.replica(says_and_ends(broken))
    await other.send(get())
    await until(lambda: world.refused.get(Reason.REPLICA_DIED_MID_RESPONSE) == 1, "broken off")
    batch = await told(tap, 3)
    assert [event.number for event in batch.arrived] == [1, 2, 3]
    assert sorted(batch.ended) == [(number, DIGITS, None) for number in (1, 2, 3)]


async def test_who_is_no_arrival(world: World) -> None:
    """Probes, requests for nobody, and what came before anybody recorded."""
    await world.start(probe_agents=("kube-probe",))
    (before,) = await world.held(get())
    tap = Tap()
    world.activator.record(tap)
    client = await world.client()
    await client.ask(get("/", "digits.localhost", "User-Agent: kube-probe/1.36"))
    await client.ask(get("/", "nobody.localhost"))
    await world.replica()
    assert (await before.answer()).status == 200
    assert (await client.ask(get())).status == 200
    batch = await told(tap)
    assert [event.number for event in batch.arrived] == [1]
    assert batch.ended[0].number == 1


async def test_a_placeholder_and_another_model(world: World, tmp_path: Path) -> None:
    """Both are arrivals of the model that was wanted, without seconds of its own."""
    path = tmp_path / "wait.html"
    path.write_text("<p>one moment")
    await world.start(page(path, fallback="small"), with_(SMALL))
    tap = Tap()
    world.activator.record(tap)
    await world.replica(key=SMALL)
    client = await world.client()
    html = await client.ask(get("/", "digits.localhost", "Accept: text/html"))
    assert (html.status, html.body) == (503, b"<p>one moment")
    answer = await client.ask(post(b"x"))
    assert (answer.status, answer.get("stoker-fallback")) == (200, "small")
    batch = await told(tap, 2)
    assert [(event.number, event.model) for event in batch.arrived] == [(1, DIGITS), (2, DIGITS)]
    assert batch.ended == [(1, DIGITS, None), (2, DIGITS, None)]


async def test_what_is_not_taken_is_counted(world: World) -> None:
    """Beyond the bound arrivals are counted; ends of those that were told still come."""
    await world.start()
    await world.replica()
    tap = Tap(3, limit=2)
    world.activator.record(tap)
    client = await world.client()
    for _ in range(5):
        assert (await client.ask(get())).status == 200
    batch = tap.take(9.0)
    numbers = [3 * NUMBERS + 1, 3 * NUMBERS + 2]
    assert [event.number for event in batch.arrived] == numbers
    assert [event.number for event in batch.ended] == numbers
    assert (batch.at, batch.lost) == (9.0, 3)
    assert (await client.ask(get())).status == 200
    batch = await told(tap)
    assert ([event.number for event in batch.arrived], batch.lost) == ([3 * NUMBERS + 3], 0)


async def test_afterwards_nothing_looks_on(world: World, tmp_path: Path) -> None:
    """The request path is as before; an access log goes on all the while."""
    await world.start()
    tap = Tap()
    world.activator.record(tap)
    assert world.activator.observer is not None
    world.activator.record(None)
    assert world.activator.observer is None
    log = tmp_path / "access.log"
    settings = world.activator.process
    world.activator.reconfigure(replace(settings, access_log=str(log)))
    before = world.activator.observer
    assert before is not None
    for each in (tap, None):
        world.activator.record(each)
        assert world.activator.observer is not None
        assert world.activator.observer.access_log is before.access_log
    await world.replica()
    client = await world.client()
    assert (await client.ask(get())).status == 200
    await until(lambda: log.exists() and log.read_text().count("\n") == 1, "a line")
    assert tap.take(0.0) == Batch(0.0, [], [])


@pytest.mark.parametrize("shared", [True, False])
async def test_passed_on_to_another_process(shared: bool) -> None:
    """Told of where it came in; its end by who has the replica, if that is of the same
    Stoker, else it has no seconds.
    """
    async with make_crowd() as crowd:
        members = await crowd.join("a", "b")
        taps = {
            member.name: Tap(number, shared=shared)
            for number, member in enumerate(members, start=1)
        }
        for member in members:
            member.activator.record(taps[member.name])
        crowd.model(container_concurrency=1)
        other, client = await held(crowd, get())
        (owner,) = crowd.members.keys() - {other.name}
        await crowd.replica(1)
        assert (await client.answer()).status == 200
        ends = {True: (owner, 2), False: (other.name, 1)}[shared]
        await until(lambda: len(taps[ends[0]]._ended) == ends[1], "the ends")
        there, here = taps[owner].take(0.0), taps[other.name].take(0.0)
        assert [event.model for event in (*there.arrived, *here.arrived)] == [DIGITS, DIGITS]
        (passed_on,) = here.arrived
        known = {end.number: end.seconds for end in (*there.ended, *here.ended)}
        assert (known[passed_on.number] is not None) == shared
        assert len(here.ended) == (not shared)


async def test_a_member_that_dies_has_told_no_end() -> None:
    """What was passed on to it is tried again, and its end is told where it came in."""
    async with make_crowd() as crowd:
        members = await crowd.join("a", "b")
        taps = {m.name: Tap(number, shared=True) for number, m in enumerate(members, start=1)}
        for member in members:
            member.activator.record(taps[member.name])
        crowd.model(container_concurrency=1)
        other, client = await held(crowd, get())
        await crowd.owner().crash()
        await crowd.replica(1)
        assert (await client.answer()).status == 200
        batch = await told(taps[other.name])
        assert [event.number for event in batch.arrived] == [batch.ended[0].number]
        assert batch.ended[0].seconds is not None
