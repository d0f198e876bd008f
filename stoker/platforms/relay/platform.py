"""The platform as a worker sees it: relayed from the process that has it."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.errors import PlatformClosedError, PlatformError, WorkerError
from stoker.platform import (
    ModelChanged,
    ModelOutage,
    ModelRemoved,
    ModelWatcher,
    ReplicaChanged,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.platforms.relay.channel import Channel
from stoker.platforms.relay.messages import Nodes, ReplicaDrained, World
from stoker.vocabulary import ModelKey, Node, NodePool, PlatformEvent
from stoker.watches import Watches

# Scaling is recorded at once: whoever does not answer within this has hung.
ASK_TIMEOUT = 30.0


class RelayedPlatform:
    """Implements ``stoker.platform.Platform`` over a channel.

    Whoever holds the channel passes messages on to ``take``. ``close`` ends what this end
    started, which is nothing: the replicas belong to the other process.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._watches = Watches()
        self._nodes = Nodes((), ())
        self._closed = False

    def begin(self, world: World) -> None:
        """Take over the state as it is. To be called once, before anybody watches: with
        20,000 models it must not come as 20,000 changes.
        """
        self._watches.specs = {spec.key: spec for spec in world.models}
        self._watches.replicas = {replica.id: replica for replica in world.replicas}
        self._watches.outages = dict(world.outages)
        self._nodes = world.nodes

    def take(self, message: object) -> bool:
        """Take in what the other end relayed. False: the message is about something else."""
        match message:
            case ModelChanged() | ModelRemoved():
                self._watches.announce_model(message)
            case ReplicaChanged() | ReplicaGone() | ModelOutage():
                self._watches.announce_replica(message)
            case Nodes():
                self._nodes = message
            case _:
                return False
        return True

    # --- the Platform seam ---

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._watches.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._watches.watch_replicas(watcher)

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        await self._ask("scale", model, replicas, tuple(victims))

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        await self._ask("set_traffic", model, via_activator)

    async def _ask(self, what: str, *arguments: object) -> None:
        if self._closed:
            raise PlatformClosedError("the relayed platform is closed")
        try:
            await self._channel.ask(what, *arguments, timeout=ASK_TIMEOUT)
        except (WorkerError, TimeoutError) as error:
            raise PlatformError(f"the process that has the platform: {error}") from error

    def nodes(self) -> Sequence[Node]:
        return self._nodes.nodes

    def node_pools(self) -> Sequence[NodePool]:
        return self._nodes.pools

    def record_event(self, event: PlatformEvent) -> None:
        self._channel.offer(event)

    def drained(self, replica_id: str) -> None:
        self._channel.send(ReplicaDrained(replica_id))

    async def close(self) -> None:
        self._closed = True
