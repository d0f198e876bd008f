"""Which of several settings are worth a look, and which one to take. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from simulations.tuning.judged import Judged
from simulations.tuning.slo import Reference, Seen, Slo

MARGIN = 0.1
"""By how much settings must undercut a limit where they are chosen: what is cheapest under a
limit is the luckiest of many, and will be a little worse on what it was not chosen on."""


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """The places of points that no other one beats: not worse in anything, better in something.

    Of equal ones the first. Smaller is better; in the order of the first coordinate.
    """
    order = sorted(range(len(points)), key=lambda at: tuple(points[at]))
    kept: list[int] = []
    for at in order:
        point = points[at]
        if not any(_covers(points[other], point) for other in kept):
            kept.append(at)
    return kept


def _covers(better: Sequence[float], point: Sequence[float]) -> bool:
    return all(b <= p for b, p in zip(better, point, strict=True))


def cheapest(
    judged: Sequence[Judged],
    slo: Slo,
    references: Mapping[Reference, Seen],
    everywhere: Sequence[bool],
) -> tuple[int, bool]:
    """The place of the cheapest that keeps ``slo``, and whether one does.

    ``everywhere``: whether it was kept in each segment apart. Taken is the cheapest of those
    with that and ``MARGIN`` to spare, else with ``MARGIN``, else of all that keep it; where
    none does, the one that comes nearest.
    """
    excesses = [slo.excess(one, references) for one in judged]
    spare = [at for at, excess in enumerate(excesses) if excess <= 1 - MARGIN]
    kept = [at for at, excess in enumerate(excesses) if excess <= 1]
    for good in ([at for at in spare if everywhere[at]], spare, kept):
        if good:
            return min(good, key=lambda at: (judged[at].dollars, _p99(judged[at]))), True
    nearest = min(
        range(len(judged)),
        key=lambda at: (excesses[at], judged[at].failed_share, judged[at].dollars),
    )
    return nearest, False


def promising(
    costs: Sequence[float], excesses: Sequence[float], points: Sequence[Sequence[float]], count: int
) -> list[int]:
    """Up to ``count`` places worth replaying, by estimates: half of them the cheapest that keep
    the SLO or miss it by a third (estimates are rough), the others spread over the front."""
    near = sorted(
        (at for at in range(len(costs)) if excesses[at] <= 4 / 3),
        key=lambda at: costs[at],
    )
    if not near:
        near = sorted(range(len(costs)), key=lambda at: (excesses[at], costs[at]))
    chosen = dict.fromkeys(near[: math.ceil(count / 2)])
    best = [at for at in front(points) if at not in chosen]
    left = count - len(chosen)
    if len(best) > left:
        best = [best[round(at * (len(best) - 1) / max(1, left - 1))] for at in range(left)]
    chosen.update(dict.fromkeys(best[:left]))
    return list(chosen)


def _p99(judged: Judged) -> float:
    return judged.percentile(False, 99)
