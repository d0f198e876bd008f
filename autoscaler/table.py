"""Columns of equal length, one entry per row: how per-model state is kept without objects.

A subclass lists its columns in ``DEFAULTS`` (name to value of an unused row) and annotates
them. Everything is float64 except where the default is a bool: whole numbers up to 2**53 are
exact, and mixing integer and float arrays would cost a conversion per operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
At = slice | Ints
"""Which rows: a slice (no copy) for many at once, an index array for a chosen few."""

Scalar = float | bool

_FIRST_CAPACITY = 16


class Table:
    """Named columns that grow together; a row is reset to the defaults before its reuse.

    Columns of one type lie together, [column, row]: copying some rows of all of them is one
    call, however many there are.
    """

    DEFAULTS: ClassVar[Mapping[str, Scalar]] = {}

    def __init__(self) -> None:
        self.room = 0
        kinds: dict[type, dict[str, Scalar]] = {}
        for name, default in self.DEFAULTS.items():
            kinds.setdefault(type(default), {})[name] = default
        self._kinds = [_Kind(defaults) for defaults in kinds.values()]
        self._name()

    def _name(self) -> None:
        for kind in self._kinds:
            for name, column in zip(kind.names, kind.columns, strict=True):
                setattr(self, name, column)

    def together(self, first: str, last: str) -> Floats:
        """Columns of numbers from ``first`` to ``last``, [column, row], until there is more
        room: calls for both are half as many."""
        (kind,) = (kind for kind in self._kinds if first in kind.names)
        return kind.columns[kind.names.index(first) : kind.names.index(last) + 1]

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows (at least doubling); new ones hold the defaults."""
        if rows <= self.room:
            return
        self.room = max(rows, 2 * self.room, _FIRST_CAPACITY)
        for kind in self._kinds:
            kind.grow(self.room)
        self._name()

    def reset(self, row: int) -> None:
        for kind in self._kinds:
            kind.columns[:, row] = kind.unused

    def put(self, row: int, values: Mapping[str, Scalar]) -> None:
        """Set some columns of one row. Raises KeyError for a column that does not exist."""
        for name, value in values.items():
            if name not in self.DEFAULTS:
                raise KeyError(name)
            getattr(self, name)[row] = value

    def take(self, row: int) -> dict[str, Scalar]:
        """One row as plain values (bit for bit), what ``put`` accepts."""
        return {name: getattr(self, name)[row].item() for name in self.DEFAULTS}

    def freeze(self, at: At) -> Callable[[Ints], list[dict[str, Scalar]]]:
        """A copy of the rows ``at``: a function from places within ``at`` to their values."""
        copies = [(kind.names, kind.columns[:, at].copy()) for kind in self._kinds]

        def values(places: Ints) -> list[dict[str, Scalar]]:
            names = [name for each, _ in copies for name in each]
            columns = [column for _, copy in copies for column in copy[:, places].tolist()]
            return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

        return values


class _Kind:
    """Those of a table's columns that have one type: float64 or bool."""

    def __init__(self, defaults: Mapping[str, Scalar]) -> None:
        self.names = list(defaults)
        self.unused = np.array(list(defaults.values()))
        self.columns = np.repeat(self.unused[:, None], 0, axis=1)

    def grow(self, room: int) -> None:
        columns = np.repeat(self.unused[:, None], room, axis=1)
        columns[:, : self.columns.shape[1]] = self.columns
        self.columns = columns


def rows_of(at: At, places: Ints) -> Ints:
    """The rows that ``places`` within ``at`` stand for."""
    return places + (at.start or 0) if isinstance(at, slice) else at[places]


def every(flags: Bools) -> bool:
    """Whether all are true. ``flags.all()`` takes twenty times as long for one row, and as long
    for 100,000."""
    return b"\0" not in flags.tobytes()


def some(flags: Bools) -> bool:
    """Whether any is true."""
    return b"\1" in flags.tobytes()


def places_of(flags: Bools) -> Ints:
    """Where they are true: ``np.flatnonzero``, of one dimension, in a sixth of its time."""
    return flags.nonzero()[0]
