"""Which replica gets the next request.

Pure: randomness comes from a seeded generator of our own, so that a simulation with the
same seed picks the same replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from activator.prefix import Ring
from stoker.vocabulary import Address, Balancing

EJECTION_SECONDS = 1.0
EJECTION_SECONDS_CAP = 30.0

# A replica without a limit that turns ready in front of a backlog starts with this many
# requests at once; each answer adds one, so the flow doubles per round trip.
SLOW_START_WINDOW = 16

# The minimal standard generator (Park, Miller and Stockmeyer 1993): plenty for picking one
# of a few replicas, and cheap.
MULTIPLIER = 48271
MODULUS = 2**31 - 1


def policy_for(balancing: Balancing, container_concurrency: int) -> Balancing:
    """The policy to use; AUTO becomes Knative's choice, by how scarce a replica's slots are.

    With 1 to 3 slots, filling the first replica first keeps the others free for
    scale-down; with many slots an even spread matters more; without a limit, two
    random choices are nearly as good as knowing every load (Mitzenmacher 1996).
    """
    if balancing is not Balancing.AUTO:
        return balancing
    if container_concurrency == 0:
        return LEAST_OF_TWO
    return FIRST_FREE if container_concurrency <= 3 else Balancing.ROUND_ROBIN


# Looking a member up on its class costs as much as a call.
LEAST_OF_TWO: Final = Balancing.LEAST_OF_TWO
FIRST_FREE: Final = Balancing.FIRST_FREE
PREFIX: Final = Balancing.PREFIX


class Backend:
    """One replica as the balancer sees it: its slots and its recent failures.

    ``limit`` 0: no bound on ``in_flight``. ``window`` bounds a replica without a limit
    while it is new (or came back from ejection) and there is a backlog; 0: it is over.
    """

    __slots__ = (
        "address",
        "draining",
        "ejected_until",
        "failures",
        "in_flight",
        "limit",
        "replica_id",
        "window",
    )

    def __init__(self, replica_id: str, address: Address, limit: int, *, backlog: bool) -> None:
        self.replica_id = replica_id
        self.address = address
        self.limit = limit
        self.window = SLOW_START_WINDOW if backlog and not limit else 0
        self.in_flight = 0
        self.failures = 0
        self.ejected_until = 0.0
        self.draining = False

    def has_room(self, now: float) -> bool:
        """A slot is free and the replica is not ejected."""
        bound = self.limit or self.window
        return (not bound or self.in_flight < bound) and self.ejected_until <= now

    def set_limit(self, limit: int, *, backlog: bool) -> None:
        """A new limit, in force for what comes; losing it must not let a backlog loose."""
        if limit != self.limit:
            self.limit = limit
            self.window = SLOW_START_WINDOW if backlog and not limit else 0

    def failed(self, now: float, *, brief: bool = False) -> bool:
        """Passive ejection: out for 1 s, doubling with each failure in a row, at most 30 s.

        ``brief``: for 1 s whatever came before. What was sent before an ejection fails
        together with its cause: one failure, and False is returned.
        """
        if self.ejected_until > now:
            return False
        # Bounded, because two to the power of a long outage's failures is no float.
        pause = min(EJECTION_SECONDS * 2.0 ** min(self.failures, 10), EJECTION_SECONDS_CAP)
        if brief:
            pause = EJECTION_SECONDS
        self.failures += 1
        self.ejected_until = now + pause
        # It may fail again: then it must not take everybody who waits with it.
        self.window = 0 if self.limit else SLOW_START_WINDOW
        return True

    def answered(self) -> None:
        """An answer came whole: the replica is well, and may get more at once."""
        self.failures = 0
        self.ejected_until = 0.0
        if self.window:
            self.window += 1

    def __repr__(self) -> str:
        bound = self.limit or self.window or "∞"
        return f"<Backend {self.replica_id} {self.in_flight}/{bound}>"


def most_are_ejected(backends: Sequence[Backend], now: float) -> bool:
    """Whether one more ejection would leave less than half of the replicas in service."""
    ejected = sum(backend.ejected_until > now for backend in backends)
    return 2 * (ejected + 1) > len(backends)


class Balancer:
    """Picks among backends by a policy. One per model."""

    __slots__ = ("_next", "_ring", "_state", "load_factor", "policy")

    def __init__(self, policy: Balancing, seed: int = 1, load_factor: float = 1.25) -> None:
        self.policy = policy
        self.load_factor = load_factor
        self._next = 0
        self._ring: Ring[Backend] | None = None
        # Spread, so that neighbouring seeds do not begin alike; never 0, which stays 0.
        self._state = seed * 0x9E3779B97F4A7C15 % (MODULUS - 1) + 1

    def pick(
        self, backends: Sequence[Backend], now: float, avoid: str = "", key: int = 0
    ) -> Backend | None:
        """A backend with room, or None. ``avoid`` (a replica id) is taken only if it must be.

        ``key`` is the hash of a prompt's beginning, 0: none.
        """
        count = len(backends)
        if count == 1:
            # has_room() written out: with one replica this is every request's way.
            only = backends[0]
            bound = only.limit or only.window
            if (bound and only.in_flight >= bound) or only.ejected_until > now:
                return None
            return only
        policy = self.policy
        if policy is PREFIX and count:
            if key:
                return self._by_prefix(backends, now, avoid, key)
            policy = LEAST_OF_TWO
        if policy is LEAST_OF_TWO and count:
            draw = self._state = self._state * MULTIPLIER % MODULUS
            first = draw % count
            chosen = backends[first]
            # Drawn from the others, so that the two always differ.
            other = backends[(first + 1 + draw // count % (count - 1)) % count]
            if other.in_flight < chosen.in_flight:
                chosen = other
            if chosen.has_room(now) and chosen.replica_id != avoid:
                return chosen
        start = 0 if policy is FIRST_FREE else self._next
        fallback = None
        for index in range(start, start + count):
            backend = backends[index % count]
            if backend.has_room(now):
                if backend.replica_id != avoid:
                    self._next = index % count + 1
                    return backend
                fallback = backend
        return fallback

    def _by_prefix(
        self, backends: Sequence[Backend], now: float, avoid: str, key: int
    ) -> Backend | None:
        """Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016).

        The first replica behind the key on the ring whose load stays within the average of
        all in service times ``load_factor``, rounded up. Where none of those has room (new
        ones still start slowly), the least loaded that has.
        """
        ring = self._ring
        if ring is None:
            ring = self._ring = Ring(lambda backend: backend.replica_id)
        ring.set_members(backends)
        bound = 0
        others = []
        for backend in ring.walk(key):
            if not backend.has_room(now):
                continue
            if backend.in_flight and not bound:
                # An idle replica is within any bound, so it is seldom computed.
                serving = [b.in_flight for b in backends if b.ejected_until <= now]
                bound = ceil(self.load_factor * (sum(serving) + 1) / len(serving))
            if backend.in_flight < (bound or 1) and backend.replica_id != avoid:
                return backend
            others.append(backend)
        return min(others, key=lambda b: (b.replica_id == avoid, b.in_flight), default=None)
