"""Each model's own policy: KPA for all rows, and on top of it what its setting says.

Rows of one policy are asked about all at once. While every row is KPA's, this hands its calls
on and does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np

from autoscaler.policies import Floor, Frozen, Policy, Supply, Verdict
from autoscaler.policies.additions import Part
from autoscaler.policies.erlang_c import ErlangC
from autoscaler.policies.hybrid_histogram import HybridHistogram
from autoscaler.policies.kpa import Kpa, Sizes
from autoscaler.policies.seasonal import Seasonal
from autoscaler.table import At, Floats, Ints, rows_of
from autoscaler.window import Averages
from stoker.vocabulary import PolicyName, ScalingConfig


class _Share(NamedTuple):
    """The rows among those asked about that one part has: their places and its slots."""

    part: Part
    places: Ints
    slots: Ints


class _Slots:
    """Which slots of a part are taken, and how many."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.count = 0
        self._used = 0
        self._free: list[int] = []

    def take(self) -> int:
        self.count += 1
        if self._free:
            return self._free.pop()
        self._used += 1
        self.part.reserve(self._used)
        return self._used - 1

    def free(self, slot: int) -> None:
        self.count -= 1
        self.part.reset(slot)
        self._free.append(slot)


class PerModel(Policy):
    """The policy that the settings say, row by row."""

    def __init__(self) -> None:
        self.kpa = Kpa()
        own = parts()
        self._names = list(own)
        self._parts = [_Slots(part) for part in own.values()]
        self._which = np.full(0, -1, dtype=np.int64)
        self._slot = np.zeros(0, dtype=np.int64)
        self._own = 0
        self._serving = 0

    def reserve(self, rows: int) -> None:
        self.kpa.reserve(rows)
        missing = rows - len(self._which)
        if missing > 0:
            more = np.full(max(missing, len(self._which)), -1, dtype=np.int64)
            self._which = np.concatenate([self._which, more])
            self._slot = np.concatenate([self._slot, np.zeros_like(more)])

    def configure(self, row: int, config: ScalingConfig, now: float) -> None:
        """A change of ``policy`` keeps KPA's memory and forgets what the other had learned."""
        self.kpa.configure(row, config, now)
        which = -1 if config.policy is PolicyName.KPA else self._names.index(config.policy)
        if which != self._which[row]:
            self._leave(row)
            if which >= 0:
                self._which[row] = which
                self._slot[row] = self._parts[which].take()
                self._own += 1
                self._serving += self._parts[which].part.serves
        if which >= 0:
            self._parts[which].part.configure(int(self._slot[row]), config, now)

    def begin(self, row: int, ready: float, now: float) -> None:
        self.kpa.begin(row, ready, now)

    def reset(self, row: int) -> None:
        self.kpa.reset(row)
        self._leave(row)

    def decide(self, at: At, averages: Averages, supply: Supply, now: float) -> Verdict:
        if not self._own:
            return self.kpa.decide(at, averages, supply, now)
        stable, panic, valid = averages
        shares = [
            (share, Averages(stable[share.places], panic[share.places], valid[share.places]))
            for share in self._shares(at)
        ]
        sizes: Sizes | None = None
        for share, own in shares:
            asked = share.part.sizes(share.slots, own)
            if asked is not None:
                sizes = sizes or self.kpa.sizes(at, averages)
                sizes.stable[share.places], sizes.panic[share.places] = asked
        verdict = self.kpa.decide(at, averages, supply, now, sizes)
        wishes = [
            (share.places, wish)
            for share, own in shares
            if (wish := share.part.wish(share.slots, own, supply.start_seconds[share.places], now))
            is not None
        ]
        if not wishes:
            return verdict
        places = np.concatenate([places for places, _ in wishes])
        columns = (np.concatenate(each) for each in zip(*(w for _, w in wishes), strict=True))
        return verdict._replace(floor=Floor(places, *columns))

    def take(self, row: int) -> dict[str, object]:
        memory = self.kpa.take(row)
        which = int(self._which[row])
        if which < 0:
            return memory
        own = self._parts[which].part.take(int(self._slot[row]))
        return {**memory, "own": own, "of": self._names[which].value}

    def freeze(self, at: At, start: Floats, now: float) -> Frozen:
        kpa = self.kpa.freeze(at, start, now)
        if not self._own:
            return kpa
        frozen = [
            (share, share.part.freeze(share.slots, start[share.places], now))
            for share in self._shares(at)
        ]
        names = self._names

        def values(places: Ints) -> list[dict[str, object]]:
            memories = kpa(places)
            for share, part in frozen:
                # Places of a share ascend: where each of ``places`` stands among them.
                found = np.searchsorted(share.places, places)
                found[found == len(share.places)] = 0
                mine = np.flatnonzero(share.places[found] == places)
                name = names[self._index(share.part)].value
                for place, own in zip(mine.tolist(), part(found[mine]), strict=True):
                    memories[place] |= {"own": own, "of": name}
            return memories

        return values

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        """What another policy than the row's present one had learned is left out."""
        self.kpa.put(row, memory, shift)
        which = int(self._which[row])
        if which >= 0 and memory.get("of") == self._names[which].value:
            own = cast(Mapping[str, object], memory["own"])
            self._parts[which].part.put(int(self._slot[row]), own, shift)

    def observe(self, second: int, rows: Ints, values: Floats) -> None:
        if self._own:
            for part, places, slots in self._shares(rows):
                part.observe(second, slots, values[places])

    def serve(self, rows: Ints, busy: Floats, completions: Floats) -> None:
        for part, places, slots in self._shares(rows):
            part.serve(slots, busy[places], completions[places])

    @property
    def measures_service(self) -> bool:
        return self._serving > 0

    def weight_of_queued(self, rows: Ints) -> Floats:
        weights = np.ones(len(rows))
        for part, places, slots in self._shares(rows):
            if part.serves:
                weights[places] = part.weight_of_queued(slots)
        return weights

    def _shares(self, at: At) -> Iterator[_Share]:
        """Parts that have any of the rows ``at``."""
        which = self._which[at]
        for index, slots in enumerate(self._parts):
            if slots.count and len(places := np.flatnonzero(which == index)):
                yield _Share(slots.part, places, self._slot[rows_of(at, places)])

    def _index(self, part: Part) -> int:
        return [slots.part for slots in self._parts].index(part)

    def _leave(self, row: int) -> None:
        """Free the slot that the row has, if any."""
        which = int(self._which[row])
        if which < 0:
            return
        self._parts[which].free(int(self._slot[row]))
        self._which[row] = -1
        self._own -= 1
        self._serving -= self._parts[which].part.serves


def parts() -> Mapping[PolicyName, Part]:
    """One of each part, for the rows of one planner."""
    return {
        PolicyName.HYBRID_HISTOGRAM: HybridHistogram(),
        PolicyName.SEASONAL: Seasonal(),
        PolicyName.ERLANG_C: ErlangC(),
    }
