"""One workload, live and simulated: the same figures of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faithful import lives
from benchmarks.faithful.calibration import Calibration
from benchmarks.faithful.live import Told
from benchmarks.faithful.sending import Sent
from simulations.engine import simulate
from simulations.run import Run
from simulations.trace import Trace
from stoker.vocabulary import ModelSpec


@dataclass(frozen=True, slots=True)
class Outcome:
    """``wakes``: times it left zero. ``cold``: answered requests that had come when it was
    asleep. ``starts``: replicas that began. Seconds: percentiles of what answered requests
    took in all, and of replicas from begin to end.
    """

    requests: int
    lost: int
    wakes: int
    cold: int
    starts: int
    peak: int
    p50: float
    p95: float
    p99: float
    replica_seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """What is counted: monotonic seconds from the run's begin, after a warm-up, to its end."""

    begin: float
    warm_up: float
    end: float


def _percentiles(of: Callable[[float], float]) -> tuple[float, float, float]:
    return of(50), of(95), of(99)


def lived(window: Window, sent: Sequence[Sent], told: Told) -> Outcome:
    """Of the real Stoker."""
    since = window.begin + window.warm_up
    counted = [each for each in sent if each.answered is None or each.answered >= since]
    answered = [each for each in counted if each.answered is not None]
    taken = np.array([each.latency for each in answered])
    seen = [life for life in told.lives if life.ended > since and life.begun < window.end]
    return Outcome(
        len(counted),
        len(counted) - len(answered),
        sum(since <= wake < window.end for wake in lives.wakes(told.counts)),
        sum(each.cold for each in answered),
        sum(life.begun >= since for life in seen),
        lives.peak(seen),
        *_percentiles(lambda q: float(np.percentile(taken, q, method="inverted_cdf"))),
        sum(life.within(since, window.end) for life in seen),
    )


def simulated(
    window: Window, sent: Sequence[Sent], spec: ModelSpec, known: Calibration, seed: int
) -> Outcome:
    """Of the simulator, asked what was sent, when it was sent. It ticks from the begin on."""
    ordered = sorted(sent, key=lambda each: each.sent)
    times = np.array([each.sent - window.begin for each in ordered])
    trace = Trace(
        (spec.key,),
        times,
        np.zeros(len(times), np.int32),
        window.end - window.begin,
        known.service(np.array([each.service for each in ordered]), seed),
    )
    result = simulate(
        Run(
            trace,
            {spec.key: spec},
            known.world(),
            seed=seed,
            report_phase=(known.reports - window.begin) % 1.0,
            warm_up=window.warm_up,
        )
    )
    totals = result.totals
    return Outcome(
        totals.requests,
        totals.requests - totals.answered,
        totals.activations,
        totals.cold,
        totals.starts,
        totals.peak_replicas,
        *_percentiles(result.latencies.percentile),
        totals.replica_seconds,
    )
