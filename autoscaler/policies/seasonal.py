"""KPA, and never less than what the same time of earlier seasons leads to expect.

The floor at time t is load / target, rounded up, for the ``season-quantile`` of the highest
average load between t and t + the measured start of the model, each taken one, two, three and
four seasons ago (``autoscaler.policies.seasons``): what is started now will be ready then.

Example: season 24 h, starts of 90 s, target 7, and at 9:00 on the last four days averages up
to 20, 28, 24 and 30: the 90 % quantile is 28 + 0.7 x 2 = 29.4, so 5 replicas from 8:58:30 on,
asleep or not. KPA takes over where there is more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from autoscaler.policies import Why
from autoscaler.policies.additions import Part, Wish
from autoscaler.policies.seasons import Seasons
from autoscaler.table import Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from stoker.vocabulary import ScalingConfig


class _Settings(Table):
    DEFAULTS = {"target": 1.0}  # noqa: RUF012
    target: Floats


class Seasonal(Part):
    """The part. What it learns is the stable average as it is decided on."""

    def __init__(self) -> None:
        self.settings = _Settings()
        self.seasons = Seasons()

    def reserve(self, slots: int) -> None:
        self.settings.reserve(slots)
        self.seasons.reserve(slots)

    def configure(self, slot: int, config: ScalingConfig, now: float) -> None:
        self.settings.put(slot, {"target": config.target})
        self.seasons.configure(slot, config.season, config.season_quantile / 100.0, now)

    def reset(self, slot: int) -> None:
        self.settings.reset(slot)
        self.seasons.reset(slot)

    def wish(self, slots: Ints, averages: Averages, start: Floats, now: float) -> Wish:
        self.seasons.note(slots, np.maximum(averages.stable, 0.0), now)
        load = self.seasons.expected(slots, start, now)
        replicas = np.ceil(load / self.settings.target[slots])
        look_again = np.full(len(slots), NEVER)
        none = np.flatnonzero(replicas == 0)
        look_again[none] = self.seasons.rises(slots[none], start[none], now)
        why = np.where(replicas > 0, float(Why.SEASON), float(Why.NOTHING))
        return Wish(replicas, look_again, why, load)

    def take(self, slot: int) -> dict[str, object]:
        return self.seasons.take(slot)

    def freeze(
        self, slots: Ints, start: Floats, now: float
    ) -> Callable[[Ints], list[dict[str, object]]]:
        # Nothing is copied: deciding changes only bins of the present season, which it does
        # not look at.
        return lambda places: [
            self.seasons.looked_at(int(slots[place]), float(start[place]), now)
            for place in places.tolist()
        ]

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        self.seasons.put(slot, memory, shift)
