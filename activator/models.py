"""One model as the activator's shell keeps it: connections, counters, recent waits."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from activator.throttler import Throttler
from activator.tickets import Reason, Refusal
from activator.upstream import Pool
from stoker import telemetry
from stoker.telemetry import Histogram, Reading
from stoker.vocabulary import Address, ModelSpec

if TYPE_CHECKING:
    from activator.server import Activator

RECENT: Final = 16
log = logging.getLogger("stoker.activator")


class Wait(NamedTuple):
    """One hold that ended with a slot: when (monotonic) and how long it had waited."""

    time: float
    seconds: float
    phase: str


class LastRefusal(NamedTuple):
    time: float
    refusal: Refusal


class Model:
    """Everything the activator knows of one model beside its throttler."""

    def __init__(self, activator: Activator, spec: ModelSpec, throttler: Throttler) -> None:
        self.activator = activator
        self.spec = spec
        self.throttler = throttler
        self.pools: dict[str, Pool] = {}
        self.codes = [0] * 6
        self.refusals: Counter[Reason] = Counter()
        self.retries = 0
        self.ejections = 0
        self.probes = 0
        self.latency = Histogram(telemetry.LATENCY_BOUNDS)
        self.hold_seconds = Histogram(telemetry.LATENCY_BOUNDS)
        self.waits: deque[Wait] = deque(maxlen=RECENT)
        self.last_refusals: deque[LastRefusal] = deque(maxlen=RECENT)

    def pool(self, replica_id: str, address: Address) -> Pool:
        """The connections to one replica."""
        pool = self.pools.get(replica_id)
        if pool is None:
            pool = self.pools[replica_id] = Pool(self.activator, address)
        return pool

    def drop_pool(self, replica_id: str) -> None:
        pool = self.pools.pop(replica_id, None)
        if pool is not None:
            pool.close()

    def drop_pools(self) -> None:
        for replica_id in list(self.pools):
            self.drop_pool(replica_id)

    # --- counting ---

    def count(self, status: int, seconds: float) -> None:
        """A request was answered, by a replica or by Stoker."""
        self.codes[status // 100 if 100 <= status < 600 else 0] += 1
        latency = self.latency
        latency.counts[bisect_left(latency.bounds, seconds)] += 1
        latency.total += seconds

    def note_hold(self, seconds: float, now: float) -> None:
        """A held request got its slot."""
        self.hold_seconds.add(seconds)
        self.waits.append(Wait(now, seconds, self.throttler.progress))

    def refused(self, refusal: Refusal, peer: str) -> None:
        """A request was refused or given up: counted, kept for explain, logged."""
        self.refusals[refusal.reason] += 1
        self.last_refusals.append(LastRefusal(self.activator.clock.now(), refusal))
        log.info(
            "model=%s refused reason=%s client=%s detail=%r",
            self.spec.key,
            refusal.reason.value,
            peer,
            refusal.detail,
        )

    @property
    def answered(self) -> int:
        return self.latency.count

    def readings(self) -> Iterator[Reading]:
        """This model's metrics now."""
        label = (str(self.spec.key),)
        for hundreds, count in enumerate(self.codes):
            if count:
                code = f"{hundreds}xx" if hundreds else "other"
                yield Reading(telemetry.REQUESTS, (*label, code), count)
        for reason, count in self.refusals.items():
            yield Reading(telemetry.REFUSALS, (*label, reason.value), count)
        throttler = self.throttler
        yield Reading(telemetry.QUEUED, label, throttler.queued)
        yield Reading(telemetry.ACTIVE, label, throttler.active)
        yield Reading(telemetry.HELD_BYTES, label, throttler.queued_bytes)
        yield Reading(telemetry.RETRIES, label, self.retries)
        yield Reading(telemetry.EJECTIONS, label, self.ejections)
        if self.latency.count:
            yield Reading(telemetry.REQUEST_SECONDS, label, self.latency)
        if self.hold_seconds.count:
            yield Reading(telemetry.HOLD_SECONDS, label, self.hold_seconds)

    def explain(self, now: float) -> dict[str, object]:
        """Why the last requests waited or were refused."""
        throttler = self.throttler
        return {
            "queued": throttler.queued,
            "active": throttler.active,
            "queued_bytes": throttler.queued_bytes,
            "ready_replicas": throttler.ready_replicas,
            "answered": self.answered,
            "retries": self.retries,
            "probes": self.probes,
            "refused": {reason.value: count for reason, count in self.refusals.items()},
            "outage": throttler.outage.reason if throttler.outage else None,
            "slots": [
                {
                    "replica": backend.replica_id,
                    "address": str(backend.address),
                    "in_flight": backend.in_flight,
                    "limit": backend.limit,
                    "ejected_for": max(0.0, round(backend.ejected_until - now, 3)),
                }
                for backend in throttler.slots.backends
            ],
            "recent_waits": [
                {"seconds_ago": round(now - w.time, 3), "waited": round(w.seconds, 6)}
                for w in self.waits
            ],
            "recent_refusals": [
                {
                    "seconds_ago": round(now - last.time, 3),
                    "reason": last.refusal.reason.value,
                    "detail": last.refusal.detail,
                }
                for last in self.last_refusals
            ],
        }
