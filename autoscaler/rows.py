"""Which row of the arrays a model has. Rows are reused; generations tell the tenants apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from autoscaler.table import Bools, Ints
from stoker.vocabulary import ModelKey


class Handles(NamedTuple):
    """Rows as resolved at one time; row -1 is a model that was unknown."""

    rows: Ints
    generations: Ints


class Rows:
    """The directory of rows. ``layout`` grows with every arrival and departure."""

    def __init__(self) -> None:
        self.index: dict[ModelKey, int] = {}
        self.models: list[ModelKey | None] = []
        self.layout = 0
        self._generation = np.zeros(16, dtype=np.int64)
        self._free: list[int] = []

    def __len__(self) -> int:
        """Rows in use or free, that is one more than the highest row."""
        return len(self.models)

    def add(self, model: ModelKey) -> int:
        """The row of ``model``, given now if it has none."""
        row = self.index.get(model)
        if row is not None:
            return row
        if self._free:
            row = self._free.pop()
            self.models[row] = model
        else:
            row = len(self.models)
            self.models.append(model)
            if row >= len(self._generation):
                self._generation = np.concatenate([self._generation, self._generation * 0])
        self.index[model] = row
        self.layout += 1
        return row

    def remove(self, model: ModelKey) -> int:
        """Free the row of ``model`` and make handles to it void. Raises KeyError."""
        row = self.index.pop(model)
        self.models[row] = None
        self._generation[row] += 1
        self._free.append(row)
        self.layout += 1
        return row

    def resolve(self, models: Iterable[ModelKey]) -> Handles:
        """Rows and generations of ``models``, in their order."""
        get = self.index.get
        rows = np.array([get(model, -1) for model in models], dtype=np.int64)
        return Handles(rows, self._generation[rows])

    def valid(self, handles: Handles) -> Bools:
        """Which handles still mean the model they were resolved for."""
        valid: Bools = self._generation[handles.rows] == handles.generations
        return valid & (handles.rows >= 0)
