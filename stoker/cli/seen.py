"""What an activator has had to do for a model, as status tells it.

Apart from the rest: a worker needs this and nothing that comes with autoscaler and platform,
which would cost it a quarter of a second at its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from activator.models import Model


class Seen(NamedTuple):
    """What the activators have had to do for one model. ``outage``: why it cannot start."""

    queued: int = 0
    active: int = 0
    answered: int = 0
    refused: Mapping[str, int] = {}
    outage: str = ""


def seen(model: Model) -> Seen:
    """What one activator has had to do for ``model``."""
    throttler = model.throttler
    return Seen(
        throttler.queued,
        model.active,
        model.answered,
        {reason.value: count for reason, count in model.refusals.items()},
        throttler.outage.reason if throttler.outage else "",
    )


def summed(states: Sequence[Seen]) -> Seen:
    """The same of several activators."""
    refused: dict[str, int] = {}
    for state in states:
        for reason, count in state.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return Seen(
        sum(state.queued for state in states),
        sum(state.active for state in states),
        sum(state.answered for state in states),
        refused,
        next((state.outage for state in states if state.outage), ""),
    )
