"""Fewer points for the same picture. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kept(values: Floats, most: int) -> NDArray[np.int64]:
    """Which entries of ``values`` to draw: at most ``most`` (4 or more), in ascending order.

    Of each of ``most`` / 2 - 1 equal stretches the lowest and the highest stay, wherever in
    it they are, and so do the first and the last entry: no peak gets lower, no trough
    shallower, and none moves in time (averages would do all three). All where they are few.
    """
    length = len(values)
    if length <= most:
        return np.arange(length)
    bounds = np.linspace(0, length, most // 2).astype(np.int64)
    chosen = {0, length - 1}
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = values[begin:end]
        chosen |= {begin + int(part.argmin()), begin + int(part.argmax())}
    return np.array(sorted(chosen), dtype=np.int64)


def summed(values: Floats, most: int) -> Floats:
    """Counts per step as counts per ``ceil(n / most)`` steps: bars that still add up."""
    width = -(-len(values) // most) if len(values) else 1
    padded = np.concatenate([values, np.zeros(-len(values) % width)])
    sums: Floats = padded.reshape(-1, width).sum(axis=1)
    return sums
