"""Who may wait, how many, how long: bounds per model and for the whole process. Sans-IO.

``offer`` answers with a ticket that is granted, held or refused. Deadlines of holds are
kept in one heap over all models; ``expire`` is to be called at ``next_deadline``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from zlib import crc32

from activator.forecast import Eta, Forecast
from activator.slots import Slots
from activator.throttler import NEVER, Held, Throttler
from activator.tickets import DONE, GRANTED, HELD, REFUSED, Failure, Reason, Refusal, Ticket
from stoker.vocabulary import Address, ModelKey, ModelSpec, Outage


class Admission:
    """Every model's throttler under common bounds.

    ``max_requests`` and ``max_bytes`` bound what is held in the whole process. ``eta``
    (model, now) estimates the seconds until a starting model can serve; None: not known.
    ``make_slots`` says who owns a model's slots; None: this process owns them all.
    ``touched`` are the models that had anything to do since the reporter last looked.
    """

    def __init__(
        self,
        max_requests: int,
        max_bytes: int,
        eta: Eta | None = None,
        make_slots: Callable[[ModelSpec], Slots] | None = None,
    ) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.forecast = Forecast(eta)
        self._make_slots = make_slots
        self.throttlers: dict[ModelKey, Throttler] = {}
        # Dicts for sets, here and below: their order is the same in every run.
        self.touched: dict[Throttler, None] = {}
        self._total = Held()
        # Models with holds, and some that had: what time may change without a request.
        self._waiting: dict[Throttler, None] = {}
        # An entry counts while its ticket is held and has still that deadline.
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._order = count()
        # Refused since the shell last asked: they made room for somebody.
        self._displaced: dict[Ticket, None] = {}

    @property
    def held(self) -> int:
        """Requests held now, all models."""
        return self._total.requests

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies held now, all models."""
        return self._total.size

    @property
    def displaced(self) -> int:
        """Tickets that were refused to make room, and that ``expire`` has yet to tell of."""
        return len(self._displaced)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Tenants' shares where they are not 1; in force for tenants that begin to wait."""
        self._total.weights.clear()
        self._total.weights.update(weights)

    # --- models ---

    def set_model(self, spec: ModelSpec, now: float) -> tuple[Throttler, list[Ticket]]:
        """Add or change a model; returns its throttler and tickets that new limits granted."""
        throttler = self.throttlers.get(spec.key)
        if throttler is None:
            # By name, so that a model's choices do not depend on which others there are.
            seed = crc32(str(spec.key).encode())
            slots = self._make_slots(spec) if self._make_slots is not None else None
            throttler = Throttler(spec.key, spec.serving, now, seed, self._total, slots)
            self.throttlers[spec.key] = throttler
            return throttler, []
        granted = throttler.reconfigure(spec.serving, now)
        for ticket in throttler.held():
            deadline = throttler.effective_deadline(ticket)
            # Later ones need nothing: they are looked at again at the earlier one.
            if deadline < ticket.deadline:
                self._set_deadline(ticket, deadline)
        return throttler, granted

    def remove_model(self, key: ModelKey, now: float) -> list[Ticket]:
        """Forget a model; its held tickets come back refused."""
        throttler = self.throttlers.pop(key, None)
        if throttler is None:
            return []
        self.touched.pop(throttler, None)
        self._waiting.pop(throttler, None)
        return _refuse_all(throttler, lambda: MODEL_REMOVED, now)

    # --- requests ---

    def offer(
        self,
        model: Throttler,
        tenant: str,
        priority: int,
        deadline: float | None,
        size: int,
        now: float,
        owner: object = None,
        key: int = 0,
    ) -> Ticket:
        """Ask for a slot. ``deadline``: the caller's own, absolute; ``size``: body bytes held;
        ``key``: the hash of what its prompt begins with, 0: none.

        Somebody else may have to make room; ``expire`` has him refused.
        """
        ticket = Ticket(model, tenant, priority, deadline, size, now, owner, key)
        self.touched[model] = None
        if model.claim(ticket, now):
            return ticket
        refusal = self._refusal(ticket, now)
        if refusal is not None:
            _refuse(ticket, refusal)
        else:
            self._hold(ticket, now)
        return ticket

    def failed(self, ticket: Ticket, failure: Failure, now: float) -> Refusal | None:
        """The ticket's replica failed it; its slot is given back.

        None: it may be tried again, see ``retry``. Else nothing is left but the refusal, and
        whoever waits may have the slot: see ``Throttler.grant``.
        """
        ticket.throttler.failed(ticket, now, eject=not failure.stale)
        # A stale connection is no attempt at the replica. Each one is closed, so at most a
        # pool's worth of them can be met.
        if not failure.stale:
            ticket.failures += 1
        serving = ticket.throttler.config
        if not failure.replayable:
            why = "its body was too large to be kept, so it could not be sent again"
        elif not (failure.idempotent or serving.retry_post):
            why = "retry-post is off"
        elif ticket.failures > serving.retry_attempts:
            return Refusal(Reason.REPLICA_FAILED, failure.why)
        else:
            return None
        return Refusal(Reason.REPLICA_FAILED, f"{failure.why}; {why}")

    def retry(self, ticket: Ticket, size: int, now: float) -> list[Ticket]:
        """Put a ticket whose replica failed it back before those that wait, past all bounds.

        ``size``: body bytes held by now; they may be more than when it was granted.

        It was admitted once; the bounds must not turn a replica's death into a refusal.
        Returns who was granted, or the ticket itself, refused: its model has an outage or
        was removed.
        """
        throttler = ticket.throttler
        if self.throttlers.get(throttler.key) is not throttler:
            _refuse(ticket, MODEL_REMOVED)
        elif throttler.outage is not None and not throttler.ready_replicas:
            _refuse(ticket, self._outage(throttler.outage, now))
        else:
            ticket.size = size
            self._hold(ticket, now)
            return throttler.grant(now)
        return [ticket]

    def finish(self, ticket: Ticket, now: float, *, answered: bool) -> list[Ticket]:
        """A granted request is over; returns whom its slot went to."""
        return ticket.throttler.finish(ticket, now, answered=answered)

    def give_up(self, ticket: Ticket, now: float) -> list[Ticket]:
        """End a ticket in any state (its client left); returns whom its slot went to."""
        if ticket.state is HELD:
            ticket.throttler.withdraw(ticket, now)
            ticket.state = DONE
        elif ticket.state is GRANTED:
            return ticket.throttler.finish(ticket, now, answered=False)
        elif self._displaced:
            self._displaced.pop(ticket, None)
        return []

    def grow(self, ticket: Ticket, size: int) -> bool:
        """A body grew by ``size`` bytes. False: a bound is passed, stop reading for now."""
        throttler = ticket.throttler
        throttler.grow(ticket, size)
        return ticket.state is not HELD or (
            throttler.queued_bytes <= throttler.config.queue_bytes
            and self._total.size <= self.max_bytes
        )

    # --- replicas ---

    def replica_ready(
        self, throttler: Throttler, replica_id: str, address: Address, now: float
    ) -> list[Ticket]:
        """A replica turned ready; returns the tickets granted."""
        return throttler.add_replica(replica_id, address, now)

    def outage(self, throttler: Throttler, outage: Outage | None, now: float) -> list[Ticket]:
        """The model cannot start for now (or may again): all its holds come back refused.

        While a replica is still ready nothing is refused: it goes on serving. Should it go
        too, ``expire`` refuses them.
        """
        throttler.outage = outage
        if outage is None or throttler.ready_replicas:
            return []
        return self._refuse_for(throttler, outage, now)

    def progressed(self, throttler: Throttler, phase: str, now: float) -> None:
        """A start visibly moved on; ``phase`` is the furthest one of all replicas."""
        seconds = self.forecast.ready_in(throttler, now)
        throttler.made_progress(phase, now, 0.0 if seconds is None else now + seconds)

    # --- time ---

    def next_deadline(self, now: float) -> float | None:
        """When ``expire`` must be called next; None: nothing waits for time to pass."""
        if self._displaced:
            return now
        heap = self._deadlines
        while heap and not _counts(heap[0]):
            heapq.heappop(heap)
        first = heap[0][0] if heap else NEVER
        for throttler in self._waiting:
            if throttler.queued:
                if throttler.outage is not None and not throttler.ready_replicas:
                    return now
                first = min(first, throttler.resumes_at)
        return None if first == NEVER else first

    def expire(self, now: float) -> list[Ticket]:
        """Tickets that are refused now (deadline, outage), were refused to make room for others
        since the last call, or are granted (an ejection ended).
        """
        changed = list(self._displaced)
        self._displaced.clear()
        for throttler in list(self._waiting):
            if not throttler.queued:
                del self._waiting[throttler]
            elif throttler.outage is not None and not throttler.ready_replicas:
                changed += self._refuse_for(throttler, throttler.outage, now)
            elif throttler.resumes_at <= now:
                changed += throttler.resume(now)
        heap = self._deadlines
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            if not _counts(entry):
                continue
            ticket = entry[2]
            throttler = ticket.throttler
            deadline = throttler.effective_deadline(ticket)
            if deadline > now:
                self._set_deadline(ticket, deadline)
                continue
            throttler.withdraw(ticket, now)
            hard = ticket.hard_deadline
            own = hard is not None and hard <= now
            reason = Reason.DEADLINE_PASSED if own else Reason.HOLD_DEADLINE
            retry_after = self.forecast.retry_after(throttler, now)
            _refuse(ticket, Refusal(reason, _stuck(throttler, ticket, now), retry_after))
            changed.append(ticket)
        return changed

    # --- inside ---

    def _refusal(self, ticket: Ticket, now: float) -> Refusal | None:
        """Why the ticket may not wait; None: it may, and whoever has to go for it went."""
        model, size = ticket.throttler, ticket.size
        if model.outage is not None and not model.ready_replicas:
            return self._outage(model.outage, now)
        if ticket.hard_deadline is not None:
            late = self._too_late(ticket, ticket.hard_deadline, now)
            if late is not None:
                return late
        config = model.config
        found = _tenant_bound(ticket)
        victim = None
        if found is None and model.queued >= config.queue_requests:
            if model.queued == config.queue_requests:
                victim = model.line.displaced_by(ticket)
            if victim is None:
                found = (
                    Reason.QUEUE_FULL,
                    f"{model.queued} requests wait for this model already"
                    f" (queue-requests = {config.queue_requests})",
                )
        leaves = 0 if victim is None else victim.size
        total = self._total
        if found is not None:
            pass
        elif model.queued_bytes - leaves + size > config.queue_bytes:
            found = (
                Reason.QUEUE_BYTES_FULL,
                f"{model.queued_bytes} bytes wait for this model already"
                f" (queue-bytes = {config.queue_bytes})",
            )
        elif total.requests - (victim is not None) >= self.max_requests:
            found = (
                Reason.TOTAL_FULL,
                f"{total.requests} requests are held for all models already"
                f" (max-queued-requests = {self.max_requests})",
            )
        elif total.size - leaves + size > self.max_bytes:
            found = (
                Reason.TOTAL_BYTES_FULL,
                f"{total.size} bytes are held for all models already"
                f" (max-queued-bytes = {self.max_bytes})",
            )
        if found is not None:
            return Refusal(*found, self.forecast.retry_after(model, now))
        if victim is not None:
            self._displace(victim, ticket, now)
        return None

    def _too_late(self, ticket: Ticket, deadline: float, now: float) -> Refusal | None:
        """The refusal of a caller whose deadline is before its turn as far as can be told."""
        start = self.forecast.start_in(ticket, now)
        if start is None or now + start <= deadline:
            return None
        what = "until its turn" if ticket.throttler.ready_replicas else "until a replica is ready"
        return Refusal(
            Reason.DEADLINE_UNREACHABLE,
            f"about {start:.1f} s {what}, {deadline - now:.1f} s until its deadline",
            self.forecast.spread(start),
        )

    def _displace(self, victim: Ticket, ticket: Ticket, now: float) -> None:
        throttler = victim.throttler
        throttler.withdraw(victim, now)
        if victim.priority < ticket.priority:
            why = f"for one of priority {ticket.priority}; its own was {victim.priority}"
        else:
            why = "for one of a tenant that has fewer waiting"
        detail = f"held for {now - victim.held_since:.1f} s, then the full queue needed its place"
        retry_after = self.forecast.retry_after(throttler, now)
        _refuse(victim, Refusal(Reason.DISPLACED, f"{detail} {why}", retry_after))
        self._displaced[victim] = None

    def _outage(self, outage: Outage, now: float) -> Refusal:
        refusal = outage_refusal(outage, now)
        assert refusal.retry_after is not None
        return replace(refusal, retry_after=self.forecast.spread(refusal.retry_after))

    def _refuse_for(self, throttler: Throttler, outage: Outage, now: float) -> list[Ticket]:
        return _refuse_all(throttler, lambda: self._outage(outage, now), now)

    def _hold(self, ticket: Ticket, now: float) -> None:
        throttler = ticket.throttler
        throttler.enqueue(ticket, now)
        self._waiting[throttler] = None
        self._set_deadline(ticket, throttler.effective_deadline(ticket))

    def _set_deadline(self, ticket: Ticket, deadline: float) -> None:
        ticket.deadline = deadline
        heap = self._deadlines
        if len(heap) > 2 * self._total.requests + 64:
            # Tickets that were granted or left stay in the heap until their deadline;
            # at 1,000 short holds per second and 300 s that would be 300,000 entries.
            heap[:] = {entry[2]: entry for entry in heap if _counts(entry)}.values()
            heapq.heapify(heap)
        heapq.heappush(heap, (deadline, next(self._order), ticket))


MODEL_REMOVED = Refusal(Reason.MODEL_REMOVED, "the model was removed from the configuration")


def outage_refusal(outage: Outage, now: float) -> Refusal:
    """What callers of a model that cannot start are told."""
    return Refusal(Reason.OUTAGE, outage.reason, max(outage.retry_at - now, 1.0))


def _counts(entry: tuple[float, int, Ticket]) -> bool:
    """The deadline is still its ticket's."""
    return entry[2].state is HELD and entry[2].deadline == entry[0]


def _refuse(ticket: Ticket, refusal: Refusal) -> None:
    ticket.state = REFUSED
    ticket.refusal = refusal


def _refuse_all(throttler: Throttler, refusal: Callable[[], Refusal], now: float) -> list[Ticket]:
    tickets = throttler.held()
    for ticket in tickets:
        throttler.withdraw(ticket, now)
        _refuse(ticket, refusal())
    return tickets


def _tenant_bound(ticket: Ticket) -> tuple[Reason, str] | None:
    """What its tenant has waiting already, if that is too much with this one."""
    model, config = ticket.throttler, ticket.throttler.config
    share = config.tenant_queue_share / 100
    if share >= 1:
        return None
    # At least one, or a small share of a small queue would shut everybody out.
    most = max(1, int(share * config.queue_requests))
    requests, size = model.line.tenant(ticket.tenant)
    if requests >= most:
        why = f"{requests} requests of this tenant wait for this model already"
    elif requests and size + ticket.size > share * config.queue_bytes:
        why = f"{size} bytes of this tenant wait for this model already"
    else:
        return None
    return Reason.TENANT_QUEUE_FULL, f"{why} (tenant-queue-share = {config.tenant_queue_share:g})"


def _stuck(throttler: Throttler, ticket: Ticket, now: float) -> str:
    waited = f"held for {now - ticket.held_since:.1f} s"
    ready = throttler.ready_replicas
    if not ready:
        phase = throttler.progress or "waiting for the autoscaler to ask for a replica"
        return f"{waited}: no replica is ready; the furthest is in phase {phase}"
    stuck = f"{waited}: no slot of {ready} ready replica{'s' * (ready > 1)} came free"
    ejected = sum(backend.ejected_until > now for backend in throttler.slots.backends)
    return f"{stuck}; {ejected} set aside after failing" if ejected else stuck
