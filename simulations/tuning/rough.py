"""What the fluid pass says of each candidate, on any of the segments. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulations.fluid import Flowed
from simulations.fluid_waits import percentile
from simulations.lanes import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """One candidate's: a histogram of waits (``simulations.fluid_waits``), cold requests and
    replica-seconds. ``service``: seconds in a replica, sorted, of any request."""

    waits: Floats
    cold: float
    replica_seconds: float
    service: Floats

    @property
    def cold_share(self) -> float:
        requests = float(self.waits.sum())
        return self.cold / requests if requests else 0.0

    def percentile(self, latency: bool, percent: float) -> float:
        """Latencies: the wait with a mean service, or the service without a wait."""
        wait = float(percentile(self.waits, percent))
        if not latency or not len(self.service):
            return wait
        rank = min(len(self.service) - 1, math.ceil(len(self.service) * percent / 100) - 1)
        return max(wait + float(self.service.mean()), float(self.service[rank]))


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Of many candidates: [candidate, segment], but ``waits`` [candidate, segment, bin]."""

    waits: Floats
    cold: Floats
    replica_seconds: Floats
    service: Floats

    def of(self, places: Sequence[int]) -> list[Estimate]:
        """Every candidate's on these segments together."""
        at = list(places)
        waits = self.waits[:, at].sum(axis=1)
        cold, seconds = self.cold[:, at].sum(axis=1), self.replica_seconds[:, at].sum(axis=1)
        return [
            Estimate(waits[one], float(cold[one]), float(seconds[one]), self.service)
            for one in range(len(waits))
        ]

    def with_more(self, more: Estimates) -> Estimates:
        """Of these candidates and, behind them, of others."""
        return Estimates(
            np.concatenate([self.waits, more.waits]),
            np.concatenate([self.cold, more.cold]),
            np.concatenate([self.replica_seconds, more.replica_seconds]),
            self.service,
        )


def by_segment(flowed: Flowed, models: int, segments: int, service: Floats) -> Estimates:
    """Lanes are models × segments × pieces of a segment; the models and pieces add up."""

    def summed(column: Floats) -> Floats:
        shape = (len(column), models, segments, -1, *column.shape[2:])
        total: Floats = column.reshape(shape).sum(axis=(1, 3))
        return total

    return Estimates(
        summed(flowed.waits), summed(flowed.cold), summed(flowed.replica_seconds), np.sort(service)
    )
