"""What a scenario comes to: tables for people, and the runs behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from simulations.engine import Progress, Run
from simulations.result import Result

Simulate = Callable[[Run, Progress | None], Result]
"""``simulations.engine.simulate``, or the same over several processes."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One table: each row has a cell for each heading, written as people read it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scenario that was run. ``notes``: what was assumed, fitted and found, a line each.

    ``results``: the runs that a report shows side by side.
    """

    title: str
    tables: tuple[Figures, ...]
    notes: tuple[str, ...]
    results: list[Result] = field(default_factory=list)


def deviation(found: float, published: float) -> str:
    """How far ``found`` is off, in percent of what was published."""
    return f"{100 * (found / published - 1):+.0f} %"
