"""What load came at the same time of earlier seasons (days, weeks), for many slots at once.

Per slot a ring of ``BINS`` bins per season, for the present season and the ``KEPT`` before:
the highest load noted in each bin. A day has bins of 5 minutes, a week of 35. 5.8 KB a slot.
Seasons are counted from when a slot was begun, so no calendar is needed: a day is 24 hours.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from autoscaler.table import Bools, Floats, Ints, Table
from autoscaler.window import NEVER

BINS = 288
KEPT = 4
_RING = BINS * (KEPT + 1)
_AT_ONCE = 256
"""Slots whose next rise is searched for together: 256 x 288 x 4 numbers, 2 MB."""
_A_HAIR = 1e-9
"""Of a bin: a time computed as a bin's beginning is in that bin, whatever its last digit."""


class _Slots(Table):
    """``origin``: when season 0 began (whole seconds); ``width`` of a bin; ``edge``: the newest
    bin; ``rise``: the next bin with load expected, or to look from again (-1: not looked for);
    ``used``: whether there ever was load."""

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "origin": NEVER,
        "width": 300.0,
        "quantile": 0.9,
        "edge": 0.0,
        "rise": -1.0,
        "used": False,
    }
    origin: Floats
    width: Floats
    quantile: Floats
    edge: Floats
    rise: Floats
    used: Bools


class Seasons:
    """Loads by bins. Loads are kept as float32: 7 digits."""

    def __init__(self) -> None:
        self.slots = _Slots()
        self.loads: NDArray[np.float32] = np.zeros((0, _RING), dtype=np.float32)

    def reserve(self, slots: int) -> None:
        self.slots.reserve(slots)
        missing = self.slots.room - len(self.loads)
        if missing:
            more = np.zeros((missing, _RING), dtype=np.float32)
            self.loads = np.concatenate([self.loads, more])

    def configure(self, slot: int, season: float, quantile: float, now: float) -> None:
        """``season``: seconds; another than before begins anew. ``quantile``: 0 to 1."""
        width = season / BINS
        if self.slots.origin[slot] == NEVER or self.slots.width[slot] != width:
            self.reset(slot)
            self.slots.put(slot, {"origin": now // 1, "width": width})
        self.slots.put(slot, {"quantile": quantile, "rise": -1.0})

    def reset(self, slot: int) -> None:
        self.slots.reset(slot)
        self.loads[slot] = 0.0

    def note(self, slots: Ints, loads: Floats, now: float) -> None:
        """These loads (0: none) are there now."""
        bins = self._bin(slots, now)
        self._advance(slots, bins)
        at = bins.astype(np.int64) % _RING
        self.loads[slots, at] = np.maximum(self.loads[slots, at], loads)
        self.slots.used[slots] |= loads > 0

    def known(self, slots: Ints, now: float) -> Bools:
        """Whether there was a season before the present one."""
        known: Bools = self._bin(slots, now) >= BINS
        return known

    def expected(self, slots: Ints, ahead: Floats, now: float) -> Floats:
        """The quantile over earlier seasons of the highest load between the same time as
        ``now`` and ``ahead`` seconds later; 0 where there was none before."""
        first = self._bin(slots, now)
        last = np.minimum(self._bin(slots, now + ahead), first + BINS - 1)
        highest = np.zeros((len(slots), KEPT), dtype=np.float64)
        for step in range(int((last - first).max(initial=0.0)) + 1):
            which = np.flatnonzero(first + step <= last)
            seen = self._seen(slots[which], first[which] + step)
            highest[which] = np.maximum(highest[which], seen)
        return self._quantile(slots, highest, first)

    def rises(self, slots: Ints, ahead: Floats, now: float) -> Floats:
        """When ``expected`` becomes more than 0, or, where that is not within a season from now,
        when to ask again; for slots where it is 0. NEVER: there never was any load.

        What an answer rests on is past and does not change: it stays until it is reached.
        """
        columns = self.slots
        last = np.minimum(self._bin(slots, now + ahead), self._bin(slots, now) + BINS - 1)
        asked = np.flatnonzero(columns.used[slots] & (columns.rise[slots] <= last))
        for begin in range(0, len(asked), _AT_ONCE):
            part = asked[begin : begin + _AT_ONCE]
            columns.rise[slots[part]] = self._search(slots[part], last[part], now)
        times = columns.origin[slots] + columns.rise[slots] * columns.width[slots] - ahead
        result: Floats = np.where(columns.used[slots], times, NEVER)
        return result

    def _search(self, slots: Ints, last: Floats, now: float) -> Floats:
        """The first bin after ``last`` with load expected, or else the first whose last season
        is not past yet."""
        end = self._bin(slots, now) + BINS
        steps = int((end - last).max())
        bins = last[:, None] + np.arange(1, steps + 1)
        flat, own = bins.ravel(), np.repeat(slots, steps)
        found = self._quantile(own, self._seen(own, flat), flat).reshape(bins.shape) > 0
        found |= bins >= end[:, None]
        first: Floats = bins[np.arange(len(slots)), found.argmax(axis=1)]
        return first

    def take(self, slot: int) -> dict[str, object]:
        """One slot as plain JSON values."""
        packed = zlib.compress(self.loads[slot].astype("<f4").tobytes())
        return {**self._place(slot), "loads": base64.b64encode(packed).decode()}

    def looked_at(self, slot: int, ahead: float, now: float) -> dict[str, object]:
        """The same, but only what ``expected`` looks at."""
        one = np.array([slot])
        first, last = int(self._bin(one, now)[0]), int(self._bin(one, now + ahead)[0])
        cells = [
            [at, float(self.loads[slot, at % _RING])]
            for season in range(1, KEPT + 1)
            for at in range(first - season * BINS, min(last, first + BINS - 1) - season * BINS + 1)
            if at >= 0 and self.loads[slot, at % _RING]
        ]
        return {**self._place(slot), "cells": cells}

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        """Take over what either gave; ignored where it was of seasons of another length."""
        if memory["width"] != self.slots.width[slot]:
            return
        origin, edge = cast(float, memory["origin"]), cast(float, memory["edge"])
        place = {"origin": origin + shift, "edge": edge, "used": cast(bool, memory["used"])}
        self.slots.put(slot, {**place, "rise": -1.0})
        if "loads" in memory:
            packed = base64.b64decode(cast(str, memory["loads"]))
            self.loads[slot] = np.frombuffer(zlib.decompress(packed), dtype="<f4")
        else:
            self.loads[slot] = 0.0
            for at, load in cast(list[tuple[int, float]], memory["cells"]):
                self.loads[slot, at % _RING] = load

    def _place(self, slot: int) -> dict[str, object]:
        values = self.slots.take(slot)
        return {name: values[name] for name in ("origin", "width", "edge", "used")}

    def _bin(self, slots: Ints, time: float | Floats) -> Floats:
        passed = (time - self.slots.origin[slots]) / self.slots.width[slots]
        bins: Floats = np.floor(passed + _A_HAIR)
        return bins

    def _advance(self, slots: Ints, bins: Floats) -> None:
        """Empty the bins that begin: what they hold is from ``KEPT`` + 1 seasons ago."""
        edge = self.slots.edge[slots]
        behind = bins - edge
        for step in range(1, int(min(behind.max(initial=0.0), _RING)) + 1):
            which = behind >= step
            self.loads[slots[which], (edge[which] + step).astype(np.int64) % _RING] = 0.0
        self.slots.edge[slots] = np.maximum(edge, bins)

    def _seen(self, slots: Ints, bins: Floats) -> Floats:
        """[slot, season]: the load in the same bin, one season before and further back."""
        before = bins[:, None] - BINS * np.arange(1, KEPT + 1)
        seen = self.loads[slots[:, None], before.astype(np.int64) % _RING]
        return np.where(before >= 0, seen, 0.0).astype(np.float64)

    def _quantile(self, slots: Ints, loads: Floats, bins: Floats) -> Floats:
        """Linear interpolation between the nearest ranks of the seasons there were."""
        count = np.minimum(bins // BINS, KEPT).astype(np.int64)
        # Seasons before the first count as no load: those zeros come first and are skipped.
        ordered = np.sort(loads, axis=1)
        place = self.slots.quantile[slots] * np.maximum(count - 1, 0)
        below = np.floor(place)
        rank = (KEPT - np.maximum(count, 1)) + below.astype(np.int64)
        every = np.arange(len(slots))
        low, high = ordered[every, rank], ordered[every, np.minimum(rank + 1, KEPT - 1)]
        result: Floats = low + (high - low) * (place - below)
        return result
