"""Kubernetes' Horizontal Pod Autoscaler on the load per replica.

Source of algorithm and defaults: the Kubernetes documentation, "Horizontal Pod Autoscaling"
(algorithm details; default behaviour) and kube-controller-manager's flags: a sync every 15 s
(``--horizontal-pod-autoscaler-sync-period``), a tolerance of 0.1, a stabilisation of 300 s on
the way down and none on the way up, at most the double or 4 more per sync upwards, whichever
is more. The target is an average value: desired = ceil(load / target), unless load / (current
x target) is within the tolerance of 1. It needs one replica at least, and never goes to zero
nor comes from there.

The load is the model's stable average, as an adapter would measure it; its period is the
sync's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from autoscaler.delay import DelayWindow
from autoscaler.policies import Supply, Verdict
from autoscaler.table import At, Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from simulations.baselines.common import Baseline, rows_in, verdict
from stoker.vocabulary import ScalingConfig

SYNC = 15.0
TOLERANCE = 0.1
STABILISATION = 300.0
UNKNOWN = -1.0


class Memory(Table):
    """``desired``: the last answer; ``due``: when the next sync is; ``loaded``: the end of the
    last second with load (KEDA's)."""

    DEFAULTS = {"desired": UNKNOWN, "due": NEVER, "loaded": NEVER}  # noqa: RUF012
    desired: Floats
    due: Floats
    loaded: Floats


class Hpa(Baseline):
    """The baseline. ``target``: load per replica; None: the model's own target."""

    TIMES = ("due", "loaded")

    def __init__(self, target: float | None = None) -> None:
        self.columns = Memory()
        super().__init__(self.columns, target)
        self._recommended = DelayWindow(STABILISATION)
        self._rows: set[int] = set()

    def configure(self, row: int, config: ScalingConfig, now: float) -> None:
        super().configure(row, config, now)
        if row not in self._rows:
            self._rows.add(row)
            self._recommended.add(row)

    def reset(self, row: int) -> None:
        super().reset(row)
        self._rows.remove(row)
        self._recommended.remove(row)

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        desired = np.maximum(self.sync(at, averages, supply, now), 1.0)
        return verdict(desired, np.ones_like(desired))

    def sync(self, at: At, averages: Averages, supply: Supply, now: float) -> Floats:
        """Replicas after a sync of those rows whose time has come and that have data."""
        rows, memory = rows_in(at, averages), self.columns
        desired = memory.desired[rows]
        desired = np.where(desired == UNKNOWN, np.maximum(supply.counted, 1.0), desired)
        which = np.flatnonzero(averages.valid & (now >= memory.due[rows]))
        if len(which):
            of = rows[which]
            current = np.maximum(desired[which], 1.0)
            desired[which] = self._answer(of, averages.stable[which], current, now)
            memory.due[of] = np.where(memory.due[of] == NEVER, now, memory.due[of]) + SYNC
            # Behind by more than a sync, as after a sleep: from now on again.
            memory.due[of] = np.where(memory.due[of] > now, memory.due[of], now + SYNC)
            memory.desired[of] = desired[which]
        return desired

    def _answer(self, rows: Ints, load: Floats, current: Floats, now: float) -> Floats:
        target = self.settings.target[rows]
        ratio = load / (current * target)
        near = np.abs(ratio - 1.0) <= TOLERANCE
        raw = np.maximum(np.where(near, current, np.ceil(load / target)), 1.0)
        highest = self._recommended.highest(rows, raw, now)
        stable = np.where(raw > current, raw, np.minimum(current, highest))
        return np.minimum(stable, np.maximum(2.0 * current, current + 4.0))

    def take(self, row: int) -> dict[str, object]:
        return {**super().take(row), "recommended": self._recommended.take(row)}

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        super().put(row, memory, shift)
        noted = cast(list[tuple[int, float]], memory["recommended"])
        self._recommended.put(row, noted, shift)
