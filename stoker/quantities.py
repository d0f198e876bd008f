"""Durations (``1m30s``) and sizes (``64Ki``): text to numbers and back, strictly.

Durations follow Go's grammar, as Knative's settings do, with units from large to small and
none twice. Sizes follow Kubernetes' suffixes. Both raise ValueError with a message fit for
the person who wrote the text.
"""

from __future__ import annotations

import re

_NANOS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_UNIT_ORDER = list(_NANOS)
_DURATION_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(ms|us|ns|h|m|s)")

_SIZE_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_SIZE = re.compile(r"([0-9]+)([A-Za-z]*)")
_MAX_DIGITS = 18  # beyond this no duration or size is meant; also keeps int() cheap


def parse_duration(text: str) -> float:
    """Seconds in ``text``: ``90s``, ``1m30s``, ``250ms``, ``1.5h``; ``0`` needs no unit.

    Raises ValueError: no or unknown unit, a sign, spaces, units not from large to small.
    """
    if text == "0":
        return 0.0
    if re.fullmatch(r"[0-9.]+", text):
        raise ValueError(f"has no unit; seconds are written {text}s")
    nanos, position, last_unit = 0, 0, -1
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise ValueError("is not a duration")
        whole, fraction, unit = part[1], part[2] or "", part[3]
        if len(whole) + len(fraction) > _MAX_DIGITS:
            raise ValueError("has too many digits")
        order = _UNIT_ORDER.index(unit)
        if order <= last_unit:
            raise ValueError("has units that do not go from large to small")
        scaled = int(whole + fraction) * _NANOS[unit]
        divisor = 10 ** len(fraction)
        if scaled % divisor:
            raise ValueError("is finer than a nanosecond")
        nanos += scaled // divisor
        position, last_unit = part.end(), order
    if not text:
        raise ValueError("is not a duration")
    return nanos / 1e9


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` reads back as ``seconds`` (0 or more)."""
    nanos = round(seconds * 1e9)
    parts = []
    for unit, size in _NANOS.items():
        count, nanos = divmod(nanos, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes in ``text``: ``512``, ``64Ki``, ``100M``, ``1Gi``.

    Raises ValueError: fractions, signs, spaces, unknown suffixes such as ``KB``.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("is not a size")
    number, suffix = match[1], match[2]
    if suffix not in _SIZE_UNITS:
        raise ValueError(f"has an unknown suffix {suffix}")
    if len(number) > _MAX_DIGITS:
        raise ValueError("has too many digits")
    return int(number) * _SIZE_UNITS[suffix]


def format_size(size: int) -> str:
    """The shortest exact text that ``parse_size`` reads back as ``size`` (0 or more)."""
    if size == 0:
        return "0"
    exact = [f"{size // unit}{name}" for name, unit in _SIZE_UNITS.items() if size % unit == 0]
    return min(exact, key=len)
