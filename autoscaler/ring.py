"""One ring of buckets for all models with the same window lengths, and their averages.

The ring is an array ``[bucket, slot]``, so opening a second touches contiguous memory for
every model in it. One ring serves both windows of a model: the panic window is its newest
part with a running total of its own. A bucket is a second; windows above ``MAX_BLOCKS``
seconds use blocks of several seconds: each total stays exact, the window covered is then
shorter than asked by less than one block (1/600 of it).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from autoscaler.table import At, Bools, Floats, Ints, Table, every, some
from stoker.vocabulary import Aggregation

MAX_BLOCKS = 600
NEVER = -1e18
NO_EDGE = -(10**15)
# Arrays, for a number beside an array is made one again in each call, in half of its time.
_ONE, _HALF, _DIGITS = np.array(1.0), np.array(0.5), np.array(1e6)
_NEGLIGIBLE = 1e-20


class Shape(NamedTuple):
    """What groups rows: both window lengths in seconds (may be fractional) and the average."""

    stable: float
    panic: float
    aggregation: Aggregation


class Averages(NamedTuple):
    """Averages per row; ``valid`` False: nothing recorded within the stable window."""

    stable: Floats
    panic: Floats
    valid: Bools


class Slots(Table):
    """Per slot: seconds of the first and last write, running totals."""

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "last": NEVER,
        "first": NEVER,
        "first_panic": NEVER,
        "total": 0.0,
        "total_panic": 0.0,
        "awake": True,
    }
    last: Floats
    first: Floats
    first_panic: Floats
    total: Floats
    total_panic: Floats
    awake: Bools
    firsts: Floats
    totals: Floats

    def _name(self) -> None:
        """``firsts`` and ``totals`` [window, slot]: the stable window's and the panic window's."""
        super()._name()
        self.firsts = self.together("first", "first_panic")
        self.totals = self.together("total", "total_panic")


class Ring:
    """All rows of one shape. Slots are dense: the last one moves into a freed one."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.block = max(1, ceil(shape.stable / MAX_BLOCKS))
        self.blocks = ceil(shape.stable / self.block)
        self.panic_blocks = min(self.blocks, max(1, ceil(shape.panic / self.block)))
        self.edge = NO_EDGE
        self.used = 0
        self.slots = Slots()
        self.buckets = np.zeros((self.blocks, 0))
        self.rows = np.zeros(0, dtype=np.int64)
        self._dense = True
        # [window, 1]: where each begins, from the begin of the newest block.
        lengths = np.array([[self.blocks], [self.panic_blocks]])
        self._begins = (1.0 - lengths) * self.block
        self._weights = _weights(self.blocks)
        self._weights_panic = _weights(self.panic_blocks)

    def add(self, row: int) -> int:
        """A new, empty slot for ``row``."""
        slot = self.used
        self.used += 1
        if self.used > self.slots.room:
            self.slots.reserve(self.used)
            buckets = np.zeros((self.blocks, self.slots.room))
            buckets[:, :slot] = self.buckets[:, :slot]
            self.buckets = buckets
            self.rows = np.concatenate(
                [self.rows, np.zeros(self.slots.room - len(self.rows), dtype=np.int64)]
            )
        self.rows[slot] = row
        self._dense &= row == self.rows[0] + slot
        return slot

    @property
    def places(self) -> At:
        """The rows of all slots, in their order: a slice where they follow each other."""
        if self._dense:
            first = int(self.rows[0]) if self.used else 0
            return slice(first, first + self.used)
        return self.rows[: self.used]

    def slots_of(self, rows: Ints) -> slice | None:
        """The slots of ``rows``, if those are distinct and follow each other here; else None."""
        if not self._dense or not self.used or not len(rows):
            return None
        begin, last = int(rows[0]), int(rows[-1])
        first = int(self.rows[0])
        if not (last - begin == len(rows) - 1 and first <= begin and last < first + self.used):
            return None
        if len(rows) > 2 and not every(rows[1:] > rows[:-1]):
            return None
        return slice(begin - first, last - first + 1)

    def remove(self, slot: int) -> int:
        """Free ``slot``; returns the row that now lives there (its own if it was the last)."""
        end = self.used - 1
        moved = int(self.rows[end])
        self.buckets[:, slot] = self.buckets[:, end]
        self.buckets[:, end] = 0.0
        self.slots.put(slot, self.slots.take(end))
        self.slots.reset(end)
        self.rows[slot] = moved
        self._dense &= slot == end
        self.used = end
        return moved

    def advance(self, second: int) -> None:
        """Let what is older than the windows at ``second`` expire, for every slot."""
        if second <= self.edge:
            return
        block, behind = second // self.block, self.edge // self.block
        used, slots = self.used, self.slots
        if block - behind >= self.blocks:
            self.buckets[:, :used] = 0.0
            slots.total[:used] = 0.0
            slots.total_panic[:used] = 0.0
        else:
            total, total_panic = slots.total[:used], slots.total_panic[:used]
            for each in range(behind + 1, block + 1):
                total_panic -= self.buckets[(each - self.panic_blocks) % self.blocks, :used]
                bucket = self.buckets[each % self.blocks, :used]
                total -= bucket
                bucket[:] = 0.0
        self.edge = second

    def open(self, second: int) -> None:
        """Record a zero in ``second`` for every slot that is awake."""
        self.advance(second)
        awake = self.slots.awake[: self.used]
        if some(awake):
            self._write(second, slice(0, self.used), awake)

    def add_load(self, second: int, at: At, values: Floats) -> None:
        """Add ``values`` to ``second`` for the slots ``at``. Too late a second is ignored."""
        self.advance(second)
        block = second // self.block
        late = self.edge // self.block - block
        slots = self.slots
        if late or some(slots.last[at] < second):
            self._write(second, at, None)
        if late >= self.blocks:
            return
        bucket = self.buckets[block % self.blocks]
        bucket[at] += values
        slots.total[at] += values
        if late < self.panic_blocks:
            slots.total_panic[at] += values

    def fill(self, second: int, values: Floats) -> None:
        """``open``, and ``add_load`` for those of all slots whose value is above 0."""
        self.advance(second)
        block = second // self.block
        late = self.edge // self.block - block
        slots, every = self.slots, slice(0, self.used)
        self._write(second, every, slots.awake[every] | (values > 0))
        if late >= self.blocks:
            return
        self.buckets[block % self.blocks, every] += values
        slots.total[every] += values
        if late < self.panic_blocks:
            slots.total_panic[every] += values

    def _write(self, second: int, at: At, where: Bools | None) -> None:
        """Move first and last writes for a write in ``second`` at ``at`` (``where`` true)."""
        slots = self.slots
        last = slots.last[at]
        block = second // self.block
        in_order = second >= self.edge
        for first, total, blocks in (
            (slots.first_panic, slots.total_panic, self.panic_blocks),
            (slots.first, slots.total, self.blocks),
        ):
            # Nothing within the window before this second: its history begins anew.
            fresh = last < (block - blocks + 1) * self.block
            if where is not None:
                fresh &= where
            anew = fresh
            if not in_order:
                early = (first[at] > second) & (last < second + blocks * self.block)
                anew = fresh | (early if where is None else early & where)
            if some(anew):
                first[at] = np.where(anew, second, first[at])
                total[at] = np.where(fresh, 0.0, total[at])
            elif in_order:
                break  # who has something in the panic window has it in the longer one
        if in_order and (where is None or every(where)):
            slots.last[at] = second
            return
        moved = np.maximum(last, second)
        slots.last[at] = moved if where is None else np.where(where, moved, last)

    def forget(self, at: At) -> None:
        """Empty the histories of the slots ``at``."""
        self.buckets[:, at] = 0.0
        for name, default in Slots.DEFAULTS.items():
            if name != "awake":
                getattr(self.slots, name)[at] = default

    def averages(self, at: At) -> Averages:
        """Both averages for the slots ``at``, at the ring's edge."""
        slots = self.slots
        last = slots.last[at]
        # Seconds are whole, so what is left of a window's length may be cut off.
        valid = last >= self.edge - floor(self.shape.stable)
        if self.shape.aggregation is Aggregation.WEIGHTED_EXPONENTIAL:
            stable = self._weighted(at, self._weights)
            panic = self._weighted(at, self._weights_panic)
        else:
            stable, panic = self._linear(slots.totals[:, at], slots.firsts[:, at], last)
        silent = last < self.edge - floor(self.shape.panic)
        if some(silent):
            panic[silent] = 0.0
        if not every(valid):
            invalid = ~valid
            stable[invalid] = -1.0
            panic[invalid] = -1.0
        return Averages(stable, panic, valid)

    def _linear(self, totals: Floats, firsts: Floats, last: Floats) -> Floats:
        """Both windows' totals [window, slot] by the seconds from the first write, or from the
        window's begin, to the last."""
        newest = self.edge // self.block
        begins = self._begins + newest * self.block
        seconds = np.maximum(firsts, begins)
        np.subtract(last + _ONE, seconds, out=seconds)
        np.maximum(seconds, _ONE, out=seconds)
        averages = np.divide(totals, seconds, out=seconds)
        averages *= _DIGITS
        averages += _HALF
        np.floor(averages, out=averages)
        averages /= _DIGITS
        return averages

    def _weighted(self, at: At, weights: Sequence[float]) -> Floats:
        # One bucket after the other, not a matrix product: the order of additions, and so
        # the last bit, must not depend on how many models there are.
        newest = self.edge // self.block
        sum_ = np.zeros_like(self.slots.last[at])
        for k, weight in enumerate(weights):
            sum_ += self.buckets[(newest - k) % self.blocks][at] * weight
        sum_ /= self.block
        return sum_

    def history(self, slot: int) -> tuple[Ints, Floats]:
        """(seconds, values) of the non-zero buckets, oldest first."""
        newest = self.edge // self.block
        blocks = np.arange(newest - self.blocks + 1, newest + 1, dtype=np.int64)
        values = self.buckets[blocks % self.blocks, slot]
        kept = values != 0.0
        return blocks[kept] * self.block, values[kept]


def _weights(n: int) -> list[float]:
    """Weights of a weighted-exponential average over ``n`` buckets, newest first."""
    alpha = max(1 - 1e-4 ** (1 / n), 0.2)
    weights = []
    weight = alpha
    for _ in range(n):
        weights.append(weight)
        weight *= 1 - alpha
        if weight < _NEGLIGIBLE:
            break
    return weights
