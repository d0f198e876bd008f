"""What a simulated run comes to: counts, waits, seconds of replicas, money, curves. Pure.

Everything adds up: results of shards of one run (other models, same time) merge into one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stoker.vocabulary import ModelKey

Floats = NDArray[np.float64]

FINENESS = 1.005
"""The ratio of neighbouring bounds of a ``Spread``. A bin's geometric middle is within
√1.005 - 1 = 0.25 % of everything in it."""
SHORTEST, LONGEST = 1e-5, 1e6
"""Seconds between which that holds. Shorter ones (0 among them) share the first bin, which
counts as 0; longer ones (11 days) the last."""

_LOG = float(np.log(FINENESS))
BINS = int(np.ceil(np.log(LONGEST / SHORTEST) / _LOG)) + 2


class Spread:
    """How seconds are spread: a histogram with logarithmic bins, the sum, the extremes."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.longest = 0.0

    def add(self, seconds: Floats) -> None:
        """Take in values of 0 or more. Raises ValueError on others: a time that ran backwards
        must not hide in the first bin.
        """
        if not len(seconds):
            return
        if not float(seconds.min()) >= 0:
            raise ValueError(f"a spread of seconds cannot take in {float(seconds.min()):g} s")
        clipped = np.clip(seconds, SHORTEST / FINENESS, LONGEST)
        bins = np.floor(np.log(clipped / SHORTEST) / _LOG).astype(np.int64) + 1
        self.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)
        self.count += len(seconds)
        self.total += float(seconds.sum())
        self.squares += float(np.square(seconds).sum())
        self.longest = max(self.longest, float(seconds.max()))

    def merge(self, other: Spread) -> None:
        self.counts += other.counts
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.longest = max(self.longest, other.longest)

    @property
    def mean(self) -> float:
        """0 without values."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The value that ``percent`` of all do not exceed (the nearest rank), to 0.25 % between
        ``SHORTEST`` and ``LONGEST``; 0 without values.
        """
        if not self.count:
            return 0.0
        rank = max(1, int(np.ceil(self.count * percent / 100)))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        if place == 0:
            return 0.0
        middle = SHORTEST * FINENESS ** (place - 0.5)
        return float(min(middle, self.longest))

    def share_above(self, seconds: float) -> float:
        """The share of values above ``seconds``, to the width of a bin; 0 without values."""
        if not self.count:
            return 0.0
        place = int(np.floor(np.log(max(seconds, SHORTEST / FINENESS) / SHORTEST) / _LOG)) + 1
        return float(self.counts[min(max(place, 0), BINS - 1) + 1 :].sum() / self.count)

    def curve(self) -> tuple[Floats, Floats]:
        """Seconds, and the share of values that do not exceed them; one point a used bin."""
        used = np.flatnonzero(self.counts)
        upper = SHORTEST * FINENESS ** used.astype(np.float64)
        share = np.cumsum(self.counts)[used] / max(self.count, 1)
        return np.where(used == 0, 0.0, np.minimum(upper, self.longest)), share


@dataclass(slots=True)
class Totals:
    """Counts and seconds, of one model or of all.

    ``requests`` came; each of them was ``answered``, ``refused`` (by reason, holds that ran
    into their deadline among them) or ``abandoned`` (its client left first), or is
    ``unfinished`` at the end. ``tries``: with those repeated by clients. ``retries``: by
    Stoker, after a replica died. ``cold``: answered requests that waited for a replica that
    was not ready when they came, while none was. ``activations``: times a model left zero.
    ``starts``: replicas that began to start; ``crashes``: of those, how many died unasked.
    Seconds: ``replica`` from the start's begin to the end, ``ready`` of these ready, ``busy``
    with at least one request, ``slot`` in requests (the sum over requests), ``node``.
    ``peak_replicas``: the most there were; merged, the sum of peaks, which is a bound.
    """

    requests: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    unfinished: int = 0
    tries: int = 0
    retries: int = 0
    cold: int = 0
    activations: int = 0
    starts: int = 0
    crashes: int = 0
    replica_seconds: float = 0.0
    ready_seconds: float = 0.0
    busy_seconds: float = 0.0
    slot_seconds: float = 0.0
    node_seconds: float = 0.0
    peak_replicas: int = 0

    @property
    def refusals(self) -> int:
        return sum(self.refused.values())

    @property
    def cold_share(self) -> float:
        """Of answered requests; 0 without any."""
        return self.cold / self.answered if self.answered else 0.0

    @property
    def utilisation(self) -> float:
        """The share of ready replicas' time in which they had something to do."""
        return self.busy_seconds / self.ready_seconds if self.ready_seconds else 0.0

    def merge(self, other: Totals) -> None:
        """Add another model's, or another shard's."""
        for name in self.__slots__:
            if name == "refused":
                self.refused.update(other.refused)
            else:
                setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True, eq=False)
class Series:
    """What happened over time: one entry per step of ``step`` seconds, all of length n.

    Averages over the step: ``active``, ``queued``, ``ready``, ``starting``, ``desired``.
    Counts within it: ``arrivals``, ``cold``, ``refused``. ``wait_max``: the longest wait (s)
    of a request that got its slot in it.
    """

    step: float
    arrivals: Floats
    active: Floats
    queued: Floats
    ready: Floats
    starting: Floats
    desired: Floats
    cold: Floats
    refused: Floats
    wait_max: Floats

    @classmethod
    def empty(cls, step: float, steps: int) -> Series:
        return cls(step, *(np.zeros(steps) for _ in range(9)))

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def times(self) -> Floats:
        """When each step begins, seconds."""
        return np.arange(len(self), dtype=np.float64) * self.step

    def merge(self, other: Series) -> None:
        """Add another shard's, of the same steps."""
        for name in self.__slots__:
            if name == "wait_max":
                np.maximum(self.wait_max, other.wait_max, out=self.wait_max)
            elif name != "step":
                column = getattr(self, name)
                column += getattr(other, name)


@dataclass(slots=True)
class Money:
    """What the seconds cost. ``dollars`` = node-seconds or replica-seconds at their price."""

    dollars: float = 0.0
    gpu_hours: float = 0.0


@dataclass(slots=True, eq=False)
class Result:
    """One run. ``waits``: seconds from arrival to the slot, ``latencies``: to the answer's
    end, both of answered requests; ``cold_waits``: of those counted as ``Totals.cold``.
    ``settings``: what was not default, as a user would write it. ``wall_seconds``: what the
    run took on this machine (not compared, not part of what is deterministic). ``began``:
    seconds since 1970 where counting began, at the end of the warm-up; None: not known.
    """

    label: str
    trace: str
    seed: int
    duration: float
    totals: Totals
    waits: Spread
    latencies: Spread
    cold_waits: Spread
    series: Series
    money: Money
    models: dict[ModelKey, Totals]
    settings: dict[str, str] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)
    decisions: int = 0
    wall_seconds: float = 0.0
    began: float | None = None

    @property
    def dollars_per_thousand(self) -> float:
        """Dollars per 1,000 answered requests; 0 without any."""
        answered = self.totals.answered
        return 1000 * self.money.dollars / answered if answered else 0.0
