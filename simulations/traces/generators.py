"""Made-up arrivals: Poisson, MMPP, diurnal, on/off, spikes; of many models if wanted. Pure.

All are Poisson processes whose rate changes with time, drawn at once: the number by the
rate's integral, the times by turning it around (Çinlar, Introduction to Stochastic
Processes, 1975). Each takes the numpy generator it draws from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Final

import numpy as np

from simulations.trace import Floats, Trace
from stoker.errors import TraceError
from stoker.vocabulary import DEFAULT_NAMESPACE, ModelKey

MOST_ARRIVALS: Final = 50_000_000
MOST_MODELS: Final = 100_000
FINEST: Final = 10_000_000
"""Changes of the rate in one trace."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a process is like. ``rate``: its mean, requests/s; all times in seconds.

    ``peak``: how many times its mean (of spikes: of what is between them) the rate is at its
    highest, diurnal at most 2. ``on``, ``off``: how long it is high and low: exactly for
    on-off, on average for MMPP. ``every``: the mean time between the beginnings of spikes,
    ``length``: how long each is. ``period``: of the diurnal rate, lowest at its begin.
    """

    rate: float = 1.0
    peak: float = 10.0
    on: float = 60.0
    off: float = 540.0
    every: float = 3600.0
    length: float = 30.0
    period: float = 86_400.0


def poisson(shape: Shape, duration: float, rng: np.random.Generator) -> Floats:
    """A constant rate."""
    return _drawn(np.array([0.0, duration]), np.array([shape.rate]), rng)


def diurnal(shape: Shape, duration: float, rng: np.random.Generator) -> Floats:
    """A rate that swings like a sine around its mean, once per period; in 1/1,440 of it."""
    if not 1 <= shape.peak <= 2:
        raise TraceError(
            f"peak = {shape.peak:g}: a sine around its mean reaches 1 to 2 times as much"
        )
    edges = _steps(shape.period / 1440, duration)
    middles = (edges[:-1] + edges[1:]) / 2
    swing = 1 - (shape.peak - 1) * np.cos(2 * pi * middles / shape.period)
    return _drawn(edges, shape.rate * swing, rng)


def on_off(shape: Shape, duration: float, rng: np.random.Generator) -> Floats:
    """Requests for ``on`` seconds, none for ``off``; their mean is the rate."""
    begins = np.arange(_count(duration, shape.on + shape.off)) * (shape.on + shape.off)
    edges = np.stack([begins, begins + shape.on], axis=1).ravel()
    high = shape.rate * (shape.on + shape.off) / shape.on
    return _drawn(edges, np.tile([high, 0.0], len(begins))[:-1], rng, duration)


def mmpp(shape: Shape, duration: float, rng: np.random.Generator) -> Floats:
    """A Markov-modulated Poisson process of two states, each exponentially long.

    It begins in either by the share of time that each has. High is ``peak`` times the mean,
    low what is left: with on 60 s, off 540 s and peak 10 that is nothing.
    """
    share = shape.on / (shape.on + shape.off)
    if shape.peak < 1 or shape.peak * share > 1 + 1e-9:
        raise TraceError(
            f"peak = {shape.peak:g}: with {shape.on:g} s on and {shape.off:g} s off the mean"
            f" allows 1 to {1 / share:g}"
        )
    high, low = shape.peak, max(0.0, (1 - shape.peak * share) / (1 - share))
    begins_high = rng.random() < share
    means = (shape.on, shape.off) if begins_high else (shape.off, shape.on)
    rates = (high, low) if begins_high else (low, high)
    edges = np.zeros(1)
    while edges[-1] < duration:
        pairs = _count(duration - edges[-1], sum(means))
        stays = (rng.standard_exponential((pairs, 2)) * means).ravel()
        edges = np.concatenate([edges, edges[-1] + np.cumsum(stays)])
    return _drawn(edges, shape.rate * np.resize(rates, len(edges) - 1), rng, duration)


def spikes(shape: Shape, duration: float, rng: np.random.Generator) -> Floats:
    """A constant rate and, now and then, ``peak`` times as much; the mean of all is the rate.

    Spikes begin as a Poisson process; where two meet the rate is no higher.
    """
    count = int(rng.poisson(duration / shape.every)) if duration / shape.every < FINEST else FINEST
    begins = np.sort(rng.random(count) * duration)
    share = 1 - np.exp(-shape.length / shape.every)
    between = shape.rate / (1 + (shape.peak - 1) * share)
    ends = np.minimum(begins + shape.length, np.append(begins[1:], duration))
    edges = np.append(np.stack([begins, ends], axis=1).ravel(), duration)
    rates = between * np.append(1.0, np.tile([shape.peak, 1.0], count))
    return _drawn(np.append(0.0, edges), rates, rng)


KINDS: Final[dict[str, Callable[[Shape, float, np.random.Generator], Floats]]] = {
    "poisson": poisson,
    "mmpp": mmpp,
    "diurnal": diurnal,
    "on-off": on_off,
    "spikes": spikes,
}


@dataclass(frozen=True, slots=True)
class Service:
    """How long requests are in a replica: lognormal, seconds; ``cv`` 0: all the same."""

    mean: float
    cv: float = 0.0

    def drawn(self, count: int, rng: np.random.Generator) -> Floats:
        """``count`` values."""
        spread = np.sqrt(np.log1p(self.cv**2))
        return np.asarray(self.mean * np.exp(spread * rng.standard_normal(count) - spread**2 / 2))


def generated(
    kind: str,
    shape: Shape,
    duration: float,
    rng: np.random.Generator,
    *,
    models: int = 1,
    zipf: float = 1.0,
    service: Service | None = None,
) -> Trace:
    """A trace of ``models``, each with a process of its own of this kind.

    The k-th has a share of the rate that goes with 1 / k^zipf. Raises TraceError, naming what
    is out of range.
    """
    if kind not in KINDS:
        raise TraceError(f"kind = {kind}: unknown; known: {', '.join(KINDS)}")
    _check("duration", duration, "s", 1e9)
    for name in ("rate", "peak", "on", "off", "every", "length", "period"):
        _check(name, getattr(shape, name), "requests/s" if name == "rate" else "", 1e9)
    if not 1 <= models <= MOST_MODELS:
        raise TraceError(f"models = {models}: allowed: 1 to {MOST_MODELS:,}")
    if not 0 <= zipf <= 10:
        raise TraceError(f"zipf = {zipf}: allowed: 0 (all alike) to 10")
    if service is not None and not (0 <= service.mean <= 1e6 and 0 <= service.cv <= 100):
        raise TraceError(
            f"service = {service.mean:g} s, CV {service.cv:g}: allowed: 0 to 1e6 s, CV 0 to 100"
        )
    if shape.rate * duration > MOST_ARRIVALS:
        raise TraceError(
            f"rate x duration = {shape.rate * duration:,.0f} arrivals: at most {MOST_ARRIVALS:,}"
        )
    weights = 1 / np.arange(1, models + 1) ** zipf
    columns = []
    for share in (weights / weights.sum()).tolist():
        part = Shape(**{**_fields(shape), "rate": shape.rate * share})
        columns.append(KINDS[kind](part, duration, rng))
    times = np.concatenate(columns)
    which = np.repeat(np.arange(models, dtype=np.int32), [len(column) for column in columns])
    order = np.argsort(times, kind="stable")
    return Trace(
        tuple(ModelKey(DEFAULT_NAMESPACE, f"model-{k}") for k in range(1, models + 1)),
        times[order],
        which[order],
        duration,
        None if service is None else service.drawn(len(times), rng),
    )


def _fields(shape: Shape) -> dict[str, float]:
    return {name: getattr(shape, name) for name in Shape.__dataclass_fields__}


def _check(name: str, value: float, unit: str, most: float) -> None:
    if not 0 < value <= most:
        raise TraceError(f"{name} = {value:g}: allowed: above 0, to {most:g} {unit}".rstrip())


def _count(duration: float, length: float) -> int:
    """How many of ``length`` cover ``duration``. Raises TraceError where it is absurd."""
    if duration / length > FINEST:
        raise TraceError(
            f"{length:g} s is too short for a trace of {duration:g} s:"
            f" the rate would change more than {FINEST:,} times"
        )
    return int(duration / length) + 1


def _steps(length: float, duration: float) -> Floats:
    count = _count(duration, length)
    return np.asarray(np.minimum(np.arange(count + 1) * length, duration))


def _drawn(
    edges: Floats, rates: Floats, rng: np.random.Generator, duration: float | None = None
) -> Floats:
    """Arrivals where ``rates[k]`` holds from ``edges[k]`` to the next, cut at ``duration``."""
    if duration is not None:
        if edges[-1] < duration:
            edges, rates = np.append(edges, duration), np.append(rates, 0.0)
        edges = np.minimum(edges, duration)
    expected = np.concatenate([np.zeros(1), np.cumsum(np.diff(edges) * rates)])
    count = int(rng.poisson(expected[-1]))
    if count > MOST_ARRIVALS:
        raise TraceError(f"{count:,} arrivals: at most {MOST_ARRIVALS:,}")
    # np.interp would put what falls on a flat stretch at its end: that has no probability.
    drawn = np.sort(rng.random(count)) * expected[-1]
    return np.asarray(np.interp(drawn, expected, edges))
