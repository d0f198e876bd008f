"""A thousand models over fourteen days, in windows of ServeGen's shape, on all cores."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from simulations.draws import Exponential
from simulations.engine import Run
from simulations.services import Drawn
from simulations.shards import simulate_in
from simulations.traces import read_source
from simulations.traces.windows import Windows
from simulations.world import World, parse_start
from stoker.vocabulary import ModelSpec, ScalingConfig, ServingConfig

MODELS, ARRIVALS, DAYS = 1_000, 100_000_000, 14
SERVEGEN = "servegen_m-small.tar.xz"


class Long(NamedTuple):
    """What was simulated, and the seconds of wall time it took."""

    models: int
    days: float
    requests: int
    decisions: int
    cold_share: float
    seconds: float
    jobs: int


def traces() -> Path | None:
    """Where the real traces are: STOKER_TRACES, or beside the checkout; None: nowhere."""
    named = os.environ.get("STOKER_TRACES")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "traces"
    return folder if folder.is_dir() else None


def windows(share: float) -> Windows | None:
    """The first ``share`` of the fourteen days; None where the trace is not there."""
    folder = traces()
    if folder is None:
        return None
    read = read_source(str(folder / SERVEGEN)).source
    assert isinstance(read, Windows)
    wide = read.widened(MODELS, ARRIVALS, np.random.default_rng(1))
    return wide if share == 1 else wide.between(0.0, wide.duration * share)


def fortnight(source: Windows) -> Long:
    """Four slots a replica, half a second a request, kept for ten minutes after the last one."""
    specs = {
        key: ModelSpec(
            key,
            scaling=ScalingConfig(
                target=2.8,
                capacity=4.0,
                initial_scale=0,
                scale_to_zero_pod_retention_period=600.0,
            ),
            serving=ServingConfig(container_concurrency=4, queue_requests=100_000),
        )
        for key in source.models
    }
    world = World(Drawn(Exponential(0.5)), parse_start("image=8s, start=4s"))
    jobs = len(os.sched_getaffinity(0))
    run = Run(source, specs, world, max_queued_requests=1_000_000)
    begun = perf_counter()
    result = simulate_in(jobs, run)
    return Long(
        len(source.models),
        source.duration / 86_400,
        result.totals.requests,
        result.decisions,
        result.totals.cold_share,
        perf_counter() - begun,
        jobs,
    )
