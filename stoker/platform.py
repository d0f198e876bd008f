"""The Platform seam: what a world (Kubernetes, local processes, the simulator) offers.

``stoker.testing.check_platform()`` is the conformance suite; every world must pass it.

Watches are synchronous callbacks, called from the world's own loop: the state as it is
is delivered before ``watch_*`` returns, changes follow in the order in which they happen.
Effects are coroutines; a world without I/O (the simulator) simply never suspends in them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stoker.vocabulary import (
    ModelKey,
    ModelSpec,
    Node,
    NodePool,
    Outage,
    Phase,
    PlatformEvent,
    Replica,
)


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A model appeared or its spec changed."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """A model is gone; its replicas are being drained."""

    model: ModelKey


@dataclass(frozen=True, slots=True)
class ReplicaChanged:
    """A replica appeared or changed (phase, address, reason ...)."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class ReplicaGone:
    """A replica ended. ``replica`` is its last state, ``replica.reason`` says why."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class ModelOutage:
    """The model cannot start for now (``outage`` set), or may again (None)."""

    model: ModelKey
    outage: Outage | None


ModelEvent = ModelChanged | ModelRemoved
ReplicaEvent = ReplicaChanged | ReplicaGone | ModelOutage
ModelWatcher = Callable[[ModelEvent], None]
ReplicaWatcher = Callable[[ReplicaEvent], None]
Unsubscribe = Callable[[], None]


class Platform(Protocol):
    """What a world must offer. One writer: only the reconciler calls ``scale``."""

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        """Deliver every known model as ModelChanged now, and each change from then on.

        The returned function ends the watch; calling it twice does nothing.
        A watcher that raises ends neither the watch nor the platform: it is logged.
        """

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        """Deliver every replica (and outage) that exists now, and each change from then on.

        Phases of one replica never go backwards; after ReplicaGone its id is not seen again.
        """

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        """Ask for ``replicas`` copies. Returns when the wish is recorded, not when it is met.

        Idempotent: asking for the same number again starts nothing more. Shrinking takes
        ``victims`` first (unknown ids are ignored), then replicas that are not ready, then
        the youngest; what goes is drained before it is stopped.
        Raises UnknownModelError, ValueError (negative count), PlatformClosedError.
        """

    def nodes(self) -> Sequence[Node]:
        """The machines known now. Pure read."""

    def node_pools(self) -> Sequence[NodePool]:
        """The pools known now; empty where nodes cannot be added. Pure read."""

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        """Route the model's traffic through the activator, or past it. Idempotent.

        A world in which all traffic always passes the activator accepts True and refuses
        False with PlatformError. Raises UnknownModelError, PlatformClosedError.
        """

    def record_event(self, event: PlatformEvent) -> None:
        """Keep an event where the world's users look for it. Never raises, never blocks."""

    def drained(self, replica_id: str) -> None:
        """The activator has no request left in this draining replica: it may be stopped now.

        Idempotent; unknown ids are ignored.
        """

    async def close(self) -> None:
        """Stop every replica this platform started and release what it holds. Idempotent.

        Where something else runs the replicas (a cluster) they go on; to this platform's
        watchers they are gone, with that as the reason.
        """


def choose_victims(
    replicas: Iterable[Replica], count: int, preferred: Collection[str]
) -> list[Replica]:
    """The seam's rule for shrinking by ``count``: the preferred ids first, then who is not
    ready, then the youngest. ``replicas`` are given oldest first; ``count`` <= 0 chooses none.
    """
    youngest_first = list(replicas)[::-1]
    ranked = sorted(youngest_first, key=lambda r: (r.id not in preferred, r.phase is Phase.READY))
    return ranked[: max(count, 0)]
