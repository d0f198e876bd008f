"""The slots of a model that several activators serve: what this one may use of them. Pure."""

from __future__ import annotations

from typing import Final, Protocol

from activator.balancer import Backend, Balancer, policy_for
from stoker.vocabulary import Address, Balancing, ModelKey


class PeerBackend(Backend):
    """Another member of the cluster in a replica's place: it has slots, or holds for them.

    Without a limit here: how many it may have at once is its own business.
    """

    __slots__ = ("member",)

    def __init__(self, member: str, address: Address) -> None:
        super().__init__(f"{PEER}{member}", address, 0, backlog=False)
        self.member = member

    def failed(self, now: float, *, brief: bool = False) -> bool:
        """Out for a moment only. Whether the member is there its link knows better, which is
        when this backend goes; so it is no ejection either.
        """
        self.ejected_until = now + PEER_PAUSE
        return False


# No platform's replica is called so: ids are made of letters, digits, . _ - and /.
PEER: Final = "peer:"
# After it said that it does not have the model, or could not be connected to.
PEER_PAUSE: Final = 0.05


class Desk(Protocol):
    """What shared slots ask of the cluster they are part of."""

    round: int
    """Grows with each change of the members."""
    fence: float
    """Without a sign of life from the cluster's own timers nothing is granted after it."""
    watched: set[str]
    """Replicas whose every request's end must be told."""

    def arrange(self, slots: SharedSlots) -> None:
        """Decide anew what this member has of the model: ends in ``SharedSlots.show``."""

    def released(self, replica_id: str) -> None:
        """A request in a watched replica ended."""


class SharedSlots:
    """The slots of a model that several activators serve: what this one may use of them.

    ``backends`` are the replicas that it has slots of, or, when it has no replica of the
    model, the one member that does. ``desk`` decides which; it learns of all replicas.
    """

    __slots__ = (
        "_all",
        "_balancing",
        "_desk",
        "_metered",
        "allowances",
        "backends",
        "balancer",
        "forwarded",
        "forwarded_area",
        "forwarded_arrivals",
        "forwarded_completions",
        "key",
        "limit",
        "peer",
        "round",
    )

    def __init__(
        self, key: ModelKey, container_concurrency: int, desk: Desk, now: float, seed: int = 1
    ) -> None:
        self.key = key
        self.limit = container_concurrency
        self._balancing = Balancing.AUTO
        self.balancer = Balancer(policy_for(self._balancing, container_concurrency), seed)
        self.backends: list[Backend] = []
        self.peer: PeerBackend | None = None
        # Of each replica that is ready: how many slots this member may use, while it has any.
        self.allowances: dict[str, int] = {}
        self.round = -1
        self._desk = desk
        self._all: dict[str, Backend] = {}
        # Load that another member reports: requests passed on to it now, their integral
        # over time, and how many began and ended since it was last taken.
        self.forwarded = 0
        self.forwarded_area = 0.0
        self.forwarded_arrivals = 0
        self.forwarded_completions = 0
        self._metered = now

    # --- what throttlers ask ---

    def take(self, now: float, avoid: str, key: int = 0) -> Backend | None:
        desk = self._desk
        if self.round != desk.round:
            desk.arrange(self)
        if now > desk.fence or not self.backends:
            return None
        backend = self.balancer.pick(self.backends, now, avoid, key)
        if backend is not None:
            backend.in_flight += 1
            if backend is self.peer:
                self._meter(now, 1)
                self.forwarded_arrivals += 1
        return backend

    def give_back(self, backend: Backend, now: float) -> None:
        backend.in_flight -= 1
        if isinstance(backend, PeerBackend):
            self._meter(now, -1)
            self.forwarded_completions += 1
        elif backend.replica_id in self._desk.watched:
            self._desk.released(backend.replica_id)

    def add(self, replica_id: str, address: Address, *, backlog: bool) -> bool:
        if replica_id in self._all:
            return False
        self._all[replica_id] = Backend(replica_id, address, self.limit, backlog=backlog)
        self._desk.arrange(self)
        return True

    def drain(self, replica_id: str) -> Backend | None:
        backend = self._all.get(replica_id)
        if backend is not None and not backend.draining:
            backend.draining = True
            if backend in self.backends:
                self.backends.remove(backend)
            self._desk.arrange(self)
        return backend

    def remove(self, replica_id: str) -> None:
        self.drain(replica_id)
        self.allowances.pop(replica_id, None)
        self._all.pop(replica_id, None)

    def set_limit(self, container_concurrency: int, *, backlog: bool) -> None:
        if container_concurrency != self.limit:
            self.limit = container_concurrency
            self.balancer.policy = policy_for(self._balancing, container_concurrency)
            for backend in self._all.values():
                backend.set_limit(container_concurrency, backlog=backlog)
            self._desk.arrange(self)

    def set_balancing(self, balancing: Balancing, load_factor: float) -> None:
        self._balancing = balancing
        self.balancer.policy = policy_for(balancing, self.limit)
        self.balancer.load_factor = load_factor

    # --- what the cluster asks ---

    @property
    def ready(self) -> list[str]:
        """Replicas that may get requests, from whoever."""
        return [replica_id for replica_id, b in self._all.items() if not b.draining]

    @property
    def known(self) -> bool:
        """Whether there is any replica of the model."""
        return bool(self._all)

    def in_flight(self, replica_id: str) -> int:
        """Requests of this member in the replica."""
        backend = self._all.get(replica_id)
        return 0 if backend is None else backend.in_flight

    def allow(self, replica_id: str, count: int) -> None:
        """This member may have so many requests in the replica; of one without a limit
        any number, as long as ``count`` is not 0. ``show`` must follow.
        """
        if count:
            self.allowances[replica_id] = count
        else:
            self.allowances.pop(replica_id, None)
        backend = self._all.get(replica_id)
        if backend is not None and self.limit and count:
            backend.limit = count

    def show(self, peer: PeerBackend | None) -> None:
        """Use what is allowed; with ``peer``, nothing but that member."""
        self.peer = peer
        if peer is not None:
            self.backends = [peer]
            return
        self.backends = [
            backend
            for replica_id, backend in self._all.items()
            if not backend.draining and self.allowances.get(replica_id)
        ]

    # --- load ---

    def _meter(self, now: float, change: int) -> None:
        self.forwarded_area += self.forwarded * max(now - self._metered, 0.0)
        self._metered = max(now, self._metered)
        self.forwarded += change

    def take_forwarded(self, now: float, interval: float) -> tuple[float, int, int]:
        """Of the last ``interval`` seconds what another member reports: average active,
        arrivals, completions.
        """
        self._meter(now, 0)
        average = self.forwarded_area / interval if interval else float(self.forwarded)
        taken = average, self.forwarded_arrivals, self.forwarded_completions
        self.forwarded_area = 0.0
        self.forwarded_arrivals = self.forwarded_completions = 0
        return taken
