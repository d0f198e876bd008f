"""The simulated platform: conformance, phases, failures, capacity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulations.draws import Constant
from simulations.platform import SimulatedPlatform
from simulations.services import Drawn
from simulations.world import Capacity, Failures, Start, World
from stoker.platform import ModelOutage, Platform, ReplicaChanged, ReplicaEvent, ReplicaGone
from stoker.testing import ManualClock, check_platform
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec, Phase

KEY = ModelKey("default", "m")
SPEC = ModelSpec(KEY)
START = Start({"image": Constant(4.0), "start": Constant(2.0), "warm-up": Constant(1.0)})


class Watched:
    """A platform with everything it told."""

    def __init__(self, spec: ModelSpec = SPEC, **world: object) -> None:
        self.clock = ManualClock(0.0)
        self.platform = SimulatedPlatform(
            self.clock,
            World(**{"service": Drawn(Constant(1.0)), "start": START, **world}),  # type: ignore[arg-type]
        )
        self.platform.apply([spec])
        self.told: list[ReplicaEvent] = []
        self.platform.watch_replicas(self.told.append)

    def until(self, time: float) -> None:
        """Let happen what is due until then, each at its time."""
        while (due := self.platform.next_at()) <= time:
            self.clock.advance_to(max(due, self.clock.now()))
            self.platform.advance()
        self.clock.advance_to(time)

    def phases(self) -> list[tuple[Phase, float]]:
        return [
            (event.replica.phase, event.replica.since)
            for event in self.told
            if isinstance(event, ReplicaChanged)
        ]


@asynccontextmanager
async def world() -> AsyncIterator[Platform]:
    watched = Watched()
    try:
        yield watched.platform
    finally:
        await watched.platform.close()


async def drive(platform: Platform, condition: object) -> None:
    """Go from event to event until the condition holds."""
    assert isinstance(platform, SimulatedPlatform)
    assert callable(condition)
    clock = platform._clock
    assert isinstance(clock, ManualClock)
    for _ in range(10_000):
        if condition():
            return
        due = platform.next_at()
        assert due < float("inf"), "nothing is under way, and the condition does not hold"
        clock.advance_to(max(due, clock.now()))
        platform.advance()
    raise AssertionError("the condition does not come to hold")


async def test_it_conforms() -> None:
    """The suite that every world passes."""
    await check_platform(world, KEY, drive)


def test_a_start_shows_each_phase_with_its_seconds() -> None:
    """4 s of image, then 2 + 1 s of starting, then ready with both remembered."""
    it = Watched()
    it.platform.scale_now(KEY, 1)
    it.until(10.0)
    assert list(dict.fromkeys(it.phases())) == [
        (Phase.PULLING_IMAGE, 0.0),
        (Phase.STARTING, 4.0),
        (Phase.READY, 7.0),
    ]
    last = it.told[-1]
    assert isinstance(last, ReplicaChanged)
    assert last.replica.phase_seconds == ((Phase.PULLING_IMAGE, 4.0), (Phase.STARTING, 3.0))


def test_a_drained_replica_ends_after_the_drain_time() -> None:
    """Scaled away at 10 s, empty at once, gone 3 s later."""
    it = Watched(drain=3.0)
    it.platform.scale_now(KEY, 1)
    it.until(10.0)
    it.platform.scale_now(KEY, 0)
    it.platform.drained("m-1")
    it.until(12.9)
    assert not any(isinstance(event, ReplicaGone) for event in it.told)
    it.until(13.0)
    assert isinstance(it.told[-1], ReplicaGone)


def test_one_that_never_became_ready_ends_at_once() -> None:
    """There is nothing to drain, and its later phases do not come."""
    it = Watched(drain=3.0)
    it.platform.scale_now(KEY, 1)
    it.until(1.0)
    it.platform.scale_now(KEY, 0)
    it.until(60.0)
    assert Phase.STARTING not in dict(it.phases())
    assert isinstance(it.told[-1], ReplicaGone)


def test_a_crash_brings_a_successor() -> None:
    """Ready at 7 s, dead at 12 s, its successor at once on its way."""
    it = Watched(failures=Failures(crash_after=Constant(5.0)))
    it.platform.scale_now(KEY, 1)
    it.until(12.0)
    gone = [event.replica for event in it.told if isinstance(event, ReplicaGone)]
    assert [(r.id, r.phase, r.reason) for r in gone] == [("m-1", Phase.FAILED, "killed by SIGSEGV")]
    assert it.phases()[-1] == (Phase.PULLING_IMAGE, 12.0)


def test_one_that_is_scaled_away_does_not_crash() -> None:
    """The crash drawn for 12 s does not come after it was told to end at 10 s."""
    it = Watched(failures=Failures(crash_after=Constant(5.0)), drain=30.0)
    it.platform.scale_now(KEY, 1)
    it.until(10.0)
    it.platform.scale_now(KEY, 0)
    it.platform.drained("m-1")
    it.until(60.0)
    gone = [event.replica for event in it.told if isinstance(event, ReplicaGone)]
    assert [(r.phase, r.reason) for r in gone] == [(Phase.DRAINING, "scaled down; terminated")]


def test_starts_that_fail_lead_to_an_outage() -> None:
    """All fail: after three in a row, with pauses, callers are told."""
    launch = LaunchConfig(command=("x",), restart_backoff=1.0)
    it = Watched(ModelSpec(KEY, launch=launch), failures=Failures(failed_starts=1.0))
    it.platform.scale_now(KEY, 1)
    it.until(23.9)  # 7 s each, 1 s and 2 s in between
    assert not any(isinstance(event, ModelOutage) for event in it.told)
    it.until(24.0)
    outages = [event for event in it.told if isinstance(event, ModelOutage)]
    assert outages
    assert outages[0].outage is not None
    assert "exited with code 1" in outages[0].outage.reason


def test_slow_starts_take_longer_by_their_factor() -> None:
    """Seven seconds become thirty-five."""
    it = Watched(failures=Failures(slow_starts=1.0, slow_factor=5.0))
    it.platform.scale_now(KEY, 1)
    it.until(100.0)
    assert it.phases()[-1] == (Phase.READY, 35.0)


def test_who_finds_no_room_is_pending_until_somebody_goes() -> None:
    """Room for two: the third waits for a node from 0 s until one ends at 20 s."""
    it = Watched(capacity=Capacity(replicas=2))
    it.platform.scale_now(KEY, 3)
    it.until(10.0)
    waiting = it.platform._watches.replicas["m-3"]
    assert (waiting.phase, waiting.since) == (Phase.PENDING_NODE, 0.0)
    it.until(20.0)
    it.platform.drained("m-1")  # not draining: nothing happens
    it.platform.scale_now(KEY, 2, ("m-1",))
    it.platform.drained("m-1")
    it.until(60.0)
    last = it.platform._watches.replicas["m-3"]
    assert (last.phase, last.since) == (Phase.READY, 27.0)
    assert last.phase_seconds[0] == (Phase.PENDING_NODE, 20.0)


def test_room_that_comes_later_is_taken_at_once() -> None:
    """Room for one, and for one more from 15 s on: the second begins then, the third waits."""
    it = Watched(capacity=Capacity(replicas=1, later=((15.0, 1),)))
    it.platform.scale_now(KEY, 3)
    it.until(60.0)
    second, third = (it.platform._watches.replicas[name] for name in ("m-2", "m-3"))
    assert (second.phase, second.since) == (Phase.READY, 22.0)
    assert (third.phase, third.since) == (Phase.PENDING_NODE, 0.0)


def test_the_kth_start_takes_the_same_whatever_came_between() -> None:
    """Common random numbers: the second start of a model is drawn from its own stream."""
    from simulations.draws import Exponential

    def second(pause: float) -> float:
        it = Watched(start=Start({"start": Exponential(5.0)}))
        it.platform.scale_now(KEY, 1)
        it.until(100.0)
        it.platform.scale_now(KEY, 0)
        it.platform.drained("m-1")
        it.until(100.0 + pause)
        it.platform.scale_now(KEY, 1)
        it.until(1000.0)
        return it.phases()[-1][1] - (100.0 + pause)

    assert second(1.0) == pytest.approx(second(300.0))
