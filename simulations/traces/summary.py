"""A trace in figures: how much, how bursty, how often silent, for whom. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Floats, Source, Trace, gathered
from simulations.traces.windows import Windows
from stoker.vocabulary import ModelKey

MOST_LOOKED_AT: Final = 5_000_000
KEPT_ALIVE: Final = (60.0, 300.0)
BARS: Final = 60
SHOWN: Final = 10
HUGE: Final = 0.25
"""A silence of this share of a trace is worth a notice: perhaps one time is wrong."""
MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A column of values: the share of arrivals that have one, mean, median, tail."""

    known: float
    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Flow:
    """Arrivals of one model, or of all. Times in seconds; NaN where there are too few.

    ``peak_second``, ``peak_minute``: the most in any second or minute of the clock that
    starts at 0, as requests/s. ``cv``: of gaps; Poisson is 1. ``dispersion_second`` and
    ``_minute``: variance by mean of counts (Fano factor); Poisson is 1. ``silence``: the
    longest time without arrivals, from ``silent_from`` on. ``idle``: the share of time that
    is left of silences, at the ends too, after waiting 60 or 300 s in each: what a model
    could sleep.
    """

    arrivals: int
    rate: float
    peak_second: float
    peak_minute: float
    cv: float
    dispersion_second: float
    dispersion_minute: float
    silence: float
    silent_from: float
    idle: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """``flow``: all models as one; ``busiest``: up to ten models alone. ``asleep``: ``idle``
    of each model by itself, averaged over models. ``looked_at``: arrivals that gaps, peaks
    and sizes are from, where there are more; ``seconds``: what these cover. ``bars``: rates
    over the whole time in equal pieces.
    """

    arrivals: int
    duration: float
    models: int
    looked_at: int
    seconds: float
    flow: Flow
    busiest: tuple[tuple[ModelKey, Flow], ...]
    asleep: tuple[float, ...]
    service: Spread | None
    prompt_tokens: Spread | None
    output_tokens: Spread | None
    bars: tuple[float, ...]
    began: float | None
    notices: tuple[str, ...] = ()


def info(source: Source, most: int = MOST_LOOKED_AT) -> Summary:
    """Sum up ``source``.

    ``Windows`` of more than ``most`` arrivals are counted in full and their longest silences
    found to a window; all else is then from windows that are drawn to hold about ``most``.
    """
    inner = getattr(source, "source", source)
    notices = list(getattr(source, "notices", ()))
    looked_at: Source = inner
    known: Windows | None = None
    if isinstance(inner, Windows):
        known = inner
        if inner.arrivals > most:
            part = looked_at = inner.some(most / inner.arrivals)
            notices.append(
                f"bursts and sleep are those of {part.windows:,} of {inner.windows:,} windows of"
                f" {inner.step:g} s, drawn at random"
            )
    trace = gathered(looked_at)
    seconds = looked_at.duration
    order = np.argsort(trace.which, kind="stable")
    edges = np.searchsorted(trace.which[order], np.arange(len(source.models) + 1))
    counts = np.diff(edges) if known is None else known.per_model()
    flow = flow_of(trace.times, seconds)
    top = np.argsort(-counts, kind="stable")[:SHOWN].tolist()
    flows = [flow_of(trace.times[order[edges[k] : edges[k + 1]]], seconds) for k in top]
    if known is not None and looked_at is not known:
        idle = known.idle()
        flow = _known(flow, known.arrivals, known, known.as_one(source.models[0]).idle()[0])
        flows = [_known(f, int(counts[k]), known, idle[k]) for f, k in zip(flows, top, strict=True)]
    if len(trace) > 1:
        notices += _remarked(flow.silence, flow.silent_from, source.duration)
    return Summary(
        arrivals=int(counts.sum()),
        duration=source.duration,
        models=len(source.models),
        looked_at=len(trace),
        seconds=seconds,
        flow=flow,
        busiest=tuple((source.models[k], f) for k, f in zip(top, flows, strict=True)),
        asleep=_asleep(trace.times[order], trace.which[order], seconds, len(source.models)),
        service=_spread(trace.service),
        prompt_tokens=_spread(_counts(trace.prompt_tokens)),
        output_tokens=_spread(_counts(trace.output_tokens)),
        bars=_bars(trace) if known is None else _bars_of(known),
        began=inner.began if isinstance(inner, Trace | Windows) else None,
        notices=tuple(notices),
    )


def _known(flow: Flow, arrivals: int, source: Windows, idle: NDArray[np.int64]) -> Flow:
    """``flow``, drawn from some windows, with what all windows say for certain."""
    begin, length = (idle * source.step).tolist()
    longer = length > flow.silence
    return replace(
        flow,
        arrivals=arrivals,
        rate=arrivals / source.duration,
        silence=length if longer else flow.silence,
        silent_from=begin if longer else flow.silent_from,
    )


def huge_gaps(trace: Trace) -> list[str]:
    """A remark on its longest silence, if that is so long that a time may be wrong."""
    if len(trace) < 2:
        return []
    silences = np.diff(np.concatenate([[0.0], trace.times, [trace.duration]]))
    longest = int(silences.argmax())
    since = float(trace.times[longest - 1]) if longest else 0.0
    return _remarked(float(silences[longest]), since, trace.duration)


def _remarked(silence: float, since: float, duration: float) -> list[str]:
    if not duration or silence < HUGE * duration:
        return []
    return [
        f"nothing arrives for {silence:,.0f} s from {since:,.0f} s on,"
        f" {silence / duration:.0%} of the time; is a time wrong? --from and"
        " --until cut a trace"
    ]


def flow_of(times: Floats, seconds: float) -> Flow:
    """The figures of these arrivals, ascending, in ``seconds``."""
    gaps = np.diff(times)
    mean = float(gaps.mean()) if len(gaps) else 0.0
    silences = np.diff(np.concatenate([[0.0], times, [seconds]]))
    longest = int(silences.argmax())
    peak_second, dispersion_second = _counted(times, seconds, 1.0)
    peak_minute, dispersion_minute = _counted(times, seconds, MINUTE)
    return Flow(
        arrivals=len(times),
        rate=len(times) / seconds if seconds else float("nan"),
        peak_second=peak_second,
        peak_minute=peak_minute / MINUTE,
        cv=float(gaps.std()) / mean if mean else float("nan"),
        dispersion_second=dispersion_second,
        dispersion_minute=dispersion_minute,
        silence=float(silences[longest]),
        silent_from=float(times[longest - 1]) if longest else 0.0,
        idle=_idle(silences, seconds),
    )


def _idle(silences: Floats, seconds: float) -> tuple[float, ...]:
    if not seconds:
        return tuple(0.0 for _ in KEPT_ALIVE)
    return tuple(float(np.maximum(silences - kept, 0).sum()) / seconds for kept in KEPT_ALIVE)


def _counted(times: Floats, seconds: float, width: float) -> tuple[float, float]:
    """The most in one piece of ``width`` seconds, and variance by mean over all whole pieces."""
    pieces = int(seconds / width)
    # A bin for each of 1e9 s would not fit: only those with arrivals are counted.
    counts = _runs((times / width).astype(np.int64))
    if not len(counts) or not pieces:
        return float(counts.max(initial=0)), float("nan")
    whole = times[: np.searchsorted(times, pieces * width)]
    within = counts if len(whole) == len(times) else _runs((whole / width).astype(np.int64))
    mean = len(whole) / pieces
    variance = float((within.astype(np.float64) ** 2).sum()) / pieces - mean**2
    return float(counts.max()), variance / mean if mean else float("nan")


def _runs(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each value is there."""
    changes = np.flatnonzero(np.diff(ascending)) + 1
    return np.diff(np.concatenate([[0], changes, [len(ascending)]])) if len(ascending) else changes


def _asleep(
    times: Floats, which: NDArray[np.int32], seconds: float, models: int
) -> tuple[float, ...]:
    """``idle`` averaged over models; ``times`` and ``which`` ordered by model, then time.

    A model's silences: before its first arrival, between any two, after its last.
    """
    if not seconds or not models:
        return tuple(0.0 for _ in KEPT_ALIVE)
    changes = np.flatnonzero(np.diff(which)) + 1
    firsts = np.concatenate([[0], changes]) if len(times) else changes
    lasts = np.concatenate([changes - 1, [len(times) - 1]]) if len(times) else changes
    between = np.diff(times)
    inner = np.delete(between, changes - 1) if len(changes) else between
    never = np.full(models - len(firsts), seconds)
    silences = np.concatenate([inner, times[firsts], seconds - times[lasts], never])
    return tuple(share / models for share in _idle(silences, seconds))


def _bars(trace: Trace) -> tuple[float, ...]:
    if not trace.duration:
        return ()
    found, _ = np.histogram(trace.times, BARS, (0.0, trace.duration))
    return tuple((found * BARS / trace.duration).tolist())


def _bars_of(source: Windows) -> tuple[float, ...]:
    totals = source.per_window()
    width = ceil(len(totals) / BARS) or 1
    rates = np.add.reduceat(totals, np.arange(0, len(totals), width)) if len(totals) else totals
    held = np.minimum(width, len(totals) - np.arange(len(rates)) * width) * source.step
    return tuple((rates / held).tolist())


def _counts(tokens: NDArray[np.int32] | None) -> Floats | None:
    return None if tokens is None else np.where(tokens < 0, np.nan, tokens.astype(np.float64))


def _spread(column: Floats | None) -> Spread | None:
    if column is None or np.isnan(column).all():
        return None
    values = column[~np.isnan(column)]
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return Spread(len(values) / len(column), float(values.mean()), p50, p95, p99)
