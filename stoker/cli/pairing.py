"""Arrivals and ends, as a running Stoker tells them, joined to rows of a trace. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from stoker.vocabulary import DEFAULT_NAMESPACE

MOST_OPEN: Final = 1_000_000
"""Requests that may be under way; with more the oldest are taken to have no seconds."""
MOST_EARLY: Final = 100_000
"""Ends that may wait for their arrival, which another process tells a moment later."""


class Pairing:
    """``add`` gets rows: seconds since ``began``, the model, seconds in a replica or None.

    ``until``: what arrived later is left out; None: nothing.
    """

    def __init__(
        self,
        began: float,
        add: Callable[[float, str, float | None], None],
        most_open: int = MOST_OPEN,
        most_early: int = MOST_EARLY,
    ) -> None:
        self.until: float | None = None
        self.arrivals = 0
        self.models: Counter[str] = Counter()
        self.unknown = 0
        self._began = began
        self._add = add
        self._most_open = most_open
        self._most_early = most_early
        self._open: dict[int, tuple[float, str]] = {}
        self._early: dict[int, float | None] = {}

    def arrived(self, events: Iterable[tuple[int, str, float]]) -> None:
        for number, label, time in events:
            since = time - self._began
            if since < 0 or (self.until is not None and since > self.until):
                continue
            namespace, _, name = label.partition("/")
            model = name if namespace == DEFAULT_NAMESPACE else label
            self.arrivals += 1
            self.models[model] += 1
            if number in self._early:
                self._row(since, model, self._early.pop(number))
                continue
            self._open[number] = (since, model)
            if len(self._open) > self._most_open:
                self._row(*self._open.pop(next(iter(self._open))), None)

    def ended(self, events: Iterable[tuple[int, float | None]]) -> None:
        for number, seconds in events:
            arrival = self._open.pop(number, None)
            if arrival is not None:
                self._row(*arrival, seconds)
                continue
            self._early[number] = seconds
            if len(self._early) > self._most_early:
                del self._early[next(iter(self._early))]

    def finish(self) -> int:
        """Nothing more comes; returns how many requests were still under way."""
        left, self._open = self._open, {}
        for arrival in left.values():
            self._row(*arrival, None)
        return len(left)

    def _row(self, since: float, model: str, seconds: float | None) -> None:
        self.unknown += seconds is None
        self._add(since, model, seconds)
