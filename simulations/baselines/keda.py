"""KEDA with its http-add-on: to and from zero by itself, between 1 and N by Kubernetes' HPA.

Source of the defaults: kedacore/http-add-on, its ``HTTPScaledObject`` (target 100 concurrent
requests, scaledownPeriod 300 s) and the ScaledObject it writes (trigger ``external-push``,
polled every 15 s, which is HPA's own rhythm). Load is pushed, so a model at zero is activated
at once, with one replica; it goes to zero, from however many there are, when there was no load
for the cool-down.
"""

from __future__ import annotations

import numpy as np

from autoscaler.policies import Supply, Verdict
from autoscaler.table import At, Floats, Ints
from autoscaler.window import Averages
from simulations.baselines.common import rows_in, verdict
from simulations.baselines.hpa import SYNC, UNKNOWN, Hpa

TARGET = 100.0
COOLDOWN = 300.0


class Keda(Hpa):
    """The baseline. ``target``: concurrent requests per replica."""

    def __init__(self, target: float | None = TARGET) -> None:
        super().__init__(target)

    def observe(self, second: int, rows: Ints, values: Floats) -> None:
        loaded = self.columns.loaded
        with_load = rows[values > 0]
        loaded[with_load] = np.maximum(loaded[with_load], second + 1.0)

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        rows, columns = rows_in(at, averages), self.columns
        active = now < columns.loaded[rows] + COOLDOWN
        before = columns.desired[rows]
        asleep = (before == 0) | ((before == UNKNOWN) & (supply.counted == 0))
        desired = self.sync(at, averages, supply, now)
        # Woken with one, whatever HPA would say: it begins to measure a sync later.
        desired = np.where(active, np.where(asleep, 1.0, np.maximum(desired, 1.0)), 0.0)
        woken = rows[active & asleep]
        columns.due[woken] = now + SYNC
        columns.desired[rows] = np.where(averages.valid | active, desired, columns.desired[rows])
        return verdict(desired, active.astype(np.float64))
