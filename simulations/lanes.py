"""Stretches of a trace side by side, second by second: what the fluid pass is fed. Pure.

A lane is one model's arrivals in one stretch: ``lead`` seconds that fill windows and start
replicas, and then the seconds that count. All lanes are equally long, so that one step of
the clock is one step for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Trace

Floats = NDArray[np.float64]

SMOOTHED = 60
"""Seconds over which the mean service is taken: prompts come long for a while, then short."""
SHORTEST_SERVICE = 1e-3


class Stretch(NamedTuple):
    """Seconds of a trace: what is counted is in [begin, end), what leads to it from ``start``."""

    start: float
    begin: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """``arrivals``, ``service``: [second, lane], requests in that second, and the mean seconds
    in a replica of those around it. ``times``: each lane's arrivals behind each other, seconds
    from its beginning, at ``first[lane]`` to ``first[lane + 1]``. ``lead``: seconds that are
    not counted. ``counted``: requests per lane in the others.
    """

    arrivals: Floats
    service: Floats
    times: Floats
    first: NDArray[np.int64]
    lead: int

    @property
    def count(self) -> int:
        return len(self.first) - 1

    @property
    def seconds(self) -> int:
        """Of each lane, those that lead among them."""
        return len(self.arrivals)

    @property
    def counted(self) -> Floats:
        counted: Floats = self.arrivals[self.lead :].sum(axis=0)
        return counted


def lanes(
    traces: Sequence[tuple[Trace, Floats]], stretches: Sequence[Stretch], quiet: int = 0
) -> Lanes:
    """One lane for each trace and stretch, in this order: all stretches of the first, ...

    ``quiet``: seconds before each in which nobody comes, and which are not counted. A trace
    comes with the seconds of service of each arrival. Stretches are equally long, in whole seconds.
    Raises ValueError where they are not.
    """
    shapes = {(s.begin - s.start, s.end - s.begin) for s in stretches}
    if len(shapes) != 1 or any(part != int(part) for shape in shapes for part in shape):
        raise ValueError(f"stretches differ, or are not of whole seconds: {sorted(shapes)}")
    ((lead, length),) = shapes
    seconds = int(quiet + lead + length)
    count = len(traces) * len(stretches)
    arrivals, service = np.zeros((seconds, count)), np.ones((seconds, count))
    times, first = [], [0]
    places = ((trace, work, stretch) for trace, work in traces for stretch in stretches)
    for lane, (trace, work, stretch) in enumerate(places):
        low, high = np.searchsorted(trace.times, (stretch.start, stretch.end)).tolist()
        own = trace.times[low:high] - stretch.start + quiet
        at = np.minimum(own.astype(np.int64), seconds - 1)
        arrivals[:, lane] = np.bincount(at, minlength=seconds)
        of_second: Floats = np.bincount(at, work[low:high], minlength=seconds).astype(np.float64)
        service[:, lane] = _smoothed(arrivals[:, lane], of_second, work)
        times.append(own)
        first.append(first[-1] + len(own))
    return Lanes(
        arrivals,
        np.maximum(service, SHORTEST_SERVICE),
        np.concatenate([np.zeros(0), *times]),
        np.array(first, dtype=np.int64),
        int(quiet + lead),
    )


def _smoothed(arrivals: Floats, work: Floats, overall: Floats) -> Floats:
    """Work by arrival in the ``SMOOTHED`` seconds around each; where none came, the mean."""
    width = min(SMOOTHED, len(arrivals))
    window = np.ones(width)
    near = np.convolve(arrivals, window, "same")
    sums = np.convolve(work, window, "same")
    mean = float(overall.mean()) if len(overall) else 1.0
    smooth: Floats = np.where(near > 0.5, sums / np.maximum(near, 1.0), mean)
    return smooth
