"""One model's dispatch: queue → slot → replica. Sans-IO; ``now`` is an argument.

A ``Ticket`` is one request's claim. It is granted at once when a slot is free and nobody
waits, else it is held and granted later, in the order of ``activator.line``. Every call
that may free a slot returns the tickets it granted; the shell forwards those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from activator.balancer import Backend, most_are_ejected
from activator.line import Line
from activator.slots import OwnSlots, Slots
from activator.tickets import DONE, GRANTED, HELD, Ticket
from stoker.vocabulary import PHASES_BEFORE_READY, Address, ModelKey, Outage, Replica, ServingConfig

NEVER: Final = float("inf")


class Held:
    """What all throttlers have in common: what is held in the whole process, and the weights
    of tenants where they are not 1.
    """

    __slots__ = ("requests", "size", "weights")

    def __init__(self) -> None:
        self.requests = 0
        self.size = 0
        self.weights: dict[str, float] = {}


# With each report older ones count less: about five make up the time a request takes.
FADES: Final = 1 - 1 / 5


class Throttler:
    """Queue and slots of one model, with its load as time-weighted averages."""

    __slots__ = (
        "_active_area",
        "_answers",
        "_metered",
        "_queued_area",
        "_total",
        "_worked",
        "active",
        "arrivals",
        "completions",
        "config",
        "ejections",
        "expected",
        "key",
        "last_progress",
        "line",
        "outage",
        "poked",
        "progress",
        "queued",
        "queued_bytes",
        "resumes_at",
        "slots",
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
        self.slots.set_balancing(config.balancing, config.prefix_load_factor)
        self._total = Held() if total is None else total
        self.line = Line(self._total.weights)
        self.queued = 0
        self.active = 0
        self.queued_bytes = 0
        self.outage: Outage | None = None
        # When a slot that was given back with a failure can be used: at the end of its
        # replica's ejection. Asking earlier does no harm.
        self.resumes_at = NEVER
        self.last_progress = now
        self.progress = ""
        # When earlier starts say that the one under way will be over, as of its last progress.
        self.expected = 0.0
        self.ejections = 0
        self.poked = 0
        self.arrivals = 0
        self.completions = 0
        # Seconds spent in replicas and answers, both of the last few reports.
        self._worked = 0.0
        self._answers = 0.0
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
            self._worked = FADES * self._worked + self._active_area
            self._answers = FADES * self._answers + self.completions
        self._queued_area = self._active_area = 0.0
        self.arrivals = self.completions = 0
        self.poked = 0
        return load

    @property
    def seconds_each(self) -> float | None:
        """How long a request is in a replica, by Little's law; None: not known yet.

        Demand does not matter: a model that was asked little is not taken for a slow one.
        """
        return self._worked / self._answers if self._answers else None

    def seconds_for(self, requests: float) -> float | None:
        """How long until so many that wait have got a slot; None: not known."""
        each = self.seconds_each
        return requests * each / self.active if each is not None and self.active else None

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
        backend = self.slots.take(now, "", ticket.key)
        if backend is None:
            return False
        ticket.backend = backend
        ticket.state = GRANTED
        self.active += 1
        return True

    def passed_by(self, now: float) -> None:
        """A request for this model was answered otherwise: load all the same, or it would never
        wake. It counts as one that waited for a second, the length of a usual report.
        """
        self._meter(now)
        self.arrivals += 1
        self._queued_area += 1.0

    def enqueue(self, ticket: Ticket, now: float) -> None:
        """Hold the ticket."""
        self._meter(now)
        ticket.state = HELD
        self.line.join(ticket, self.due(ticket))
        self.queued += 1
        self.queued_bytes += ticket.size
        total = self._total
        total.requests += 1
        total.size += ticket.size

    def due(self, ticket: Ticket) -> float:
        """When it must be served at the latest: who is due first goes first."""
        due = ticket.held_since + self.config.hold_timeout
        hard = ticket.hard_deadline
        return due if hard is None else min(due, hard)

    def withdraw(self, ticket: Ticket, now: float) -> None:
        """Take a held ticket out of the line; its place is free at once."""
        self._meter(now)
        self.line.leave(ticket)
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
        if ticket.state is HELD:
            self.line.grow(ticket, size)
            self.queued_bytes += size
            self._total.size += size
        ticket.size += size

    def grant(self, now: float) -> list[Ticket]:
        """Hand free slots to waiting tickets, slot by slot."""
        granted: list[Ticket] = []
        line = self.line
        while self.queued:
            ticket = line.first()
            backend = self.slots.take(now, ticket.avoid, ticket.key)
            if backend is None:
                break
            line.charge(ticket, self.config.lower_priority_share)
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
        if eject and not backend.draining:
            brief = most_are_ejected(self.slots.backends, now)
            self.ejections += backend.failed(now, brief=brief)
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
        self.slots.set_balancing(config.balancing, config.prefix_load_factor)
        if config.priority != before.priority:
            self._reprioritize(before.priority, config.priority)
        return self.grant(now)

    def _reprioritize(self, old: int, new: int) -> None:
        """Tickets that wait with the model's old priority wait with its new one: else who
        came first would be served last, or never.
        """
        for ticket in self.line.of_priority(old):
            self.line.leave(ticket)
            ticket.priority = new
            self.line.join(ticket, self.due(ticket))

    def made_progress(self, phase: str, now: float, expected: float = 0.0) -> None:
        """Start-up visibly moved on: hold deadlines count from now.

        ``phase`` begins with the furthest one of all replicas, and may say more about it;
        ``expected``: when earlier starts say that it will be over. For who waits only what is
        further than before, or new about the furthest, is progress; one that starts all over
        is given the time of a start.
        """
        if self.queued and phase != "ready":
            before, furthest = _place(self.progress), _place(phase)
            if furthest < before or phase == self.progress:
                self.expected = max(self.expected, expected)
                return
        self.progress = phase
        self.last_progress = now
        self.expected = expected

    @property
    def ready_replicas(self) -> int:
        return len(self.slots.backends)

    def held(self) -> list[Ticket]:
        """Every waiting ticket, in the order in which they would be granted if priorities were
        strict and nobody joined or left.
        """
        return self.line.in_order()

    def effective_deadline(self, ticket: Ticket) -> float:
        """When the hold must end: moves on with visible progress, up to the cap.

        A start that takes no longer than earlier ones did is as good as progress.
        """
        config = self.config
        since = ticket.held_since
        moved = max(max(since, self.last_progress) + config.hold_timeout, self.expected)
        deadline = min(moved, since + max(config.hold_timeout_cap, config.hold_timeout))
        if ticket.hard_deadline is not None:
            deadline = min(deadline, ticket.hard_deadline)
        return deadline


def furthest(starting: Iterable[Replica]) -> str:
    """How far the furthest of replicas on their way up has come, for ``made_progress``."""
    first = max(starting, key=lambda replica: _PLACES[replica.phase])
    return f"{first.phase.value} ({first.reason})" if first.reason else first.phase


def _place(progress: str) -> int:
    """How far along the phase is that ``progress`` begins with; -1: there is none."""
    return _PLACES.get(progress.partition(" ")[0], -1)


_PLACES: Final = {phase.value: place for place, phase in enumerate(PHASES_BEFORE_READY)}
