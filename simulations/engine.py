"""Runs a trace through the decisions of production, under a virtual clock."""

from __future__ import annotations

from simulations.loop import Loop, Progress, Together
from simulations.result import Result
from simulations.run import Run

__all__ = ["Progress", "Run", "Together", "simulate"]


def simulate(
    run: Run, progress: Progress | None = None, together: Together | None = None
) -> Result:
    """Run it. Deterministic: the same run gives the same result, whatever the machine."""
    return Loop(run).run(progress, together)
