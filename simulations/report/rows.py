"""What is compared of runs: one row per figure, for the terminal and the page alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from math import isfinite, nan

from simulations.report import numbers
from simulations.report.numbers import printable
from simulations.result import Result, Spread

Value = Callable[[Result], float]

PERCENTS = (50.0, 95.0, 99.0)


class Better(Enum):
    """Which of several runs a row speaks for."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Row:
    """``text`` writes its value, which is NaN where a run has none. Values that differ by no
    more than the share ``tolerance`` are equally good.
    """

    name: str
    value: Value
    text: Callable[[float], str]
    better: Better = Better.LOWER
    tolerance: float = 0.0

    def best(self, results: Sequence[Result]) -> set[int]:
        """Places of the best; none where there is nothing to choose between."""
        values = [self.value(result) for result in results]
        usable = [value for value in values if isfinite(value)]
        if self.better is Better.NEITHER or len(usable) < 2:
            return set()
        aim = min(usable) if self.better is Better.LOWER else max(usable)
        slack = abs(aim) * self.tolerance
        best = {n for n, v in enumerate(values) if isfinite(v) and abs(v - aim) <= slack}
        return best if len(best) < len(usable) else set()


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rows: tuple[Row, ...]


def groups(results: Sequence[Result]) -> tuple[Group, ...]:
    """All rows for these runs; reasons of refusals that occurred, and
    node-hours where there were nodes.
    """
    reasons = sorted({reason for result in results for reason in result.totals.refused})
    node_hours = Row("node-hours", lambda r: r.totals.node_seconds, numbers.hours)
    nodes = (node_hours,) if any(r.totals.node_seconds for r in results) else ()
    return (
        Group(
            "Requests",
            (
                Row("requests", lambda r: r.totals.requests, numbers.count, Better.NEITHER),
                Row("answered", lambda r: r.totals.answered, numbers.count, Better.HIGHER),
                Row("refused", lambda r: r.totals.refusals, numbers.count),
                *(_refused(reason) for reason in reasons),
                Row("abandoned", lambda r: r.totals.abandoned, numbers.count),
                Row("unfinished", lambda r: r.totals.unfinished, numbers.count, Better.NEITHER),
                Row("cold starts", lambda r: r.totals.cold, numbers.count),
                Row("cold share", cold_share, numbers.percent),
            ),
        ),
        Group("Wait for a slot", tuple(_spread("wait", lambda r: r.waits))),
        Group(
            "Wait of cold starts",
            tuple(_spread("cold wait", lambda r: r.cold_waits, Better.NEITHER)),
        ),
        Group("Latency, waiting included", tuple(_spread("latency", lambda r: r.latencies))),
        Group(
            "Replicas",
            (
                Row("replica-hours", lambda r: r.totals.replica_seconds, numbers.hours),
                *nodes,
                Row("utilisation", utilisation, numbers.percent, Better.HIGHER),
                Row(
                    "peak replicas", lambda r: r.totals.peak_replicas, numbers.count, Better.NEITHER
                ),
                Row("starts", lambda r: r.totals.starts, numbers.count),
                Row("crashes", lambda r: r.totals.crashes, numbers.count, Better.NEITHER),
            ),
        ),
        Group(
            "Cost",
            (
                Row("dollars", lambda r: r.money.dollars, numbers.dollars),
                Row("$ per 1,000 answered", per_thousand, numbers.dollars),
                Row("GPU-hours", lambda r: 3600 * r.money.gpu_hours, numbers.hours),
            ),
        ),
        Group(
            "Run",
            (
                Row("simulated time", lambda r: r.duration, numbers.seconds, Better.NEITHER),
                Row("decisions", lambda r: r.decisions, numbers.count, Better.NEITHER),
                Row("wall time", lambda r: r.wall_seconds, numbers.seconds, Better.NEITHER),
            ),
        ),
    )


def _refused(reason: str) -> Row:
    return Row(f"  {printable(reason)}", lambda r: r.totals.refused.get(reason, 0), numbers.count)


def _spread(name: str, of: Callable[[Result], Spread], better: Better = Better.LOWER) -> list[Row]:
    """Two percentiles that are each within 0.25 % may be the same. For cold starts none is
    best: who has fewer of them has other ones.
    """
    rows = [
        Row(
            f"{name} p{percent:g}",
            partial(percentile, of, percent),
            numbers.seconds,
            better,
            0.005,
        )
        for percent in PERCENTS
    ]
    return [*rows, Row(f"{name} max", partial(_longest, of), numbers.seconds, better)]


def percentile(of: Callable[[Result], Spread], percent: float, result: Result) -> float:
    """NaN without values."""
    spread = of(result)
    return spread.percentile(percent) if spread.count else nan


def _longest(of: Callable[[Result], Spread], result: Result) -> float:
    spread = of(result)
    return spread.longest if spread.count else nan


def cold_share(result: Result) -> float:
    """Of answered requests; NaN without any."""
    return result.totals.cold_share if result.totals.answered else nan


def utilisation(result: Result) -> float:
    """Of ready replicas' time; NaN without any."""
    return result.totals.utilisation if result.totals.ready_seconds else nan


def per_thousand(result: Result) -> float:
    """Dollars per 1,000 answered requests; NaN without any."""
    return result.dollars_per_thousand if result.totals.answered else nan
