"""KPA, and a last replica that goes and comes by the model's idle times.

Three ways, as in "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020):

- Idle times with a pattern (``autoscaler.policies.idle_times``): after load has ended the last
  replica goes as KPA says, is started so as to be ready at 0.9 x their 5 % quantile, and stays
  until 1.1 x their 99 % quantile. It does not go at all where it would be away for less time
  than its start takes.
- No pattern yet, or none at all: it stays for ``keep-alive-default``.
- Most idle times beyond the histogram's four hours: the paper forecasts the next (ARIMA). Here
  the seasons do (``autoscaler.policies.seasons``): a replica is there while load is to be
  expected at this time of the season.

Example: a job that comes every 30 minutes and takes 2: idle times of 28 minutes. 5 % quantile:
28 min, wake at 25 min 12 s less the start; 99 %: 29 min, keep until 31 min 54 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from autoscaler.policies import Why
from autoscaler.policies.additions import Part, Wish
from autoscaler.policies.idle_times import EARLIER, IdleTimes
from autoscaler.policies.seasons import Seasons
from autoscaler.table import Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from stoker.vocabulary import ScalingConfig


class _Settings(Table):
    DEFAULTS = {"keep": 0.0}  # noqa: RUF012
    keep: Floats


class HybridHistogram(Part):
    """The part. One replica is all it ever asks for."""

    def __init__(self) -> None:
        self.settings = _Settings()
        self.idle = IdleTimes()
        self.seasons = Seasons()

    def reserve(self, slots: int) -> None:
        for each in (self.settings, self.idle, self.seasons):
            each.reserve(slots)

    def configure(self, slot: int, config: ScalingConfig, now: float) -> None:
        self.settings.put(slot, {"keep": config.keep_alive_default})
        self.idle.configure(slot, config.stable_window)
        self.seasons.configure(slot, config.season, config.season_quantile / 100.0, now)

    def reset(self, slot: int) -> None:
        for each in (self.settings, self.idle, self.seasons):
            each.reset(slot)

    def observe(self, second: int, slots: Ints, values: Floats) -> None:
        self.idle.observe(second, slots, values)

    def wish(self, slots: Ints, averages: Averages, start: Floats, now: float) -> Wish:
        idle = self.idle.slots
        self.seasons.note(slots, np.maximum(averages.stable, 0.0), now)
        seasonal = self.idle.mostly_beyond(slots) & self.seasons.known(slots, now)
        patterned = idle.patterned[slots] & ~seasonal & ~self.idle.mostly_beyond(slots)

        wake = np.where(patterned, idle.wake[slots] - start, 0.0)
        away = wake - idle.bridged[slots]
        wake[away <= start] = 0.0
        keep = np.where(patterned, idle.keep[slots], self.settings.keep[slots])
        since = idle.idle_since[slots]
        # From the middle of the window on: before, KPA has it, and every second with load
        # would be news of another time to look again.
        idling = now >= since + idle.bridged[slots] / 2
        there = (since != NEVER) & idling & ~seasonal
        begin, end = since + wake, since + keep
        early, during = there & (now < begin), there & (now >= begin) & (now < end)
        replicas = during.astype(np.float64)
        look_again = np.select([early, during], [begin, end], NEVER)
        why = np.select(
            [during & patterned & (wake > 0), during & patterned, during],
            [Why.PREWARMED, Why.KEPT_PATTERN, Why.KEPT_LONG],
            Why.NOTHING,
        ).astype(np.float64)
        figure = np.where(why == Why.PREWARMED, idle.wake[slots] / EARLIER, keep)

        at = np.flatnonzero(seasonal)
        if len(at):
            own, ahead = slots[at], start[at]
            replicas[at] = self.seasons.expected(own, ahead, now) > 0
            why[at] = np.where(replicas[at] > 0, float(Why.SEASON_AWAKE), float(Why.NOTHING))
            asleep = at[replicas[at] == 0]
            look_again[asleep] = self.seasons.rises(slots[asleep], start[asleep], now)
        return Wish(replicas, look_again, why, figure)

    def take(self, slot: int) -> dict[str, object]:
        return {"idle": self.idle.take(slot), "seasons": self.seasons.take(slot)}

    def freeze(
        self, slots: Ints, start: Floats, now: float
    ) -> Callable[[Ints], list[dict[str, object]]]:
        # Deciding changes neither idle times nor bins of past seasons: nothing is copied.
        return lambda places: [
            {
                "idle": self.idle.slots.take(int(slots[place])),
                "seasons": self.seasons.looked_at(int(slots[place]), float(start[place]), now),
            }
            for place in places.tolist()
        ]

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        self.idle.put(slot, cast(Mapping[str, object], memory["idle"]), shift)
        self.seasons.put(slot, cast(Mapping[str, object], memory["seasons"]), shift)
