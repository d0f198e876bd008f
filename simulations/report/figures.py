"""The figures over time: a plot per run, all on the same axes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from simulations.report import numbers
from simulations.report.chart import Line, Plot, drawn
from simulations.report.naming import Named
from simulations.report.thinning import kept, summed
from simulations.report.ticks import Tick, over_time, upward, upward_seconds
from simulations.result import Series

Floats = NDArray[np.float64]

BARS = 160


class Curve(NamedTuple):
    """One column of a series. ``top``: what it is drawn at, where that is not its value."""

    name: str
    look: str
    values: Callable[[Series], Floats]
    top: Callable[[Series], Floats] | None = None
    filled: bool = False


class Figure(NamedTuple):
    """``counts``: values per step are summed where steps are joined."""

    name: str
    title: str
    about: str
    curves: tuple[Curve, ...]
    unit: str = "count"
    counts: bool = False


FIGURES = (
    Figure(
        "arrivals",
        "Arrivals",
        "Requests that came.",
        (Curve("arrivals", "arrivals", lambda s: s.arrivals, filled=True),),
        counts=True,
    ),
    Figure(
        "replicas",
        "Replicas",
        "Ready, on top of them starting, and how many were wanted; averages per step.",
        (
            Curve("ready", "ready", lambda s: s.ready, filled=True),
            Curve(
                "starting", "starting", lambda s: s.starting, lambda s: s.ready + s.starting, True
            ),
            Curve("desired", "desired", lambda s: s.desired),
        ),
    ),
    Figure(
        "concurrency",
        "Concurrency and queue",
        "Requests in replicas, on top of them those that wait for a slot; averages per step.",
        (
            Curve("active", "active", lambda s: s.active, filled=True),
            Curve("queued", "queued", lambda s: s.queued, lambda s: s.active + s.queued, True),
        ),
    ),
    Figure(
        "waits",
        "Longest wait",
        "The longest wait of a request that got its slot at that time.",
        (Curve("longest wait", "wait", lambda s: s.wait_max, filled=True),),
        "s",
    ),
    Figure(
        "cold",
        "Cold starts",
        "Requests that came while no replica was ready.",
        (Curve("cold starts", "cold", lambda s: s.cold, filled=True),),
        counts=True,
    ),
    Figure(
        "refused",
        "Refusals",
        "Requests that were refused, whatever the reason.",
        (Curve("refused", "refused", lambda s: s.refused, filled=True),),
        counts=True,
    ),
)


def over_runs(figure: Figure, runs: Sequence[Named]) -> list[Element]:
    """A plot for each run; a single one where all are the same (the arrivals of one trace);
    none where nothing happened in any.
    """
    shown = [_columns(figure, run.result.series) for run in runs]
    common = "" if len(runs) > 1 else figure.title
    if len(runs) > 1 and all(_same(shown[0], other) for other in shown[1:]):
        runs, shown = runs[:1], shown[:1]
        common = "The same in all runs"
    highest = max((float(top.max()) for one in shown for top in one.tops if len(top)), default=0.0)
    if not highest:
        return []
    duration = max(run.result.duration for run in runs) or 1.0
    end, ticks = upward_seconds(highest) if figure.unit == "s" else upward(highest, whole=True)
    most = max(120, min(600, 1800 // len(runs)))
    return [
        _plot(figure, common or run.title, run, one, end, ticks, duration, most)
        for run, one in zip(runs, shown, strict=True)
    ]


class _Columns(NamedTuple):
    step: float
    values: list[Floats]
    tops: list[Floats]


def _same(one: _Columns, other: _Columns) -> bool:
    pairs = zip(one.values, other.values, strict=True)
    return one.step == other.step and all(np.array_equal(a, b) for a, b in pairs)


def _columns(figure: Figure, series: Series) -> _Columns:
    values = [curve.values(series) for curve in figure.curves]
    if figure.counts:
        values = [summed(column, BARS) for column in values]
        width = -(-len(series) // BARS) if len(series) else 1
        return _Columns(series.step * width, values, values)
    tops = [(curve.top or curve.values)(series) for curve in figure.curves]
    return _Columns(series.step, values, tops)


def _plot(
    figure: Figure,
    heading: str,
    run: Named,
    columns: _Columns,
    end: float,
    ticks: Sequence[Tick],
    duration: float,
    most: int,
) -> Element:
    # The same steps for all lines: each is right at the peaks of the others too.
    places = np.unique(np.concatenate([kept(top, most) for top in columns.tops]))
    xs = np.minimum(places * columns.step / duration, 1.0).tolist()
    lines = [
        Line(
            curve.name,
            curve.look,
            (top[places] / end).tolist(),
            values[places].tolist(),
            filled=curve.filled,
        )
        for curve, values, top in zip(figure.curves, columns.values, columns.tops, strict=True)
    ]
    return drawn(
        Plot(
            f"{figure.name}-{run.number}",
            heading,
            f"{figure.title}. {figure.about} {_in_words(figure, columns)}",
            lines,
            xs,
            over_time(duration, run.result.began),
            ticks,
            "time",
            figure.unit,
            (duration, run.result.began),
        )
    )


def _in_words(figure: Figure, columns: _Columns) -> str:
    """For those who do not see the picture."""
    write = numbers.seconds if figure.unit == "s" else numbers.count
    parts = []
    for curve, values in zip(figure.curves, columns.values, strict=True):
        if len(values) and values.any():
            at = numbers.seconds(float(values.argmax()) * columns.step)
            parts.append(
                f"{curve.name}: at most {write(float(values.max()))}, {at} after the begin"
            )
        else:
            parts.append(f"{curve.name}: 0 throughout")
    return "; ".join(parts) + "."
