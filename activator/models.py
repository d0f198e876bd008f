"""One model as the activator's shell keeps it: connections, counters, recent waits."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from activator import waits
from activator.extras import Extras
from activator.held_counts import HeldCounts
from activator.pool import Pool
from activator.replica_tls import tls_of
from activator.shared_slots import SharedSlots
from activator.throttler import Throttler
from activator.tickets import Reason, Refusal
from activator.tunnel import TunnelCounts
from activator.waits import Wait
from stoker import telemetry
from stoker.telemetry import Histogram, Reading
from stoker.vocabulary import Address, ModelSpec, Replica

if TYPE_CHECKING:
    from activator.request import Request
    from activator.server import Activator

RECENT: Final = 16


class LastRefusal(NamedTuple):
    time: float
    refusal: Refusal


class Model:
    """Everything the activator knows of one model beside its throttler."""

    def __init__(self, activator: Activator, spec: ModelSpec, throttler: Throttler) -> None:
        self.activator = activator
        self.spec = spec
        self.label = str(spec.key)
        self.throttler = throttler
        self.pools: dict[str, Pool] = {}
        self.codes = [0] * 6
        self.refusals: Counter[Reason] = Counter()
        self.retries = 0
        self._tunnels: TunnelCounts | None = None
        self.probes = 0
        self.extras = Extras.of(spec)
        self.held_counts = HeldCounts()
        self.bytes_in = 0
        self.bytes_out = 0
        # Replicas as they were when they turned ready: what their starts were spent on.
        self.starts: dict[str, Replica] = {}
        # When the first of those that wait for a model at zero began to; None: nobody does.
        self.activated: float | None = None
        self.activations: dict[str, Histogram] = {}
        self.latency = Histogram(telemetry.LATENCY_BOUNDS)
        self.hold_seconds = Histogram(telemetry.LATENCY_BOUNDS)
        self.waits: deque[Wait] = deque(maxlen=RECENT)
        self.last_refusals: deque[LastRefusal] = deque(maxlen=RECENT)

    def replace(self, spec: ModelSpec) -> None:
        """Changed settings, in force for what comes; connections that they do not fit go."""
        if tls_of(spec.serving) != tls_of(self.spec.serving):
            self.drop_pools()
        self.spec = spec
        self.extras = Extras.of(spec, self.extras)

    def pool(self, replica_id: str, address: Address) -> Pool:
        """The connections to one replica."""
        pool = self.pools.get(replica_id)
        if pool is None:
            cluster = self.activator.cluster
            if cluster is not None and (shared := cluster.pool(replica_id)) is not None:
                return shared  # another member's, not a replica's: all models share it
            pool = self.pools[replica_id] = Pool(self.activator, address)
        return pool

    def drop_pool(self, replica_id: str) -> None:
        pool = self.pools.pop(replica_id, None)
        if pool is not None:
            pool.close()

    def drop_pools(self) -> None:
        for replica_id in list(self.pools):
            self.drop_pool(replica_id)

    def tunnel_counts(self) -> TunnelCounts:
        """Its counters of tunnels; made when first needed (most models have none)."""
        if self._tunnels is None:
            self._tunnels = TunnelCounts()
        return self._tunnels

    def has_undecided_tunnels(self, now: float) -> bool:
        """Whether one that is over has yet to be counted, as soon as is known how it ended."""
        return self._tunnels is not None and self._tunnels.undecided(now)

    def replica_crashed(self, replica_id: str, now: float) -> None:
        """It ended otherwise than by being stopped."""
        if self._tunnels is not None:
            self._tunnels.replica_crashed(replica_id, now)

    # --- counting ---

    def count(self, status: int, seconds: float) -> None:
        """A request was answered, by a replica or by Stoker."""
        self.codes[status // 100 if 100 <= status < 600 else 0] += 1
        latency = self.latency
        latency.counts[bisect_left(latency.bounds, seconds)] += 1
        latency.total += seconds

    def note_hold(self, request: Request, now: float, refused: str = "") -> None:
        """A hold has ended: with a slot, or because the request was ``refused``."""
        seconds = now - request.held_at
        if seconds <= 0:
            return  # tried again at once after a replica failed it
        request.waited += seconds
        self.hold_seconds.add(seconds)
        ticket, cause = request.ticket, request.cause
        assert ticket is not None
        if cause is None:
            return
        start = None if ticket.backend is None else self.starts.get(ticket.backend.replica_id)
        bound = waits.bound_of(self.throttler, ticket)
        self.waits.append(Wait(now, seconds, cause, start, refused, *bound))
        if self.activated is not None and start is not None:
            for phase, spent in waits.activation(start, self.activated, now):
                if phase not in self.activations:
                    self.activations[phase] = Histogram(telemetry.COLD_START_BOUNDS)
                self.activations[phase].add(spent)
            self.activated = None
        if self.activator.observer is not None:
            self.activator.observer.held(request, now, refused)

    def refused(self, refusal: Refusal, peer: str) -> None:
        """A request was refused or given up: counted, kept for explain, logged."""
        self.refusals[refusal.reason] += 1
        self.last_refusals.append(LastRefusal(self.activator.clock.now(), refusal))
        self.activator.log_refused(self, refusal, peer)

    def attempt_failed(self, request: Request, replica: str, why: str, now: float) -> None:
        """A replica failed a request before its answer began; it may be tried elsewhere."""
        self.activator.log_replica_failed(self, replica, why)
        if self.activator.observer is not None:
            self.activator.observer.attempt_failed(request, why, now)

    @property
    def active(self) -> int:
        """Requests in replicas now. What was passed on to another member is counted there."""
        slots = self.throttler.slots
        passed_on = slots.forwarded if isinstance(slots, SharedSlots) else 0
        return self.throttler.active - passed_on

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
        yield Reading(telemetry.ACTIVE, label, self.active)
        yield Reading(telemetry.HELD_BYTES, label, throttler.queued_bytes)
        yield Reading(telemetry.RETRIES, label, self.retries)
        yield Reading(telemetry.EJECTIONS, label, self.throttler.ejections)
        if self._tunnels is not None:
            yield from self._tunnels.readings(label[0], self.activator.clock.now())
        yield from self.held_counts.readings(label)
        if self.latency.count:
            yield Reading(telemetry.REQUEST_SECONDS, label, self.latency)
        if self.hold_seconds.count:
            yield Reading(telemetry.HOLD_SECONDS, label, self.hold_seconds)
        for phase, histogram in self.activations.items():
            yield Reading(telemetry.ACTIVATION_SECONDS, (*label, phase), histogram)
        if self.bytes_in:
            yield Reading(telemetry.REQUEST_BYTES, label, self.bytes_in)
            yield Reading(telemetry.RESPONSE_BYTES, label, self.bytes_out)
        if self.probes:
            yield Reading(telemetry.PROBES, label, self.probes)

    def explain(self, now: float) -> dict[str, object]:
        """Why the last requests waited or were refused."""
        throttler = self.throttler
        cluster = self.activator.cluster
        return {
            **({} if cluster is None else {"cluster": cluster.explain(self.spec.key)}),
            "queued": throttler.queued,
            "active": self.active,
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
            "recent_waits": waits.recent(tuple(self.waits), now),
            "recent_refusals": [
                {
                    "seconds_ago": round(now - last.time, 3),
                    "reason": last.refusal.reason.value,
                    "detail": last.refusal.detail,
                }
                for last in self.last_refusals
            ],
        }
