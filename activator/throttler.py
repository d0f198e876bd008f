"""One model's dispatch: queue → slot → replica. Sans-IO; ``now`` is an argument.

A ``Ticket`` is one request's claim. It is granted at once when a slot is free and nobody
waits, else it is held and granted later: the highest priority first, within it those that
a replica failed, then the oldest. Every call that may free a slot returns the tickets it
granted; the shell forwards those.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from activator.balancer import Backend
from activator.slots import OwnSlots, Slots
from activator.tickets import DONE, GRANTED, HELD, Ticket
from stoker.vocabulary import Address, ModelKey, Outage, ServingConfig

NEVER: Final = float("inf")


class Held:
    """What is held in the whole process: all throttlers under common bounds count here."""

    __slots__ = ("requests", "size")

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0


# Where a ticket stands: its priority, and whether a replica failed it. The greatest first.
Line = tuple[int, bool]


class Throttler:
    """Queue and slots of one model, with its load as time-weighted averages."""

    __slots__ = (
        "_active_area",
        "_metered",
        "_queued_area",
        "_queues",
        "_total",
        "active",
        "arrivals",
        "completions",
        "config",
        "key",
        "last_progress",
        "outage",
        "poked",
        "progress",
        "queued",
        "queued_bytes",
        "resumes_at",
        "slots",
        "throughput",
    )

    def __init__(
        self,
        key: ModelKey,
        config: ServingConfig,
        now: float,
        seed: int = 1,
        total: Held | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.key = key
        self.config = config
        self.slots: Slots = slots or OwnSlots(config.container_concurrency, seed)
        # Each line's tickets in the order in which they joined it; an OrderedDict because a
        # client that leaves must free its place in O(1), wherever in the line it stands.
        self._queues: dict[Line, OrderedDict[Ticket, None]] = {}
        self._total = Held() if total is None else total
        self.queued = 0
        self.active = 0
        self.queued_bytes = 0
        self.outage: Outage | None = None
        # When a slot that was given back with a failure can be used: at the end of its
        # replica's ejection. Asking earlier does no harm.
        self.resumes_at = NEVER
        self.last_progress = now
        self.progress = ""
        self.poked = 0
        self.arrivals = 0
        self.completions = 0
        self.throughput = 0.0
        self._metered = now
        self._queued_area = 0.0
        self._active_area = 0.0

    # --- load ---

    def _meter(self, now: float) -> None:
        passed = now - self._metered
        if passed > 0:
            self._queued_area += self.queued * passed
            self._active_area += self.active * passed
            self._metered = now

    def take_load(self, now: float, interval: float) -> tuple[float, float, int, int]:
        """Averages of queued and active, arrivals and completions over the last ``interval``
        seconds. Must be asked after each interval in which anything was queued or active.
        """
        self._meter(now)
        load = (
            self._queued_area / interval if interval else float(self.queued),
            self._active_area / interval if interval else float(self.active),
            self.arrivals,
            self.completions,
        )
        if interval:
            # Smoothed over about five reports: good enough for a Retry-After.
            self.throughput += 0.2 * (self.completions / interval - self.throughput)
        self._queued_area = self._active_area = 0.0
        self.arrivals = self.completions = 0
        self.poked = 0
        return load

    # --- the way through ---

    def claim(self, ticket: Ticket, now: float) -> bool:
        """Grant at once if a slot is free and nobody waits. Counts the arrival either way."""
        # The one passage every request takes; metering and taking are written out here
        # because two more calls would cost a tenth of the whole decision.
        passed = now - self._metered
        if passed > 0:
            self._queued_area += self.queued * passed
            self._active_area += self.active * passed
            self._metered = now
        self.arrivals += 1
        if self.queued:
            return False
        backend = self.slots.take(now, "")
        if backend is None:
            return False
        ticket.backend = backend
        ticket.state = GRANTED
        self.active += 1
        return True

    def enqueue(self, ticket: Ticket, now: float) -> None:
        """Hold the ticket: behind its like, or before them if a replica failed it."""
        self._meter(now)
        line = (ticket.priority, bool(ticket.avoid))
        queue = self._queues.get(line)
        if queue is None:
            queue = self._queues[line] = OrderedDict()
        ticket.state = HELD
        queue[ticket] = None
        self.queued += 1
        self.queued_bytes += ticket.size
        total = self._total
        total.requests += 1
        total.size += ticket.size

    def withdraw(self, ticket: Ticket, now: float) -> None:
        """Take a held ticket out of the line; its place is free at once."""
        self._meter(now)
        line = (ticket.priority, bool(ticket.avoid))
        queue = self._queues[line]
        del queue[ticket]
        if not queue:
            del self._queues[line]
        self.queued -= 1
        self.queued_bytes -= ticket.size
        total = self._total
        total.requests -= 1
        total.size -= ticket.size
        if not self.queued and not self.config.container_concurrency:
            self._end_windows(now)

    def _end_windows(self, now: float) -> None:
        """The backlog is gone, and with it the reason to hold any back."""
        for backend in self.slots.backends:
            if backend.ejected_until <= now:
                backend.window = 0

    def grow(self, ticket: Ticket, size: int) -> None:
        """A body grew by ``size`` bytes."""
        ticket.size += size
        if ticket.state is HELD:
            self.queued_bytes += size
            self._total.size += size

    def grant(self, now: float) -> list[Ticket]:
        """Hand free slots to waiting tickets, slot by slot."""
        granted: list[Ticket] = []
        while self.queued:
            ticket = next(iter(self._queues[max(self._queues)]))
            backend = self.slots.take(now, ticket.avoid)
            if backend is None:
                break
            self.withdraw(ticket, now)
            ticket.backend = backend
            ticket.state = GRANTED
            ticket.granted = now
            self.active += 1
            granted.append(ticket)
        return granted

    def resume(self, now: float) -> list[Ticket]:
        """``resumes_at`` has come: returns whom slots given back with a failure went to."""
        ends = [b.ejected_until for b in self.slots.backends if b.ejected_until > now]
        self.resumes_at = min(ends, default=NEVER)
        return self.grant(now)

    def finish(self, ticket: Ticket, now: float, *, answered: bool) -> list[Ticket]:
        """The granted request is over; returns whom its slot went to."""
        passed = now - self._metered
        if passed > 0:
            self._queued_area += self.queued * passed
            self._active_area += self.active * passed
            self._metered = now
        backend = ticket.backend
        assert backend is not None
        ticket.backend = None
        ticket.state = DONE
        self.active -= 1
        self.slots.give_back(backend, now)
        if answered:
            self.completions += 1
            if backend.failures or backend.window:
                backend.answered()
        return self.grant(now) if self.queued else []

    def failed(self, ticket: Ticket, now: float, *, eject: bool) -> Backend:
        """The ticket's replica failed it before a byte came back: give the slot back.

        With ``eject`` the replica gets no traffic for a while. The caller has the ticket
        retried or gives it up; whoever waits gets the slot then, or with ``resume``.
        """
        self._meter(now)
        backend = ticket.backend
        assert backend is not None
        ticket.backend = None
        ticket.state = DONE
        ticket.avoid = backend.replica_id
        ticket.held_since += now - ticket.granted
        self.active -= 1
        self.slots.give_back(backend, now)
        if eject:
            backend.failed(now)
        self.resumes_at = min(self.resumes_at, backend.ejected_until)
        return backend

    # --- replicas ---

    def add_replica(self, replica_id: str, address: Address, now: float) -> list[Ticket]:
        """A replica turned ready; returns the tickets granted to it. Idempotent."""
        if not self.slots.add(replica_id, address, backlog=self.queued > 0):
            return []
        self.outage = None
        self.made_progress("ready", now)
        return self.grant(now)

    def drain_replica(self, replica_id: str) -> bool:
        """No more requests to this replica. True: it has none left now."""
        backend = self.slots.drain(replica_id)
        if not self.slots.backends and self.progress == "ready":
            self.progress = ""
        return backend is None or backend.in_flight == 0

    def remove_replica(self, replica_id: str) -> None:
        """The replica is gone. Its requests in flight end by their own connections."""
        self.drain_replica(replica_id)
        self.slots.remove(replica_id)

    def reconfigure(self, config: ServingConfig, now: float) -> list[Ticket]:
        """New limits, in force at once for what comes; returns the tickets they let through."""
        before, self.config = self.config, config
        self.slots.set_limit(config.container_concurrency, backlog=self.queued > 0)
        if config.priority != before.priority:
            self._reprioritize(before.priority, config.priority)
        return self.grant(now)

    def _reprioritize(self, old: int, new: int) -> None:
        """Tickets that wait with the model's old priority wait with its new one: else who
        came first would be served last, or never.
        """
        for failed in (False, True):
            moved = self._queues.pop((old, failed), None)
            if moved is not None:
                for ticket in moved:
                    ticket.priority = new
                both = [*moved, *self._queues.get((new, failed), ())]
                both.sort(key=lambda ticket: ticket.held_since)
                self._queues[new, failed] = OrderedDict.fromkeys(both)

    def made_progress(self, phase: str, now: float) -> None:
        """Start-up visibly moved on: hold deadlines count from now."""
        self.progress = phase
        self.last_progress = now

    @property
    def ready_replicas(self) -> int:
        return len(self.slots.backends)

    def held(self) -> list[Ticket]:
        """Every waiting ticket, in the order in which they would be granted."""
        return [t for line in sorted(self._queues, reverse=True) for t in self._queues[line]]

    def effective_deadline(self, ticket: Ticket) -> float:
        """When the hold must end: moves on with visible progress, up to the cap."""
        config = self.config
        since = ticket.held_since
        moved = max(since, self.last_progress) + config.hold_timeout
        deadline = min(moved, since + max(config.hold_timeout_cap, config.hold_timeout))
        if ticket.hard_deadline is not None:
            deadline = min(deadline, ticket.hard_deadline)
        return deadline
