"""How often a starting replica is probed. Sans-IO; all times are seconds.

A probe that is refused on loopback costs 0.06 ms of a core, with the wake-up for it 0.2 to 0.4.
Asked every 2 ms around the time at which earlier starts got ready, and rarely before, a start
that takes 20 s costs 0.6 s of a core, and its end is noticed 1 ms late on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHORTEST: Final = 0.001
# Around the time at which the replica should get ready.
NEAR: Final = 0.002
# While nobody can say when: of a model's first start, and of one that outlasts all before.
UNKNOWN: Final = 0.01
# Long before its time, or when its answers take long.
FAR: Final = 0.05
# What probing adds to a cold start, at most: 1 % of it, whether it takes 100 ms or 10 s.
SHARE: Final = 0.01
# The next start may be so much quicker or slower than those that were seen.
MARGIN: Final = 0.2
# All together: a thousand probes per second, a tenth of a core, however many are starting.
EACH: Final = 0.001
# A replica spends a fifth of its time on answers to probes at most.
ANSWERS: Final = 4.0


@dataclass(slots=True)
class Probed:
    """The replicas of one machine that are being probed: how many there are now."""

    now: int = 0


def pause_before_next(
    elapsed: float,
    expected: tuple[float, float] | None = None,
    took: float = 0.0,
    probing: int = 1,
) -> float:
    """Seconds until the next probe of a replica that has been starting for ``elapsed``.

    ``expected``: the shortest and the longest of its earlier starts; None: none is known.
    ``took``: how long it took to answer the last probe, 0 if it did not. ``probing``: how many
    replicas are being probed.
    """
    most = UNKNOWN
    if expected is not None:
        soon, late = expected[0] * (1 - MARGIN), expected[1] * (1 + MARGIN)
        if elapsed < soon:
            # Not beyond the moment from which it is asked often.
            most = min(FAR, max(soon - elapsed, SHORTEST))
        elif elapsed <= late:
            most = NEAR
    pause = min(max(elapsed * SHARE, SHORTEST), most)
    return max(pause, min(took * ANSWERS, FAR), probing * EACH)
