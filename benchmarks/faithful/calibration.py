"""What a simulation has to be told of this machine, measured before the comparison.

Servers of the same kind are woken through Stoker, asked through it and directly, and fall
asleep again: nothing is taken from the runs that are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faithful import lives
from benchmarks.faithful.live import Live, Told
from benchmarks.faithful.sending import Sent, Stream, send
from benchmarks.faithful.workloads import SERVICE, model
from benchmarks.processes import accepts, free_ports, wait_until
from benchmarks.processes import running as running_server
from simulations.draws import Empirical
from simulations.services import Recorded
from simulations.trace import Floats
from simulations.world import Start, World

RATE = 8.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds. ``starts``: from the wish for a replica to its readiness. ``direct``: what a
    request takes more than the server sleeps over it, without Stoker. ``through``: with
    Stoker. ``drains``: from the decision for zero to the process's end. ``reports``: how far
    behind whole seconds of the monotonic clock reports of load end.
    """

    starts: tuple[float, ...]
    direct: tuple[float, ...]
    through: tuple[float, ...]
    drains: tuple[float, ...]
    reports: float

    @property
    def network(self) -> float:
        """What Stoker adds to an answer."""
        return max(0.0, statistics.median(self.through) - statistics.median(self.direct))

    def world(self) -> World:
        """The same in the simulator's words. What requests take is in their trace."""
        return World(
            service=Recorded(),
            start=Start({"start": Empirical(self.starts)}),
            network=self.network,
            drain=statistics.median(self.drains),
        )

    def service(self, asked: Floats, seed: int) -> Floats:
        """Seconds in a replica of requests over which it sleeps so long."""
        rng = np.random.default_rng((seed, 1))
        return asked + Empirical(self.direct).sample(rng, len(asked))


def over(sent: Sequence[Sent]) -> tuple[float, ...]:
    """Seconds that requests took more than the server slept.

    Raises RuntimeError when one was lost.
    """
    if any(each.answered is None for each in sent):
        raise RuntimeError("a request was lost while calibrating")
    return tuple(each.latency - each.service for each in sent)


def reported_at(sent: Sequence[Sent], loads: Mapping[int, float]) -> float:
    """The fraction of a second (to 0.01 s) at which reports end, from what they say of these
    requests: the load of second s is how many of them there were on average from one second
    before s + fraction until then. The least sum of squares decides.
    """
    begins = np.array([each.sent for each in sent])[:, None]
    ends = np.array([each.answered for each in sent], dtype=np.float64)[:, None]
    seconds = np.arange(int(begins.min()), int(ends.max()) + 2)
    said = np.array([loads.get(int(second), 0.0) for second in seconds])

    def off(fraction: float) -> float:
        until = seconds + fraction
        there = np.minimum(ends, until) - np.maximum(begins, until - 1.0)
        return float(np.square(np.clip(there, 0.0, None).sum(axis=0) - said).sum())

    return min((hundredth / 100 for hundredth in range(100)), key=off)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was answered while calibrating; what became of the replicas is told later."""

    models: tuple[str, ...]
    direct: tuple[float, ...]
    through: list[Sent]

    def known(self, told: Mapping[str, Told]) -> Calibration:
        """With what became of the models, which are asleep again."""
        starts, drains = [], []
        for each in (told[name] for name in self.models):
            starts += lives.start_seconds(each.counts)
            drains.append(each.lives[-1].ended - lives.sleeps(each.counts)[-1])
        reports = reported_at(self.through, told[self.models[0]].loads)
        return Calibration(tuple(starts), self.direct, over(self.through), tuple(drains), reports)


def calibrate(running: Live, models: Sequence[str], requests: int) -> Asked:
    """So many requests; the models, which nobody else asks, then fall asleep by themselves."""
    port, one = running.stoker.port, np.zeros(1)
    (free,) = free_ports(1)
    command = [part.replace("{port}", str(free)) for part in model()["command"]]
    with running_server(command):
        # One after another: starts that are in each other's way are not what is looked for.
        wakes = [Stream(port, name, one + 0.4 * place, one) for place, name in enumerate(models)]
        send(wakes, time.monotonic() + 0.2)
        wait_until(lambda: accepts(free), "the server")
        times = np.arange(requests) / RATE
        service = SERVICE.sample(np.random.default_rng(0), requests)
        # At the same time: the machine is as busy for one as for the other.
        streams = [Stream(to, models[0], times, service) for to in (free, port)]
        # And in seconds of their own: from their loads follows when reports end.
        direct, through = send(streams, time.monotonic() + 1.2)
    return Asked(tuple(models), over(direct), through)
