"""What several tests need: models with a load, second by second, and what is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from autoscaler.planner import Planner
from stoker.vocabulary import Aggregation, Decision, ModelKey, PolicyName, ScalingConfig

A = ModelKey("default", "a")
B = ModelKey("default", "b")


class Moment(NamedTuple):
    """One second of one model: its load (None: nobody said anything) and its replicas.

    ``service``: seconds its requests take, 0 when none completes; ``start``: seconds a start
    takes, as measured by now.
    """

    load: float | None
    ready: int
    starting: int
    service: float = 0.0
    start: float = 0.0


Life = Sequence[Moment]


def drive(
    planner: Planner,
    lives: Mapping[ModelKey, tuple[ScalingConfig, Life]],
    start: int = 0,
    every: int = 2,
    stride: int = 1,
) -> dict[ModelKey, list[Decision]]:
    """Set the models, let each live its life, and decide every other second.

    ``stride``: seconds from one moment to the next; nothing is said in between.
    """
    for model, (config, _) in lives.items():
        planner.set_model(model, config, float(start))
    result: dict[ModelKey, list[Decision]] = {model: [] for model in lives}
    for offset in range(max(len(life) for _, life in lives.values())):
        second = start + offset * stride
        for model, (_, life) in lives.items():
            moment = life[offset]
            planner.set_counts(model, moment.ready, moment.starting, float(second))
            planner.set_start_seconds(model, moment.start, float(second))
            if moment.load is not None:
                say(planner, second, {model: moment.load})
                if moment.service and planner.measures_service:
                    row = np.array([planner.rows.index[model]])
                    busy = np.array([moment.load])
                    planner.add_service(row, busy, np.floor(busy / moment.service))
        if offset % every == 0:
            planner.decide(second + 0.5)
            for model, decisions in result.items():
                decision = planner.decision(model)
                assert decision is not None
                decisions.append(decision)
    return result


def say(planner: Planner, second: int, loads: Mapping[ModelKey, float]) -> None:
    """Add loads to a second, without opening it for the others."""
    rows = planner.rows.resolve(loads).rows
    planner.add_load(second, rows, np.array(list(loads.values())))


def with_policies(base: st.SearchStrategy[ScalingConfig]) -> st.SearchStrategy[ScalingConfig]:
    """The same settings under any policy; seasons and times are short, as lives are."""
    return st.builds(
        replace,
        base,
        policy=st.sampled_from(PolicyName),
        keep_alive_default=st.sampled_from([0.0, 35.0, 90.25]),
        season=st.sampled_from([60.0, 77.0]),
        season_quantile=st.sampled_from([0.0, 50.0, 90.0, 100.0]),
        slo_wait=st.sampled_from([0.0, 0.5, 10.0]),
        slo_quantile=st.sampled_from([50.0, 99.0]),
    )


loads = st.one_of(st.none(), st.just(0.0), st.floats(0.0, 300.0).map(lambda x: round(x, 3)))
moments = st.builds(
    Moment,
    loads,
    st.integers(0, 12),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.05, 2.0]),
    st.sampled_from([0.0, 1.5, 4.0]),
)


def lives(seconds: int) -> st.SearchStrategy[list[Moment]]:
    """Lives of this length."""
    return st.lists(moments, min_size=seconds, max_size=seconds)


configs = st.builds(
    ScalingConfig,
    target=st.sampled_from([0.7, 1.0, 7.0, 70.0]),
    capacity=st.sampled_from([1.0, 10.0, 100.0]),
    min_scale=st.integers(0, 3),
    max_scale=st.sampled_from([0, 3, 4, 20]),
    initial_scale=st.integers(0, 3),
    activation_scale=st.integers(0, 4),
    enable_scale_to_zero=st.booleans(),
    stable_window=st.sampled_from([6.0, 10.0, 30.0]),
    panic_window=st.sampled_from([1.0, 1.5, 6.0]),
    panic_threshold=st.sampled_from([1.1, 2.0, 10.0]),
    max_scale_up_rate=st.sampled_from([1.1, 2.0, 1000.0]),
    max_scale_down_rate=st.sampled_from([1.1, 2.0, 10.0]),
    target_burst_capacity=st.sampled_from([-1.0, 0.0, 10.0, 211.0]),
    scale_down_delay=st.sampled_from([0.0, 5.0, 12.0]),
    scale_to_zero_pod_retention_period=st.sampled_from([0.0, 7.0]),
    window_aggregation=st.sampled_from(list(Aggregation)),
    count_starting_as_capacity=st.booleans(),
)
