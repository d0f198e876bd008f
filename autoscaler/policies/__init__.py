"""Policies: averages in, wanted replicas out, for any number of rows at once.

A policy keeps its settings and its memory in columns (``autoscaler.table.Table``), one entry
per row, and changes only the rows it is asked about. Bounds, scale-to-zero and capacity are
decided after it: a policy says what the load wants, and, where it knows more than the load
of the moment (``Floor``), how many replicas must be there whatever the load says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from autoscaler.table import At, Bools, Floats, Ints
from autoscaler.window import Averages
from stoker.vocabulary import ScalingConfig


class Supply(NamedTuple):
    """Replicas per row: ``ready`` now, and ``counted`` as capacity (ready, or also starting).

    ``start_seconds``: what a start of the model takes, as measured; 0 while nothing is known.
    """

    ready: Floats
    counted: Floats
    start_seconds: Floats


class Why(enum.IntEnum):
    """Why a policy asks for a floor, or what it sized by; ``Floor.figure`` has the number.

    The figures: KEPT_LONG, KEPT_PATTERN: seconds of idleness until which it is kept;
    PREWARMED: seconds of idleness after which load is expected; SEASON_AWAKE: none;
    SEASON: expected load; ERLANG: mean service time, seconds; FIXED: none.
    """

    NOTHING = 0
    KEPT_LONG = 1
    KEPT_PATTERN = 2
    PREWARMED = 3
    SEASON_AWAKE = 4
    SEASON = 5
    ERLANG = 6
    FIXED = 7


class Floor(NamedTuple):
    """What holds whether there is load, or data, or none; only for the rows concerned.

    ``places``: which of the rows asked about, each at most once. ``replicas``: at least so
    many are to be there (within the bounds), 0: no wish. ``look_again``: when that may change
    without any load (NEVER: it will not). ``why``, ``figure``: see ``Why``.
    """

    places: Ints
    replicas: Floats
    look_again: Floats
    why: Floats
    figure: Floats


class Verdict(NamedTuple):
    """A policy's answer per row; rows without valid averages are to be left as they are,
    but for ``floor`` (None: there is none for any row)."""

    wanted: Floats
    excess_burst_capacity: Floats
    panicking: Bools
    floor: Floor | None = None


Frozen = Callable[[Ints], list[dict[str, object]]]
"""From places within the frozen rows to their memories as they were."""


class Policy(Protocol):
    """What the planner needs of a policy; what it is told and need not listen to is optional."""

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows."""

    def configure(self, row: int, config: ScalingConfig, now: float) -> None:
        """Set or change a row's settings; its memory stays."""

    def begin(self, row: int, ready: float, now: float) -> None:
        """The first look at a row whose past is unknown: ``ready`` replicas are there."""

    def reset(self, row: int) -> None:
        """The row's model is gone; nothing of it may be left."""

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        """Decide for the rows ``at``; the other arguments hold one entry for each of them."""

    def take(self, row: int) -> dict[str, object]:
        """The row's memory as plain JSON values, for snapshots."""

    def freeze(self, at: At, start: Floats, now: float) -> Frozen:
        """What ``take`` gives for the rows ``at``, as it is now, for as long as needed.

        What ``decide`` at ``now`` does not look at, when starts take ``start`` seconds, may be
        left out.
        """

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        """Take over what ``take`` gave; the row is configured already.

        ``shift``: whole seconds that the clock is ahead of the one it was taken under.
        """

    def observe(self, second: int, rows: Ints, values: Floats) -> None:
        """Load of one second was added to distinct rows, as it came in."""
        return

    def serve(self, rows: Ints, busy: Floats, completions: Floats) -> None:
        """Distinct rows served requests for ``busy`` seconds in all and completed some."""
        return

    @property
    def measures_service(self) -> bool:
        """Whether any row listens to ``serve``, or weighs those that wait."""
        return False

    def weight_of_queued(self, rows: Ints) -> Floats:
        """How much of a request in service one that waits counts for, per row (-1: unknown)."""
        return np.ones(len(rows))
