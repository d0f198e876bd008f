"""The fluid pass: many configurations at once."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import numpy as np

from benchmarks.simulating.engine import MODEL
from simulations.fluid import FluidWorld, flow
from simulations.lanes import Stretch, lanes
from simulations.trace import Trace
from stoker.vocabulary import ScalingConfig


class Flow(NamedTuple):
    """Configurations, lanes of the trace, ticks decided on, seconds of wall time."""

    configurations: int
    lanes: int
    ticks: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.ticks / self.seconds


WINDOWS = (6.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0)
"""Stable windows to try; the panic window is a tenth of each."""


def configurations(count: int) -> list[ScalingConfig]:
    """A sample of what matters most: targets, windows, retention."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        stable = float(rng.choice(WINDOWS))
        made.append(
            ScalingConfig(
                target=float(rng.uniform(2, 8)),
                capacity=8.0,
                initial_scale=0,
                stable_window=stable,
                panic_window=max(1.0, round(stable / 10)),
                scale_to_zero_pod_retention_period=float(rng.integers(0, 300)),
            )
        )
    return made


def fluid(count: int, parts: int, seconds: int) -> Flow:
    """Bursty load of 20 requests/s for ``seconds``, cut into ``parts`` lanes."""
    rng = np.random.default_rng(2)
    arrivals = rng.poisson(np.where(np.arange(seconds) // 60 % 3 == 0, 50.0, 5.0))
    times = np.repeat(np.arange(seconds), arrivals) + rng.uniform(0, 1, int(arrivals.sum()))
    times.sort()
    source = Trace((MODEL,), times, np.zeros(len(times), np.int32), float(seconds))
    length = seconds / parts
    begins = [number * length for number in range(parts)]
    stretches = [Stretch(begin, begin, begin + length) for begin in begins]
    cut = lanes([(source, np.full(len(times), 0.5))], stretches)
    begun = perf_counter()
    result = flow(configurations(count), cut, FluidWorld(slots=8.0, start=15.0))
    return Flow(count, parts, result.ticks, perf_counter() - begun)
