"""Lines that are JSON objects, and the numbers in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from simulations.traces.building import Reading
from simulations.traces.faults import shortened
from simulations.traces.opening import Part
from simulations.traces.table import LARGEST_COUNT, MOST_ARRIVALS
from stoker.errors import TraceError

Row = TypeVar("Row")


class Rows(Generic[Row]):
    """Gathers what ``parse`` makes of each line; None is an arrival that is not wanted.

    ``parse`` raises ValueError on an object it cannot use.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], Row | None], reading: Reading) -> None:
        self._parse = parse
        self._faults = reading.faults
        self._limit = MOST_ARRIVALS if reading.options.limit is None else reading.options.limit
        self._bounded = reading.options.limit is not None
        self.found: list[Row] = []

    @property
    def full(self) -> bool:
        """Whether as many were read as are wanted."""
        return self._bounded and len(self.found) >= self._limit

    def read(self, part: Part) -> None:
        """All of one file. Raises TraceError: too many wrong lines, or too many at all."""
        for first, texts in part.lines():
            for number, text in enumerate(texts, first):
                if len(self.found) >= self._limit:
                    break
                self._take(part.name, number, text)
            self._faults.seen(len(texts))
            if self.full:
                return
            if len(self.found) >= MOST_ARRIVALS:
                raise TraceError(
                    f"{part.name}: more than {MOST_ARRIVALS:,} arrivals; read a part of them"
                    " with --limit"
                )

    def _take(self, name: str, number: int, text: str) -> None:
        if not text or text.isspace():
            return
        try:
            row = self._parse(parsed(text))
        except ValueError as caught:
            self._faults.add(name, number, text, str(caught))
        else:
            if row is not None:
                self.found.append(row)


def parsed(text: str) -> dict[str, Any]:
    """The object in ``text``. Raises ValueError, fit for people, where there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def field(
    found: dict[str, Any], key: str, what: str, most: float = LARGEST_COUNT, *, whole: bool = False
) -> float:
    """The number at ``key``, 0 to ``most``. Raises ValueError, which says ``what`` it must be."""
    if key not in found:
        raise ValueError(f"no {key}")
    value = number(found[key])
    if value is None or not 0 <= value <= most or (whole and value % 1):
        raise ValueError(f"{key} = {shortened(str(found[key]))}: {what}")
    return value


def number(value: object) -> float | None:
    """A JSON number, or a text that is one; None: neither."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
