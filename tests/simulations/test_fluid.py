"""The fluid pass: production's decisions in a rough world, many configurations at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.policies.kpa import Kpa
from autoscaler.scale_to_zero import ScaleToZero
from autoscaler.window import Windows
from simulations.fluid import Flowed, FluidWorld, flow
from simulations.fluid_waits import BINS, MIDDLES, SHORTEST, bin_of, percentile
from simulations.lanes import Stretch, lanes
from stoker.vocabulary import PolicyName, ScalingConfig
from tests.simulations.streams import bursts, one_lane, poisson, trace

BASE = ScalingConfig(target=2.8, capacity=4.0, initial_scale=0)
WORLD = FluidWorld(slots=4.0, start=10.0)
CONFIGS = [
    replace(
        BASE,
        target=target,
        stable_window=stable,
        panic_window=max(1.0, stable // 10),
        scale_down_delay=delay,
        scale_to_zero_pod_retention_period=retention,
    )
    for target in (1.4, 4.0)
    for stable, delay, retention in ((60.0, 0.0, 0.0), (6.0, 20.0, 30.0))
]


def p99(flowed: Flowed, config: int = 0, lane: int = 0) -> float:
    return float(percentile(flowed.waits[config, lane], 99))


def test_a_cold_start_is_waited_for() -> None:
    """One request from zero waits the start-up, and its replica lives a stable window more."""
    flowed = flow([BASE], one_lane(trace([100.3], 300.0), 1.0), WORLD)
    assert p99(flowed) == pytest.approx(10.0, rel=0.06)
    assert flowed.cold.tolist() == [[1.0]]
    # From 100 s on: 10 s to start, then ready for 60 s at least; ticks are 2 s apart.
    assert 68 <= flowed.replica_seconds[0, 0] <= 78


def test_a_start_of_less_than_a_second() -> None:
    """The wait is the start-up, though a step is a second."""
    flowed = flow([BASE], one_lane(trace([100.5], 200.0), 1.0), replace(WORLD, start=0.4))
    assert p99(flowed) == pytest.approx(0.4, rel=0.06)


def test_a_backlog_is_first_in_first_out() -> None:
    """3 requests a second where 2 can be served: the last one waits a third of the time."""
    times = np.arange(0.0, 90.0, 1 / 3)
    config = replace(BASE, initial_scale=1, min_scale=1, max_scale=1)
    world = replace(WORLD, slots=1.0, start=1.0)
    flowed = flow([config], one_lane(trace(times, 200.0), 0.5), world)
    # 270 requests are served at 2 a second: the last one at 135 s, 45 s after it came.
    assert p99(flowed) == pytest.approx(44.6, rel=0.08)
    assert percentile(flowed.waits[0, 0], 50) == pytest.approx(22.5, rel=0.08)


def test_who_is_still_held_at_the_end_has_waited_until_then() -> None:
    """A start-up longer than the trace is no reason to have waited for nothing."""
    flowed = flow([BASE], one_lane(trace([100.0], 150.0), 1.0), replace(WORLD, start=1000.0))
    assert p99(flowed) == pytest.approx(50.0, rel=0.06)


def test_every_request_is_counted_once() -> None:
    """Histograms hold as many requests as came in the seconds that count."""
    source = poisson(2.0, 500.0)
    flowed = flow(CONFIGS, one_lane(source, 3.0, lead=300.0), WORLD)
    assert flowed.waits.sum(axis=2) == pytest.approx(float((source.times >= 300).sum()))


def test_rows_do_not_touch_one_another() -> None:
    """A configuration fares the same alone, and among others in any order."""
    lane = one_lane(poisson(1.5, 300.0), 2.0)
    together = flow(CONFIGS, lane, WORLD)
    backwards = flow(CONFIGS[::-1], lane, WORLD)
    for place, config in enumerate(CONFIGS):
        alone = flow([config], lane, WORLD)
        for flowed, at in ((together, place), (backwards, len(CONFIGS) - 1 - place)):
            assert (flowed.waits[at] == alone.waits[0]).all()
            assert flowed.replica_seconds[at] == alone.replica_seconds[0]


def test_silence_is_skipped_and_changes_nothing() -> None:
    """Minutes at zero cost no decisions; beside a busy lane the quiet one fares the same."""
    quiet, busy = bursts(500.0, 6, 1200.0), poisson(2.0, 1200.0)
    stretch = [Stretch(0.0, 0.0, 1200.0)]
    work = [(source, np.full(len(source), 2.0)) for source in (quiet, busy)]
    alone = flow(CONFIGS, lanes(work[:1], stretch), WORLD)
    beside = flow(CONFIGS, lanes(work, stretch), WORLD)
    assert alone.ticks < 0.6 * beside.ticks / 2
    assert (alone.waits[:, 0] == beside.waits[:, 0]).all()
    assert (alone.cold[:, 0] == beside.cold[:, 0]).all()
    assert alone.replica_seconds[:, 0] == pytest.approx(beside.replica_seconds[:, 0])


def test_more_room_costs_more_and_waits_less() -> None:
    """A lower target means more replicas and shorter waits: the trade that tuning is about."""
    configs = [replace(BASE, target=target) for target in (1.0, 2.0, 4.0)]
    flowed = flow(configs, one_lane(bursts(90.0, 40, 700.0), 2.0), WORLD)
    cost = flowed.replica_seconds[:, 0].tolist()
    waits = [float((flowed.waits[i, 0] * MIDDLES).sum()) for i in range(3)]
    assert cost == sorted(cost, reverse=True)
    assert len(set(cost)) == 3
    assert waits == sorted(waits)


def test_who_drains_is_paid_for() -> None:
    """A world in which stopping takes a minute costs a minute per replica more."""
    lane = one_lane(bursts(300.0, 12, 1500.0), 1.0)
    plain, slow = (flow([BASE], lane, replace(WORLD, drain=drain)) for drain in (0.0, 60.0))
    extra = float(slow.replica_seconds[0, 0] - plain.replica_seconds[0, 0])
    assert extra > 60
    assert extra % 60 == pytest.approx(0.0, abs=1e-6)
    assert (plain.waits == slow.waits).all()


def test_starting_replicas_are_the_first_to_go() -> None:
    """What a burst has started and no longer needs is given up before it was ever ready."""
    config = replace(
        BASE, stable_window=6.0, panic_window=1.0, max_scale_down_rate=100.0, initial_scale=1
    )
    times = [*np.linspace(20, 20.9, 40).tolist(), *np.arange(25.0, 200.0, 5.0).tolist()]
    lane = one_lane(trace(times, 200.0), 0.5, lead=120.0)
    flowed = flow([config], lane, replace(WORLD, start=100.0))
    # At 100 s the first one was ready, and within 10 s done with all that 15 more, due at
    # 120 s, had been asked for.
    assert flowed.replica_seconds.tolist() == [[80.0]]


def test_no_more_replicas_than_there_is_room_for() -> None:
    """A world with room for two replicas has no third."""
    lane = one_lane(poisson(5.0, 300.0), 2.0)
    small, large = (flow([BASE], lane, replace(WORLD, most=most)) for most in (2, 0))
    assert small.replica_seconds[0, 0] <= 2 * 300 < large.replica_seconds[0, 0]
    assert p99(small) > p99(large)


def test_crowded_replicas_are_slower() -> None:
    """Where requests slow each other down, the same load holds replicas for longer."""
    lane = one_lane(poisson(3.0, 300.0), 1.0)
    factors = np.array([1.0, 1.0, 1.5, 2.0, 2.5])
    plain, crowded = (
        flow([BASE], lane, replace(WORLD, slowdown=f)) for f in (factors[:0], factors)
    )
    assert crowded.replica_seconds[0, 0] > 1.2 * plain.replica_seconds[0, 0]


def test_policies_hear_what_they_would_hear() -> None:
    """Erlang-C sizes by the service that it is told of, beside a policy that only learns idle
    times, as it does without one; and promising a longer wait costs less."""
    lane = one_lane(poisson(3.0, 300.0), 2.0, lead=100.0)
    kpa, idle = BASE, replace(BASE, policy=PolicyName.HYBRID_HISTOGRAM)
    strict, loose = (
        replace(BASE, policy=PolicyName.ERLANG_C, slo_wait=wait, slo_quantile=99.0)
        for wait in (0.1, 10.0)
    )
    flowed = flow([kpa, strict, loose, idle], lane, WORLD)
    cost = flowed.replica_seconds[:, 0].tolist()
    assert cost[2] < cost[1]
    assert len({cost[0], cost[1], cost[2]}) == 3
    alone = flow([idle], lane, WORLD)
    assert alone.replica_seconds[0, 0] == cost[3]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Kpa, "decide"), (ScaleToZero, "decide"), (Windows, "averages"), (Windows, "fill")],
)
def test_there_is_no_second_implementation(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one of production's decisions there is no pass."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(name)

    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(RuntimeError, match=name):
        flow([BASE], one_lane(trace([5.0], 20.0), 1.0), WORLD)


def test_progress_is_told() -> None:
    """Shares that grow, and the end."""
    told: list[float] = []
    flow([BASE], one_lane(poisson(1.0, 600.0), 1.0), WORLD, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 2


def test_stretches_must_be_alike() -> None:
    """Lanes of other lengths, or of parts of a second, are refused."""
    source = poisson(1.0, 100.0)
    work = np.ones(len(source))
    for bad in (
        [Stretch(0, 10, 20), Stretch(10, 20, 40)],
        [Stretch(0, 10, 20.5)],
        [],
    ):
        with pytest.raises(ValueError, match="stretches differ"):
            lanes([(source, work)], bad)


def test_service_follows_the_trace() -> None:
    """Each second's mean service is of the requests around it, and the overall mean in gaps."""
    times = np.concatenate([np.arange(0.0, 100.0), np.arange(300.0, 400.0)])
    work = np.where(times < 200, 1.0, 3.0)
    lane = lanes([(trace(times, 400.0), work)], [Stretch(0.0, 0.0, 400.0)])
    assert lane.service[[50, 200, 350], 0].tolist() == pytest.approx([1.0, 2.0, 3.0])
    empty = lanes([(trace([], 50.0), work[:0])], [Stretch(0.0, 0.0, 50.0)])
    assert (empty.service == 1.0).all()
    assert empty.counted.tolist() == [0.0]


@pytest.mark.parametrize("seconds", [0.5, 3.0, 250.0, 9e4])
def test_bins_are_fine_enough(seconds: float) -> None:
    """A wait is within 3 % of its bin's middle; none and almost none are the first bin."""
    place = int(bin_of(np.array([seconds]))[0])
    assert pytest.approx(seconds, rel=0.03) == MIDDLES[place]
    assert bin_of(np.array([-1.0, 0.0, SHORTEST / 2, 1e9])).tolist() == [0, 0, 0, BINS - 1]


def test_percentiles_of_many_histograms() -> None:
    """The smallest bin that holds so many percent; 0 of nothing."""
    counts = np.zeros((3, BINS))
    counts[0, 0], counts[0, 50] = 99, 1
    counts[1, 40], counts[1, 60] = 98, 2
    assert percentile(counts, 99).tolist() == [0.0, MIDDLES[60], 0.0]
