"""How long models are idle between their loads: a histogram per slot, and what it says.

After "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020): 240 bins of a minute; the
last replica may go, and is back when 5 % of idle times have ended (less 10 %), and stays until
99 % have (plus 10 %). The lower is the bin's beginning, the upper the bin's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from autoscaler.table import Bools, Floats, Ints, Table
from autoscaler.window import NEVER

BINS = 240
WIDTH = 60.0
HEAD, TAIL = 0.05, 0.99
EARLIER, LATER = 0.9, 1.1
ENOUGH = 10.0
"""Idle times before a histogram is believed. The paper has the next test alone, which fewer
than 49 pass whatever they are: n in bins of their own have a coefficient of 2 or more while
240 n >= 5 n^2."""
REMEMBERED = 1000.0
"""Idle times at which all counts are halved, so that habits may change."""


class _Slots(Table):
    """``idle_since``: end of the last second with load. ``wake``, ``keep``: seconds of idleness
    after which load is expected, and is no longer. ``count`` within the histogram, ``beyond``
    its end."""

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "bridged": 60.0,
        "idle_since": NEVER,
        "wake": 0.0,
        "keep": 0.0,
        "count": 0.0,
        "beyond": 0.0,
        "patterned": False,
    }
    bridged: Floats
    idle_since: Floats
    wake: Floats
    keep: Floats
    count: Floats
    beyond: Floats
    patterned: Bools


class IdleTimes:
    """Histograms. 480 bytes a slot."""

    def __init__(self) -> None:
        self.slots = _Slots()
        self.bins: NDArray[np.uint16] = np.zeros((0, BINS), dtype=np.uint16)

    def reserve(self, slots: int) -> None:
        self.slots.reserve(slots)
        missing = self.slots.room - len(self.bins)
        if missing:
            more = np.zeros((missing, BINS), dtype=np.uint16)
            self.bins = np.concatenate([self.bins, more])

    def configure(self, slot: int, bridged: float) -> None:
        """``bridged``: idle times shorter than this are none; the load's window spans them,
        so that no replica goes in them."""
        self.slots.bridged[slot] = bridged

    def reset(self, slot: int) -> None:
        self.slots.reset(slot)
        self.bins[slot] = 0

    def observe(self, second: int, slots: Ints, values: Floats) -> None:
        """There was load in ``second`` where a value is above 0."""
        slots = slots[values > 0]
        since = self.slots.idle_since[slots]
        idle = second - since
        ended = (since != NEVER) & (idle >= self.slots.bridged[slots])
        self.slots.idle_since[slots] = np.maximum(since, second + 1.0)
        if ended.any():
            self._record(slots[ended], idle[ended])

    def _record(self, slots: Ints, idle: Floats) -> None:
        columns = self.slots
        at = np.floor(idle / WIDTH)
        within = at < BINS
        self.bins[slots[within], at[within].astype(np.int64)] += 1
        columns.count[slots] += within
        columns.beyond[slots] += ~within
        many = slots[columns.count[slots] + columns.beyond[slots] >= REMEMBERED]
        self.bins[many] //= 2
        columns.count[many] = self.bins[many].sum(axis=1)
        columns.beyond[many] //= 2
        self._conclude(slots)

    def _conclude(self, slots: Ints) -> None:
        """The cutoffs, and whether they mean anything: Var / mean^2 of the bins' counts is
        240 (sum of squares) / n^2 - 1, and at least 4 where the coefficient is at least 2."""
        columns = self.slots
        counts = self.bins[slots].astype(np.float64)
        count = columns.count[slots]
        reached = np.cumsum(counts, axis=1)
        head = (reached >= HEAD * count[:, None]).argmax(axis=1)
        tail = (reached >= TAIL * count[:, None]).argmax(axis=1)
        columns.wake[slots] = EARLIER * WIDTH * head
        columns.keep[slots] = LATER * WIDTH * (tail + 1)
        squares = np.square(counts).sum(axis=1)
        columns.patterned[slots] = (count >= ENOUGH) & (BINS * squares >= 5 * np.square(count))

    def mostly_beyond(self, slots: Ints) -> Bools:
        """Whether more idle times were longer than the histogram than fit in it."""
        mostly: Bools = self.slots.beyond[slots] > self.slots.count[slots]
        return mostly

    def take(self, slot: int) -> dict[str, object]:
        """One slot as plain JSON values."""
        at = np.flatnonzero(self.bins[slot])
        histogram = zip(at.tolist(), self.bins[slot, at].tolist(), strict=True)
        return {**self.slots.take(slot), "histogram": list(map(list, histogram))}

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        """Take over what ``take`` gave, or the columns alone: enough to decide on."""
        names = set(_Slots.DEFAULTS) - {"bridged"}
        self.slots.put(slot, {name: cast(float, memory[name]) for name in names})
        if self.slots.idle_since[slot] != NEVER:
            self.slots.idle_since[slot] += shift
        self.bins[slot] = 0
        for at, count in cast(list[tuple[int, int]], memory.get("histogram", [])):
            self.bins[slot, at] = count
