"""Where an axis has its marks, and what stands at them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import NamedTuple

from simulations.report.numbers import compact, count

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 3, 7, 14, 30, 90, 365, 1825)),
)

_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))


class Tick(NamedTuple):
    """``place``: the share of the axis' length before it, 0 to 1."""

    place: float
    text: str


class Axis(NamedTuple):
    """``title``: what is measured, with its unit."""

    title: str
    ticks: tuple[Tick, ...]


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that divides ``span`` (> 0) into at most ``most`` parts."""
    rough = span / most
    size: float = 10 ** floor(log10(rough))
    # A rounding error must not cost a whole step: 0.3 / 3 is a little above 0.1.
    return next((n * size for n in (1, 2, 5) if n * size >= rough * (1 - 1e-9)), 10 * size)


def upward(highest: float, most: int = 4, *, whole: bool = False) -> tuple[float, tuple[Tick, ...]]:
    """An axis from 0: the value at its end, at or above ``highest``, and at most
    ``most`` + 1 marks. ``whole``: never a mark between whole numbers.
    """
    step = nice_step(highest, most) if highest > 0 else 1.0
    if whole:
        step = max(1.0, step)
    steps = max(1, ceil(highest / step * (1 - 1e-9)))
    return step * steps, tuple(Tick(n / steps, compact(n * step)) for n in range(steps + 1))


def upward_seconds(highest: float, most: int = 4) -> tuple[float, tuple[Tick, ...]]:
    """The same for seconds, with the unit that suits at each mark."""
    unit, size = next((u for u in _UNITS if highest >= 2 * u[1]), _UNITS[-1])
    end, ticks = upward(highest / size, most)
    return end * size, tuple(Tick(t.place, f"{t.text} {unit}") for t in ticks)


def over_time(duration: float, began: float | None, most: int = 6) -> Axis:
    """An axis of ``duration`` seconds (> 0): by the clock (UTC) where ``began`` is known,
    else from 0 in the unit that suits.
    """
    if duration < 5:
        return Axis("milliseconds", _plain(duration, 1e-3, nice_step(duration, most)))
    step = next((s for s in _STEPS if duration / s <= most), _STEPS[-1])
    if began is not None:
        return _by_the_clock(duration, began, step)
    for unit, size in (("days", _DAY), ("hours", _HOUR), ("minutes", _MINUTE)):
        if duration >= 2 * size and step >= size / 10:
            return Axis(unit, _plain(duration, size, step))
    return Axis("seconds", _plain(duration, 1, step))


def _plain(duration: float, unit: float, step: float) -> tuple[Tick, ...]:
    marks = range(floor(duration / step * (1 + 1e-9)) + 1)
    return tuple(Tick(n * step / duration, count(round(n * step / unit, 6))) for n in marks)


def _by_the_clock(duration: float, began: float, step: float) -> Axis:
    first = ceil(began / step) * step
    marks = [first + n * step for n in range(floor((began + duration - first) / step) + 1)]
    moments = [datetime.fromtimestamp(mark, UTC) for mark in marks]
    start = datetime.fromtimestamp(began, UTC)
    texts = []
    day = start.date()
    for place, moment in enumerate(moments):
        if step >= _DAY or moment.date() != day or (place == 0 and duration > _DAY):
            texts.append(f"{moment.day} {moment:%b}")
        else:
            texts.append(f"{moment:%H:%M:%S}" if step < _MINUTE else f"{moment:%H:%M}")
        day = moment.date()
    title = f"UTC, from {start.day} {start:%b %Y %H:%M}"
    places = [(mark - began) / duration for mark in marks]
    return Axis(title, tuple(Tick(p, t) for p, t in zip(places, texts, strict=True)))


class Decades(NamedTuple):
    """A logarithmic axis of seconds from ``low`` to ``high``, both powers of ten."""

    low: float
    high: float
    axis: Axis

    def place(self, value: float) -> float:
        """Where ``value`` is, 0 to 1; what is outside is at the end it is beyond."""
        span = log10(self.high / self.low)
        return min(1.0, max(0.0, log10(max(value, self.low) / self.low) / span))


def decades(low: float, high: float) -> Decades:
    """From the power of ten at or below ``low`` to the one at or above ``high`` (both > 0)."""
    first = floor(log10(low) + 1e-9)
    last = max(ceil(log10(high) - 1e-9), first + 1)
    every = ceil((last - first) / 6)
    marks = range(first, last + 1, every)
    ticks = tuple(Tick((n - first) / (last - first), _decade(10.0**n)) for n in marks)
    return Decades(10.0**first, 10.0**last, Axis("logarithmic", ticks))


def _decade(value: float) -> str:
    """Without minutes and hours, which are no powers of ten apart."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size * (1 - 1e-9):
            return f"{compact(round(value / size))} {unit}"
    return f"{compact(round(value / 1e-6, 3))} µs"


def nines(share: float, most: int) -> float:
    """Where a share is on an axis on which each tenth of what is missing to 1 is one step up:
    90 % at 1 / ``most``, 99 % at 2 / ``most``, and so on; 0 to 1.

    On a plain axis the slowest 1 % of requests, which is what people are promised things
    about, would have a hundredth of the height.
    """
    return 1.0 if share >= 1 else min(1.0, max(0.0, -log10(1 - share) / most))


def nine_ticks(most: int) -> tuple[Tick, ...]:
    """0 %, 50 %, 90 %, 99 %, 99.9 % ..."""
    texts = ["90 %", "99 %", *(f"99.{'9' * n} %" for n in range(1, most - 1))]
    return (
        Tick(0.0, "0 %"),
        Tick(nines(0.5, most), "50 %"),
        *(Tick((n + 1) / most, text) for n, text in enumerate(texts[:most])),
    )
