"""The clock seam. Time is monotonic seconds as a float; nothing else reads it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a shell gets ``now`` from; decisions are given it as an argument."""

    def now(self) -> float:
        """Monotonic seconds. Never goes back."""

    def wall(self) -> float:
        """Seconds since the Unix epoch, for people and for ``epoch`` numbers only."""


class SystemClock:
    """The machine's own clocks."""

    # Bound once: one attribute look-up less on the request path.
    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
