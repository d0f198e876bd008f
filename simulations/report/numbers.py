"""Numbers as people read them: units, thousands, no more digits than mean something. Pure."""

from __future__ import annotations

from math import isfinite, log10

NOTHING = "–"
"""Stands where there is no value: a percentile of nothing, dollars per no request."""


def printable(text: str) -> str:
    """``text`` without what could move a cursor, reorder a line or break a page.

    Control characters, lone surrogates and marks of writing direction become ``\\x1b`` and
    the like; what is printed of a name is then all there is to it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, length: int) -> str:
    """``text`` in at most ``length`` characters; its middle goes first, for names of runs
    tend to differ at their ends.
    """
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _digits(value: float, significant: int) -> str:
    """Thousands apart, with so many digits that count, integers in full."""
    if not value:
        return "0"
    places = max(0, significant - 1 - int(log10(abs(value)) // 1))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    """``1,234,567``; averages below 100 keep three digits: ``2.35``."""
    if not isfinite(value):
        return NOTHING
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else _digits(value, 3)


def compact(value: float) -> str:
    """For an axis: ``950``, ``12k``, ``1.5M``; the exact number where it is short."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{_digits(value / (1e3 if suffix == 'k' else size), 3)}{suffix}"
    return count(value)


def seconds(value: float) -> str:
    """``0 s``, ``340 µs``, ``12.3 ms``, ``4.56 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if not isfinite(value):
        return NOTHING
    for below, unit, size in ((0.9995e-3, "µs", 1e-6), (0.9995, "ms", 1e-3), (59.95, "s", 1.0)):
        if value < below:
            return f"{_digits(value / size, 3)} {unit}" if value else "0 s"
    for size, unit, part, smaller in ((60, "min", 1, "s"), (3600, "h", 60, "min")):
        whole, rest = divmod(round(value / part), size // part)
        if value < size * (60 if unit == "min" else 24) - part / 2:
            return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
    whole, rest = divmod(round(value / 3600), 24)
    return f"{whole:,} d {rest} h" if rest else f"{whole:,} d"


def hours(value: float) -> str:
    """From seconds: ``0.42 h``, ``1,234 h``."""
    return f"{_digits(value / 3600, 3)} h" if isfinite(value) else NOTHING


def dollars(value: float) -> str:
    """``$0.00123``, ``$4.56``, ``$1,235``: cents up to a hundred dollars, three digits below."""
    if not isfinite(value):
        return NOTHING
    if value >= 1:
        return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
    return f"${_digits(value, 3)}"


def percent(share: float) -> str:
    """From a share: ``0 %``, ``0.042 %``, ``12.3 %``, ``99.95 %``."""
    if not isfinite(share):
        return NOTHING
    # Near one, what is missing to it is what counts.
    distance = 1 - share
    if 0.5 < share < 1:
        places = max(1, 1 - int(log10(distance * 100) // 1)) if distance >= 1e-9 else 1
        return f"{100 * share:.{min(places, 6)}f}".rstrip("0").rstrip(".") + " %"
    return f"{_digits(100 * share, 3)} %"
