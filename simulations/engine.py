"""Runs a trace through the decisions of production, under a virtual clock."""

from __future__ import annotations

import gc

from simulations.loop import Loop, Progress, Together
from simulations.result import Result
from simulations.run import Run

__all__ = ["Progress", "Run", "Together", "simulate"]


def simulate(
    run: Run, progress: Progress | None = None, together: Together | None = None
) -> Result:
    """Run it. Deterministic: the same run gives the same result, whatever the machine.

    The process's collector of cyclic garbage is paused meanwhile: requests are objects by the
    million without a cycle among them, and looking for one took a tenth of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return Loop(run).run(progress, together)
    finally:
        if collecting:
            gc.enable()
