"""What the planner remembers of each row, and the Decision objects made of it when needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoscaler import reasons
from autoscaler.policies import Why
from autoscaler.scale_to_zero import NEVER, Kept
from autoscaler.table import Bools, Floats, Ints, Table
from stoker.vocabulary import Decision, ModelKey, ScalingConfig

UNKNOWN = -1.0


class State(Table):
    """Per row: what is there, what was asked for last (UNKNOWN: nothing yet), last outcome."""

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "ready": 0.0,
        "starting": 0.0,
        "asked": UNKNOWN,
        "desired": 0.0,
        "wanted": 0.0,
        "excess": 0.0,
        "stable": -1.0,
        "panic": -1.0,
        "panicking": False,
        "valid": False,
        "kept": 0.0,
        "look_again": NEVER,
        "decided": NEVER,
        "why": 0.0,
        "figure": 0.0,
        "start_seconds": 0.0,
        "begun": False,
        "asleep": False,
        "counts_starting": True,
        "by_rate": False,
    }
    ready: Floats
    starting: Floats
    asked: Floats
    desired: Floats
    wanted: Floats
    excess: Floats
    stable: Floats
    panic: Floats
    panicking: Bools
    valid: Bools
    kept: Floats
    look_again: Floats
    decided: Floats
    why: Floats
    figure: Floats
    start_seconds: Floats
    begun: Bools
    asleep: Bools
    counts_starting: Bools
    by_rate: Bools

    def decisions(
        self,
        rows: Ints,
        models: Sequence[ModelKey],
        configs: Sequence[ScalingConfig],
        initialised: Sequence[bool],
    ) -> list[Decision]:
        """The last decisions for ``rows``; the other arguments have one entry for each.

        Column by column: after a start there may be a hundred thousand of them in one tick.
        """
        whole = [
            column[rows].astype(np.int64).tolist()
            for column in (
                self.desired,
                self.wanted,
                self.excess,
                self.ready,
                self.starting,
                self.kept,
                self.why,
            )
        ]
        left = (self.look_again[rows] - self.decided[rows]).tolist()
        times, valid = self.decided[rows].tolist(), self.valid[rows].tolist()
        stable, panic = self.stable[rows].tolist(), self.panic[rows].tolist()
        panicking, figures = self.panicking[rows].tolist(), self.figure[rows].tolist()
        decisions = []
        for place, (desired, wanted, excess, ready, starting, kept, why) in enumerate(
            zip(*whole, strict=True)
        ):
            decision = Decision(
                model=models[place],
                time=times[place],
                desired=desired,
                wanted=wanted,
                excess_burst_capacity=excess,
                stable=stable[place],
                panic=panic[place],
                panicking=panicking[place],
                valid=valid[place],
                ready=ready,
                starting=starting,
                reason="",
            )
            text = reasons.reason(
                configs[place],
                decision,
                Kept(kept) if kept else Kept.NOT,
                left[place],
                initialised[place],
                Why(why) if why else Why.NOTHING,
                figures[place],
            )
            # Set once, here, before anyone else sees it: a second object would cost as much
            # as the rest, and after a start all models are decided on in one tick.
            object.__setattr__(decision, "reason", text)
            decisions.append(decision)
        return decisions
