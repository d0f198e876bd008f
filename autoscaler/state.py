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
        several = zip(
            models,
            self.decided[rows].tolist(),
            *whole[:3],
            self.stable[rows].tolist(),
            self.panic[rows].tolist(),
            self.panicking[rows].tolist(),
            self.valid[rows].tolist(),
            *whole[3:5],
            strict=True,
        )
        grounds = zip(
            configs, *whole[5:], left, initialised, self.figure[rows].tolist(), strict=True
        )
        decisions = []
        for facts, (config, kept, why, remaining, begun, figure) in zip(
            several, grounds, strict=True
        ):
            text = reasons.reason(
                config,
                Decision._make((*facts, "")),
                Kept(kept) if kept else Kept.NOT,
                remaining,
                begun,
                Why(why) if why else Why.NOTHING,
                figure,
            )
            decisions.append(Decision._make((*facts, text)))
        return decisions
