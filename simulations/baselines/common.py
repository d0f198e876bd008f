"""What the baselines share: columns per row, and answers that a floor holds up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np

from autoscaler.policies import Floor, Frozen, Policy, Verdict, Why
from autoscaler.table import At, Bools, Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from stoker.vocabulary import ScalingConfig


class Settings(Table):
    """``target``: load that one replica is meant to take."""

    DEFAULTS = {"target": 1.0}  # noqa: RUF012
    target: Floats


class Baseline(Policy):
    """A policy to compare with. ``target`` None: what the model's own settings say.

    Its memory is ``memory``, of which ``TIMES`` are moments that move with the clock.
    """

    TIMES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, memory: Table, target: float | None = None) -> None:
        self.settings = Settings()
        self.memory = memory
        self._target = target

    def reserve(self, rows: int) -> None:
        self.settings.reserve(rows)
        self.memory.reserve(rows)

    def configure(self, row: int, config: ScalingConfig, now: float) -> None:
        target = config.target if self._target is None else self._target
        self.settings.put(row, {"target": target})

    def begin(self, row: int, ready: float, now: float) -> None:
        """Nothing follows from what is there at first, unless a baseline says so."""

    def reset(self, row: int) -> None:
        self.settings.reset(row)
        self.memory.reset(row)

    def take(self, row: int) -> dict[str, object]:
        return {**self.memory.take(row)}

    def freeze(self, at: At, start: Floats, now: float) -> Frozen:
        return cast(Frozen, self.memory.freeze(at))

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        names = self.memory.DEFAULTS
        self.memory.put(row, {name: cast(float, memory[name]) for name in names})
        for name in self.TIMES:
            column = getattr(self.memory, name)
            if column[row] != NEVER:
                column[row] += shift


def verdict(wanted: Floats, least: Floats) -> Verdict:
    """The answer, with ``least`` replicas whether there is data or not. No baseline knows
    panic, or leaves the activator out of the path."""
    count = len(wanted)
    floor = Floor(
        np.arange(count),
        least,
        np.full(count, NEVER),
        np.full(count, float(Why.FIXED)),
        np.zeros(count),
    )
    nothing: Bools = np.zeros(count, dtype=np.bool_)
    return Verdict(wanted, np.zeros(count), nothing, floor)


def rows_in(at: At, averages: Averages) -> Ints:
    """The rows ``at`` as numbers; the averages say how many they are."""
    every = np.arange(len(averages.valid))
    return every + (at.start or 0) if isinstance(at, slice) else at
