"""How waits and latencies are spread: all runs in one plot. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log10
from xml.etree.ElementTree import Element

from simulations.report import numbers
from simulations.report.chart import HEIGHT, Line, Plot, drawn
from simulations.report.naming import Named
from simulations.report.ticks import Axis, Decades, Tick, decades, nine_ticks, nines
from simulations.result import Result, Spread

SHORTEST = 1e-3
"""Seconds at which the plots begin: nobody waits for less."""


def spread_plot(
    name: str, heading: str, runs: Sequence[Named], of: Callable[[Result], Spread]
) -> Element | None:
    """Which share of requests took no longer than so many seconds; None where nobody waited.
    Runs in which nobody did are left out.
    """
    runs = [run for run in runs if of(run.result).longest]
    if not runs:
        return None
    spreads = [of(run.result) for run in runs]
    longest = max(spread.longest for spread in spreads)
    lowest = min(float(seconds) for s in spreads for seconds, _ in [_first(s)] if seconds)
    scale = decades(max(SHORTEST, min(lowest, longest)), max(longest, 2 * SHORTEST))
    most = max(2, min(5, ceil(log10(max(spread.count for spread in spreads)))))
    first = Tick(0.0, f"≤ {scale.axis.ticks[0].text}")
    title = "logarithmic; each line up, ten times fewer requests take longer"
    return drawn(
        Plot(
            name,
            heading,
            f"{heading}: the share of answered requests within a time. " + _in_words(runs, spreads),
            [_line(run, spread, scale, most) for run, spread in zip(runs, spreads, strict=True)],
            [],
            Axis(title, (first, *scale.axis.ticks[1:])),
            nine_ticks(most),
            "log",
            "share",
            (scale.low, scale.high),
        )
    )


def _first(spread: Spread) -> tuple[float, float]:
    """The shortest value that is not 0, and the share up to it."""
    seconds, shares = spread.curve()
    pairs = [(float(s), float(q)) for s, q in zip(seconds, shares, strict=True) if s > 0]
    return pairs[0] if pairs else (0.0, 0.0)


def _line(run: Named, spread: Spread, scale: Decades, most: int) -> Line:
    """Without the points that would not be seen."""
    xs, heights, values = [0.0], [0.0], [0.0]
    for seconds, share in zip(*(column.tolist() for column in spread.curve()), strict=True):
        x, height = scale.place(seconds), nines(share, most)
        if x == xs[-1]:
            heights[-1], values[-1] = height, share
        elif abs(height - heights[-1]) * HEIGHT >= 2 or share == 1:
            xs.append(x)
            heights.append(height)
            values.append(share)
    return Line(run.title, run.look, heights, values, xs)


def _in_words(runs: Sequence[Named], spreads: Sequence[Spread]) -> str:
    return " ".join(
        f"{run.title}: half within {numbers.seconds(spread.percentile(50))}, 99 % within "
        f"{numbers.seconds(spread.percentile(99))}, the longest {numbers.seconds(spread.longest)}."
        for run, spread in zip(runs, spreads, strict=True)
    )
