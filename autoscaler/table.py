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
    """Named columns that grow together; a row is reset to the defaults before its reuse."""

    DEFAULTS: ClassVar[Mapping[str, Scalar]] = {}

    def __init__(self) -> None:
        self.room = 0
        for name, default in self.DEFAULTS.items():
            setattr(self, name, np.full(0, default, dtype=_dtype(default)))

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows (at least doubling); new ones hold the defaults."""
        if rows <= self.room:
            return
        room = max(rows, 2 * self.room, _FIRST_CAPACITY)
        for name, default in self.DEFAULTS.items():
            column = np.full(room, default, dtype=_dtype(default))
            column[: self.room] = getattr(self, name)
            setattr(self, name, column)
        self.room = room

    def reset(self, row: int) -> None:
        for name, default in self.DEFAULTS.items():
            getattr(self, name)[row] = default

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
        copies = [getattr(self, name)[at].copy() for name in self.DEFAULTS]

        def values(places: Ints) -> list[dict[str, Scalar]]:
            columns = [copy[places].tolist() for copy in copies]
            return [
                dict(zip(self.DEFAULTS, row, strict=True)) for row in zip(*columns, strict=True)
            ]

        return values


def _dtype(default: Scalar) -> type[np.bool_] | type[np.float64]:
    return np.bool_ if isinstance(default, bool) else np.float64


def rows_of(at: At, places: Ints) -> Ints:
    """The rows that ``places`` within ``at`` stand for."""
    return places + (at.start or 0) if isinstance(at, slice) else at[places]
