"""Arrivals for the tests of what simulates: made from a list of times, or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulations.lanes import Floats, Lanes, Stretch, lanes
from simulations.trace import Trace
from stoker.vocabulary import ModelKey

MODEL = ModelKey("default", "llm")


def trace(times: Sequence[float] | Floats, duration: float) -> Trace:
    """Requests for ``MODEL`` at these seconds."""
    column = np.array(times, dtype=np.float64)
    return Trace((MODEL,), column, np.zeros(len(column), dtype=np.int32), duration)


def poisson(rate: float, duration: float, seed: int = 0) -> Trace:
    """Requests at random."""
    rng = np.random.default_rng(seed)
    count = int(rng.poisson(rate * duration))
    return trace(np.sort(rng.uniform(0, duration, count)), duration)


def bursts(every: float, size: int, duration: float) -> Trace:
    """``size`` requests within a second, again and again."""
    begins = np.arange(every, duration - 1, every)
    return trace((begins[:, None] + np.linspace(0, 0.9, size)).ravel(), duration)


def one_lane(source: Trace, service: float, lead: float = 0.0) -> Lanes:
    """All of a trace as one lane, each request taking ``service`` seconds."""
    work = np.full(len(source), service)
    return lanes([(source, work)], [Stretch(0.0, lead, source.duration)])
