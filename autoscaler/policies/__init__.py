"""Policies: averages in, wanted replicas out, for any number of rows at once.

A policy keeps its settings and its memory in columns (``autoscaler.table.Table``), one entry
per row, and changes only the rows it is asked about. Bounds, scale-to-zero and capacity are
decided after it: a policy says what the load wants, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from autoscaler.table import At, Bools, Floats, Ints
from autoscaler.window import Averages
from stoker.vocabulary import ScalingConfig


class Supply(NamedTuple):
    """Replicas per row: ``ready`` now, and ``counted`` as capacity (ready, or also starting)."""

    ready: Floats
    counted: Floats


class Verdict(NamedTuple):
    """A policy's answer per row; rows without valid averages are to be left as they are."""

    wanted: Floats
    excess_burst_capacity: Floats
    panicking: Bools


Frozen = Callable[[Ints], list[dict[str, object]]]
"""From places within the frozen rows to their memories as they were."""


class Policy(Protocol):
    """What the planner needs of a policy."""

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows."""

    def configure(self, row: int, config: ScalingConfig) -> None:
        """Set or change a row's settings; its memory stays."""

    def begin(self, row: int, ready: float, now: float) -> None:
        """The first look at a row whose past is unknown: ``ready`` replicas are there."""

    def reset(self, row: int) -> None:
        """The row's model is gone; nothing of it may be left."""

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        """Decide for the rows ``at``; the other arguments hold one entry for each of them."""

    def take(self, row: int) -> dict[str, object]:
        """The row's memory as plain JSON values, for snapshots and the journal."""

    def freeze(self, at: At) -> Frozen:
        """What ``take`` gives for the rows ``at``, as it is now, for as long as needed."""

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        """Take over what ``take`` gave; the row is configured already.

        ``shift``: whole seconds that the clock is ahead of the one it was taken under.
        """
