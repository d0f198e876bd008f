"""What the fluid pass says, by segment; and that it ranks as the exact engine does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulations.draws import Exponential
from simulations.fluid import Flowed
from simulations.fluid_waits import BINS, MIDDLES, bin_of
from simulations.lanes import Floats
from simulations.services import Drawn
from simulations.tuning.judged import together
from simulations.tuning.rough import Estimate, by_segment
from simulations.tuning.segments import segments
from simulations.tuning.space import Base, dimensions, load_of, spread
from simulations.tuning.task import Task, workers
from simulations.world import World, parse_start
from tests.simulations.streams import bursts, trace


def histogram(waits: dict[float, float]) -> Floats:
    counts = np.zeros(BINS)
    for seconds, count in waits.items():
        counts[bin_of(np.array([seconds]))] += count
    return counts


def test_lanes_add_up_to_segments() -> None:
    """Two models, three segments in two lanes each: what belongs to a segment, and no more."""
    lanes = np.arange(24.0).reshape(2, 12)
    estimates = by_segment(
        Flowed(np.repeat(lanes[:, :, None], BINS, axis=2), lanes, lanes, 0), 2, 3, np.ones(1)
    )
    assert estimates.cold.tolist() == [[14.0, 22.0, 30.0], [62.0, 70.0, 78.0]]
    assert (estimates.waits[:, :, 0] == estimates.cold).all()
    first, _ = estimates.of([0, 2])
    assert first.replica_seconds == 44.0
    both = estimates.with_more(estimates)
    assert both.cold.shape == (4, 3)


def test_an_estimate_has_percentiles_and_shares() -> None:
    """Latencies: the wait and a mean service, or the service alone, whichever is longer."""
    service = np.sort(np.array([1.0] * 98 + [50.0] * 2))
    one = Estimate(histogram({0.0: 90, 20.0: 10}), 5.0, 1.0, service)
    assert one.cold_share == 0.05
    assert one.percentile(False, 99) == pytest.approx(20.0, rel=0.03)
    assert one.percentile(True, 95) == pytest.approx(22.0, rel=0.03)
    assert one.percentile(True, 99) == 50.0
    assert one.percentile(True, 50) == pytest.approx(1.98)
    nothing = Estimate(np.zeros(BINS), 0.0, 0.0, service[:0])
    assert (nothing.cold_share, nothing.percentile(True, 99)) == (0.0, MIDDLES[0])


def ranks(values: list[float]) -> Floats:
    """Ranks, the mean one for equal values."""
    column = np.array(values)
    order = np.argsort(column, kind="stable")
    rank = np.empty(len(column))
    rank[order] = np.arange(len(column))
    return np.array([rank[column == value].mean() for value in column])


def spearman(one: list[float], other: list[float]) -> float:
    """The correlation of ranks."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


@pytest.mark.long
@pytest.mark.parametrize(("every", "size"), [(100.0, 30), (45.0, 16)])
def test_it_ranks_as_the_exact_engine_does(every: float, size: int) -> None:
    """Spearman's correlation of cost, mean wait and p99 over settings from all of the space."""
    source = bursts(every, size, 900.0)
    world = World(Drawn(Exponential(2.0)), parse_start("20s"))
    base = Base({"container_concurrency": 4})
    task = Task(source, world, base, segments(source, 3), seed=1)
    load = replace(load_of(source, task.service, 4), peak=1.0, mean=1.0)  # floors of 2 at most
    sample = spread(dimensions(base, load), base, 16, np.random.default_rng(4))
    whole = range(3)
    with workers(task, 2) as at_work:
        estimates = by_segment(at_work.flow(sample, print), 1, 3, task.service).of(whole)
        exact = [together(parts) for parts in at_work.replay(sample, print)]
    # Below these both say "hardly": a second is the pass's resolution.
    rough_mean = [
        max(0.1, float((one.waits * MIDDLES).sum() / one.waits.sum())) for one in estimates
    ]
    exact_mean = [max(0.1, one.waits.mean) for one in exact]
    rough_p99, exact_p99 = (
        [max(1.0, one.percentile(False, 99)) for one in seen] for seen in (estimates, exact)
    )
    costs = [[one.replica_seconds for one in seen] for seen in (estimates, exact)]
    assert spearman(*costs) > 0.9
    assert spearman(rough_mean, exact_mean) > 0.8
    assert spearman(rough_p99, exact_p99) > 0.75


def test_a_lone_request_is_estimated_as_it_is_replayed() -> None:
    """One cold start of 12 s: the same wait, cold share and replica-seconds within a tenth."""
    source = trace([150.0], 300.0)
    world = World(Drawn(Exponential(0.0)), parse_start("12s"))
    base = Base({"container_concurrency": 1, "initial_scale": 0})
    task = Task(source, world, base, segments(source, 3))
    (rough,) = by_segment(task.flow([()]), 1, 3, task.service).of(range(3))
    exact = together(task.replay(()))
    assert rough.percentile(False, 99) == pytest.approx(exact.percentile(False, 99), rel=0.05)
    assert (rough.cold, exact.cold) == (1.0, 1)
    assert rough.replica_seconds == pytest.approx(exact.replica_seconds, rel=0.1)
