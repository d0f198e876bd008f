"""Load over time: the windows of all models at once, with Knative-equal averages.

Rows are grouped by window shape; each group is a ``Ring``. Averages follow Knative's
``TimedFloat64Buckets`` and ``WeightedFloat64Buckets``:

- linear: the total over the seconds covered so far, not over the whole window. A window that
  has just begun is divided by the seconds since its first write; the silent tail since the
  last write is left out. Seconds without a write in between count as zero. The result is
  rounded to 6 digits (halves up), which also hides the residue of running totals.
- weighted-exponential: newest second first, weights a(1-a)^k, a = max(1 - 1e-4^(1/n), 0.2)
  over n buckets. The silent tail counts as zeros. Not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from autoscaler.ring import NEVER, NO_EDGE, Averages, Ring, Shape, Slots
from autoscaler.table import At, Bools, Floats, Ints, every, some

__all__ = ["NEVER", "Averages", "Shape", "Windows"]


class Windows:
    """The windows of all rows: which ring a row lives in, and both averages for any rows."""

    def __init__(self) -> None:
        self.rings: dict[Shape, Ring] = {}
        self._order: list[Ring] = []
        self._ring = np.zeros(0, dtype=np.int64)
        self._slot = np.zeros(0, dtype=np.int64)
        self._edge = NO_EDGE
        self.opened = NO_EDGE

    def place(self, row: int, shape: Shape) -> None:
        """Give ``row`` a window of ``shape``; what an earlier shape held is carried over."""
        self._reserve(row + 1)
        old = self._ring_of(row)
        if old is not None and old.shape == shape:
            return
        ring = self.rings.get(shape)
        if ring is None:
            ring = self.rings[shape] = Ring(shape)
            self._order.append(ring)
        state = None if old is None else self.take(row)
        self.remove(row)
        self._ring[row] = self._order.index(ring)
        self._slot[row] = ring.add(row)
        if state is not None:
            self.put(row, state)

    def remove(self, row: int) -> None:
        ring = self._ring_of(row)
        if ring is None:
            return
        slot = int(self._slot[row])
        self._slot[ring.remove(slot)] = slot
        self._ring[row] = self._slot[row] = -1

    def open(self, second: int) -> None:
        """Everybody who is awake said nothing, that is zero, for ``second``."""
        self.opened = max(self.opened, second)
        self._edge = max(self._edge, second)
        for ring in self._order:
            ring.open(second)

    def add(self, second: int, rows: Ints, values: Floats) -> None:
        """Add ``values`` (average load in that second) for distinct ``rows``."""
        self._edge = max(self._edge, second)
        for ring, at, where in self._parts(rows):
            ring.add_load(second, at, values if where is None else values[where])

    def fill(self, second: int, values: Floats) -> None:
        """``open``, and ``add`` for all rows: ``values[row]`` for each row that has a window."""
        self.opened = max(self.opened, second)
        self._edge = max(self._edge, second)
        for ring in self._order:
            ring.fill(second, values[ring.places])

    def set_awake(self, rows: Ints, awake: bool) -> None:
        """Rows that sleep get no zeros by ``open``, and falling asleep empties their window.

        A model at zero has only zeros behind it. Without them the first load after the
        sleep is not diluted: its window is as long as its wake, as in Knative, whose
        metrics also end with the last replica.
        """
        for ring, at, _ in self._parts(rows):
            ring.slots.awake[at] = awake
            if not awake:
                ring.forget(at)

    def averages(self, now: float, count: int, rows: Ints | None = None) -> Averages:
        """Averages at ``now`` for ``rows``, or for the first ``count`` rows when None.

        Rows that have no window are not valid. Averages are -1 where not valid. The second
        that is running has not been reported yet. As long as reports keep up, the windows
        end with the one before it: counted as zero it would take a tenth off a panic window
        of 10 s, and all of one of 1 s.
        """
        second = int(now // 1)
        self._edge = max(self._edge, self.opened if self.opened == second - 1 else second)
        for ring in self._order:
            ring.advance(self._edge)
        if rows is not None:
            return self._averages_of(rows)
        if len(self._order) == 1:
            places = self._order[0].places
            if isinstance(places, slice) and places == slice(0, count):
                return self._order[0].averages(places)
        result = _blank(count)
        for ring in self._order:
            for column, values in zip(result, ring.averages(slice(0, ring.used)), strict=True):
                column[ring.places] = values
        return result

    def _averages_of(self, rows: Ints) -> Averages:
        parts = self._parts(rows)
        if len(parts) == 1 and parts[0][2] is None:
            return parts[0][0].averages(parts[0][1])
        result = _blank(len(rows))
        for ring, at, where in parts:
            for column, values in zip(result, ring.averages(at), strict=True):
                column[where] = values
        return result

    def take(self, row: int) -> dict[str, object]:
        """One row's history as plain values, for snapshots."""
        ring = self._order[int(self._ring[row])]
        slot = int(self._slot[row])
        seconds, values = ring.history(slot)
        return {
            **ring.slots.take(slot),
            "shape": list(ring.shape),
            "edge": ring.edge,
            "seconds": seconds.tolist(),
            "values": values.tolist(),
        }

    def put(self, row: int, state: Mapping[str, object], shift: int = 0) -> None:
        """Take over what ``take`` gave, ``shift`` seconds later, perhaps into another shape."""
        ring = self._order[int(self._ring[row])]
        slot = int(self._slot[row])
        edge = cast(int, state["edge"]) + shift
        self._edge = max(self._edge, edge)
        ring.advance(edge)
        ring.forget(np.array([slot]))
        blocks = (np.array(state["seconds"], dtype=np.int64) + shift) // ring.block
        values = np.array(state["values"], dtype=np.float64)
        age = ring.edge // ring.block - blocks
        kept, recent = age < ring.blocks, age < ring.panic_blocks
        np.add.at(ring.buckets[:, slot], blocks[kept] % ring.blocks, values[kept])
        ring.slots.put(slot, {name: cast(float, state[name]) for name in Slots.DEFAULTS})
        for name in ("last", "first", "first_panic"):
            column = getattr(ring.slots, name)
            if column[slot] != NEVER:
                column[slot] += shift
        if state["shape"] != list(ring.shape) or ring.edge != edge:
            ring.slots.total[slot] = values[kept].sum()
            ring.slots.total_panic[slot] = values[recent].sum()

    def _parts(self, rows: Ints) -> list[tuple[Ring, At, Bools | None]]:
        """Per ring the slots of those of ``rows`` that live in it, and which they are."""
        if len(self._order) == 1:
            ring = self._order[0]
            at = ring.slots_of(rows)
            if at is not None:
                return [(ring, at, None)]
        which = self._ring[rows]
        parts: list[tuple[Ring, At, Bools | None]] = []
        for index, ring in enumerate(self._order):
            where = which == index
            if every(where):
                return [(ring, self._slot[rows], None)]
            if some(where):
                parts.append((ring, self._slot[rows[where]], where))
        return parts

    def _ring_of(self, row: int) -> Ring | None:
        index = int(self._ring[row])
        return None if index < 0 else self._order[index]

    def _reserve(self, rows: int) -> None:
        missing = rows - len(self._ring)
        if missing > 0:
            more = np.full(max(missing, len(self._ring)), -1, dtype=np.int64)
            self._ring = np.concatenate([self._ring, more])
            self._slot = np.concatenate([self._slot, more])


def _blank(rows: int) -> Averages:
    return Averages(np.full(rows, -1.0), np.full(rows, -1.0), np.zeros(rows, dtype=np.bool_))
