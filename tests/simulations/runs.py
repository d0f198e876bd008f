"""What tests of the engine share: one model, a few arrivals, a world where all is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulations.draws import Constant
from simulations.engine import Run, simulate
from simulations.result import Result
from simulations.services import AnyService, Drawn
from simulations.trace import Trace
from simulations.world import Start, World
from stoker.vocabulary import ModelKey, ModelSpec, ScalingConfig, ServingConfig

M = ModelKey("default", "m")
N = ModelKey("default", "n")


def trace(
    *times: float,
    which: Sequence[int] | None = None,
    models: tuple[ModelKey, ...] = (M,),
    duration: float | None = None,
    **columns: Any,
) -> Trace:
    """Arrivals at these seconds, all for the first model unless ``which`` says otherwise."""
    return Trace(
        models,
        np.array(times, dtype=np.float64),
        np.zeros(len(times), np.int32) if which is None else np.array(which, np.int32),
        (times[-1] if times else 0.0) if duration is None else duration,
        **columns,
    )


def poisson(rate: float, count: int, seed: int, models: tuple[ModelKey, ...] = (M,)) -> Trace:
    """So many arrivals at ``rate`` per second, for one of the models each."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, count))
    which = rng.integers(0, len(models), count).astype(np.int32)
    return Trace(models, times, which, float(times[-1]))


def spec(key: ModelKey = M, *, scaling: dict[str, Any] | None = None, **serving: Any) -> ModelSpec:
    """A model at zero with one slot per replica, unless told otherwise."""
    scaling = {"target": 1.0, "capacity": 1.0, "initial_scale": 0, **(scaling or {})}
    serving = {"container_concurrency": 1, **serving}
    return ModelSpec(key, scaling=ScalingConfig(**scaling), serving=ServingConfig(**serving))


def fixed(replicas: int) -> dict[str, Any]:
    """Scaling that keeps so many replicas from the beginning."""
    return {"min_scale": replicas, "max_scale": replicas, "initial_scale": replicas}


def world(service: AnyService | float = 1.0, start: Start | float = 5.0, **rest: Any) -> World:
    """Requests of 1 s, starts of 5 s, unless told otherwise."""
    return World(
        service if not isinstance(service, float) else Drawn(Constant(service)),
        start if isinstance(start, Start) else Start({"start": Constant(start)}),
        **rest,
    )


def run(source: Trace, *specs: ModelSpec, in_world: World | None = None, **rest: Any) -> Result:
    """Simulate it; every request must have ended in exactly one way."""
    wanted = {each.key: each for each in specs or (spec(),)}
    result = simulate(Run(source, wanted, in_world or world(), **rest))
    assert_adds_up(result)
    return result


def assert_adds_up(result: Result) -> None:
    """Each request is answered, refused, abandoned or unfinished; models make up the whole."""
    for totals in (result.totals, *result.models.values()):
        ended = totals.answered + totals.refusals + totals.abandoned + totals.unfinished
        assert totals.requests == ended, totals
        assert (
            0 <= totals.busy_seconds <= totals.ready_seconds + 1e-6 <= totals.replica_seconds + 2e-6
        )
    for name in ("requests", "answered", "cold", "starts", "crashes", "retries"):
        parts = sum(getattr(totals, name) for totals in result.models.values())
        assert getattr(result.totals, name) == parts
    assert result.waits.count == result.latencies.count == result.totals.answered
    assert result.cold_waits.count == result.totals.cold
