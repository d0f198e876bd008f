"""Columns of numbers from lines of CSV; what does not fit is found line by line.

Many lines are converted at once. Where that fails, halves of them are tried until the wrong
lines stand alone: one wrong among 50,000 costs about as much as reading them once more.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulations.traces.faults import Faults
from simulations.traces.opening import Part
from stoker.errors import TraceError

Convert = Callable[[Sequence[str]], NDArray[Any]]
"""Texts to an array of equal length. Raises ValueError, which names the value if there is one."""

MOST_ARRIVALS: Final = 50_000_000
LAST_SECOND: Final = 1e11
"""Beyond this a time in seconds is meant in another unit: it would be in the year 5138."""
LARGEST_COUNT: Final = 2**31 - 1
_COMMENT: Final = "#"
# numpy alone would also take "now", other zones with a warning, and wrap around after 2262.
_STAMP: Final = re.compile(
    r"(?:19[7-9]|2[01][0-9])[0-9]-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
)


class Column(NamedTuple):
    """A column that is looked for by its ``names``, whatever their case; the first is shown."""

    names: tuple[str, ...]
    convert: Convert
    needed: bool = True


def numbers(what: str, low: float = 0.0, high: float = LAST_SECOND) -> Convert:
    """Finite numbers from ``low`` to ``high``; ``what`` says so to people."""

    def convert(texts: Sequence[str]) -> NDArray[Any]:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
        if not ((values >= low) & (values <= high)).all() or "_" in "".join(texts):
            raise ValueError(what)
        return values

    return _telling(convert, what)


def wholes(what: str, low: int = 0, unknown: int | None = None) -> Convert:
    """Whole numbers from ``low`` on, also as ``12.0``. ``unknown`` stands for an empty text."""

    def convert(texts: Sequence[str]) -> NDArray[Any]:
        if unknown is not None:
            texts = [text or str(unknown) for text in texts]
        values = np.fromiter(map(float, texts), np.float64, len(texts))
        lowest = low if unknown is None else min(low, unknown)
        fits = (values >= lowest) & (values <= LARGEST_COUNT) & (values % 1 == 0)
        if not fits.all() or "_" in "".join(texts):
            raise ValueError(what)
        return values.astype(np.int32)

    return _telling(convert, what)


def stamps(texts: Sequence[str]) -> NDArray[Any]:
    """Seconds since 1970 of ``2023-11-16 18:17:03.9799600``, or with T, Z or +00:00.

    As int64 nanoseconds: a float of this size is only good to 240 ns, and gaps are wanted.
    """
    found = [text.strip().removesuffix("Z").removesuffix("+00:00") for text in texts]
    try:
        if all(map(_STAMP.fullmatch, found)):
            return np.array(found, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:
        pass
    raise ValueError("must be a time like 2023-11-16 18:17:03.97996, from 1970 to 2199")


def names_into(places: dict[str, int], what: str = "must be a name") -> Convert:
    """Texts as places in ``places``, which grows; an empty one is wrong."""

    def convert(texts: Sequence[str]) -> NDArray[Any]:
        if "" in texts:
            raise ValueError(what)
        for text in dict.fromkeys(texts):
            places.setdefault(text, len(places))
        return np.fromiter(map(places.__getitem__, texts), np.int32, len(texts))

    return convert


class Table:
    """Reads files of one kind and gathers their columns, by the first of each one's names."""

    def __init__(
        self,
        columns: Sequence[Column],
        faults: Faults,
        *,
        header: bool = True,
        limit: int | None = None,
    ) -> None:
        self._columns = columns
        self._faults = faults
        self._header = header
        self._limit = limit
        self._found: list[list[NDArray[Any]]] = []
        self._present: tuple[int, ...] | None = None
        self.comments: list[str] = []
        self.rows = 0

    @property
    def full(self) -> bool:
        """Whether as many rows were read as are wanted."""
        return self._limit is not None and self.rows >= self._limit

    def read(self, part: Part) -> int:
        """All of one file. Rows taken from it.

        Raises TraceError: columns that are needed are not there, other columns than in the
        files before it, too many wrong lines.
        """
        before = self.rows
        for first, texts in self._body(part):
            self._take(part.name, first, texts)
            self._faults.seen(len(texts))
            if self.full:
                break
            if self.rows > MOST_ARRIVALS:
                raise TraceError(
                    f"{part.name}: more than {MOST_ARRIVALS:,} arrivals; read a part of them"
                    " with --limit, or turn them into counts per minute"
                )
        return self.rows - before

    def columns(self) -> dict[str, NDArray[Any]]:
        """What was gathered: columns that were there, at most ``limit`` rows."""
        present = self._present or ()
        rows = zip(*self._found, strict=True) if self._found else ((),) * len(present)
        return {
            self._columns[place].names[0]: np.concatenate(chunks)[: self._limit]
            for place, chunks in zip(present, rows, strict=True)
            if chunks
        }

    def _body(self, part: Part) -> Iterator[tuple[int, list[str]]]:
        """Lines behind the header and the comments before it, with the first one's number."""
        started = not self._header
        if started:
            self._places(part.name, range(len(self._columns)), len(self._columns))
        for first, texts in part.lines():
            skip = 0
            while not started and skip < len(texts):
                line = texts[skip]
                if line.startswith(_COMMENT):
                    self.comments.append(line[1:].strip())
                elif line.strip():
                    self._heading(part.name, line)
                    started = True
                skip += 1
            if skip < len(texts):
                yield first + skip, texts[skip:] if skip else texts

    def _heading(self, name: str, line: str) -> None:
        there = [title.strip().casefold() for title in next(csv.reader([line]))]
        sought = [
            next((there.index(n.casefold()) for n in column.names if n.casefold() in there), -1)
            for column in self._columns
        ]
        missing = [
            column.names[0]
            for column, place in zip(self._columns, sought, strict=True)
            if place < 0 and column.needed
        ]
        if missing:
            raise TraceError(
                f"{name}: no column {', '.join(missing)}; there are: {', '.join(there)[:200]}"
            )
        self._places(name, sought, len(there))

    def _places(self, name: str, sought: Sequence[int], width: int) -> None:
        present = tuple(place for place, at in enumerate(sought) if at >= 0)
        if self._present not in (None, present):
            raise TraceError(f"{name}: other columns than in the files before it")
        self._present = present
        self._at = [sought[place] for place in present]
        self._width = width

    def _take(self, name: str, first: int, texts: list[str]) -> None:
        try:
            chunk = self._converted(texts)
        except (ValueError, csv.Error) as caught:
            if len(texts) == 1:
                if not texts[0].strip():
                    return
                self._faults.add(name, first, texts[0], str(caught))
                self._faults.seen(0)
                return
            half = len(texts) // 2
            self._take(name, first, texts[:half])
            self._take(name, first + half, texts[half:])
            return
        if len(chunk[0]):
            self._found.append(chunk)
            self.rows += len(chunk[0])

    def _converted(self, texts: list[str]) -> list[NDArray[Any]]:
        """Raises ValueError or csv.Error where any line does not fit."""
        if "" in texts:
            texts = [text for text in texts if text]
        if not texts:
            return [np.zeros(0)]
        values = _split(texts, self._width)
        assert self._present is not None
        return [
            _converted(self._columns[place], values[at])
            for place, at in zip(self._present, self._at, strict=True)
        ]


def _split(texts: list[str], width: int) -> Sequence[Sequence[str]]:
    """The columns of lines of CSV. Raises ValueError or csv.Error where one has other ones.

    Lines without quotes, as nearly all are, are split as one text: the csv module's lists of
    lists take three times as long for a million lines.
    """
    whole = ",".join(texts)
    if '"' not in whole:
        for text in texts:
            if text.count(",") != width - 1:
                raise ValueError(f"{text.count(',') + 1} columns instead of {width}")
        flat = whole.split(",")
        return [flat[place::width] for place in range(width)]
    rows = list(csv.reader(texts))
    if len(rows) != len(texts):
        raise ValueError("a quote that does not end in its line")
    for row in rows:
        if len(row) != width:
            raise ValueError(f"{len(row)} columns instead of {width}")
    return list(zip(*rows, strict=True))


def _converted(column: Column, texts: Sequence[str]) -> NDArray[Any]:
    try:
        return column.convert(texts)
    except (ValueError, OverflowError) as caught:
        raise ValueError(f"{column.names[0]} = {texts[0][:40]}: {caught}") from None


def _telling(convert: Convert, what: str) -> Convert:
    """``convert`` with ``what`` in place of Python's own words."""

    def told(texts: Sequence[str]) -> NDArray[Any]:
        try:
            return convert(texts)
        except (ValueError, OverflowError):
            raise ValueError(what) from None

    return told


def model_name(text: str) -> str:
    """A name that a model may have, close to ``text``: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:63].strip("-") or "model"
