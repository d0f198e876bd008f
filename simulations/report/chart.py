"""One plot: axes, lines that are steps, what they mean. Pure.

A plot has no width of its own: texts and grid lines are placed by percent and keep their
size, and only the lines are stretched, in an inner ``svg`` of ``WIDTH`` × ``HEIGHT`` units.
So one drawing is readable on a phone and fills a wide screen. Everything is there without
the script; it only adds values under the pointer, from ``data-x`` (where each step begins)
and ``data-v`` (its values).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from simulations.report.dom import tag
from simulations.report.ticks import Axis, Tick

WIDTH, HEIGHT = 2000, 1000


@dataclass(frozen=True, slots=True)
class Line:
    """``look``: its class in style.css. ``heights``: 0 to 1, one a step; ``values``: what it
    says there, where that differs (a stack). ``xs``: where its own steps begin, 0 to 1, if
    they are not the plot's; the last of them is then where the line ends.
    """

    name: str
    look: str
    heights: Sequence[float]
    values: Sequence[float]
    xs: Sequence[float] | None = None
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """``kind``: how x is read (``time``, ``log``); ``unit``: how values are (``count``, ``s``,
    ``share``). ``span``: what x covers, for the script: two numbers.
    """

    name: str
    heading: str
    description: str
    lines: Sequence[Line]
    xs: Sequence[float]
    x: Axis
    y: Sequence[Tick]
    kind: str
    unit: str
    span: tuple[float, float | None]
    guides: Sequence[Tick] = field(default=())


def drawn(plot: Plot) -> Element:
    """The figure."""
    heading, described = f"{plot.name}-t", f"{plot.name}-d"
    # The last filled one first: it is stacked on those before it, which hide what is below.
    # Lines come after all of these.
    order = sorted(enumerate(plot.lines), key=lambda p: (not p[1].filled, -p[0]))
    data = tag(
        "svg",
        *(_path(line, plot.xs, place) for place, line in order),
        class_="data",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
    )
    picture = tag(
        "svg",
        tag("title", plot.heading, id=heading),
        tag("desc", plot.description, id=described),
        grid(plot.x.ticks, plot.y),
        data,
        tag("line", class_="cursor", x1="0", x2="0", y1="0", y2="100%"),
        class_="plot",
        role="img",
        aria_labelledby=f"{heading} {described}",
        width="100%",
        height="100%",
        data_x=_numbers(plot.xs),
    )
    begin, end = plot.span
    return tag(
        "figure",
        tag("figcaption", tag("b", plot.heading), tag("span", class_="at")),
        tag("div", picture, class_="frame"),
        tag("div", keys(plot.lines), tag("p", plot.x.title, class_="axis"), class_="legend"),
        data_kind=plot.kind,
        data_unit=plot.unit,
        data_from=repr(begin),
        data_to=None if end is None else repr(end),
    )


def grid(x: Iterable[Tick], y: Iterable[Tick]) -> Element:
    """Lines across at each mark of y, short ones at each mark of x, and their texts."""
    marks = []
    for tick in y:
        at = f"{100 * (1 - tick.place):.2f}%"
        marks.append(tag("line", x1="0", x2="100%", y1=at, y2=at))
        marks.append(tag("text", tick.text, x="0", y=at, dx="-6", dy="0.32em", text_anchor="end"))
    for tick in x:
        at = f"{100 * tick.place:.2f}%"
        marks.append(tag("line", x1=at, x2=at, y1="100%", y2="0", class_="up"))
        marks.append(tag("text", tick.text, x=at, y="100%", dy="1.35em", text_anchor="middle"))
    return tag("g", *marks, class_="grid", aria_hidden="true")


def keys(lines: Sequence[Line]) -> Element:
    """What each line means, with room for its value under the pointer."""
    return tag(
        "ul",
        *(
            tag(
                "li",
                swatch(line.look, filled=line.filled),
                tag("span", line.name, class_="name"),
                tag("output"),
            )
            for line in lines
        ),
        class_="keys",
    )


def swatch(look: str, *, filled: bool = False) -> Element:
    """A piece of a line, as it looks in the plot."""
    shape = (
        tag("path", d="M0 2H26V12H0Z", class_=f"{look} fill")
        if filled
        else tag("path", d="M0 7H26", class_=look)
    )
    return tag("svg", shape, class_="swatch", width="26", height="14", aria_hidden="true")


def _path(line: Line, xs: Sequence[float], key: int) -> Element:
    look = f"{line.look} fill" if line.filled else line.look
    return tag(
        "path",
        d=steps(xs, line.heights, filled=line.filled)
        if line.xs is None
        else steps(line.xs, line.heights, end=line.xs[-1]),
        class_=look,
        data_key=str(key),
        data_x=None if line.xs is None else _numbers(line.xs),
        data_v=",".join(f"{value:.4g}" for value in line.values),
    )


def steps(
    xs: Sequence[float], heights: Sequence[float], *, filled: bool = False, end: float = 1.0
) -> str:
    """The outline: ``heights[i]`` from ``xs[i]`` on, the last until ``end``.

    In whole units, and without corners that would not be seen.
    """
    parts: list[str] = []
    last = -1
    for x, height in zip(xs, heights, strict=True):
        y = round(HEIGHT * (1 - height))
        if not parts:
            parts.append(
                f"M{round(WIDTH * x)} {HEIGHT}V{y}" if filled else f"M{round(WIDTH * x)} {y}"
            )
        elif y != last:
            parts.append(f"H{round(WIDTH * x)}V{y}")
        last = y
    if parts:
        right = round(WIDTH * end)
        parts.append(f"H{right}V{HEIGHT}Z" if filled else f"H{right}")
    return "".join(parts)


def _numbers(xs: Sequence[float]) -> str:
    """In ten thousandths, each less the one before: short, and finer than a pixel."""
    places = [round(10_000 * x) for x in xs]
    return ",".join(str(b - a) for a, b in zip([0, *places], places, strict=False))
