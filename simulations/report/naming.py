"""How runs are told apart: a number, a label, a colour with a dash. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulations.report.numbers import printable
from simulations.result import Result

COLOURS, DASHES = 6, 5
"""How many style.css has of each. They have no common divisor: thirty runs look different."""


@dataclass(frozen=True, slots=True)
class Named:
    """A run among several, from 1. ``several``: whether there are others."""

    result: Result
    number: int
    several: bool

    @property
    def label(self) -> str:
        """What it was called, else its trace."""
        return printable(self.result.label or self.result.trace) or f"run {self.number}"

    @property
    def title(self) -> str:
        return f"{self.number} {self.label}" if self.several else self.label

    @property
    def look(self) -> str:
        """Classes of its lines and bars."""
        place = self.number - 1
        return f"run colour-{place % COLOURS} dash-{place % DASHES}"


def named(results: Sequence[Result]) -> list[Named]:
    """In the order given."""
    return [Named(result, n, len(results) > 1) for n, result in enumerate(results, 1)]
