"""The slots of one model's replicas, and who owns them: this process, or one elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from activator.balancer import Backend, Balancer, policy_for
from stoker.vocabulary import Address, Balancing


class Slots(Protocol):
    """What a throttler asks of whoever owns its model's slots.

    An owner in another process answers ``take`` with None, asks over its link, and has the
    shell call ``Throttler.grant`` once slots were lent to it: ``backends`` then shows what
    was lent. Adding and removing replicas are news to it, not orders.
    """

    @property
    def backends(self) -> Sequence[Backend]:
        """The replicas that may get requests now, in the order in which they turned ready."""

    def take(self, now: float, avoid: str, key: int = 0) -> Backend | None:
        """Claim one slot, or None when there is none (yet). ``avoid``: only if it must be.

        ``key``: what the request's prompt begins with, for the prefix policy; 0: not known.
        """

    def give_back(self, backend: Backend, now: float) -> None:
        """Return a slot that ``take`` gave."""

    def add(self, replica_id: str, address: Address, *, backlog: bool) -> bool:
        """A replica turned ready, in front of a ``backlog`` or not. False: it was known."""

    def drain(self, replica_id: str) -> Backend | None:
        """No more slots of this replica. None: it is not known."""

    def remove(self, replica_id: str) -> None:
        """The replica is gone. Unknown ids are ignored."""

    def set_limit(self, container_concurrency: int, *, backlog: bool) -> None:
        """A new hard limit of requests in one replica; 0: none."""

    def set_balancing(self, balancing: Balancing, load_factor: float) -> None:
        """How to choose among replicas; ``load_factor`` is for the prefix policy."""


class OwnSlots:
    """Slots counted in this process."""

    __slots__ = ("_all", "_balancing", "_limit", "backends", "balancer")

    def __init__(self, container_concurrency: int, seed: int = 1) -> None:
        self.balancer = Balancer(policy_for(Balancing.AUTO, container_concurrency), seed)
        self.backends: list[Backend] = []
        self._limit = container_concurrency
        self._balancing = Balancing.AUTO
        self._all: dict[str, Backend] = {}

    def take(self, now: float, avoid: str, key: int = 0) -> Backend | None:
        backends = self.backends
        if len(backends) == 1:
            # Written out: the most common case, and two calls would cost as much as the rest.
            only = backends[0]
            bound = only.limit or only.window
            if (bound and only.in_flight >= bound) or only.ejected_until > now:
                return None
            only.in_flight += 1
            return only
        if not backends:
            return None
        backend = self.balancer.pick(backends, now, avoid, key)
        if backend is not None:
            backend.in_flight += 1
        return backend

    def give_back(self, backend: Backend, now: float) -> None:
        backend.in_flight -= 1

    def add(self, replica_id: str, address: Address, *, backlog: bool) -> bool:
        if replica_id in self._all:
            return False
        backend = Backend(replica_id, address, self._limit, backlog=backlog)
        self._all[replica_id] = backend
        self.backends.append(backend)
        return True

    def drain(self, replica_id: str) -> Backend | None:
        backend = self._all.get(replica_id)
        if backend is not None and not backend.draining:
            backend.draining = True
            self.backends.remove(backend)
        return backend

    def remove(self, replica_id: str) -> None:
        self.drain(replica_id)
        self._all.pop(replica_id, None)

    def set_limit(self, container_concurrency: int, *, backlog: bool) -> None:
        self._limit = container_concurrency
        self.balancer.policy = policy_for(self._balancing, container_concurrency)
        for backend in self._all.values():
            backend.set_limit(container_concurrency, backlog=backlog)

    def set_balancing(self, balancing: Balancing, load_factor: float) -> None:
        self._balancing = balancing
        self.balancer.policy = policy_for(balancing, self._limit)
        self.balancer.load_factor = load_factor
