"""From averages to what is asked for, on columns alone: no names, no reasons, no commands.

The planner adds those. Who decides for thousands of candidate configurations at once
(``simulations.fluid``) has no use for them and calls this: one row per candidate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoscaler import scale_to_zero
from autoscaler.policies import Policy, Supply, Verdict
from autoscaler.scale_to_zero import Outcome, ScaleToZero
from autoscaler.state import State
from autoscaler.table import At, Bools, Floats, every, places_of, rows_of, some
from autoscaler.window import Averages, Shape, Windows
from stoker.vocabulary import Metric, ScalingConfig


class Concluded(NamedTuple):
    """Per row: replicas ``there`` (ready or starting), ``asked`` for before (or there), what came
    of it. ``asked`` may be the decider's own column, as long as nothing is noted."""

    there: Floats
    asked: Floats
    verdict: Verdict
    outcome: Outcome


class Decider:
    """All rows' windows, settings and memory, and the order in which they are asked."""

    def __init__(self, policy: Policy) -> None:
        self.windows = Windows()
        self.policy = policy
        self.to_zero = ScaleToZero()
        self.state = State()

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows."""
        for table in (self.policy, self.to_zero, self.state):
            table.reserve(rows)

    def configure(self, row: int, config: ScalingConfig, now: float = 0.0) -> None:
        """Set or change a row's settings; its history stays. There is room for it."""
        self.policy.configure(row, config, now)
        self.to_zero.configure(row, config)
        self.windows.place(
            row, Shape(config.stable_window, config.panic_window, config.window_aggregation)
        )
        self.state.counts_starting[row] = config.count_starting_as_capacity
        self.state.by_rate[row] = config.metric is Metric.RPS

    def conclude(self, at: At, averages: Averages, now: float) -> Concluded:
        """Decide for the rows ``at`` from given averages (one entry per row of ``at``).

        What is asked for is not noted here: the caller first compares it with what was.
        """
        state = self.state
        ready, starting, asked = state.ready[at], state.starting[at], state.asked[at]
        there = ready + starting
        unknown = asked < 0
        if some(unknown):
            asked = np.where(unknown, there, asked)
        counts = state.counts_starting[at]
        counted = there if every(counts) else np.where(counts, there, ready)
        supply = Supply(ready, counted, state.start_seconds[at])
        verdict = self.policy.decide(at, averages, supply, now)
        outcome = self.to_zero.decide(
            at,
            verdict.wanted,
            averages.valid,
            scale_to_zero.Supply(ready, starting, asked),
            now,
            verdict.floor,
        )
        return Concluded(there, asked, verdict, outcome)

    def sleep(self, at: At, asleep: Bools) -> None:
        """Rows with nothing there and nothing wanted get no zeros, and start afresh later."""
        turned = places_of(asleep != self.state.asleep[at])
        if not len(turned):
            return
        rows = rows_of(at, turned)
        falling = asleep[turned]
        self.state.asleep[rows] = falling
        self.windows.set_awake(rows[falling], awake=False)
        self.windows.set_awake(rows[~falling], awake=True)
