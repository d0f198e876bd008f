"""Replicas from a promise: at most so many requests wait longer than so long for a slot.

A model is taken for an M/M/c queue: random arrivals, service times spread like an exponential
distribution, c slots that serve who has waited longest. With offered load a (mean requests in
service) and mean service time s, Erlang's formulas say (A. K. Erlang, 1917):

    B(0) = 1,  B(k) = a B(k-1) / (k + a B(k-1)),  C = c B(c) / (c - a (1 - B(c)))
    P(wait > t) = C exp(-(c - a) t / s)

The fewest c for which that is at most 1 - ``slo-quantile``, divided by a replica's slots and
rounded up, takes the place of KPA's load / target. Windows, panic, rates and delays stay KPA's.

Example: a = 8, s = 0.5 s, 1 slot each, 99 % to wait at most 1 s: c = 10 gives C = 0.409 and
P = 0.409 exp(-4) = 0.0075, c = 9 P = 0.088; so 10 replicas, where KPA's 70 % would give 12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from typing import cast

import numpy as np

from autoscaler.policies import Why
from autoscaler.policies.additions import Part, Wish
from autoscaler.policies.kpa import Sizes
from autoscaler.table import Floats, Ints, Table
from autoscaler.window import NEVER, Averages
from stoker.vocabulary import ScalingConfig

ENOUGH = 10.0
"""Completions before a mean service time is believed; KPA's target sizes until then."""
REMEMBERED = 1000.0
"""Completions at which both sums are halved: the mean is of the last 500 to 1,000, or more
where more complete between two reports. Exponential service times: off by 3 to 4 %."""
VAST = 1e6
"""Load above which the square-root rule answers: a + 4.5 sqrt(a), at most 0.45 % above a. It
promises P(wait > 0) < 4e-6, more than any ``slo-quantile`` asks for."""


def servers(load: Floats, patience: Floats, late: Floats) -> Floats:
    """The fewest c, per entry, for which P(wait > t) <= ``late``; 0 where there is no load.

    ``load``: mean requests in service; ``patience``: t in mean service times; ``late`` in
    (0, 1). Takes about 9 sqrt(a) + (c - a) steps, whatever the number of entries: 1 / B at
    floor(a) is a sum of falling products, each at most 1, from where the recurrence goes on,
    so that nothing overflows and no logarithm is needed.
    """
    vast = np.where(load > VAST, np.ceil(load + 4.5 * np.sqrt(np.maximum(load, 0.0))), 0.0)
    found: Floats = vast
    at = np.flatnonzero((load > 0) & (load <= VAST))
    a, patience, late = load[at], patience[at], late[at]
    k = np.floor(a)
    blocking = 1.0 / _inverse_of_blocking(a, k)
    while len(at):
        # With k <= a slots the queue would grow without end.
        k = k + 1.0
        blocking = a * blocking / (k + a * blocking)
        waiting = k * blocking / (k - a * (1.0 - blocking))
        done = waiting * np.exp((a - k) * patience) <= late
        found[at[done]] = k[done]
        left = ~done
        at, a, patience, late = at[left], a[left], patience[left], late[left]
        k, blocking = k[left], blocking[left]
    return found


def _inverse_of_blocking(a: Floats, k: Floats) -> Floats:
    """1 / B(k) = sum over j of k (k-1) ... (k-j+1) / a^j, for k <= a, or k = 0."""
    total, term, j = np.ones_like(a), np.ones_like(a), 0
    while term.max(initial=0.0) > 1e-17:
        term = term * np.maximum(k - j, 0.0) / a
        total += term
        j += 1
    return total


def replicas(config: ScalingConfig, load: float, service: float) -> int:
    """What one model needs for ``load`` when requests take ``service`` seconds on average."""
    values = load, config.slo_wait / service, _late(config)
    one = (np.array([value], dtype=np.float64) for value in values)
    return int(np.ceil(servers(*one) / _slots(config))[0])


def _late(config: ScalingConfig) -> float:
    return 1.0 - config.slo_quantile / 100.0


def _slots(config: ScalingConfig) -> int:
    """Requests that one replica serves at a time: its limit, else what it is meant to take."""
    return max(1, floor(config.capacity))


class _Settings(Table):
    DEFAULTS = {"slots": 1.0, "target": 1.0, "wait": 1.0, "late": 0.01}  # noqa: RUF012
    slots: Floats
    target: Floats
    wait: Floats
    late: Floats


class _Memory(Table):
    """``busy``: seconds in service of all requests together; ``completions``: of how many."""

    DEFAULTS = {"busy": 0.0, "completions": 0.0}  # noqa: RUF012
    busy: Floats
    completions: Floats


class ErlangC(Part):
    """The part. The mean service time is busy seconds / completions (Little's law): over many
    requests each counts in both sums with all its time in service.

    Requests that wait are load that came earlier. To serve them within ``slo-wait`` takes
    queued x service / slo-wait slots, at most one each, besides those for what is in service;
    so much do they weigh in the windows. A queue that lasts is thus sized away, one within
    the promise hardly counts.
    """

    serves = True

    def __init__(self) -> None:
        self.settings = _Settings()
        self.memory = _Memory()

    def reserve(self, slots: int) -> None:
        self.settings.reserve(slots)
        self.memory.reserve(slots)

    def configure(self, slot: int, config: ScalingConfig, now: float) -> None:
        self.settings.put(
            slot,
            {
                "slots": _slots(config),
                "target": config.target,
                "wait": config.slo_wait,
                "late": _late(config),
            },
        )

    def reset(self, slot: int) -> None:
        self.settings.reset(slot)
        self.memory.reset(slot)

    def sizes(self, slots: Ints, averages: Averages) -> Sizes:
        service, target = self._service(slots), self.settings.target[slots]
        known = service > 0
        both = []
        for load in (averages.stable, averages.panic):
            size = np.ceil(load / target)
            at = slots[known]
            patience = self.settings.wait[at] / service[known]
            needed = servers(load[known], patience, self.settings.late[at])
            size[known] = np.ceil(needed / self.settings.slots[at])
            both.append(size)
        return Sizes(*both)

    def wish(self, slots: Ints, averages: Averages, start: Floats, now: float) -> Wish:
        """No floor; only what sizes rest on, for people."""
        service = self._service(slots)
        why = np.where(service > 0, float(Why.ERLANG), float(Why.NOTHING))
        return Wish(np.zeros(len(slots)), np.full(len(slots), NEVER), why, service)

    def take(self, slot: int) -> dict[str, object]:
        return {**self.memory.take(slot)}

    def freeze(
        self, slots: Ints, start: Floats, now: float
    ) -> Callable[[Ints], list[dict[str, object]]]:
        return cast(Callable[[Ints], list[dict[str, object]]], self.memory.freeze(slots))

    def put(self, slot: int, memory: Mapping[str, object], shift: int) -> None:
        self.memory.put(slot, {name: cast(float, memory[name]) for name in _Memory.DEFAULTS})

    def serve(self, slots: Ints, busy: Floats, completions: Floats) -> None:
        memory = self.memory
        all_busy, all_completions = memory.busy[slots] + busy, memory.completions[slots]
        all_completions = all_completions + completions
        share = np.where(all_completions > REMEMBERED, 0.5, 1.0)
        memory.busy[slots], memory.completions[slots] = all_busy * share, all_completions * share

    def weight_of_queued(self, slots: Ints) -> Floats:
        service, wait = self._service(slots), self.settings.wait[slots]
        weights = np.ones(len(slots))
        short = (service > 0) & (service < wait)
        weights[short] = service[short] / wait[short]
        return weights

    def _service(self, slots: Ints) -> Floats:
        """Mean service times in seconds; 0 while too little is known."""
        busy, completions = self.memory.busy[slots], self.memory.completions[slots]
        return np.where(completions >= ENOUGH, busy / np.maximum(completions, 1.0), 0.0)
