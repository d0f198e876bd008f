"""How long a start takes: learned from the phases of earlier starts, per model and node.

A start is remembered as the seconds it spent in each phase before ready, 0 for a phase it
did not go through (an image already there). An estimate looks at the recent starts of the
model on that node, else of the model anywhere, else of all models, and takes a high quantile
of what was left at this point of the way: too long a Retry-After costs little, too short a
one brings the client back in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stoker.vocabulary import PHASES_BEFORE_READY, ModelKey, Phase, Replica

QUANTILE = 0.75
DEFAULT_SECONDS = 30.0
"""What is said of a start while none was ever seen: a guess, marked as not known."""

_RECENT = 32
_ENOUGH_ON_NODE = 3
_MOST_HISTORIES = 20_000


class _Start(NamedTuple):
    """Seconds in each phase on the way, and in all phases behind it together."""

    took: tuple[float, ...]
    after: tuple[float, ...]


class Estimate(NamedTuple):
    """Seconds until ready, from ``phase`` (None: not begun yet).

    ``known``: it rests on starts of this very model that took at least as long as this one
    has taken so far. ``starts``: on how many.
    """

    seconds: float
    known: bool
    phase: Phase | None
    starts: int


class Estimator:
    """Learns from finished starts. Memory is bounded; the least recently fed goes first."""

    def __init__(self, quantile: float = QUANTILE) -> None:
        self._quantile = quantile
        self._all: deque[_Start] = deque(maxlen=_RECENT)
        self._histories: dict[tuple[ModelKey, str], deque[_Start]] = {}

    def observe(
        self, model: ModelKey, node: str, phase_seconds: Iterable[tuple[Phase, float]]
    ) -> None:
        """A replica became ready: what each phase on its way took, in seconds.

        Phases that do not lead to ready and times below 0 are ignored, and so is a start
        of which nothing is left.
        """
        took = dict.fromkeys(PHASES_BEFORE_READY, 0.0)
        seen = False
        for phase, seconds in phase_seconds:
            if phase in took and seconds >= 0:
                took[phase] += seconds
                seen = True
        if not seen:
            return
        start = _start(tuple(took.values()))
        self._all.append(start)
        for key in {(model, ""), (model, node)}:
            history = self._histories.pop(key, None) or deque(maxlen=_RECENT)
            history.append(start)
            self._histories[key] = history
        while len(self._histories) > _MOST_HISTORIES:
            del self._histories[next(iter(self._histories))]

    def forget(self, model: ModelKey) -> None:
        """The model is gone, or starts differently from now on."""
        for key in [key for key in self._histories if key[0] == model]:
            del self._histories[key]

    def eta(
        self,
        model: ModelKey,
        node: str = "",
        phase: Phase | None = None,
        elapsed: float = 0.0,
    ) -> Estimate:
        """How long until ready for a start that has been in ``phase`` for ``elapsed`` seconds.

        ``phase`` None: nothing has begun. A phase that is not on the way to ready counts as
        not begun (FAILED, DRAINING: another start is needed), READY as 0 seconds.
        """
        if phase is Phase.READY:
            return Estimate(0.0, True, phase, 0)
        if phase not in PHASES_BEFORE_READY:
            phase, elapsed = None, 0.0
        starts, own = self._starts(model, node)
        if not starts:
            return Estimate(max(DEFAULT_SECONDS - elapsed, 1.0), False, phase, 0)
        current = 0 if phase is None else PHASES_BEFORE_READY.index(phase)
        # Only starts that took longer here than this one already has can say what is left.
        left = [
            took[current] - elapsed + after[current]
            for took, after in starts
            if phase is None or took[current] > elapsed
        ]
        if left:
            return Estimate(_quantile(left, self._quantile), own, phase, len(left))
        # Slower than any before: half as long again, as a guess.
        return Estimate(
            max(elapsed / 2, 1.0) + _quantile([s.after[current] for s in starts], self._quantile),
            False,
            phase,
            len(starts),
        )

    def until_served(
        self, model: ModelKey, replicas: Iterable[Replica], now: float
    ) -> float | None:
        """Seconds until the first of the model's ``replicas`` can serve, or one that is still
        to be started: 0 when one is ready, None while nothing is known.
        """
        replicas = tuple(replicas)
        if any(replica.phase is Phase.READY for replica in replicas):
            return 0.0
        ways = [
            self.eta(model, replica.node, replica.phase, now - replica.since)
            for replica in replicas
            if replica.is_starting
        ]
        best = min(ways or [self.eta(model)], key=lambda way: way.seconds)
        return best.seconds if best.starts else None

    def phases(self, model: ModelKey, node: str = "") -> dict[Phase, float]:
        """The quantile of each phase alone, phases that take no time left out."""
        starts, _ = self._starts(model, node)
        seconds = {
            phase: _quantile([start.took[place] for start in starts], self._quantile)
            for place, phase in enumerate(PHASES_BEFORE_READY)
            if starts
        }
        return {phase: value for phase, value in seconds.items() if value > 0}

    def spread(self, model: ModelKey, node: str, phase: Phase) -> tuple[float, float] | None:
        """The least and the most seconds that recent starts of this very model spent in
        ``phase``; None: there was none.
        """
        starts, own = self._starts(model, node)
        if not own:
            return None
        place = PHASES_BEFORE_READY.index(phase)
        seconds = [start.took[place] for start in starts]
        return min(seconds), max(seconds)

    def _starts(self, model: ModelKey, node: str) -> tuple[Sequence[_Start], bool]:
        """The most telling starts there are, and whether they are the model's own."""
        on_node = self._histories.get((model, node), ())
        if node and len(on_node) >= _ENOUGH_ON_NODE:
            return on_node, True
        anywhere = self._histories.get((model, ""), ())
        return (anywhere, True) if anywhere else (self._all, False)


def _start(took: tuple[float, ...]) -> _Start:
    return _Start(took, tuple(sum(took[place + 1 :]) for place in range(len(took))))


def _quantile(values: Iterable[float], quantile: float) -> float:
    """Linear interpolation between the two nearest ranks of one or more values."""
    ordered = sorted(values)
    place = quantile * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
