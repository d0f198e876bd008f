"""Which parts of a trace settings are chosen on, and which they are judged on. Pure.

The trace is cut into segments of equal length. Each is preceded by a stretch that fills the
windows and starts replicas and is not counted; the first such stretch is the beginning of
the trace. Segments are dealt out to folds in turn, so that each fold sees all times of the
day; what is chosen on all folds but one is judged on that one (block cross-validation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulations.lanes import Stretch
from simulations.trace import Trace
from stoker.errors import TuningError

LEAD = 600.0
"""Seconds that lead to a segment at most: the longest stable window that is searched."""
SHORTEST_SEGMENT = 10.0
FOLDS = 3
REPLAYED_SECONDS, REPLAYED_REQUESTS = 6 * 3600.0, 300_000
"""Of one configuration's exact replay at most; of longer traces a part of each segment."""
LANE_SECONDS = 3600.0
"""The fluid pass cuts segments further, to have more rows to compute at once."""


@dataclass(frozen=True, slots=True)
class Segments:
    """``exact[i]``: what is replayed of segment ``i``; ``rough[i]``: all of it, in lanes.
    ``total``: seconds of all segments. ``quiet``: seconds without requests before each, in which
    the replicas that a model begins with get ready: none of it is to blame for a backlog that
    no running model would have.
    """

    exact: tuple[Stretch, ...]
    rough: tuple[tuple[Stretch, ...], ...]
    total: float
    quiet: int = 0

    def __len__(self) -> int:
        return len(self.exact)

    def fold(self, number: int) -> list[int]:
        """The segments held back in fold ``number``."""
        return [place for place in range(len(self)) if place % FOLDS == number]

    def others(self, number: int) -> list[int]:
        """The segments that fold ``number`` is chosen on."""
        return [place for place in range(len(self)) if place % FOLDS != number]

    @property
    def replayed(self) -> float:
        """Seconds that are replayed exactly."""
        return sum(stretch.end - stretch.begin for stretch in self.exact)


def segments(trace: Trace, count: int, seed: int = 0, start: float = 0.0) -> Segments:
    """Cut ``trace`` into ``count`` segments; ``start``: mean seconds of a replica's start.
    Raises TuningError where it is too short.
    """
    lead = float(math.floor(min(LEAD, trace.duration / (count + 2))))
    length = math.floor((trace.duration - lead) / count)
    if length < SHORTEST_SEGMENT:
        need = math.ceil(SHORTEST_SEGMENT * (count + 2))
        raise TuningError(
            f"the trace lasts {trace.duration:g} s, too short for {count} segments of at least"
            f" {SHORTEST_SEGMENT:g} s; take fewer (--segments), or a trace of {need} s or more"
        )
    begins = [lead + place * length for place in range(count)]
    inside = np.searchsorted(trace.times, (lead, lead + count * length))
    requests = max(1, int(inside[1] - inside[0]))
    share = min(1.0, REPLAYED_SECONDS / (count * length), REPLAYED_REQUESTS / requests)
    part = max(SHORTEST_SEGMENT, math.floor(share * length))
    rng = np.random.default_rng(seed)
    shifts = np.floor(rng.random(count) * (length - part + 1))
    lanes = max(1, round(length / LANE_SECONDS))
    piece = length // lanes
    return Segments(
        tuple(
            Stretch(begin + shift - lead, begin + shift, begin + shift + part)
            for begin, shift in zip(begins, shifts.tolist(), strict=True)
        ),
        tuple(
            tuple(
                Stretch(begin + at * piece - lead, begin + at * piece, begin + (at + 1) * piece)
                for at in range(lanes)
            )
            for begin in begins
        ),
        float(count * length),
        math.ceil(start) + 2,
    )


def cut(trace: Trace, stretch: Stretch, quiet: int = 0) -> tuple[Trace, float]:
    """The arrivals of a stretch behind ``quiet`` seconds and those that lead to it, and how
    long all that is not counted takes."""
    part = trace.between(stretch.start, stretch.end)
    shifted = replace(part, times=part.times + quiet, duration=part.duration + quiet)
    return shifted, stretch.begin - stretch.start + quiet


def flattened(rough: Sequence[Sequence[Stretch]]) -> list[Stretch]:
    """All lanes, segment by segment."""
    return [stretch for lanes in rough for stretch in lanes]
