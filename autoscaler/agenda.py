"""When to decide, and for which models: every tick for all, in between for those poked. Pure."""

from __future__ import annotations

import heapq
from math import ceil, inf

from stoker.vocabulary import ModelKey

POKE_GAP = 0.02
"""Seconds between two decisions out of turn: a flood of pokes must not starve the loop."""


class Agenda:
    """Ticks on a grid of ``interval`` seconds from ``begin`` on; missed ones are not made up for.

    Raises ValueError when ``interval`` is not above 0.
    """

    def __init__(self, interval: float) -> None:
        if not interval > 0:
            raise ValueError(f"tick_interval = {interval}: must be above 0 s")
        self._interval = interval
        self._next_tick = self._next_poked = 0.0
        self._poked: set[ModelKey] = set()
        self._wakes: list[tuple[float, ModelKey]] = []

    def begin(self, now: float) -> None:
        """Deciding begins now: what came before is decided on with the first tick."""
        self._next_tick = self._next_poked = now

    def poke(self, model: ModelKey) -> None:
        """Decide for ``model`` as soon as may be."""
        self._poked.add(model)

    def wake(self, model: ModelKey, time: float) -> None:
        """Decide for ``model`` again at ``time``."""
        heapq.heappush(self._wakes, (time, model))

    def forget(self, model: ModelKey) -> None:
        """The model is gone. What it asked for by ``wake`` is passed over by the planner."""
        self._poked.discard(model)

    def skip(self, time: float) -> None:
        """Ticks before ``time`` are left out; what was poked or is to be looked at stays."""
        behind = time - self._next_tick
        if behind > 0:
            self._next_tick += ceil(behind / self._interval) * self._interval

    def earliest_wake(self) -> float:
        """When something is to be looked at again; infinity when nothing is."""
        return self._wakes[0][0] if self._wakes else inf

    def take(self, now: float) -> tuple[bool, set[ModelKey]]:
        """What is to be decided at ``now``: all models (True), or those in the set, maybe none."""
        if now >= self._next_tick:
            self._due(now)
            self._next_tick += self._interval
            if self._next_tick <= now:
                self._next_tick = now + self._interval
            return True, set()
        if now >= self._next_poked and (due := self._due(now)):
            self._next_poked = now + POKE_GAP
            return False, due
        return False, set()

    def until(self) -> float:
        """When ``take`` has something next, unless it is told of more."""
        early = self._next_tick
        if self._wakes:
            early = min(early, max(self._wakes[0][0], self._next_poked))
        if self._poked:
            early = min(early, self._next_poked)
        return early

    def _due(self, now: float) -> set[ModelKey]:
        """The models poked, or to be looked at again by now."""
        due, self._poked = self._poked, set()
        while self._wakes and self._wakes[0][0] <= now:
            due.add(heapq.heappop(self._wakes)[1])
        return due
