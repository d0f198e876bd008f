"""One run over several processes is the same run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.agenda import POKE_GAP
from simulations.engine import Run, simulate
from simulations.report import as_json
from simulations.result import Result
from simulations.shards import simulate_in
from simulations.world import Capacity
from stoker.vocabulary import ModelKey
from tests.simulations.runs import poisson, spec, trace, world

NEAR = 6 * POKE_GAP
"""Seconds: each of a model's replicas may be asked for so much earlier."""
MODELS = tuple(ModelKey("default", name) for name in "abc")


def some(**rest: Any) -> Run:
    """Two hundred requests for three models."""
    source = poisson(2.0, 200, 1, MODELS)
    return Run(source, {key: spec(key) for key in MODELS}, world(), seed=3, **rest)


def figures(result: Result) -> dict[str, Any]:
    """All of it but what may differ: rounding of sums, and the sum of models' peaks."""
    told = as_json(replace(result, wall_seconds=0.0))
    return {name: told[name] for name in ("waits", "latencies", "models", "assumptions", "seed")}


@pytest.mark.parametrize("jobs", [2, 3, 9])
def test_the_parts_make_up_the_whole(jobs: int) -> None:
    """Whatever the number of processes: every model, every histogram, every curve."""
    whole, parts = simulate(some()), simulate_in(jobs, some())
    assert set(parts.models) == set(MODELS)
    for key in MODELS:
        ours, theirs = parts.models[key], whole.models[key]
        assert ours.requests == ours.answered == theirs.answered
        assert (ours.starts, ours.cold, ours.peak_replicas) == (
            *(theirs.starts, theirs.cold, theirs.peak_replicas),
        )
        assert ours.ready_seconds == pytest.approx(theirs.ready_seconds, abs=NEAR)
        assert ours.replica_seconds == pytest.approx(theirs.replica_seconds, abs=NEAR)
    assert parts.totals.requests == whole.totals.requests == 200
    assert parts.money.dollars == pytest.approx(whole.money.dollars, abs=NEAR / 3600)
    assert parts.duration == whole.duration
    assert parts.waits.count == parts.latencies.count == 200
    assert parts.waits.total == pytest.approx(whole.waits.total, abs=200 * POKE_GAP)
    assert (parts.series.arrivals == whole.series.arrivals).all()
    for name in ("active", "queued", "ready", "starting"):
        ours, theirs = getattr(parts.series, name), getattr(whole.series, name)
        assert ours == pytest.approx(theirs, abs=NEAR), name


def test_what_meets_is_not_divided() -> None:
    """Models that share room, and a single one, are simulated as they are."""
    bound = some()
    bound = replace(bound, world=replace(bound.world, capacity=Capacity(2)))
    assert figures(simulate_in(3, bound)) == figures(simulate(bound))
    one = some(only=MODELS[:1])
    assert figures(simulate_in(3, one)) == figures(simulate(one))


def test_progress_is_that_of_the_slowest() -> None:
    """It never goes back, and stays within the run."""
    told: list[float] = []
    run = replace(some(), source=trace(*range(0, 900, 5), which=[0, 1, 2] * 60, models=MODELS))
    result = simulate_in(2, run, told.append)
    assert told == sorted(told)
    assert 0 <= told[0] < 900 <= told[-1] <= result.duration


class Failing:
    """A service that fails when it is asked."""

    def seconds(self, *_: object) -> Any:
        raise ZeroDivisionError("asked")

    def slowdown(self, in_flight: int) -> float:
        return 1.0

    def __str__(self) -> str:
        return "failing"


def test_what_a_part_raised_is_raised() -> None:
    """As if it had happened here."""
    run = some()
    with pytest.raises(ZeroDivisionError, match="asked"):
        simulate_in(2, replace(run, world=replace(run.world, service=Failing())))
