"""Counts and integrals of a run, over its whole time and by steps of it. Pure."""

from __future__ import annotations

from simulations.result import Floats, Series


class Track:
    """A number that changes now and then: its integral over time, by steps of a series.

    ``column`` holds averages per step, the first of which begins at ``began``: a value v for s
    seconds of a step adds v·s/step.
    """

    __slots__ = ("_began", "_column", "_end", "_since", "_step", "integral", "value")

    def __init__(self, column: Floats, step: float, began: float = 0.0) -> None:
        self._column = column
        self._step = step
        self._began = began
        self._end = len(column) * step
        self._since = 0.0
        self.value = 0.0
        self.integral = 0.0

    def add(self, change: float, now: float) -> None:
        """It changes by ``change`` at ``now``; times never go back."""
        self.settle(now)
        self.value += change

    def settle(self, now: float) -> None:
        """Account for everything up to ``now``."""
        since, value = self._since, self.value
        now -= self._began
        if now <= since:
            return
        self._since = now
        if not value:
            return
        self.integral += value * (now - since)
        now = min(now, self._end)
        if now <= since:
            return
        step, column = self._step, self._column
        first, last = int(since / step), min(int(now / step), len(column) - 1)
        if first == last:
            column[first] += value * (now - since) / step
            return
        column[first] += value * ((first + 1) * step - since) / step
        column[first + 1 : last] += value
        column[last] += value * (now - last * step) / step


def step_for(duration: float, most: int = 2000) -> float:
    """Whole seconds per step, 1, 2, 5, 10, 15, 30, 60 ... so that ``most`` steps suffice."""
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400):
        if duration <= step * most:
            return float(step)
    return float(86400 * (1 + int(duration / 86400 / most)))


def steps_in(duration: float, step: float) -> int:
    """How many steps cover so many seconds, at least one."""
    return max(1, int(-(-duration // step)))


def empty_series(duration: float, step: float) -> Series:
    """``step`` 0: chosen by ``step_for``."""
    step = step or step_for(duration)
    return Series.empty(step, steps_in(duration, step))
