"""One model's line: who of those that wait is next, and who has to make room. Pure.

Three orders, one inside the other:

1. Priorities, the highest first. A share of the grants may be kept for lower ones, which
   then take turns, so that nobody starves.
2. Tenants of one priority, by self-clocked fair queueing (Golestani 1994): each waiting
   tenant has a finish tag; the lowest is served and becomes the priority's clock, and the
   tenant's next tag is the clock plus one over its weight. The clock is never behind the tag
   of a tenant that was served, so a tenant without requests leaves nothing behind; and a
   newcomer queues behind those that were there, so names made up by the thousand cannot
   starve anybody.
3. A tenant's requests, earliest deadline first. Those that a replica failed come before all
   tenants of their priority: they have paid for their turn.

Joining, leaving and being served take O(log n) for n waiting tenants or requests.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from operator import itemgetter

from activator.tickets import Ticket

# What heaps may hold of those that left, beside as many as there are.
SLACK = 8

# What a turn costs a tenant of weight 1. Tags are whole numbers, because only their
# differences may matter: sums of floats would break ties by how long the line has been there.
TURN = 1 << 32

# When a ticket is due, and its number in the order of joining.
Entry = tuple[float, int, Ticket]


class Queue:
    """Tickets, earliest deadline first; any may leave."""

    __slots__ = ("_heap", "_last", "members", "size")

    def __init__(self) -> None:
        # When each is due and its number, in the order in which they joined.
        self.members: OrderedDict[Ticket, Entry] = OrderedDict()
        self.size = 0
        # None while that is also the order of their deadlines, as it mostly is.
        self._heap: list[Entry] | None = None
        self._last = 0.0

    def join(self, ticket: Ticket, by: float, serial: int) -> None:
        members, heap = self.members, self._heap
        entry = (by, serial, ticket)
        if heap is not None:
            if len(heap) > 2 * len(members) + SLACK:
                heap[:] = members.values()
                heapify(heap)
            heappush(heap, entry)
        elif by < self._last and members:
            heap = self._heap = [*members.values(), entry]
            heapify(heap)
        self._last = by
        members[ticket] = entry
        self.size += ticket.size

    def leave(self, ticket: Ticket) -> None:
        del self.members[ticket]
        self.size -= ticket.size
        if not self.members:
            self._heap = None

    def first(self) -> Ticket:
        heap = self._heap
        if heap is None:
            return next(iter(self.members))
        while not self._waits(heap[0]):
            heappop(heap)
        return heap[0][2]

    def in_order(self) -> list[Ticket]:
        return [entry[2] for entry in sorted(self.members.values())]

    def before(self, by: float, most: int) -> int:
        """How many are not due after ``by``; counts no further than ``most``."""
        heap, found = self._heap, 0
        if heap is None:
            for entry in self.members.values():
                if entry[0] > by or found == most:
                    break
                found += 1
            return found
        look_at = [0]
        # A heap's children are never earlier than their parent: few others are looked at.
        while look_at and found < most:
            at = look_at.pop()
            if at < len(heap) and heap[at][0] <= by:
                found += self._waits(heap[at])
                look_at += (2 * at + 1, 2 * at + 2)
        return found

    def _waits(self, entry: Entry) -> bool:
        return self.members.get(entry[2]) is entry


class Tenant(Queue):
    """One tenant's tickets of one priority. ``finish`` and ``serial`` are its tag."""

    __slots__ = ("finish", "name", "serial", "turn", "weight")

    def __init__(self, name: str, weight: float, clock: int, serial: int) -> None:
        super().__init__()
        self.name = name
        self.weight = weight
        self.turn = round(TURN / weight)
        self.finish = clock + self.turn
        self.serial = serial

    @property
    def load(self) -> float:
        """How many it has waiting, by its weight."""
        return len(self.members) / self.weight


class Rank:
    """All that waits with one priority. ``served``: the number of its last grant."""

    __slots__ = ("_heavy", "_order", "clock", "count", "failed", "served", "tenants", "weight")

    def __init__(self, served: int) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.failed = Queue()
        self.clock = 0
        self.count = 0
        self.weight = 0.0
        self.served = served
        # Entries count while the tenant has still that serial.
        self._order: list[tuple[int, int, Tenant]] = []
        # Tenants by the most they may have waiting; None until somebody has to make room.
        self._heavy: list[tuple[float, int, Tenant]] | None = None

    def join(self, ticket: Ticket, by: float, serial: int, weights: Mapping[str, float]) -> None:
        self.count += 1
        if ticket.avoid:
            self.failed.join(ticket, by, serial)
            return
        tenant = self.tenants.get(ticket.tenant)
        if tenant is None:
            weight = weights.get(ticket.tenant, 1.0)
            tenant = Tenant(ticket.tenant, weight, self.clock, serial)
            self.tenants[ticket.tenant] = tenant
            self.weight += weight
            self._tag(tenant)
        tenant.join(ticket, by, serial)
        heavy = self._heavy
        if heavy is not None:
            heappush(heavy, (-tenant.load, serial, tenant))
            if len(heavy) > 4 * len(self.tenants) + SLACK:
                self._heavy = None

    def leave(self, ticket: Ticket) -> None:
        self.count -= 1
        if ticket.avoid:
            self.failed.leave(ticket)
            return
        tenant = self.tenants[ticket.tenant]
        tenant.leave(ticket)
        if not tenant.members:
            del self.tenants[ticket.tenant]
            self.weight -= tenant.weight

    def first(self) -> Ticket:
        if self.failed.members:
            return self.failed.first()
        order = self._order
        while not self._counts(order[0]):
            heappop(order)
        return order[0][2].first()

    def charge(self, ticket: Ticket, serial: int) -> None:
        """``ticket``, the first, is served: its tenant goes behind its equals."""
        if ticket.avoid:
            return
        tenant = self.tenants[ticket.tenant]
        if len(self.tenants) == 1:
            # Alone: only differences between tags matter, so the clock goes and not the tag.
            self.clock = tenant.finish - tenant.turn
            return
        self.clock = tenant.finish
        tenant.finish += tenant.turn
        tenant.serial = serial
        # It is the first, as ``first`` has just found.
        heapreplace(self._order, (tenant.finish, serial, tenant))

    def _tag(self, tenant: Tenant) -> None:
        order = self._order
        if len(order) > 2 * len(self.tenants) + SLACK:
            order[:] = filter(self._counts, order)
            heapify(order)
        heappush(order, (tenant.finish, tenant.serial, tenant))

    def _counts(self, entry: tuple[int, int, Tenant]) -> bool:
        tenant = entry[2]
        return tenant.serial == entry[1] and self.tenants.get(tenant.name) is tenant

    def heaviest(self) -> Tenant | None:
        """The tenant that has most waiting by its weight; None: only failed ones wait."""
        tenants = self.tenants
        heavy = self._heavy
        if heavy is None:
            heavy = self._heavy = [(-t.load, t.serial, t) for t in tenants.values()]
            heapify(heavy)
        while heavy:
            load, number, tenant = heavy[0]
            if tenants.get(tenant.name) is not tenant:
                heappop(heavy)
            elif -load > tenant.load:  # some of its own were served or left since
                heapreplace(heavy, (-tenant.load, number, tenant))
            else:
                return tenant
        return None

    def ahead(self, ticket: Ticket, by: float, weight: float, most: int) -> float:
        """About how many here would be served before ``ticket``, if it joined now."""
        own = self.tenants.get(ticket.tenant)
        mine = before = 0
        others = self.weight
        if own is not None:
            weight, mine = own.weight, len(own.members)
            others -= weight
            before = own.before(by, most)
        failed = len(self.failed.members)
        theirs = self.count - failed - mine
        return failed + before + min(theirs, (before + 1) * others / weight)

    def in_order(self) -> Iterator[Ticket]:
        """Everybody, in the order of being served if nobody joined or left."""
        yield from self.failed.in_order()
        queues = [(t.finish, t.serial, t.turn, t.in_order()[::-1]) for t in self.tenants.values()]
        heapify(queues)
        serial = max((queue[1] for queue in queues), default=0)
        while queues:
            finish, _, turn, tickets = queues[0]
            yield tickets.pop()
            serial += 1
            if tickets:
                heapreplace(queues, (finish + turn, serial, turn, tickets))
            else:
                heappop(queues)


class Line:
    """Everybody who waits for one model. ``weights``: tenants' shares where they are not 1."""

    __slots__ = ("_credit", "_grants", "_priorities", "_ranks", "_serial", "weights")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self._ranks: dict[int, Rank] = {}
        self._priorities: list[int] = []  # in ascending order
        self._serial = 0
        self._grants = 0
        self._credit = 0.0  # of lower priorities, in hundredths of a grant

    def join(self, ticket: Ticket, by: float) -> None:
        """``by``: when the ticket must be served at the latest, as far as is known."""
        rank = self._ranks.get(ticket.priority)
        if rank is None:
            rank = self._ranks[ticket.priority] = Rank(self._grants)
            insort(self._priorities, ticket.priority)
        self._serial += 1
        rank.join(ticket, by, self._serial, self.weights)

    def leave(self, ticket: Ticket) -> None:
        """Unserved, or after ``charge``."""
        rank = self._ranks[ticket.priority]
        rank.leave(ticket)
        if not rank.count:
            del self._ranks[ticket.priority]
            self._priorities.remove(ticket.priority)

    def grow(self, ticket: Ticket, size: int) -> None:
        """The body of one that waits grew by ``size``; its own ``size`` has yet to be changed."""
        rank = self._ranks[ticket.priority]
        (rank.failed if ticket.avoid else rank.tenants[ticket.tenant]).size += size

    def of_priority(self, priority: int) -> list[Ticket]:
        """Everybody who waits with that priority, in the order of joining."""
        rank = self._ranks.get(priority)
        if rank is None:
            return []
        queues = (rank.failed, *rank.tenants.values())
        entries = [entry for queue in queues for entry in queue.members.values()]
        return [entry[2] for entry in sorted(entries, key=itemgetter(1))]

    def first(self) -> Ticket:
        """Whose turn it is. There must be one."""
        return self._ranks[self._turn()].first()

    def charge(self, ticket: Ticket, lower_share: float) -> None:
        """``ticket``, the first, is served; it has yet to ``leave``.

        ``lower_share``: the percentage of grants kept for priorities below the highest.
        """
        priorities = self._priorities
        if len(priorities) > 1:
            self._credit += lower_share - 100.0 * (ticket.priority != priorities[-1])
        self._serial += 1
        self._grants += 1
        rank = self._ranks[ticket.priority]
        rank.served = self._grants
        rank.charge(ticket, self._serial)

    def _turn(self) -> int:
        priorities, ranks = self._priorities, self._ranks
        if self._credit < 100.0 or len(priorities) == 1:
            return priorities[-1]
        # Of the lower ones, who has waited longest for a turn.
        return min(reversed(priorities[:-1]), key=lambda priority: ranks[priority].served)

    def in_order(self) -> list[Ticket]:
        """Everybody, in the order of being served if nobody joined or left.

        Turns of lower priorities are left out: strictly by priority.
        """
        ranks = self._ranks
        return [t for priority in reversed(self._priorities) for t in ranks[priority].in_order()]

    def ahead(self, ticket: Ticket, by: float, most: int) -> float:
        """About how many would be served before ``ticket``, if it joined now.

        Looks at no more than ``most`` of its tenant's: more than that is as good as that.
        """
        ranks = self._ranks
        higher = sum(rank.count for priority, rank in ranks.items() if priority > ticket.priority)
        rank = ranks.get(ticket.priority)
        if rank is None:
            return higher
        return higher + rank.ahead(ticket, by, self.weights.get(ticket.tenant, 1.0), most)

    def tenant(self, name: str) -> tuple[int, int]:
        """How many of a tenant's wait, and the bytes of their bodies."""
        mine = [t for rank in self._ranks.values() if (t := rank.tenants.get(name)) is not None]
        return sum(len(t.members) for t in mine), sum(t.size for t in mine)

    def displaced_by(self, ticket: Ticket) -> Ticket | None:
        """Who must go if the line is full and ``ticket`` is to join it; None: nobody need.

        The newest of the tenant that has most by its weight: of a lower priority, the
        lowest first, else of the ticket's own if it would still have more than the
        ticket's tenant. Never one that a replica failed.
        """
        for priority in self._priorities:
            if priority > ticket.priority:
                break
            rank = self._ranks[priority]
            heaviest = rank.heaviest()
            if heaviest is None:
                continue
            if priority == ticket.priority:
                own = rank.tenants.get(ticket.tenant)
                weight = own.weight if own else self.weights.get(ticket.tenant, 1.0)
                if (own.load if own else 0.0) + 1 / weight >= heaviest.load:
                    break
            return next(reversed(heaviest.members))
        return None
