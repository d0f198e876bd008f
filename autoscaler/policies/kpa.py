"""Knative's pod autoscaler (KPA), decision for decision, over all rows at once.

Follows ``Scale()`` of Knative Serving's autoscaler (pkg/autoscaler/scaling):

- wanted = ceil(average / target), for the stable and the panic average, each kept between
  floor(ready / max_scale_down_rate) and ceil(max_scale_up_rate x ready), ready at least 1;
- panic begins when ceil(panic average / target) / ready reaches the panic threshold. It ends
  strictly more than a stable window after that was last so. While it lasts the answer never
  falls: it is the highest of both answers seen in this panic;
- activation_scale lifts an answer to a load above 0; the delay window holds up a falling answer;
- excess burst capacity (EBC) = floor(ready x capacity - target burst capacity - panic
  average); 0 when the target burst capacity is 0, -1 when it is unlimited (-1).

Example: target 7, 2 ready, threshold 2, panic average 30: ceil(30/7) / 2 = 2.5, so panic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np

from autoscaler.delay import DelayWindow
from autoscaler.policies import Frozen, Policy, Supply, Verdict
from autoscaler.table import At, Bools, Floats, Ints, Table, every, places_of, rows_of, some
from autoscaler.window import Averages
from stoker.vocabulary import ScalingConfig

NOT_PANICKING = -1e18


class _Settings(Table):
    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "target": 1.0,
        "capacity": 1.0,
        "burst": 211.0,
        "threshold": 2.0,
        "up_rate": 1000.0,
        "down_rate": 2.0,
        "activation": 1.0,
        "stable_window": 60.0,
        "delay": 0.0,
        "reachable": True,
    }
    target: Floats
    capacity: Floats
    burst: Floats
    threshold: Floats
    up_rate: Floats
    down_rate: Floats
    activation: Floats
    stable_window: Floats
    delay: Floats
    reachable: Bools


class _Memory(Table):
    """``panicked``: when the threshold was last reached; ``peak``: the panic's highest answer."""

    DEFAULTS = {"panicked": NOT_PANICKING, "peak": 0.0}  # noqa: RUF012
    panicked: Floats
    peak: Floats


class Sizes(NamedTuple):
    """Replicas that each row's stable and panic average ask for by themselves."""

    stable: Floats
    panic: Floats


class Kpa(Policy):
    """The policy. A row that is not ``reachable`` may shrink at any rate and without delay."""

    def __init__(self) -> None:
        self.settings = _Settings()
        self.memory = _Memory()
        self._delays: dict[float, DelayWindow] = {}
        # Rows that are not as most are: while there are none, nobody looks for them.
        self._unreachable = self._activating = self._unusual = 0

    def reserve(self, rows: int) -> None:
        self.settings.reserve(rows)
        self.memory.reserve(rows)

    def configure(
        self, row: int, config: ScalingConfig, now: float, reachable: bool = True
    ) -> None:
        self._set_delay(row, config.scale_down_delay)
        self._count(row, -1)
        self.settings.put(
            row,
            {
                "target": config.target,
                "capacity": config.capacity,
                "burst": config.target_burst_capacity,
                "threshold": config.panic_threshold,
                "up_rate": config.max_scale_up_rate,
                "down_rate": config.max_scale_down_rate,
                "activation": config.activation_scale,
                "stable_window": config.stable_window,
                "reachable": reachable,
            },
        )
        self._count(row, 1)

    def _count(self, row: int, by: int) -> None:
        settings = self.settings
        self._unreachable += by * (not settings.reachable[row])
        self._activating += by * int(settings.activation[row] > 1)
        self._unusual += by * int(settings.burst[row] <= 0)

    def begin(self, row: int, ready: float, now: float) -> None:
        """Without a past, more than one replica is panic: nothing shrinks for a window."""
        if ready > 1:
            self.memory.put(row, {"panicked": now, "peak": ready})

    def reset(self, row: int) -> None:
        self._set_delay(row, 0.0)
        self._count(row, -1)
        self.settings.reset(row)
        self.memory.reset(row)

    def sizes(self, at: At, averages: Averages) -> Sizes:
        """What the target says."""
        target = self.settings.target[at]
        stable, panic = averages.stable / target, averages.panic / target
        return Sizes(np.ceil(stable, out=stable), np.ceil(panic, out=panic))

    def decide(
        self,
        at: At,
        averages: Averages,
        supply: Supply,
        now: float,
        sizes: Sizes | None = None,
    ) -> Verdict:
        """``sizes``: what the averages ask for, where that is not what the target says."""
        settings, memory = self.settings, self.memory
        panic, valid = averages.panic, averages.valid
        panicked = memory.panicked[at]
        excess = self._excess(at, panic, supply.ready)
        if not some(valid):
            return Verdict(np.zeros(len(valid)), excess, panicked > NOT_PANICKING)
        by_stable, by_panic = sizes or self.sizes(at, averages)
        ready = np.maximum(supply.counted, 1.0)
        highest = settings.up_rate[at] * ready
        np.ceil(highest, out=highest)
        lowest = ready / settings.down_rate[at]
        np.floor(lowest, out=lowest)
        if self._unreachable:
            lowest[~settings.reachable[at]] = 0.0
        limits = lowest, highest, settings.activation[at]
        wanted = self._within(by_stable, *limits)

        np.divide(by_panic, ready, out=ready)
        over = ready >= settings.threshold[at]
        since = np.where(over, now, panicked) if some(over) else panicked
        panicking = since + settings.stable_window[at] >= now
        if not every(valid):
            panicking &= valid
        # Few panic at a time: what only they need is worked out for them alone.
        places = places_of(panicking)
        rows, since = rows_of(at, places), since[places]
        if len(places):
            in_panic = self._within(by_panic[places], *(each[places] for each in limits))
            np.maximum(in_panic, wanted[places], out=in_panic)
            wanted[places] = np.maximum(in_panic, memory.peak[rows], out=in_panic)
        if every(valid):
            memory.panicked[at], memory.peak[at] = NOT_PANICKING, 0.0
        else:
            panicking |= ~valid & (panicked > NOT_PANICKING)
            known = rows_of(at, places_of(valid))
            memory.panicked[known], memory.peak[known] = NOT_PANICKING, 0.0
        memory.panicked[rows], memory.peak[rows] = since, wanted[places]
        if self._delays:
            self._hold_up(at, wanted, valid & settings.reachable[at], now)
        return Verdict(wanted, excess, panicking)

    def _within(self, wanted: Floats, lowest: Floats, highest: Floats, least: Floats) -> Floats:
        """Rate limits, then the activation scale where the load itself wants any."""
        bounded = np.maximum(wanted, lowest)
        np.minimum(bounded, highest, out=bounded)
        if not self._activating:
            return bounded  # any load wants 1 already, and the rates allow that
        lifted: Floats = np.where(wanted > 0, np.maximum(bounded, least), bounded)
        return lifted

    def _excess(self, at: At, panic: Floats, ready: Floats) -> Floats:
        burst = self.settings.burst[at]
        excess = ready * self.settings.capacity[at]
        excess -= burst
        excess -= panic
        np.floor(excess, out=excess)
        if self._unusual:
            unusual = burst <= 0
            excess[unusual] = np.where(burst[unusual] < 0, -1.0, 0.0)
        return excess

    def _hold_up(self, at: At, wanted: Floats, counts: Bools, now: float) -> None:
        """Raise ``wanted`` in place where a scale-down delay holds."""
        delays = self.settings.delay[at]
        for delay, window in self._delays.items():
            which = places_of((delays == delay) & counts)
            if len(which):
                wanted[which] = window.highest(rows_of(at, which), wanted[which], now)

    def take(self, row: int) -> dict[str, object]:
        return {**self.memory.take(row), **self._delayed(row)}

    def freeze(self, at: At, start: Floats, now: float) -> Frozen:
        memory = self.memory.freeze(at)
        if not self._delays:
            return cast(Frozen, memory)

        def values(places: Ints) -> list[dict[str, object]]:
            rows = rows_of(at, places).tolist()
            # A delay's noted answers are not copied: what is noted later only repeats their
            # highest, so deciding again on them gives the same.
            return [
                {**kept, **self._delayed(row)}
                for kept, row in zip(memory(places), rows, strict=True)
            ]

        return values

    def put(self, row: int, memory: Mapping[str, object], shift: int = 0) -> None:
        self.memory.put(row, {name: cast(float, memory[name]) for name in _Memory.DEFAULTS})
        if self.memory.panicked[row] != NOT_PANICKING:
            self.memory.panicked[row] += shift
        window = self._delays.get(float(self.settings.delay[row]))
        if window is not None and memory.get("delay") == window.delay:
            window.put(row, cast(list[tuple[int, float]], memory["delayed"]), shift)

    def _delayed(self, row: int) -> dict[str, object]:
        window = self._delays.get(float(self.settings.delay[row]))
        return {} if window is None else {"delay": window.delay, "delayed": window.take(row)}

    def _set_delay(self, row: int, delay: float) -> None:
        before = float(self.settings.delay[row])
        if delay == before:
            return
        if before:
            self._delays[before].remove(row)
        if delay:
            self._delays.setdefault(delay, DelayWindow(delay)).add(row)
        self.settings.put(row, {"delay": delay})
