"""Runs compared by one figure each, and by two: bars, and cost against waiting. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from xml.etree.ElementTree import Element

from simulations.report import numbers
from simulations.report.chart import grid, swatch
from simulations.report.dom import tag
from simulations.report.naming import Named
from simulations.report.rows import per_thousand
from simulations.report.ticks import Tick, upward, upward_seconds
from simulations.result import Result

ROW = 38
SHOWN = 26
"""Characters of a label that fit beside its value on a phone."""


def bars(
    name: str,
    heading: str,
    runs: Sequence[Named],
    value: Callable[[Result], float],
    text: Callable[[float], str],
) -> Element | None:
    """A bar for each run, from 0; None where all are 0 or unknown."""
    values = [value(run.result) for run in runs]
    most = max((v for v in values if isfinite(v)), default=0.0)
    if not most:
        return None
    shapes: list[Element] = []
    for place, (run, one) in enumerate(zip(runs, values, strict=True)):
        top = place * ROW
        shapes += _row(run, text(one), top)
        if isfinite(one):
            width = f"{100 * one / most:.2f}%"
            shapes.append(tag("rect", x="0", y=top + 19, width=width, height="11", class_=run.look))
    words = "; ".join(f"{run.title}: {text(v)}" for run, v in zip(runs, values, strict=True))
    return _figure(name, heading, words, ROW * len(runs), shapes, "bars")


def _row(run: Named, text: str, top: int) -> list[Element]:
    """A label, its value at the right, and below them where the bar goes."""
    return [
        tag("text", numbers.shortened(run.title, SHOWN), x="0", y=top + 13),
        tag("text", text, x="100%", y=top + 13, text_anchor="end", class_="value"),
        tag("rect", x="0", y=top + 19, width="100%", height="11", class_="track"),
    ]


PARTS = ("busy", "ready, with nothing to do", "starting or ending")


def usage(runs: Sequence[Named]) -> Element | None:
    """What the replica-hours of each run went into; None where there are none."""
    most = max(run.result.totals.replica_seconds for run in runs)
    if not most:
        return None
    shapes: list[Element] = []
    words = []
    for place, run in enumerate(runs):
        top = place * ROW
        t = run.result.totals
        parts = (
            t.busy_seconds,
            t.ready_seconds - t.busy_seconds,
            t.replica_seconds - t.ready_seconds,
        )
        shapes += _row(run, numbers.hours(t.replica_seconds), top)
        begin = 0.0
        for n, part in enumerate(parts):
            width = 100 * max(0.0, part) / most
            at, wide = f"{begin:.2f}%", f"{width:.2f}%"
            shapes.append(
                tag("rect", x=at, y=top + 19, width=wide, height="11", class_=f"part-{n}")
            )
            begin += width
        told = ", ".join(f"{numbers.hours(s)} {name}" for s, name in zip(parts, PARTS, strict=True))
        words.append(f"{run.title}: {told}")
    figure = _figure("usage", "Replica-hours", "; ".join(words), ROW * len(runs), shapes, "bars")
    figure.append(
        tag(
            "ul",
            *(
                tag("li", swatch(f"part-{n}", filled=True), tag("span", name, class_="name"))
                for n, name in enumerate(PARTS)
            ),
            class_="keys",
        )
    )
    return figure


def trade(runs: Sequence[Named]) -> Element | None:
    """Each run's p99 wait against its dollars per 1,000 answered: down and left is better.

    None unless two runs have both.
    """
    places = [
        (run, cost, run.result.waits.percentile(99))
        for run in runs
        if isfinite(cost := per_thousand(run.result)) and run.result.waits.count
    ]
    if len(places) < 2:
        return None
    right, across = upward(max(cost for _, cost, _ in places), 4)
    top, up = upward_seconds(max(wait for _, _, wait in places), 4)
    marks: list[Element] = [
        grid([Tick(t.place, f"${t.text}") for t in across], up),
    ]
    for run, cost, wait in places:
        x, y = f"{100 * cost / right:.2f}%", f"{100 * (1 - wait / top):.2f}%"
        marks.append(
            tag(
                "g",
                tag("title", run.title),
                tag("circle", cx=x, cy=y, r="9", class_=f"dot {run.look}"),
                tag("text", str(run.number), x=x, y=y, dy="0.35em", text_anchor="middle"),
                class_="mark",
            )
        )
    words = "; ".join(
        f"{run.title}: {numbers.dollars(cost)} per 1,000, p99 wait {numbers.seconds(wait)}"
        for run, cost, wait in places
    )
    figure = _figure("trade", "Cost against waiting", words, None, marks, "trade")
    axes = "up: p99 wait; across: $ per 1,000 answered; lower left is better"
    figure.append(tag("div", tag("p", axes, class_="axis"), class_="legend"))
    return figure


def _figure(
    name: str, heading: str, words: str, height: int | None, shapes: list[Element], look: str
) -> Element:
    title, described = f"{name}-t", f"{name}-d"
    picture = tag(
        "svg",
        tag("title", heading, id=title),
        tag("desc", words, id=described),
        *shapes,
        class_=look,
        role="img",
        aria_labelledby=f"{title} {described}",
        width="100%",
        height="100%" if height is None else str(height),
    )
    frame = tag("div", picture, class_="frame" if height is None else "rows")
    return tag("figure", tag("figcaption", tag("b", heading)), frame)
