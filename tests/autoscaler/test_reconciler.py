"""The whole autoscaler on a platform in memory, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.journal import Journal
from autoscaler.planner import Planner
from autoscaler.reconciler import Autoscaler
from autoscaler.replay import replay
from stoker import telemetry
from stoker.errors import PlatformError, UnknownModelError
from stoker.exposition import Exposition
from stoker.link import MemoryLink
from stoker.testing import FakePlatform
from stoker.vocabulary import (
    AddNode,
    ModelKey,
    ModelSpec,
    Phase,
    Poke,
    PolicyName,
    ScalingConfig,
    Stage,
    Stat,
    StatReport,
)
from tests.autoscaler.driving import A, B
from tests.autoscaler.test_executor import LoopClock

CONFIG = ScalingConfig(target=7.0, capacity=10.0, initial_scale=0)


class World:
    """An autoscaler, a platform whose replicas take 3 s to start, and a reporter.

    ``load`` is what the reporter says of each model from now on, once per second.
    """

    def __init__(self, *specs: ModelSpec, journal: Journal | None = None) -> None:
        self.clock = LoopClock()
        self.platform = FakePlatform(
            specs, clock=self.clock, start_up=((Phase.STARTING, 3.0),), replaces_lost=True
        )
        self.autoscaler = Autoscaler(self.platform, self.clock, journal=journal)
        self.link = MemoryLink()
        self.link.attach(self.autoscaler)
        self.load: dict[ModelKey, float] = {}
        self._sequence = 0

    def poke(self, model: ModelKey = A, queued: int = 1) -> None:
        self.link.poke(Poke("r", 1, model, queued, 0, self.clock.now()))

    async def until(self, time: float) -> None:
        """Let time pass, with a report per second and the platform's own progress."""
        while self.clock.now() < time:
            step = 0.5 - self.clock.now() % 0.5
            await asyncio.sleep(min(step, time - self.clock.now()))
            self.platform.tick()
            for replica in self.platform.replicas(A):
                if replica.phase is Phase.DRAINING:
                    self.platform.drained(replica.id)
            if self.clock.now() % 1 == 0:
                self._sequence += 1
                stats = tuple(Stat(m, 0.0, load, 1, 1) for m, load in self.load.items() if load)
                now = self.clock.now()
                self.link.report(StatReport("r", 1, self._sequence, now, 1.0, stats))

    def wishes(self, model: ModelKey = A) -> list[int]:
        return [call.replicas for call in self.platform.scales if call.model == model]

    def reason(self, model: ModelKey = A) -> str:
        decision = self.autoscaler.decision(model)
        assert decision is not None
        return decision.reason


MakeWorld = Callable[..., World]


@pytest.fixture
async def make() -> AsyncIterator[MakeWorld]:
    worlds: list[World] = []

    def make(*specs: ModelSpec, journal: Journal | None = None) -> World:
        worlds.append(World(*(specs or (ModelSpec(A, scaling=CONFIG),)), journal=journal))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.autoscaler.close()
        await world.autoscaler.close()
        await world.platform.close()


async def settle() -> None:
    """Let everything that is due now happen."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.looptime
async def test_from_zero_up_and_back(make: MakeWorld) -> None:
    """Asleep, woken by a poke at once, grown by load, back to zero in the end."""
    world = make()
    await world.autoscaler.start()
    await world.until(20.3)
    assert world.wishes() == []
    assert world.reason() == "asleep: no load"
    world.poke()
    await settle()
    assert world.wishes() == [1]
    world.load[A] = 30.0
    await world.until(30.0)
    assert world.wishes()[-1] == 5
    assert len(world.platform.replicas(A)) == 5
    world.load[A] = 0.0
    await world.until(90.0)
    assert world.wishes()[-1] < 5
    await world.until(160.0)
    assert world.wishes()[-1] == 0
    assert world.platform.replicas(A) == []
    assert world.reason() == "asleep: no load"
    assert not world.autoscaler.errors


@pytest.mark.looptime
async def test_slow_starters_are_not_asked_for_again(make: MakeWorld) -> None:
    """While replicas start, the same queue asks for no more of them."""
    world = make()
    world.platform.start_up = ((Phase.STARTING, 50.0),)
    await world.autoscaler.start()
    world.load[A] = 14.0
    await world.until(45.0)
    assert max(world.wishes()) == 2


@pytest.mark.looptime
async def test_a_kept_replica_goes_when_its_time_is_over(make: MakeWorld) -> None:
    """Not at the next tick but at the very moment."""
    config = ScalingConfig(initial_scale=1, stable_window=10.0)
    world = make(ModelSpec(A, scaling=config))
    await world.autoscaler.start()
    await world.until(0.1)
    await world.until(13.0)
    assert world.wishes() == [1]
    (ready,) = [r for r in world.platform.replicas(A) if r.phase is Phase.READY]
    tick = (ready.since // 2 + 1) * 2
    await world.until(tick + 9.9)
    assert world.wishes() == [1]
    await world.until(tick + 10.0)
    await settle()
    assert world.wishes() == [1, 0]


@pytest.mark.looptime
async def test_a_flood_of_pokes_is_taken_in_turns(make: MakeWorld) -> None:
    """Out-of-turn decisions keep a distance; none of the pokes is lost."""
    world = make(ModelSpec(A, scaling=CONFIG), ModelSpec(B, scaling=CONFIG))
    await world.autoscaler.start()
    await world.until(1.0)
    before = world.autoscaler.ticks
    world.poke(A)
    await settle()
    assert (world.wishes(A), world.autoscaler.ticks) == ([1], before + 1)
    for queued in range(2, 30):
        world.poke(B, queued)
        await settle()
    assert (world.wishes(B), world.autoscaler.ticks) == ([], before + 1)
    await world.until(1.1)
    assert (world.wishes(B), world.autoscaler.ticks) == ([5], before + 2)


@pytest.mark.looptime
async def test_a_failing_scale_is_explained_and_retried(make: MakeWorld) -> None:
    """Failures are counted, shown, and do not keep the model from being woken."""
    world = make()
    world.platform.errors.extend([PlatformError("API away")] * 3)
    await world.autoscaler.start()
    await world.until(0.1)
    world.poke()
    await settle()
    trouble = world.autoscaler.explain(A)["trouble"]
    assert isinstance(trouble, dict)
    assert (trouble["error"], trouble["failures"]) == ("PlatformError: API away", 1)
    await world.until(10.0)
    assert world.wishes() == [1]
    assert world.autoscaler.explain(A)["trouble"] is None
    kinds = [event.kind for event in world.platform.events]
    assert kinds == ["scale-failed", "scaled"]
    outcomes = {
        reading.labels: reading.value
        for reading in world.autoscaler.readings()
        if reading.spec is telemetry.SCALE_COMMANDS
    }
    assert outcomes == {(str(A), "ok"): 1, (str(A), "failed"): 3}


@pytest.mark.looptime
async def test_a_refused_scale_is_asked_for_again(make: MakeWorld) -> None:
    """A refusal ends the command; the next tick decides anew from what is there."""
    world = make()
    world.platform.errors.append(UnknownModelError("default/a: not yet"))
    await world.autoscaler.start()
    await world.until(0.1)
    world.poke()
    await settle()
    assert world.wishes() == []
    await world.until(2.1)
    assert world.wishes() == [1]


@pytest.mark.looptime
async def test_models_come_change_and_go(make: MakeWorld) -> None:
    """New models get their first replicas at once; of gone ones nothing is left."""
    world = make()
    await world.autoscaler.start()
    await world.until(1.0)
    world.platform.add_model(ModelSpec(B, scaling=ScalingConfig(initial_scale=2)))
    await settle()
    assert world.wishes(B) == [2]
    world.platform.add_model(ModelSpec(B, scaling=ScalingConfig(initial_scale=2, min_scale=3)))
    await world.until(1.1)
    assert world.wishes(B) == [2, 3]
    assert [row["model"] for row in world.autoscaler.snapshot()] == [str(A), str(B)]
    world.platform.remove_model(B)
    await settle()
    assert world.autoscaler.decision(B) is None
    assert [row["model"] for row in world.autoscaler.snapshot()] == [str(A)]
    with pytest.raises(KeyError):
        world.autoscaler.explain(B)
    world.poke(B)
    await world.until(3.0)
    assert world.autoscaler.collector.dropped == {"unknown-model": 1}


@pytest.mark.looptime
async def test_replicas_that_were_there_stay(make: MakeWorld) -> None:
    """After a restart nothing is asked for before there is reason to."""
    world = make()
    for _ in range(3):
        world.platform.add_replica(A)
    await world.autoscaler.start()
    await world.until(50.0)
    assert world.wishes() == []
    assert world.reason().startswith("panic: 0 concurrent over 6 s")


@pytest.mark.looptime
async def test_starts_are_learned(make: MakeWorld) -> None:
    """A start teaches how long the next will take, in explain and as an estimate."""
    world = make()
    autoscaler = world.autoscaler
    await autoscaler.start()
    assert autoscaler.eta(A, 0.0) is None
    await world.until(0.1)
    world.poke()
    await world.until(3.0)
    assert autoscaler.eta(A, 3.0) is None
    await world.until(5.0)
    assert autoscaler.eta(A, 5.0) == 0.0
    assert autoscaler.estimator.phases(A)[Phase.STARTING] == pytest.approx(3.0, abs=0.5)
    assert autoscaler.explain(A)["start_phases"] == {
        "starting": autoscaler.estimator.phases(A)[Phase.STARTING]
    }
    # What decides is told, and again when the model's settings change.
    state = autoscaler.planner.state
    assert state.start_seconds[0] == autoscaler.estimator.eta(A).seconds > 2.0
    state.start_seconds[0] = 0.0
    world.platform.add_model(ModelSpec(A, scaling=replace(CONFIG, policy=PolicyName.SEASONAL)))
    await settle()
    assert state.start_seconds[0] == autoscaler.estimator.eta(A).seconds
    assert autoscaler.planner.config(A).policy is PolicyName.SEASONAL
    (first,) = world.platform.replicas(A)
    world.platform.vanish(first.id)
    began = world.clock.now()
    assert autoscaler.eta(A, began + 1.0) == pytest.approx(2.0, abs=0.5)
    replicas = autoscaler.explain(A)["replicas"]
    assert isinstance(replicas, list)
    assert replicas[0]["ready_in"]["known"] is True


@pytest.mark.looptime
async def test_explain_tells_all_and_is_json(make: MakeWorld) -> None:
    """The last decision and its reason, replicas, outage, settings and what led there."""
    world = make()
    await world.autoscaler.start()
    assert world.autoscaler.explain(A)["decision"] is None
    assert world.autoscaler.snapshot()[0]["reason"] == "not decided on yet"
    world.load[A] = 20.0
    await world.until(9.5)
    world.platform.set_outage(A, "exited with 1")
    told = json.loads(json.dumps(world.autoscaler.explain(A)))
    assert told["decision"]["reason"] == world.reason()
    assert told["outage"]["reason"] == "exited with 1"
    assert told["config"]["target"] == 7.0
    assert told["decisions"][-1]["desired"] == 3
    assert {entry["kind"] for entry in told["history"]} >= {
        "config",
        "counts",
        "decision",
        "scaled",
    }
    (row,) = json.loads(json.dumps(world.autoscaler.snapshot()))
    assert (row["model"], row["desired"], row["ready"]) == ("default/a", 3, 3)
    assert (row["outage"], row["stable"], row["panicking"]) == ("exited with 1", 20.0, True)


@pytest.mark.looptime
async def test_metrics(make: MakeWorld) -> None:
    """Every metric named for the autoscaler is there, in bounded number."""
    world = make(ModelSpec(A, scaling=CONFIG), ModelSpec(B, scaling=CONFIG))
    await world.autoscaler.start()
    assert list(world.autoscaler.readings())
    world.load[B] = 20.0
    world.link.report(StatReport("r", 1, 0, float("nan"), 1.0, ()))
    await world.until(9.5)
    text = Exposition([world.autoscaler.readings]).render().decode()
    for line in (
        'stoker_desired_replicas{model="default/b"} 3.0',
        'stoker_replicas{model="default/b",phase="ready"} 3.0',
        'stoker_panic_mode{model="default/b"} 1.0',
        'stoker_stable_concurrency{model="default/b"} 20.0',
        'stoker_panic_concurrency{model="default/b"} 20.0',
        'stoker_desired_replicas{model="default/a"} 0.0',
        'stoker_stale_reports_total{reason="bad-value"} 1.0',
        f"stoker_tick_seconds_count {world.autoscaler.ticks}.0",
    ):
        assert line in text.splitlines()
    few = Autoscaler(world.platform, world.clock, metric_models=1)
    await few.start()
    await settle()
    names = {reading.labels[0] for reading in few.readings() if reading.labels}
    await few.close()
    assert names == {"default/b"}


@pytest.mark.looptime
async def test_a_broken_part_breaks_neither_link_nor_ticks(
    make: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors in reports, pokes and ticks are counted, and the next of each works."""
    world = make()
    await world.autoscaler.start()

    def broken(*args: object) -> None:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(world.autoscaler.collector, "take", broken)
        patch.setattr(world.autoscaler.collector, "poke", broken)
        patch.setattr(Planner, "decide", broken)
        world.link.report(StatReport("r", 1, 0, 0.0, 1.0, ()))
        world.poke()
        await asyncio.sleep(1.0)
    assert world.autoscaler.errors == {"report": 1, "poke": 1, "tick": 1}
    world.poke()
    await settle()
    assert world.wishes() == [1]


@pytest.mark.looptime
async def test_commands_nobody_executes_yet(make: MakeWorld) -> None:
    """Nodes and staging are noted and counted where a platform has neither."""
    world = make()
    world.autoscaler._act(Stage(A, "node-1", artifact="sha256:0"))
    world.autoscaler._act(AddNode("pool-1", 2))
    assert world.autoscaler.errors == {"ignored-command": 2}
    (entry,) = world.autoscaler.journal.entries(A)
    assert "sha256:0" in str(entry.what)


@pytest.mark.looptime
async def test_late_ticks_are_not_made_up_for(make: MakeWorld) -> None:
    """A loop that was stuck for a while ticks once, then goes on as before."""

    class Jump(LoopClock):
        offset = 0.0

        def now(self) -> float:
            return super().now() + self.offset

    clock = Jump()
    autoscaler = Autoscaler(make().platform, clock)
    await autoscaler.start()
    await asyncio.sleep(0.5)
    clock.offset = 100.0
    await asyncio.sleep(2.0)
    assert autoscaler.ticks == 2
    await autoscaler.close()


def test_a_tick_interval_must_be_above_zero() -> None:
    """Named with its value."""
    with pytest.raises(ValueError, match="tick_interval = 0: must be above 0 s"):
        Autoscaler(FakePlatform(), LoopClock(), tick_interval=0)


async def test_the_journal_file_repeats_the_run(tmp_path: Path) -> None:
    """In real time, with real I/O: what was recorded gives the decisions that were taken."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path=path)
    platform = FakePlatform([ModelSpec(A, scaling=CONFIG)], clock=LoopClock(), start_up=())
    autoscaler = Autoscaler(platform, LoopClock(), tick_interval=0.01, journal=journal)
    await autoscaler.start()
    autoscaler.poke(Poke("r", 1, A, 30, 0, LoopClock().now()))
    while not platform.scales or autoscaler.ticks < 5:  # noqa: ASYNC110 (nothing tells of ticks)
        await asyncio.sleep(0.001)
    taken = autoscaler.decision(A)
    await autoscaler.close()
    journal.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    decisions = [decision for plan in replay(lines) for decision in plan.decisions]
    assert decisions == [verdict.decision for verdict in journal.verdicts(A)]
    assert taken is not None
    assert taken.desired == 5
    await platform.close()


@pytest.mark.looptime
async def test_a_pause_decides_nothing_and_forgets_nothing(make: MakeWorld) -> None:
    """Load goes on being heard, so that the first decision afterwards is from a warm window;
    what was under way is given up. Pausing and resuming twice is the same as once."""
    world = make()
    await world.autoscaler.start()
    world.platform.errors.extend([PlatformError("not now")] * 100)
    world.load[A] = 30.0
    await world.until(6.3)
    assert world.autoscaler.explain(A)["trouble"]
    world.autoscaler.pause()
    world.autoscaler.pause()
    world.platform.errors.clear()
    ticks = world.autoscaler.ticks
    world.poke()
    await world.until(60.3)
    assert world.wishes() == []
    assert world.autoscaler.ticks == ticks
    world.autoscaler.resume()
    world.autoscaler.resume()
    await settle()
    assert world.wishes() == [5]
    decision = world.autoscaler.decision(A)
    assert decision is not None
    assert decision.stable == 30.0


@pytest.mark.looptime
async def test_what_another_did_meanwhile_is_undone_only_for_a_reason(make: MakeWorld) -> None:
    """Paused with one replica, resumed with three that another asked for: what the load wants
    is asked for again, though it is what was asked for before the pause."""
    world = make()
    await world.autoscaler.start()
    world.load[A] = 5.0
    await world.until(10.3)
    assert world.wishes() == [1]
    world.autoscaler.pause()
    await world.platform.scale(A, 3)
    await world.until(90.3)
    world.autoscaler.resume()
    await world.until(92.3)
    assert world.wishes() == [1, 3, 1]
