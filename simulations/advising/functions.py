"""A trace on a platform that is paid by the invocation: instances, cold starts, dollars. Pure.

A request goes to the instance with room that was used last; where there is none a new one is
started, and who goes to one that starts waits for it. An instance that has been idle for
``kept_warm`` seconds is gone. Where an instance takes one request, its time is paid; where it
takes more, the time in which it has any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from simulations.advising.offers import GIB, Offer
from simulations.lanes import Floats
from simulations.result import Spread
from simulations.trace import Trace


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one replica: bytes of memory, bytes of its image, whether it has accelerators, and
    by what a request is slower without."""

    memory: float = 4.0 * GIB
    package: float = 2e9
    accelerators: float = 0.0
    slowdown: float = 1.0
    slots: int = 1


@dataclass(slots=True, eq=False)
class Invoked:
    """What it came to. ``against``: what of the model does not fit, in words."""

    offer: Offer
    requests: int = 0
    cold: int = 0
    instances: int = 0
    paid_seconds: float = 0.0
    dollars: float = 0.0
    seconds: float = 0.0
    waits: Spread = field(default_factory=Spread)
    latencies: Spread = field(default_factory=Spread)
    against: tuple[str, ...] = ()

    @property
    def dollars_per_hour(self) -> float:
        return 3600 * self.dollars / self.seconds if self.seconds else 0.0

    @property
    def cold_share(self) -> float:
        return self.cold / self.requests if self.requests else 0.0

    @property
    def per_request(self) -> float:
        """Dollars, on average; 0 without requests."""
        return self.dollars / self.requests if self.requests else 0.0


@dataclass(slots=True, eq=False)
class _Instance:
    ready: float
    busy_since: float
    in_flight: int = 0
    idle_since: float = 0.0
    free: bool = False


def invoked(trace: Trace, service: Floats, offer: Offer, needs: Needs) -> Invoked:
    """All of ``trace`` on ``offer``; ``service``: seconds of each request in a replica alone."""
    result = Invoked(offer, requests=len(trace), seconds=trace.duration)
    result.against = _against(service, offer, needs)
    slots = int(offer.concurrency) or max(1, needs.slots)
    free: list[_Instance] = []
    ends: list[tuple[float, int, _Instance]] = []
    waits = np.zeros(len(trace))
    grain = offer.granularity or 1e-9

    def pay(seconds: float) -> None:
        result.paid_seconds += math.ceil(seconds / grain - 1e-9) * grain

    def end(until: float) -> None:
        while ends and ends[0][0] <= until:
            time, _, instance = heappop(ends)
            instance.in_flight -= 1
            if not instance.in_flight:
                instance.idle_since = time
                if slots > 1:
                    pay(time - instance.busy_since)
            if not instance.free:
                instance.free = True
                free.append(instance)

    work = (service * needs.slowdown).tolist()
    for place, time in enumerate(trace.times.tolist()):
        end(time)
        instance = _warm(free, time, offer.kept_warm)
        if instance is None:
            instance = _Instance(time + offer.cold_start, time)
            if not offer.start_paid:
                instance.busy_since = instance.ready
            result.instances += 1
        elif not instance.in_flight:
            instance.busy_since = time
        instance.in_flight += 1
        if instance.in_flight < slots:
            instance.free = True
            free.append(instance)
        begins = max(time, instance.ready)
        waits[place] = begins - time
        if slots == 1:
            pay(work[place] + (begins - time if offer.start_paid else 0.0))
        heappush(ends, (begins + work[place], place, instance))
    end(math.inf)
    result.waits.add(waits)
    result.latencies.add(waits + service * needs.slowdown)
    result.cold = int((waits > 0).sum())
    each = offer.gib_second * needs.memory / GIB + offer.vcpu_second * offer.vcpus
    result.dollars = result.paid_seconds * each + len(trace) * offer.request
    return result


def _warm(free: list[_Instance], now: float, kept: float) -> _Instance | None:
    """The instance with room that was used last, taken from ``free``; None: all are gone."""
    while free:
        instance = free.pop()
        instance.free = False
        if instance.in_flight or now - instance.idle_since <= kept:
            return instance
    return None


def _against(service: Floats, offer: Offer, needs: Needs) -> tuple[str, ...]:
    found = []
    if needs.accelerators > offer.accelerators:
        found.append("it has no accelerators")
    for what, wanted, most in (
        ("memory", needs.memory, offer.most_memory),
        ("an image", needs.package, offer.most_package),
    ):
        if most and wanted > most:
            found.append(f"{what} of {wanted / GIB:.3g} GiB where {most / GIB:.3g} are the limit")
    if offer.most_time and len(service):
        late = int((service * needs.slowdown > offer.most_time).sum())
        if late:
            found.append(f"{late} requests of more than {offer.most_time:g} s, the limit")
    return tuple(found)
