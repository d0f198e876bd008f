"""Who waited how long in the fluid pass: weighted histograms, one per row. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulations.lanes import Lanes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORTEST, LONGEST, FINENESS = 0.02, 2e5, 1.06
"""Seconds, and the ratio of neighbouring bounds: percentiles are within 3 %. Shorter waits
count as none: a second is the pass's resolution, and what it says below is a rough guess."""
_LOG = float(np.log(FINENESS))
BINS = int(np.ceil(np.log(LONGEST / SHORTEST) / _LOG)) + 1
MIDDLES: Floats = np.append(0.0, SHORTEST * FINENESS ** (np.arange(BINS - 1) + 0.5))

_PARTS = (0.125, 0.375, 0.625, 0.875)
"""Of those who leave the queue in one second, whose waits stand for all: after a cold start
they waited from all of it to nothing."""


class Waits:
    """Histograms [row, bin]. Rows are configurations × lanes, the lane changing fastest.

    Requests leave the queue in the order of their arrival, so the n-th to leave came when
    the trace says the n-th came.
    """

    def __init__(self, rows: int, lanes: Lanes) -> None:
        self.counts = np.zeros((rows, BINS))
        self._lanes = lanes
        self._left = np.zeros(rows)
        self._times = np.append(lanes.times, 0.0)

    def leave(self, rows: Ints, count: Floats, at: Floats) -> None:
        """``count`` requests of each of ``rows`` get their slot at the second ``at``."""
        lane = rows % self._lanes.count
        first, last = self._lanes.first[lane], self._lanes.first[lane + 1] - 1
        weight = count / len(_PARTS)
        for part in _PARTS:
            number = (self._left[rows] + part * count).astype(np.int64)
            waited = at - self._times[np.minimum(first + number, last)]
            self.counts[rows, bin_of(waited)] += weight

    def gone(self, count: Floats) -> None:
        """``count`` requests of every row have their slot now."""
        self._left += count


def bin_of(seconds: Floats) -> Ints:
    """0: shorter than ``SHORTEST``."""
    clipped = np.clip(seconds, SHORTEST / FINENESS, LONGEST)
    bins: Ints = np.floor(np.log(clipped / SHORTEST) / _LOG).astype(np.int64) + 1
    return np.clip(bins, 0, BINS - 1)


def percentile(counts: Floats, percent: float) -> Floats:
    """Of histograms [..., bin] the wait that ``percent`` of all do not exceed; 0 without any."""
    sums = np.cumsum(counts, axis=-1)
    total = sums[..., -1:]
    place = np.argmax(sums >= total * (percent / 100) * (1 - 1e-12), axis=-1)
    middles: Floats = MIDDLES[place]
    return middles
