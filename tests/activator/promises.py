"""What admission and throttlers promise, as a simple model that is run beside them.

Every action is done to both; what the real ones answer must follow from the model, and
``check`` compares all that can be seen of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from activator.admission import Admission
from activator.balancer import SLOW_START_WINDOW
from activator.line import TURN
from activator.reporter import Reporter
from activator.throttler import Throttler
from activator.tickets import Reason, State, Ticket
from stoker.link import MemoryLink
from stoker.vocabulary import Address, ModelKey, ModelSpec, Outage, ServingConfig

MAX_REQUESTS = 12
MAX_BYTES = 70
WEIGHTS = {"gold": 3.0, "half": 0.5}
PHASES = ("pending-node", "pulling-image (10 %)", "pulling-image (90 %)", "starting")

T = TypeVar("T")


def pick(things: Sequence[T], which: int) -> T:
    """One of them, whatever the number."""
    return things[which % len(things)]


@dataclass
class Copy:
    """A replica as the promises know it."""

    bound: int
    ejected_until: float = 0.0
    failures: int = 0
    draining: bool = False


@dataclass(eq=False)
class Place:
    """Where a held ticket must stand."""

    ticket: Ticket
    priority: int
    failed: bool
    since: float
    hard: float
    tenant: str = ""
    due: float = 0.0
    joined: int = 0


@dataclass
class Turns:
    """How tenants of one priority take turns: tag and number of each, and their clock."""

    served: int
    clock: int = 0
    tags: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, tenants: set[str], number: int) -> dict[str, tuple[int, int]]:
        """The tags of those that wait, of whom at most one is new."""
        self.tags = {name: tag for name, tag in self.tags.items() if name in tenants}
        for name in tenants - set(self.tags):
            self.tags[name] = (self.clock + round(TURN / WEIGHTS.get(name, 1.0)), number)
        return self.tags

    def charge(self, name: str, number: int) -> None:
        self.clock = self.tags[name][0]
        self.tags[name] = (self.clock + round(TURN / WEIGHTS.get(name, 1.0)), number)


@dataclass(eq=False)
class World:
    """One model as the promises know it."""

    throttler: Throttler
    config: ServingConfig
    progress: float
    line: list[Place] = field(default_factory=list)
    active: dict[Ticket, str] = field(default_factory=dict)
    since: dict[Ticket, float] = field(default_factory=dict)
    granted: dict[Ticket, float] = field(default_factory=dict)
    copies: dict[str, Copy] = field(default_factory=dict)
    turns: dict[int, Turns] = field(default_factory=dict)
    number: int = 0
    grants: int = 0
    credit: float = 0.0
    phase: str = ""
    worked: float = 0.0
    answers: float = 0.0
    outage: Outage | None = None
    removed: bool = False
    queued_area: float = 0.0
    active_area: float = 0.0
    arrivals: int = 0
    completions: int = 0

    def ready(self) -> list[str]:
        return [name for name, copy in self.copies.items() if not copy.draining]

    def load(self, name: str) -> int:
        return sum(where == name for where in self.active.values())

    def surely_room(self, now: float) -> bool:
        """A slot is free whatever a slow start may hold back."""
        limit = self.config.container_concurrency or SLOW_START_WINDOW
        return any(
            self.copies[name].ejected_until <= now and self.load(name) < limit
            for name in self.ready()
        )

    def join(self, place: Place) -> None:
        """It stands in the line now; whoever has the same due time and came later is behind."""
        self.number += 1
        place.joined = self.number
        place.due = min(place.since + self.config.hold_timeout, place.hard)
        if place.priority not in {p.priority for p in self.line}:
            self.turns[place.priority] = Turns(self.grants)
        self.line.append(place)
        self.tags(place.priority, self.line)

    def tags(self, priority: int, line: list[Place]) -> dict[str, tuple[int, int]]:
        waiting = {p.tenant for p in line if p.priority == priority and not p.failed}
        return self.turns[priority].of(waiting, self.number)

    def leave(self, place: Place) -> None:
        self.line.remove(place)
        self.tags(place.priority, self.line)

    def first_of(self, priority: int, line: list[Place]) -> Place:
        mine = [p for p in line if p.priority == priority]
        if failed := [p for p in mine if p.failed]:
            return min(failed, key=lambda p: (p.due, p.joined))
        tags = self.tags(priority, line)
        turn = min(tags, key=lambda name: tags[name])
        return min((p for p in mine if p.tenant == turn), key=lambda p: (p.due, p.joined))

    def next_up(self) -> Place:
        """Whose turn it is."""
        priorities = sorted({p.priority for p in self.line})
        turn = priorities[-1]
        if len(priorities) > 1 and self.credit >= 100:
            turn = min(priorities[:-1], key=lambda p: (self.turns[p].served, -p))
        return self.first_of(turn, self.line)

    def serve(self, place: Place) -> None:
        """It was its turn."""
        highest = max(p.priority for p in self.line)
        if len({p.priority for p in self.line}) > 1:
            self.credit += self.config.lower_priority_share
            self.credit -= 100 if place.priority < highest else 0
        self.number += 1
        self.grants += 1
        turns = self.turns[place.priority]
        turns.served = self.grants
        if not place.failed:
            turns.charge(place.tenant, self.number)
        self.leave(place)

    def in_order(self) -> list[Place]:
        """Everybody, if priorities were strict and nobody joined or left."""
        left, order, number = list(self.line), [], self.number
        saved = {priority: replace(turns) for priority, turns in self.turns.items()}
        for priority in sorted({p.priority for p in left}, reverse=True):
            while any(p.priority == priority for p in left):
                place = self.first_of(priority, left)
                order.append(place)
                left.remove(place)
                if not place.failed:
                    number += 1
                    self.turns[priority].charge(place.tenant, number)
        self.turns = saved
        return order

    def waits(self, tenant: str, priority: int | None = None) -> list[Place]:
        return [
            p
            for p in self.line
            if p.tenant == tenant and not p.failed and priority in (None, p.priority)
        ]

    def may_displace(self, tenant: str, priority: int) -> list[Place]:
        """Who could have to go for a newcomer: the newest of each that has most waiting."""
        for lower in sorted({p.priority for p in self.line if not p.failed}):
            if lower > priority:
                break
            names = {p.tenant for p in self.line if p.priority == lower and not p.failed}
            loads = {n: len(self.waits(n, lower)) / WEIGHTS.get(n, 1.0) for n in names}
            most = max(loads.values())
            after = (len(self.waits(tenant, lower)) + 1) / WEIGHTS.get(tenant, 1.0)
            if lower == priority and after >= most:
                break
            heaviest = [name for name, load in loads.items() if load == most]
            return [max(self.waits(n, lower), key=lambda p: p.joined) for n in heaviest]
        return []

    def starts_in(self, place: Place, active: int) -> float | None:
        """When its turn would come if it joined now, with replicas and as far as is known."""
        if not self.ready() or not self.answers or not active:
            return None
        due = min(place.since + self.config.hold_timeout, place.hard)
        same = [p for p in self.line if p.priority == place.priority]
        failed = sum(p.failed for p in same)
        mine = self.waits(place.tenant, place.priority)
        before = sum(p.due <= due for p in mine)
        weights = {p.tenant: WEIGHTS.get(p.tenant, 1.0) for p in same if not p.failed}
        weight = WEIGHTS.get(place.tenant, 1.0)
        weights.pop(place.tenant, None)
        others = min(len(same) - failed - len(mine), (before + 1) * sum(weights.values()) / weight)
        higher = sum(p.priority > place.priority for p in self.line)
        return (higher + failed + before + others + 1) * self.worked / self.answers / active

    def deadline(self, place: Place) -> float:
        config = self.config
        latest = place.since + max(config.hold_timeout, config.hold_timeout_cap)
        return min(max(place.since, self.progress) + config.hold_timeout, latest, place.hard)


class Promises:
    """Real ones and model, from time 0; ``which`` chooses among what there is, if anything."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reported = 0.0
        self.admission = Admission(MAX_REQUESTS, MAX_BYTES)
        self.admission.set_weights(WEIGHTS)
        self.displaced: list[Ticket] = []
        self.link = MemoryLink()
        self.reporter = Reporter("test", 1, self.admission, self.link, 0.0)
        self.worlds: dict[str, World] = {}
        self.orphans: list[World] = []
        self.ended: dict[Ticket, State] = {}
        self.hard: dict[Ticket, float] = {}
        self.serial = 0
        self.ejections = 0

    # --- bookkeeping ---

    def all_worlds(self) -> list[World]:
        return [*self.worlds.values(), *self.orphans]

    def tickets(self, *, held: bool) -> list[tuple[World, Ticket]]:
        if held:
            return [(world, p.ticket) for world in self.all_worlds() for p in world.line]
        return [(world, ticket) for world in self.all_worlds() for ticket in world.active]

    def held_requests(self) -> int:
        return sum(len(world.line) for world in self.all_worlds())

    def held_bytes(self) -> int:
        return sum(p.ticket.size for world in self.all_worlds() for p in world.line)

    def move_clock(self, to: float) -> None:
        for world in self.all_worlds():
            world.queued_area += len(world.line) * (to - self.now)
            world.active_area += len(world.active) * (to - self.now)
        self.now = to

    def start(self, world: World, ticket: Ticket) -> None:
        """``ticket`` was just granted."""
        assert ticket.state is State.GRANTED
        assert ticket.backend is not None
        name = ticket.backend.replica_id
        copy = world.copies[name]
        assert not copy.draining, "a draining replica got a request"
        assert copy.ejected_until <= self.now, "an ejected replica got a request"
        world.active[ticket] = name
        world.granted[ticket] = self.now
        assert not copy.bound or world.load(name) <= copy.bound, "container_concurrency exceeded"

    def stop(self, world: World, ticket: Ticket) -> Copy:
        """``ticket`` was just taken off its replica, which may be gone."""
        name = world.active.pop(ticket)
        copy = world.copies.get(name, Copy(0, draining=True))
        limit = world.config.container_concurrency
        copy.bound = max(limit, world.load(name)) if limit else 0
        return copy

    def absorb(self, tickets: list[Ticket]) -> None:
        """Tickets that a call returned, in the order in which it did."""
        assert len(set(tickets)) == len(tickets)
        for ticket in tickets:
            if ticket in self.displaced:
                self.displaced.remove(ticket)
                continue
            world = next(w for w in self.all_worlds() if w.throttler is ticket.throttler)
            place = next(p for p in world.line if p.ticket is ticket)
            if ticket.state is State.GRANTED:
                assert place is world.next_up(), "somebody else was first in line"
                world.serve(place)
                self.start(world, ticket)
            else:
                assert ticket.state is State.REFUSED
                assert ticket.refusal is not None
                reason = ticket.refusal.reason
                if reason is Reason.HOLD_DEADLINE:
                    assert world.deadline(place) <= self.now, "refused before its deadline"
                    assert place.hard > self.now
                elif reason is Reason.DEADLINE_PASSED:
                    assert place.hard <= self.now, "refused before its own deadline"
                elif reason is Reason.OUTAGE:
                    assert world.outage is not None
                    assert not world.ready()
                else:
                    assert reason is Reason.MODEL_REMOVED
                    assert world.removed
                world.leave(place)
                self.ended[ticket] = State.REFUSED

    def settle(self) -> None:
        """What a timer would do that looks at ``next_deadline``."""
        while (due := self.admission.next_deadline(self.now)) is not None and due <= self.now:
            self.absorb(self.admission.expire(self.now))
            after = self.admission.next_deadline(self.now)
            assert after is None or after > self.now, "expire left something undone"

    # --- models ---

    def add_model(self, name: str, config: ServingConfig) -> None:
        """A model that is not there."""
        spec = ModelSpec(ModelKey("default", name), serving=config)
        throttler, granted = self.admission.set_model(spec, self.now)
        assert granted == []
        self.worlds[name] = World(throttler, config, self.now)

    def reconfigure(self, name: str, config: ServingConfig) -> None:
        """A model's settings change."""
        world = self.worlds[name]
        spec = ModelSpec(ModelKey("default", name), serving=config)
        throttler, granted = self.admission.set_model(spec, self.now)
        assert throttler is world.throttler
        before, world.config = world.config, config
        if before.priority != config.priority:
            for place in [p for p in world.line if p.priority == before.priority]:
                world.leave(place)
                place.priority = config.priority
                world.join(place)
        limit = config.container_concurrency
        for copy_name, copy in world.copies.items():
            copy.bound = max(limit, world.load(copy_name)) if limit else 0
        self.absorb(granted)
        self.settle()

    def replace_model(self, name: str, config: ServingConfig) -> None:
        """Remove a model and add another one of the same name."""
        world = self.worlds.pop(name)
        world.removed = True
        self.orphans.append(world)
        self.absorb(self.admission.remove_model(world.throttler.key, self.now))
        assert not world.line
        assert self.admission.remove_model(world.throttler.key, self.now) == []
        self.add_model(name, config)

    # --- requests ---

    def expected_refusal(self, world: World, place: Place, size: int, leaves: int) -> Reason | None:
        """``leaves``: the size of the one that is displaced for it; -1: nobody is."""
        config = world.config
        if world.outage is not None and not world.ready():
            return Reason.OUTAGE
        start = world.starts_in(place, len(world.active))
        if start is not None and self.now + start > place.hard:
            return Reason.DEADLINE_UNREACHABLE
        share = config.tenant_queue_share / 100
        mine = world.waits(place.tenant)
        mine_bytes = sum(p.ticket.size for p in mine)
        if share < 1 and (
            len(mine) >= max(1, int(share * config.queue_requests))
            or (mine and mine_bytes + size > share * config.queue_bytes)
        ):
            return Reason.TENANT_QUEUE_FULL
        gone = leaves >= 0
        if not gone and len(world.line) >= config.queue_requests:
            return Reason.QUEUE_FULL
        freed = max(leaves, 0)
        if sum(p.ticket.size for p in world.line) - freed + size > config.queue_bytes:
            return Reason.QUEUE_BYTES_FULL
        if self.held_requests() - gone >= MAX_REQUESTS:
            return Reason.TOTAL_FULL
        if self.held_bytes() - freed + size > MAX_BYTES:
            return Reason.TOTAL_BYTES_FULL
        return None

    def make_room(self, world: World, could: list[Place], before: int) -> None:
        """Somebody may have been displaced by the last offer: only who could, and rightly."""
        gone = [p for p in world.line if p.ticket.state is State.REFUSED]
        if not gone:
            return
        (place,) = gone
        assert place in could, "somebody else had more waiting"
        assert before == world.config.queue_requests, "made room where there was some"
        assert place.ticket.refusal is not None
        assert place.ticket.refusal.reason is Reason.DISPLACED
        assert self.admission.next_deadline(self.now) == self.now, "it is not told"
        world.leave(place)
        self.ended[place.ticket] = State.REFUSED
        self.displaced.append(place.ticket)

    def offer(
        self,
        name: str,
        priority: int | None,
        size: int,
        patience: float | None,
        tenant: str = "",
        key: int = 0,
    ) -> None:
        """A request arrives; ``patience`` is the caller's own, ``priority`` else the model's."""
        world = self.worlds[name]
        priority = world.config.priority if priority is None else priority
        hard = None if patience is None else self.now + patience
        room, waiting = world.surely_room(self.now), bool(world.line)
        full = len(world.line) == world.config.queue_requests
        could = world.may_displace(tenant, priority) if full else []
        held, before = list(world.line), len(world.line)
        world.arrivals += 1
        ticket = self.admission.offer(
            world.throttler, tenant, priority, hard, size, self.now, None, key
        )
        world.since[ticket] = self.now
        self.hard[ticket] = float("inf") if hard is None else hard
        place = Place(ticket, priority, False, self.now, self.hard[ticket], tenant)
        reasons = {self.expected_refusal(world, place, size, p.ticket.size) for p in could} or {
            self.expected_refusal(world, place, size, -1)
        }
        self.make_room(world, could, before)
        if ticket.state is State.GRANTED:
            assert not waiting, "jumped the queue"
            self.start(world, ticket)
            return
        assert waiting or not room, "made to wait although a slot was free"
        if ticket.state is State.HELD:
            assert None in reasons
            world.join(place)
            self.settle()
        else:
            assert world.line == held, "refused, and somebody made room for nothing"
            assert ticket.refusal is not None
            assert ticket.refusal.reason in reasons
            assert ticket.refusal.retry_after is not None
            assert 1.0 <= ticket.refusal.retry_after <= 300.0
            self.ended[ticket] = State.REFUSED

    def finish(self, which: int, *, answered: bool) -> None:
        """A granted request is over."""
        if not (active := self.tickets(held=False)):
            return
        world, ticket = pick(active, which)
        copy = self.stop(world, ticket)
        if answered:
            world.completions += 1
            copy.failures, copy.ejected_until = 0, 0.0
        self.ended[ticket] = State.DONE
        self.absorb(self.admission.finish(ticket, self.now, answered=answered))

    def fail(self, which: int, *, eject: bool, again: bool) -> None:
        """A replica fails a granted request, which is tried again or given up."""
        if not (active := self.tickets(held=False)):
            return
        world, ticket = pick(active, which)
        copy = self.stop(world, ticket)
        world.since[ticket] += self.now - world.granted[ticket]
        if eject and copy.ejected_until <= self.now and not copy.draining:
            ready = [world.copies[name] for name in world.ready()]
            ejected = sum(other.ejected_until > self.now for other in ready)
            most = 2 * (ejected + 1) > len(ready)
            copy.ejected_until = self.now + (1.0 if most else min(2.0**copy.failures, 30.0))
            copy.failures += 1
            self.ejections += 1
        ticket.throttler.failed(ticket, self.now, eject=eject)
        if not again:
            self.ended[ticket] = State.DONE
            self.settle()
            return
        since, hard = world.since[ticket], self.hard[ticket]
        world.join(Place(ticket, ticket.priority, True, since, hard, ticket.tenant))
        self.absorb(self.admission.retry(ticket, ticket.size, self.now))
        if world.removed or (world.outage is not None and not world.ready()):
            assert ticket.state is State.REFUSED
        self.settle()

    def leave(self, which: int) -> None:
        """A client leaves, whether its request is held, granted or over."""
        tickets = [*self.tickets(held=True), *self.tickets(held=False)]
        everybody = [ticket for _, ticket in tickets] + list(self.ended)
        if everybody:
            self.give_up(pick(everybody, which))

    def give_up(self, ticket: Ticket) -> None:
        if ticket in self.displaced:
            self.displaced.remove(ticket)
        for world in self.all_worlds():
            for place in [p for p in world.line if p.ticket is ticket]:
                world.leave(place)
            if ticket in world.active:
                self.stop(world, ticket)
        self.ended.setdefault(ticket, State.DONE)
        self.absorb(self.admission.give_up(ticket, self.now))

    def grow(self, which: int, size: int) -> None:
        """A piece of a body arrives."""
        both = [*self.tickets(held=True), *self.tickets(held=False)]
        if not both:
            return
        world, ticket = pick(both, which)
        before = ticket.size
        go_on = self.admission.grow(ticket, size)
        assert ticket.size == before + size
        mine = sum(p.ticket.size for p in world.line)
        within = mine <= world.config.queue_bytes and self.held_bytes() <= MAX_BYTES
        assert go_on is (ticket in world.active or within)

    # --- replicas ---

    def replica_ready(self, name: str) -> None:
        """A new replica turns ready."""
        world = self.worlds[name]
        self.serial += 1
        world.copies[f"r{self.serial}"] = Copy(world.config.container_concurrency)
        world.outage = None
        world.progress = self.now
        world.phase = ""
        self.tell_ready(world, f"r{self.serial}")

    def replica_ready_again(self, name: str, which: int) -> None:
        """One that is known is told of once more."""
        world = self.worlds[name]
        if world.copies:
            self.tell_ready(world, pick(list(world.copies), which))

    def tell_ready(self, world: World, replica: str) -> None:
        address = Address("127.0.0.1", 1)
        self.absorb(self.admission.replica_ready(world.throttler, replica, address, self.now))

    def replica_goes(self, name: str, which: int, *, gone: bool) -> None:
        """One that may be unknown is drained, or is gone."""
        world = self.worlds[name]
        replica = pick([*world.copies, "unknown"], which)
        copy = world.copies.get(replica)
        if copy is not None:
            copy.draining = True
        if gone:
            world.throttler.remove_replica(replica)
            world.copies.pop(replica, None)
        else:
            assert world.throttler.drain_replica(replica) is (not world.load(replica))
        self.settle()

    def outage(self, name: str, *, there: bool) -> None:
        """The model cannot start, or may again."""
        world = self.worlds[name]
        key = world.throttler.key
        world.outage = Outage(key, "it crashed", self.now, self.now + 7.0) if there else None
        self.absorb(self.admission.outage(world.throttler, world.outage, self.now))

    def progress(self, name: str, phase: str) -> None:
        """The furthest of the starting replicas is in this phase now."""
        world = self.worlds[name]
        before = PHASES.index(world.phase) if world.phase else -1
        back = world.phase.split()[:1] != phase.split()[:1] and PHASES.index(phase) < before
        if not world.line or not (back or phase == world.phase):
            world.progress, world.phase = self.now, phase
        self.admission.progressed(world.throttler, phase, self.now)

    # --- time ---

    def wait(self, seconds: float) -> None:
        """Time passes; the timer fires exactly when it was told to."""
        end = self.now + seconds
        while (due := self.admission.next_deadline(self.now)) is not None and due <= end:
            self.move_clock(max(self.now, due))
            self.settle()
        self.move_clock(end)

    def wait_rudely(self, seconds: float) -> None:
        """Time passes; the timer comes late."""
        self.move_clock(self.now + seconds)
        self.settle()

    def report(self) -> None:
        """The reporter's averages equal what was integrated here."""
        interval = self.now - self.reported
        self.reported = self.now
        if interval:
            for world in self.worlds.values():
                if world.throttler in self.admission.touched:
                    world.worked = 0.8 * world.worked + world.active_area
                    world.answers = 0.8 * world.answers + world.completions
        report = self.reporter.report(self.now)
        assert (report.time, report.interval) == (self.now, interval)
        stats = {stat.model.name: stat for stat in report.stats}
        for name, world in self.worlds.items():
            queued, active = float(len(world.line)), float(len(world.active))
            if interval:
                queued, active = world.queued_area / interval, world.active_area / interval
            expected = (queued, active, world.arrivals, world.completions)
            stat = stats.pop(name, None)
            assert expected == ((0.0, 0.0, 0, 0) if stat is None else tuple(stat[1:]))
            world.queued_area = world.active_area = 0.0
            world.arrivals = world.completions = 0
        assert not stats, "a removed model was reported"

    # --- what always holds ---

    def check(self) -> None:
        """All of it."""
        self.counts_agree()
        self.nobody_is_lost()
        self.nobody_waits_in_vain()
        self.nothing_idle_is_remembered()

    def counts_agree(self) -> None:
        for world in self.all_worlds():
            throttler = world.throttler
            assert throttler.queued == len(world.line)
            assert throttler.active == len(world.active)
            assert throttler.queued_bytes == sum(p.ticket.size for p in world.line)
            assert throttler.held() == [p.ticket for p in world.in_order()]
            sizes = [p.ticket.size for p in world.waits("gold")]
            assert throttler.line.tenant("gold") == (len(sizes), sum(sizes))
            assert throttler.ready_replicas == len(world.ready())
            for backend in throttler.slots.backends:
                assert backend.in_flight == world.load(backend.replica_id)
                assert backend.ejected_until == world.copies[backend.replica_id].ejected_until
                bound = world.copies[backend.replica_id].bound
                assert not bound or backend.in_flight <= bound
        known = [*self.worlds.values(), *self.orphans]
        assert sum(w.throttler.ejections for w in known) == self.ejections
        assert self.admission.displaced == len(self.displaced)
        assert self.admission.held == self.held_requests()
        assert self.admission.held_bytes == self.held_bytes()

    def nobody_is_lost(self) -> None:
        for _, ticket in self.tickets(held=True):
            assert ticket.state is State.HELD
            assert ticket.backend is None
        for world, ticket in self.tickets(held=False):
            assert ticket.state is State.GRANTED
            assert ticket.backend is not None
            assert ticket.backend.replica_id == world.active[ticket]
        for ticket, state in self.ended.items():
            assert ticket.state is state
            assert ticket.backend is None

    def nobody_waits_in_vain(self) -> None:
        for world in self.worlds.values():
            if world.line:
                assert not world.surely_room(self.now), "a slot is free and somebody waits"
                assert world.outage is None or world.ready(), "waits for a model that cannot start"
            for place in world.line:
                assert world.deadline(place) > self.now, "waits past its deadline"

    def nothing_idle_is_remembered(self) -> None:
        live = {world.throttler for world in self.worlds.values()}
        assert set(self.admission.touched) <= live
        assert all(w.throttler in self.admission.touched for w in self.worlds.values() if w.active)

    def end(self) -> None:
        """Everybody leaves: all counts are back at zero, and nothing waits for time to pass."""
        while everybody := [*self.tickets(held=True), *self.tickets(held=False)]:
            self.give_up(everybody[0][1])
        for world in self.all_worlds():
            throttler = world.throttler
            assert (throttler.queued, throttler.active, throttler.queued_bytes) == (0, 0, 0)
            assert all(b.in_flight == 0 for b in throttler.slots.backends)
        assert (self.admission.held, self.admission.held_bytes) == (0, 0)
        assert self.admission.next_deadline(self.now) is None
        for _ in range(2):
            self.move_clock(self.now + 1.0)
            report = self.reporter.report(self.now)
        assert report.stats == ()
        assert not self.admission.touched
