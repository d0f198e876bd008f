"""How a Service's traffic is led through the activators and back: pure.

Taking over (``traffic: proxy``) goes: a port of its own for each of the Service's ports, kept
in an annotation; once activators accept on them, an EndpointSlice of ours that names them;
then one key in the Service's selector that no pod carries, which empties the cluster's own
slice. Giving back goes the other way round: the key out, the cluster's slice filled again and
given time to be seen, ours away, the annotation away.

``step`` looks at what is in the cluster and at nothing else, and says the one write that comes
next. So it does not matter where a process dies: whoever comes after looks and goes on. At no
point does a Service that has an answering address lose it:

- ours names only activators that accept on its ports, and is there before the key is;
- the key goes only when a pod is ready, and ours only after the cluster's slice has been
  filled for ``settle`` seconds: a filled one may be what is left from before the key, seen late;
- kube-proxy sees slices in the order in which they were written, ours before the emptied one.

A Service whose pods are addressed one by one (headless) or that is a name only (ExternalName)
has no address that could be taken over; one without a selector has no pods of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stoker.platforms.kubernetes.names import DIRECT

# Slices name this many activators: a change of one activator then touches few of 5,000 slices.
SUBSET = 3
# How long the cluster's slice must have been filled before ours goes: its controller batches
# changes for up to a second, the watch that shows them may be seconds behind.
SETTLE = 10.0
FIRST_PORT, LAST_PORT = 20_000, 29_999


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What is kept of a Service. ``ports``: names ("" for a single one) in order; ``allocated``:
    the activators' port of each; ``families``: IPv4, IPv6; ``version``: its resourceVersion,
    over which writes are made and no other; ``created``: when, as Kubernetes writes it."""

    namespace: str
    name: str
    uid: str
    selector: tuple[tuple[str, str], ...]
    ports: tuple[str, ...]
    families: tuple[str, ...] = ("IPv4",)
    headless: bool = False
    external: bool = False
    udp: bool = False
    allocated: tuple[tuple[str, int], ...] = ()
    version: str = ""
    created: str = ""

    @property
    def taken(self) -> bool:
        """The key is in its selector."""
        return any(key == DIRECT for key, _ in self.selector)

    @property
    def own_selector(self) -> dict[str, str]:
        """The selector without our key."""
        return {key: value for key, value in self.selector if key != DIRECT}


@dataclass(frozen=True, slots=True)
class SliceView:
    """What is kept of an EndpointSlice. ``ready``: how many of its endpoints are."""

    name: str
    service: str
    ours: bool
    family: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    ready: int
    uid: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Activator:
    """One that takes requests, or is about to: its address by family, the ports it accepts on.

    One that is leaving is not given at all, and goes on accepting until no slice names it.
    """

    name: str
    addresses: Mapping[str, str]
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class Annotate:
    """Write the allocated ports to the Service; none: take the annotation away."""

    ports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PutSlice:
    """Create our slice of this family, or change it to name these."""

    family: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SetKey:
    """Put the key into the selector, or take it out."""

    present: bool


@dataclass(frozen=True, slots=True)
class DeleteSlice:
    """Delete a slice of ours."""

    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing may be written now; ``why`` is for people."""

    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """All is as wanted."""


Write = Annotate | PutSlice | SetKey | DeleteSlice
Step = Write | Wait | Done


def unfit(service: ServiceView) -> str:
    """Why a Service cannot be taken over; "" if it can."""
    if service.external:
        return "is of type ExternalName: it is a name, not an address that could be taken over"
    if service.headless:
        return "is headless: its clients ask for the pods' own addresses"
    if not service.own_selector:
        return "has no selector: its endpoints are somebody else's"
    if service.udp:
        return "has a port that is not TCP"
    return ""


def selects(service: ServiceView, labels: Mapping[str, str]) -> bool:
    """Whether pods with ``labels`` are the Service's, our key left aside."""
    own = service.own_selector
    return bool(own) and all(labels.get(key) == value for key, value in own.items())


def step(
    service: ServiceView,
    slices: Iterable[SliceView],
    *,
    wanted: bool,
    activators: Sequence[Activator],
    ready: int,
    direct_for: float,
    used_ports: Collection[int] = (),
    settle: float = SETTLE,
) -> Step:
    """The next write towards traffic through the activators (``wanted``), or away from them.

    ``slices`` are the Service's, ``ready`` counts the replicas that are ready, ``direct_for``
    is for how many seconds the Service has been without the key and the cluster's slice
    filled, as this process has seen it; ``settle`` is enough. ``used_ports`` are other Services'.
    """
    ours = sorted((s for s in slices if s.ours), key=lambda s: s.name)
    if wanted and not unfit(service):
        return _take(service, ours, activators, used_ports)
    if service.taken:
        if not ready:
            return Wait("no replica is ready that could answer instead")
        return SetKey(False)
    if ours:
        if ready and direct_for < settle:
            return Wait("the cluster's own slice has to be filled, and be seen")
        return DeleteSlice(ours[0].name)
    return Annotate(()) if service.allocated else Done()


def _take(
    service: ServiceView,
    ours: Sequence[SliceView],
    activators: Sequence[Activator],
    used_ports: Collection[int],
) -> Step:
    allocated = allocate(service, used_ports)
    if allocated is None:
        return Wait(f"every port from {FIRST_PORT} to {LAST_PORT} is in use")
    if allocated != service.allocated:
        return Annotate(allocated)
    needed = {port for _, port in allocated}
    for family in service.families:
        able = [a for a in activators if needed <= a.ports and family in a.addresses]
        if not able:
            return Wait(f"no activator accepts on {_listed(needed)} ({family})")
        addresses = subset(service.uid, {a.name: a.addresses[family] for a in able})
        found = [s for s in ours if s.family == family]
        if not found or (found[0].addresses, found[0].ports) != (addresses, allocated):
            return PutSlice(family, addresses, allocated)
    if not service.taken:
        return SetKey(True)
    for other in ours:
        if other.family not in service.families:
            return DeleteSlice(other.name)
    return Done()


def allocate(service: ServiceView, used: Collection[int]) -> tuple[tuple[str, int], ...] | None:
    """The activators' port for each port of the Service: those that it has stay, so that no
    activator has to move; None if there are none left."""
    has = dict(service.allocated)
    if all(name in has for name in service.ports):
        return tuple((name, has[name]) for name in service.ports)
    taken = {*used, *has.values()}
    free = (port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in taken)
    allocated = []
    for name in service.ports:
        port = has[name] if name in has else next(free, None)
        if port is None:
            return None
        allocated.append((name, port))
    return tuple(allocated)


def subset(uid: str, addresses: Mapping[str, str], size: int = SUBSET) -> tuple[str, ...]:
    """The addresses of ``size`` activators, by rendezvous hashing: when one comes or goes,
    only the slices that name it (or now should) change. Sorted."""

    def weight(name: str) -> bytes:
        return hashlib.sha256(f"{uid} {name}".encode()).digest()

    chosen = sorted(addresses, key=weight, reverse=True)[:size]
    return tuple(sorted({addresses[name] for name in chosen}))


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
