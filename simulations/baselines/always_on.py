"""As many replicas as were ordered, all the time: what most models are served by today."""

from __future__ import annotations

import numpy as np

from autoscaler.policies import Frozen, Supply, Verdict
from autoscaler.table import At, Floats, Table
from autoscaler.window import Averages
from simulations.baselines.common import Baseline, verdict


class AlwaysOn(Baseline):
    """``replicas`` of every model, from the first tick on. Source of the default: none; 1."""

    def __init__(self, replicas: float = 1) -> None:
        super().__init__(Table())
        self._replicas = float(replicas)

    def freeze(self, at: At, start: Floats, now: float) -> Frozen:
        return lambda places: [{} for _ in places]

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        replicas = np.full(len(averages.valid), self._replicas)
        return verdict(replicas, replicas)
