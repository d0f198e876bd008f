"""What a policy other than KPA is made of: a part that stands on top of KPA's answer.

Every row has KPA's memory and answer, whatever its policy: requests that are there are sized
for by the same windows, panic and rates. A part changes what load asks for (``sizes``) or adds
what must be there besides (``floor``), for rows of its own numbering: slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from autoscaler.policies.kpa import Sizes
from autoscaler.table import Floats, Ints
from autoscaler.window import Averages
from stoker.vocabulary import ScalingConfig


class Wish(NamedTuple):
    """``autoscaler.policies.Floor`` without its places: one entry per slot asked about."""

    replicas: Floats
    look_again: Floats
    why: Floats
    figure: Floats


class Part:
    """The memory and the arithmetic of one policy, for its slots. By itself it does nothing.

    Methods mean what those of ``autoscaler.policies.Policy`` mean, for slots.
    """

    serves = False
    """Whether it listens to ``serve`` and weighs those that wait."""

    def reserve(self, slots: int) -> None:
        """Make room for ``slots`` slots."""

    def configure(self, slot: int, config: ScalingConfig, now: float) -> None:
        """Set or change a slot's settings; its memory stays."""

    def reset(self, slot: int) -> None:
        """Nothing of the slot's row may be left."""

    def sizes(self, slots: Ints, averages: Averages) -> Sizes | None:
        """What the averages ask for; None: what KPA's target says."""
        return None

    def wish(self, slots: Ints, averages: Averages, start: Floats, now: float) -> Wish | None:
        """What must be there besides; None: nothing. ``start``: seconds that a start takes."""
        return None

    def take(self, slot: int) -> dict[str, object]:
        """The slot's memory as plain JSON values."""
        return {}

    def freeze(
        self, slots: Ints, start: Floats, now: float
    ) -> Callable[[Ints], list[dict[str, object]]]:
        """See ``Policy.freeze``."""
        return lambda places: [{} for _ in places]

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        """Take over what ``take`` or ``freeze`` gave."""

    def observe(self, second: int, slots: Ints, values: Floats) -> None:
        """Load of one second was added."""

    def serve(self, slots: Ints, busy: Floats, completions: Floats) -> None:
        """Requests were served."""

    def weight_of_queued(self, slots: Ints) -> Floats:
        """How much of a request in service one that waits counts for."""
        return np.ones(len(slots))
