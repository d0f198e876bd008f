"""When replicas began and ended, in Stoker's own words: its journal and its log."""

from __future__ import annotations

import datetime
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Line = Mapping[str, Any]
_ENDED = re.compile(r"\S+/(\S+): replica \S+-(\d+): ")


@dataclass(frozen=True, slots=True)
class Life:
    """One replica, from its start's begin to its process's end (monotonic seconds)."""

    begun: float
    ended: float

    def within(self, begin: float, end: float) -> float:
        """Seconds of it in [begin, end]."""
        return max(0.0, min(self.ended, end) - max(self.begun, begin))


@dataclass(frozen=True, slots=True)
class Counts:
    """Replicas of a model from ``time`` (monotonic) on."""

    time: float
    ready: int
    starting: int

    @property
    def all(self) -> int:
        return self.ready + self.starting


def lines(text: str) -> list[Line]:
    """A file of JSON lines; a last one that is not whole yet is left out."""
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def ticks(journal: Iterable[Line]) -> list[float]:
    """When all models were decided on."""
    return [line["t"] for line in journal if line["kind"] == "tick" and line["rows"] is None]


def grid(ticks: Sequence[float], interval: float) -> float:
    """A moment of the grid that ticks are on: some of them are late, most are not."""
    first = ticks[0]
    aside = [(tick - first + interval / 2) % interval - interval / 2 for tick in ticks]
    return first + statistics.median(aside)


def loads_of(model: str, journal: Iterable[Line]) -> dict[int, float]:
    """Its load by second (monotonic), as the decisions saw it in the end."""
    found: dict[int, float] = defaultdict(float)
    rows: dict[int, str] = {}
    for line in journal:
        if line["kind"] == "config":
            rows[line["row"]] = line["model"][1]
        elif line["kind"] == "load":
            for row, value in zip(line["rows"], line["values"], strict=True):
                if rows[row] == model:
                    found[line["s"]] += value
    return found


def counts_of(model: str, journal: Iterable[Line]) -> list[Counts]:
    """How many there were, event by event."""
    return [
        Counts(line["t"], line["ready"], line["starting"])
        for line in journal
        if line["kind"] == "counts" and line["model"][1] == model
    ]


def begins(counts: Sequence[Counts]) -> list[float]:
    """When replicas began to start, one entry for each."""
    return [after.time for before, after in pairwise(counts) for _ in range(after.all - before.all)]


def wakes(counts: Sequence[Counts]) -> list[float]:
    """When the first replica of a model without any began to start."""
    return [after.time for before, after in pairwise(counts) if after.all and not before.all]


def ends(log: Iterable[Line], wall_ahead: float) -> dict[str, list[tuple[int, float]]]:
    """By model the number and the end of each replica that is gone.

    ``wall_ahead``: wall clock less monotonic clock; the log is written by the former.
    """
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in log:
        if line["logger"] == "stoker.platforms.local.platform":
            match = _ENDED.match(line["message"])
            if match is not None:
                wall = datetime.datetime.fromisoformat(line["time"]).timestamp()
                found[match[1]].append((int(match[2]), wall - wall_ahead))
    return found


def joined(counts: Sequence[Counts], ended: Sequence[tuple[int, float]]) -> list[Life]:
    """All replicas that there have been; numbers are given in the order of the starts.

    Raises ValueError unless as many ended as began.
    """
    pairs = zip(begins(counts), (time for _, time in sorted(ended)), strict=True)
    return [Life(*pair) for pair in pairs]


def peak(lives: Iterable[Life]) -> int:
    """The most there were at once."""
    changes = sorted(change for life in lives for change in ((life.begun, 1), (life.ended, -1)))
    there = most = 0
    for _, change in changes:
        there += change
        most = max(most, there)
    return most


def start_seconds(counts: Sequence[Counts]) -> list[float]:
    """From a wake to readiness, of each."""
    return [
        min(later.time for later in counts if later.time > wake and later.ready) - wake
        for wake in wakes(counts)
    ]


def sleeps(counts: Sequence[Counts]) -> list[float]:
    """When none was ready or starting any more: it was decided for zero."""
    return [after.time for before, after in pairwise(counts) if before.all and not after.all]
