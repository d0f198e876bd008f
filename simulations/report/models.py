"""What each model of a run has cost. Pure."""

from __future__ import annotations

from typing import NamedTuple

from simulations.result import Result, Totals
from stoker.vocabulary import ModelKey


class Share(NamedTuple):
    """``dollars``: the model's part of the run's, by its part of the replica-seconds. Empty
    room on nodes that are paid for is thereby charged to those who use the nodes.
    """

    key: ModelKey
    totals: Totals
    dollars: float


def most_expensive(result: Result) -> list[Share]:
    """All models, the most expensive first; of equal ones the one with more requests."""
    whole = sum(totals.replica_seconds for totals in result.models.values())
    price = result.money.dollars / whole if whole else 0.0
    shares = [Share(k, t, t.replica_seconds * price) for k, t in result.models.items()]
    return sorted(shares, key=lambda s: (-s.dollars, -s.totals.requests, s.key))
