"""The parent's end of relayed platforms: what is announced goes to every worker."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.platform import (
    ModelEvent,
    Platform,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    Unsubscribe,
)
from stoker.platforms.relay.channel import Channel, Handler, frame
from stoker.platforms.relay.drains import Drains
from stoker.platforms.relay.messages import Nodes, ReplicaDrained, World
from stoker.vocabulary import Phase, PlatformEvent
from stoker.watches import Watches


class Feed:
    """Relays one platform to any number of workers, each known by a number of its own."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._channels: dict[int, Channel] = {}
        self._drains = Drains()
        # What was announced so far, for workers that come later.
        self.seen = Watches()
        self._nodes = Nodes((), ())
        self._unsubscribe: list[Unsubscribe] = []

    def start(self) -> None:
        """Begin to watch the platform."""
        self._nodes = self._nodes_now()
        self._unsubscribe = [
            self._platform.watch_models(self._model_event),
            self._platform.watch_replicas(self._replica_event),
        ]

    def close(self) -> None:
        """Relay nothing more. Idempotent."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []

    def handlers(self) -> Mapping[str, Handler]:
        """What a worker's channel may ask for."""
        return {"scale": self._platform.scale, "set_traffic": self._platform.set_traffic}

    def join(self, worker: int, channel: Channel) -> World:
        """From now on ``channel`` gets every change of what is returned."""
        self._channels[worker] = channel
        seen = self.seen
        return World(
            tuple(seen.specs.values()),
            tuple(seen.replicas.values()),
            tuple(seen.outages.items()),
            self._nodes,
        )

    def leave(self, worker: int) -> None:
        """The worker ended; nobody waits for its requests any more. Idempotent."""
        if self._channels.pop(worker, None) is not None:
            for replica_id in self._drains.worker_gone(worker):
                self._platform.drained(replica_id)

    def take(self, worker: int, message: object) -> bool:
        """Take what a worker says of the platform. False: it is about something else."""
        match message:
            case ReplicaDrained(replica_id):
                if self._drains.drained(worker, replica_id):
                    self._platform.drained(replica_id)
            case PlatformEvent():
                self._platform.record_event(message)
            case _:
                return False
        return True

    def _model_event(self, event: ModelEvent) -> None:
        self.seen.announce_model(event)
        self._tell(event)

    def _replica_event(self, event: ReplicaEvent) -> None:
        self.seen.announce_replica(event)
        nodes = self._nodes_now()
        if nodes != self._nodes:
            self._nodes = nodes
            self._tell(nodes)
        self._tell(event)
        if isinstance(event, ReplicaGone):
            self._drains.replica_gone(event.replica.id)
        elif (
            isinstance(event, ReplicaChanged)
            and event.replica.phase is Phase.DRAINING
            and self._drains.begin(event.replica.id, set(self._channels))
        ):
            self._platform.drained(event.replica.id)

    def _nodes_now(self) -> Nodes:
        return Nodes(tuple(self._platform.nodes()), tuple(self._platform.node_pools()))

    def _tell(self, message: object) -> None:
        if self._channels:
            data = frame(message)
            for channel in tuple(self._channels.values()):
                channel.send_frame(data)
