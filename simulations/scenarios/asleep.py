"""Twenty thousand models, most of which are asleep: what scale-to-zero saves, who waits.

Arrivals swing once a day, and the k-th model has a share of 1/k of them (Zipf): a hundred
models are always busy, ten thousand are asked a few times a day. Each has bytes staged on its
nodes, so that a start takes seconds.
"""

from __future__ import annotations

import numpy as np

from simulations.draws import parse_draw
from simulations.engine import Run
from simulations.result import Result
from simulations.scenarios.outcome import Figures, Outcome, Simulate
from simulations.services import Drawn
from simulations.trace import Trace
from simulations.traces.generators import Shape, generated
from simulations.world import Prices, World, parse_start
from stoker.vocabulary import ModelSpec, ScalingConfig, ServingConfig

MODELS = 20_000
RATE = 50.0
"""Requests per second of all models, on average over the day."""
HOURS = 1.0
"""Simulated: the day goes by 24 times as fast, so that it has its low and its peak."""
SERVICE = "lognormal(mean=400ms, cv=1)"
START = "schedule=1s, start=lognormal(mean=6s, cv=0.3)"
SLOTS = 4
PER_NODE = 8
NODE_HOUR = 8.0
RETENTIONS = (0.0, 300.0)
"""Seconds for which the last replica is kept: a run each."""


def run(simulate: Simulate, *, small: bool = False) -> Outcome:
    """``small``: 500 models, 20 minutes."""
    models, hours = (500, 1 / 3) if small else (MODELS, HOURS)
    source = arrivals(models, RATE * models / MODELS, 3600 * hours)
    results = [simulate(run_of(source, kept), None) for kept in RETENTIONS]
    rows = tuple(_row(result, models) for result in results)
    return Outcome(
        f"{models:,} models, mostly asleep",
        (
            Figures(
                "From zero, against one replica each that is always there",
                (
                    *("run", "replicas", "at most", "nodes at most", "$/hour", "of always-on"),
                    *("cold", "wait p50 of cold", "wait p99 of all"),
                ),
                (
                    *rows,
                    _always_on(models),
                ),
            ),
        ),
        (
            f"{len(source):,} requests in {hours:.3g} h, {len(_asked(source)):,} models asked at"
            f" all; rate of the k-th: 1/k; the day's swing, low to peak, within that time",
            f"service {SERVICE}, {SLOTS} at once per replica; start {START}",
            f"{PER_NODE} replicas per node of {NODE_HOUR:g} $ an hour, as few nodes as hold what"
            " is there; nodes at most: what one pool of them would have to reach",
            "always-on: one replica each, however busy; the busiest would need more",
        ),
        results,
    )


def arrivals(models: int, rate: float, duration: float) -> Trace:
    """A day's swing in ``duration`` seconds, low at both ends."""
    shape = Shape(rate=rate, peak=1.8, period=duration)
    return generated(
        "diurnal", shape, duration, models=models, zipf=1.0, rng=np.random.default_rng(1)
    )


def run_of(source: Trace, kept: float) -> Run:
    """All models alike: no replica at first."""
    scaling = ScalingConfig(
        target=0.7 * SLOTS,
        capacity=SLOTS,
        initial_scale=0,
        scale_to_zero_pod_retention_period=kept,
    )
    serving = ServingConfig(container_concurrency=SLOTS)
    prices = Prices(NODE_HOUR / PER_NODE, 1.0, NODE_HOUR, PER_NODE)
    return Run(
        source,
        {key: ModelSpec(key, scaling=scaling, serving=serving) for key in source.models},
        World(Drawn(parse_draw(SERVICE)), parse_start(START), prices=prices),
        label=f"kept {kept:g} s",
        trace=f"{len(source.models):,} models",
        after=60.0,
    )


def _asked(source: Trace) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.unique(source.which)


def _always_on(models: int) -> tuple[str, ...]:
    nodes = models / PER_NODE
    sizes = (f"{models:,}", f"{models:,}", f"{nodes:,.0f}", f"{nodes * NODE_HOUR:,.0f}")
    return ("always-on", *sizes, "100 %", "0 %", "–", "–")


def _row(result: Result, models: int) -> tuple[str, ...]:
    series, totals = result.series, result.totals
    there = series.ready + series.starting
    hourly = result.money.dollars / result.duration * 3600
    return (
        result.label,
        f"{totals.replica_seconds / result.duration:,.0f}",
        f"{there.max():,.0f}",
        f"{np.ceil(there.max() / PER_NODE):,.0f}",
        f"{hourly:,.0f}",
        f"{100 * hourly / (models / PER_NODE * NODE_HOUR):.1f} %",
        f"{100 * totals.cold_share:.1f} %",
        f"{result.cold_waits.percentile(50):.1f} s",
        f"{result.waits.percentile(99):.1f} s",
    )
