"""A clock that moves only when told to."""

from __future__ import annotations


class ManualClock:
    """Implements ``stoker.clock.Clock``. Starts at ``now`` monotonic seconds; ``wall`` is
    the epoch time at that moment and moves along."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._offset = wall - now

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._offset

    def advance(self, seconds: float) -> None:
        """Move on. Raises ValueError for a negative number: monotonic time never goes back."""
        if not seconds >= 0:
            raise ValueError(f"seconds = {seconds}: must be 0 or more")
        self._now += seconds

    def advance_to(self, now: float) -> None:
        """Move on to a moment. Raises ValueError if it has passed."""
        self.advance(now - self._now)
