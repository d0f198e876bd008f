"""How many lines a flood may write, and which of many successes get one. Pure.

What gets no line of its own is counted, and told in a summary once its second is over:
nothing is lost silently.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WINDOW_SECONDS = 1.0
# All keys together may write this many times what one may.
TOTAL_TIMES = 20
# Keys that are told apart at one time: (models × reasons) can be hundreds of thousands.
MOST_KEYS = 4096


@dataclass(frozen=True, slots=True)
class Hidden(Generic[K]):
    """``count`` lines of ``key`` that were not written. ``key`` None: of many keys."""

    key: K | None
    count: int


class _Window:
    __slots__ = ("hidden", "shown", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.shown = 0
        self.hidden = 0


class LogLimit(Generic[K]):
    """At most ``each`` lines of one key per second, and 20 times as many of all together."""

    def __init__(self, each: int) -> None:
        self.each = each
        self._windows: dict[K, _Window] = {}
        self._all = _Window(float("-inf"))
        self._beyond = 0

    def allows(self, key: K, now: float) -> bool:
        """Whether a line of ``key`` is written now; if not it is counted."""
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= MOST_KEYS:
                self._beyond += 1
                return False
            window = self._windows[key] = _Window(now)
        elif now - window.since >= WINDOW_SECONDS and not window.hidden:
            window.since, window.shown = now, 0
        total = self._all
        if now - total.since >= WINDOW_SECONDS:
            total.since, total.shown = now, 0
        if window.shown >= self.each or total.shown >= self.each * TOTAL_TIMES:
            window.hidden += 1
            return False
        window.shown += 1
        total.shown += 1
        return True

    def due(self, now: float, *, most: int = 20) -> list[Hidden[K]]:
        """What was not written in seconds that are over; to be asked about once a second.

        The ``most`` largest by key, the others summed up.
        """
        return self._take([k for k, w in self._windows.items() if now - w.since >= 1.0], most)

    def rest(self, *, most: int = 20) -> list[Hidden[K]]:
        """What was not written and not told yet, at the end of all."""
        return self._take(list(self._windows), most)

    def _take(self, keys: list[K], most: int) -> list[Hidden[K]]:
        found = [Hidden(key, self._windows.pop(key).hidden) for key in keys]
        hidden = sorted((h for h in found if h.count), key=lambda h: -h.count)
        beyond, self._beyond = self._beyond, 0
        others = sum(h.count for h in hidden[most:]) + beyond
        told: list[Hidden[K]] = [*hidden[:most]]
        if others:
            told.append(Hidden(None, others))
        return told


class Sampler:
    """Takes ``share`` of what it is asked about, evenly: every hundredth for 0.01."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._owed = 0.0

    def takes(self) -> bool:
        """Whether this one is taken."""
        self._owed += self.share
        # The sum of a hundred times 0.01 is a little less than 1.
        if self._owed < 1.0 - 1e-9:
            return False
        self._owed -= 1.0
        return True
