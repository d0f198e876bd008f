"""What is tried: within the table of settings, spread out, then near the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulations.tuning.space import Base, Dimension, Load, around, dimensions, load_of, spread
from stoker.settings.table import MODEL_TUNABLES
from stoker.vocabulary import Metric, ModelKey, ScalingConfig
from tests.simulations.streams import poisson, trace

LOAD = Load(2.0, 9.0)
BASE = Base({"container_concurrency": 4})


def names(base: Base, load: Load = LOAD) -> dict[str, tuple[str, ...]]:
    return {dim.name: dim.values for dim in dimensions(base, load)}


def test_every_value_that_is_tried_is_allowed() -> None:
    """The table of settings reads each of them."""
    for base in (BASE, Base({}), Base({"metric": Metric.RPS})):
        for dim in dimensions(base, LOAD):
            for text in dim.values:
                MODEL_TUNABLES[dim.name].read(text)
            assert len(set(dim.values)) == len(dim.values) > 1


def test_what_is_varied_depends_on_what_is_in_force() -> None:
    """The percentage that counts, the target where nothing else sets it, floors up to a bound."""
    assert "container-concurrency-target-percentage" in names(BASE)
    assert "container-concurrency-target-default" not in names(BASE)
    assert "container-concurrency-target-default" in names(Base({}))
    assert "target-utilization-percentage" in names(Base({"metric": Metric.RPS}))
    assert "policy" not in names(Base({"metric": Metric.RPS}))
    assert "policy" not in names(Base({"policy": "kpa"}))
    bounded = Base({"container_concurrency": 4, "max_scale": 2})
    assert names(bounded)["min-scale"] == ("0", "1", "2")
    assert names(bounded)["activation-scale"] == ("1", "2")
    assert names(BASE)["min-scale"] == ("0", "1", "2", "3", "5", "9")


def test_knative_s_defaults() -> None:
    """Stoker's own, but that replicas on their way up do not count; bounds stay."""
    base = Base({"container_concurrency": 4, "stable_window": 300.0, "max_scale": 7})
    expected = ScalingConfig(
        target=2.8, capacity=4.0, max_scale=7, count_starting_as_capacity=False
    )
    assert base.scaling(base.knative()) == expected
    assert base.scaling(()) == replace(
        expected, stable_window=300.0, panic_window=30.0, count_starting_as_capacity=True
    )


def test_a_model_as_it_would_be_configured() -> None:
    """Scaling by the candidate, the rest as it is."""
    spec = BASE.spec(ModelKey("default", "m"), (("min-scale", "2"),))
    assert (spec.scaling.min_scale, spec.serving.container_concurrency) == (2, 4)


def test_only_what_differs_is_a_change() -> None:
    """However it is written: 60s is 1m, and what is in force already."""
    candidate = (("min-scale", "0"), ("panic-window-percentage", "20"), ("stable-window", "1m"))
    assert BASE.changes(candidate) == (("panic-window-percentage", "20"),)


def test_a_sample_fills_the_space() -> None:
    """Each value comes about equally often, in combinations that are allowed."""
    dims = dimensions(BASE, LOAD)
    sample = spread(dims, BASE, 120, np.random.default_rng(1))
    assert len(sample) == 120
    for place, dim in enumerate(sorted(dims, key=lambda dim: dim.name)):
        counts = [sum(one[place][1] == text for one in sample) for text in dim.values]
        assert max(counts) - min(counts) <= 1 + 120 % len(dim.values)
    again = spread(dims, BASE, 120, np.random.default_rng(1))
    assert again == sample
    bad = Base({"max_scale": 1})
    wide = [Dimension("min-scale", ("0", "1", "2", "3"))]
    assert len(spread(wide, bad, 8, np.random.default_rng(1))) == 2


def test_steps_around_the_best_stay_near() -> None:
    """New ones, each value in the space, most settings those of a parent."""
    dims = dimensions(BASE, LOAD)
    rng = np.random.default_rng(2)
    parents = spread(dims, BASE, 4, rng)
    near = around(parents, dims, BASE, 30, rng, parents)
    assert len(near) == 30
    assert not set(near) & set(parents)
    values = {dim.name: dim.values for dim in dims}
    for one in near:
        assert all(text in values[name] for name, text in one)
        of_parents = sum(any((name, text) in parent for parent in parents) for name, text in one)
        assert of_parents >= len(one) - 3
    assert around([], dims, BASE, 5, rng, []) == []


def test_steps_from_settings_that_are_no_value_of_the_space() -> None:
    """The nearest value is where steps begin: current settings may be anything."""
    dims = [Dimension("stable-window", ("6s", "60s", "600s"))]
    near = around([(("stable-window", "70s"),)], dims, BASE, 9, np.random.default_rng(3), [])
    assert set(near) == {(("stable-window", "6s"),), (("stable-window", "600s"),)}


def test_load_in_replicas() -> None:
    """Three at once of 10 s each in replicas for two: one and a half at the peak."""
    source = trace([0.0, 1.0, 2.0, 50.0], 100.0)
    load = load_of(source, np.full(4, 10.0), 2)
    assert load.mean == pytest.approx(0.2)
    assert load.peak == 1.5
    assert load_of(source, np.full(4, 10.0), 0).peak == 0.03
    assert load_of(trace([], 10.0), np.zeros(0), 2) == Load(0.0, 0.0)
    assert load_of(poisson(3.0, 1000.0), np.full(len(poisson(3.0, 1000.0)), 1.0), 1).mean == (
        pytest.approx(3.0, rel=0.1)
    )
