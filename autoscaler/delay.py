"""The scale-down delay: the highest of the answers given within the last ``delay`` seconds.

Kept as block maxima: a block is a second for delays up to a minute, a sixtieth of longer
ones. An answer counts while it is strictly younger than the delay, to within a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import numpy as np

from autoscaler.table import Floats, Ints

BLOCKS = 60
_NO_EDGE = -(10**15)


class DelayWindow:
    """Block maxima of the rows that share one delay (seconds, above 0)."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.block = max(1.0, delay / BLOCKS)
        self.blocks = ceil(delay / self.block)
        self._edge = _NO_EDGE
        self._rows: list[int] = []
        self._slot = np.full(0, -1, dtype=np.int64)
        self._maxima = np.zeros((self.blocks, 0))

    def add(self, row: int) -> None:
        """Take in ``row``, which is not here yet, with nothing noted."""
        if row >= len(self._slot):
            more = np.full(row + 1 + len(self._slot), -1, dtype=np.int64)
            more[: len(self._slot)] = self._slot
            self._slot = more
        slot = len(self._rows)
        if slot >= self._maxima.shape[1]:
            wider = np.zeros((self.blocks, max(16, 2 * slot)))
            wider[:, :slot] = self._maxima
            self._maxima = wider
        self._rows.append(row)
        self._slot[row] = slot

    def remove(self, row: int) -> None:
        """Forget ``row``, which is here."""
        slot, end = int(self._slot[row]), len(self._rows) - 1
        moved = self._rows[end]
        self._maxima[:, slot] = self._maxima[:, end]
        self._maxima[:, end] = 0.0
        self._rows[slot] = moved
        self._slot[moved] = slot
        self._slot[row] = -1
        self._rows.pop()

    def highest(self, rows: Ints, wanted: Floats, now: float) -> Floats:
        """Note ``wanted`` for ``rows`` at ``now``; the highest within the delay for each."""
        self._advance(int(now // self.block))
        at = self._slot[rows]
        newest = self._maxima[self._edge % self.blocks]
        newest[at] = np.maximum(newest[at], wanted)
        highest: Floats = self._maxima[:, at].max(axis=0)
        return highest

    def take(self, row: int) -> list[tuple[int, float]]:
        """What ``row`` noted, oldest first: (block, maximum), empty blocks left out."""
        column = self._maxima[:, self._slot[row]]
        blocks = range(self._edge - self.blocks + 1, self._edge + 1)
        return [(b, float(column[b % self.blocks])) for b in blocks if column[b % self.blocks]]

    def put(self, row: int, noted: Iterable[tuple[int, float]], shift: int = 0) -> None:
        """Take over what ``take`` of a window with the same delay gave, ``shift`` s later."""
        for then, maximum in noted:
            block = then + int(shift // self.block)
            self._advance(block)
            if self._edge - block < self.blocks:
                self._maxima[block % self.blocks, self._slot[row]] = maximum

    def _advance(self, block: int) -> None:
        if block - self._edge >= self.blocks:
            self._maxima[:] = 0.0
        else:
            for each in range(self._edge + 1, block + 1):
                self._maxima[each % self.blocks] = 0.0
        self._edge = max(self._edge, block)
