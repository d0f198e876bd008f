"""KubeAI's autoscaler: a moving average of requests over ten minutes.

Source of algorithm and defaults: substratusai/kubeai, ``internal/modelautoscaler``,
``internal/movingaverage`` and ``internal/config``: every 10 s the present number of requests
is one sample of 60, all of which are zeros at first; desired = ceil(average / targetRequests),
100 by default; a lower answer counts only after scaleDownDelaySeconds (30) / 10 lower ones in a
row, that is with the fourth. A request for a model at zero makes it one replica at once.

So 600 requests from a cold start on have one replica for 100 s, and all 6 after 500 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from autoscaler.policies import Supply, Verdict
from autoscaler.table import At, Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from simulations.baselines.common import Baseline, rows_in, verdict

TARGET = 100.0
INTERVAL = 10.0
SAMPLES = 60
LOWER_IN_A_ROW = 3
MISSED = SAMPLES + LOWER_IN_A_ROW
"""After so many samples without load nothing changes any more."""


class Memory(Table):
    """``second``, ``load``: of the newest second with load; ``next``: the sample to replace;
    ``lower``: answers in a row below ``desired``; ``due``: when the next sample is taken."""

    DEFAULTS = {  # noqa: RUF012
        "second": NEVER,
        "load": 0.0,
        "next": 0.0,
        "lower": 0.0,
        "desired": 0.0,
        "due": NEVER,
    }
    second: Floats
    load: Floats
    next: Floats
    lower: Floats
    desired: Floats
    due: Floats


class KubeAi(Baseline):
    """The baseline. ``target``: targetRequests."""

    TIMES = ("second", "due")

    def __init__(self, target: float | None = TARGET) -> None:
        self.columns = Memory()
        self.samples = np.zeros((0, SAMPLES))
        super().__init__(self.columns, target)

    def reserve(self, rows: int) -> None:
        super().reserve(rows)
        missing = self.columns.room - len(self.samples)
        self.samples = np.concatenate([self.samples, np.zeros((missing, SAMPLES))])

    def begin(self, row: int, ready: float, now: float) -> None:
        """What is there at first is what was asked for before."""
        self.columns.desired[row] = ready

    def reset(self, row: int) -> None:
        super().reset(row)
        self.samples[row] = 0.0

    def observe(self, second: int, rows: Ints, values: Floats) -> None:
        columns = self.columns
        newer, same = second > columns.second[rows], second == columns.second[rows]
        sums = columns.load[rows] + np.where(same, values, 0.0)
        columns.load[rows] = np.where(newer, values, sums)
        columns.second[rows] = np.maximum(columns.second[rows], second)

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        columns, rows = self.columns, rows_in(at, averages)
        # The gauge of requests in hand: what the last second or the one before said.
        load = np.where(now - columns.second[rows] <= 2.0, columns.load[rows], 0.0)
        due = columns.due[rows]
        columns.due[rows] = np.where(due == NEVER, now, np.maximum(due, now - MISSED * INTERVAL))
        while len(which := np.flatnonzero(columns.due[rows] <= now)):
            of = rows[which]
            columns.due[of] += INTERVAL
            # Samples that were missed, in a silence, are zeros.
            self._sample(of, np.where(columns.due[of] > now, load[which], 0.0))
        desired = columns.desired[rows]
        desired = np.where((desired == 0) & (load > 0), 1.0, desired)
        columns.desired[rows] = desired
        return verdict(desired, desired)

    def _sample(self, rows: Ints, load: Floats) -> None:
        columns = self.columns
        self.samples[rows, columns.next[rows].astype(np.int64)] = load
        columns.next[rows] = (columns.next[rows] + 1) % SAMPLES
        average = self.samples[rows].sum(axis=1) / SAMPLES
        answer = np.ceil(average / self.settings.target[rows])
        current, lower = columns.desired[rows], columns.lower[rows]
        falls = answer < current
        waits = falls & (lower < LOWER_IN_A_ROW)
        columns.lower[rows] = np.where(falls, np.minimum(lower + 1, LOWER_IN_A_ROW), 0.0)
        columns.desired[rows] = np.where(waits, current, answer)

    def take(self, row: int) -> dict[str, object]:
        return {**super().take(row), "samples": self.samples[row].tolist()}

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        super().put(row, memory, shift)
        self.samples[row] = cast(list[float], memory["samples"])
