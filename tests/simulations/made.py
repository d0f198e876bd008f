"""Results that look like those of real runs: bursts, sleep, cold starts, queues."""

from __future__ import annotations

from collections import Counter

import numpy as np

from simulations.result import Money, Result, Series, Spread, Totals
from stoker.vocabulary import ModelKey

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></svg>\"'><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://example.com")\x1b[2J\x00\u202e\ud800, "two"\nlines',
)
"""Names with which somebody tries to break out of HTML, SVG, CSV or a terminal."""


def result(
    label: str = "scale to zero",
    *,
    seed: int = 1,
    steps: int = 720,
    step: float = 5.0,
    models: int = 1,
    keep: float = 60.0,
    floor: int = 0,
    cold: float = 18.0,
    load: float = 6.0,
    began: float | None = 1_700_000_000.0,
    trace: str = "AzureLLMInferenceTrace_code.csv",
) -> Result:
    """An hour of traffic that comes in bursts, step by step.

    Replicas (4 requests each at a time, 1 s a request) follow the load after ``cold``
    seconds, stay for ``keep`` seconds, and never are fewer than ``floor``.
    """
    rng = np.random.default_rng(seed)
    traffic = np.random.default_rng(7)
    series = Series.empty(step, steps)
    bursts = np.repeat(traffic.random(steps // 24 + 1) < 0.45, 24)[:steps]
    day = 0.6 + 0.4 * np.sin(np.arange(steps) / steps * 2 * np.pi - 1)
    series.arrivals[:] = traffic.poisson(load * step * bursts * day * traffic.gamma(4, 0.25, steps))
    delay = max(1, round(cold / step))
    queued = 0.0
    waits, colds, refused, cold_count = [np.zeros(0)], [np.zeros(0)], 0, 0
    last = -(10**9)
    for i, arrived in enumerate(series.arrivals.tolist()):
        wanted = np.ceil((arrived / step + queued / 10) / 2.8)
        if wanted:
            last = i
        kept = series.desired[max(0, i - int(keep / step)) : i].max(initial=0.0)
        series.desired[i] = max(floor, wanted, kept if (i - last) * step < keep else 0.0)
        ready = max(floor, min(series.desired[i], series.desired[max(0, i - delay)]))
        ready = ready if i >= delay else floor
        series.ready[i], series.starting[i] = ready, series.desired[i] - ready
        served = min(queued + arrived, ready * 4 * step)
        queued = queued + arrived - served
        if queued > 150:
            refused += int(queued - 150)
            series.refused[i], queued = int(queued - 150), 150.0
        series.queued[i], series.active[i] = queued, served / step
        if arrived and not ready:
            series.cold[i] = arrived
            cold_count += int(arrived)
            drawn = rng.uniform(0.3, 1.0, int(arrived)) * cold
            colds.append(drawn)
            waits.append(drawn)
            series.wait_max[i] = drawn.max()
        elif arrived:
            late = queued / max(ready * 4, 1)
            drawn = np.where(
                rng.random(int(arrived)) < 0.9, 0.0, rng.exponential(0.2 + late, int(arrived))
            )
            waits.append(drawn)
            series.wait_max[i] = drawn.max()
    all_waits = np.concatenate(waits)
    requests = int(series.arrivals.sum())
    seconds = float((series.ready + series.starting).sum()) * step
    spreads = Spread(), Spread(), Spread()
    spreads[0].add(all_waits)
    spreads[1].add(all_waits + rng.lognormal(-0.2, 0.6, len(all_waits)))
    spreads[2].add(np.concatenate(colds))
    totals = Totals(
        requests=requests,
        answered=max(0, requests - refused - 4),
        refused=Counter({"queue-full": refused} if refused else {}),
        abandoned=min(4, requests),
        tries=requests + refused,
        cold=cold_count,
        activations=int(((series.desired[1:] > 0) & (series.desired[:-1] == 0)).sum()),
        starts=int(np.clip(np.diff(series.desired), 0, None).sum()),
        replica_seconds=seconds,
        ready_seconds=float(series.ready.sum()) * step,
        busy_seconds=0.8 * float(np.minimum(series.active, series.ready).sum()) * step,
        slot_seconds=float(series.active.sum()) * step,
        peak_replicas=int((series.ready + series.starting).max()),
    )
    return Result(
        label=label,
        trace=trace,
        seed=seed,
        duration=steps * step,
        totals=totals,
        waits=spreads[0],
        latencies=spreads[1],
        cold_waits=spreads[2],
        series=series,
        money=Money(dollars=seconds / 3600 * 2.5, gpu_hours=seconds / 3600),
        models=_shared(totals, models, rng),
        settings={"scale-to-zero-grace-period": f"{keep:g}s", "min-scale": str(floor)},
        assumptions=[
            "service: from the trace's tokens, 0.02 ms per prompt token, 30 ms per output token",
            f"cold start: constant({cold:g}s), of which image 60 %",
            "a replica costs $2.50 per hour, from its start's begin to its end",
        ],
        decisions=int(steps * step / 2),
        wall_seconds=0.31,
        began=began,
    )


def _shared(totals: Totals, models: int, rng: np.random.Generator) -> dict[ModelKey, Totals]:
    """The totals split among models, some of which take most."""
    weights = rng.pareto(1.2, models) + 0.01
    weights /= weights.sum()
    return {
        ModelKey("default" if n % 3 else "team-a", f"model-{n:03}"): Totals(
            requests=int(totals.requests * w),
            answered=int(totals.answered * w),
            cold=int(totals.cold * w),
            activations=1 + n % 4,
            replica_seconds=totals.replica_seconds * w,
            ready_seconds=totals.ready_seconds * w,
            busy_seconds=totals.busy_seconds * w,
            peak_replicas=1 + int(5 * w),
        )
        for n, w in enumerate(weights.tolist())
    }


def several(count: int = 4, models: int = 1, steps: int = 720) -> list[Result]:
    """Runs that differ as policies do: kept longer costs more and waits less."""
    policies: list[tuple[str, float, int, float]] = [
        ("scale to zero, 60 s", 60, 0, 18),
        ("scale to zero, 10 min", 600, 0, 18),
        ("always one", 60, 1, 18),
        ("always-on, four replicas", 60, 4, 5),
        *((f"tuned, candidate {n}", 40.0 + 45 * n, 0, 8 + n) for n in range(5, 31)),
    ]
    return [
        result(label, seed=n, keep=keep, floor=floor, cold=cold, models=models, steps=steps)
        for n, (label, keep, floor, cold) in enumerate(policies[:count], 1)
    ]
