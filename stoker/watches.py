"""The watching half of a platform: what was announced so far, and to whom.

Every world has to deliver the state as it is to a new watcher, then each change in order,
and to survive watchers that raise. ``Watches`` does that once for all of them. Not thread
safe: used from the world's own loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    ModelRemoved,
    ModelWatcher,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.vocabulary import ModelKey, ModelSpec, Outage, Replica

logger = logging.getLogger(__name__)

_Event = TypeVar("_Event")


class _Watchers(Generic[_Event]):
    """Who watches one kind of event. A watcher that raises is logged and stays."""

    def __init__(self) -> None:
        self._watchers: dict[object, Callable[[_Event], None]] = {}

    def add(self, watcher: Callable[[_Event], None]) -> Unsubscribe:
        # Keyed by a token, not by the watcher: one function may watch twice.
        token = object()
        self._watchers[token] = watcher

        def unsubscribe() -> None:
            self._watchers.pop(token, None)

        return unsubscribe

    def deliver(self, event: _Event) -> None:
        for token, watcher in tuple(self._watchers.items()):
            if token in self._watchers:
                deliver(watcher, event)


class Watches:
    """Keeps the last announced state and passes each announcement on.

    The state changes at the moment of the announcement and not before, so that a watcher
    that subscribes from within another watcher's callback misses nothing.
    """

    def __init__(self) -> None:
        self.specs: dict[ModelKey, ModelSpec] = {}
        self.replicas: dict[str, Replica] = {}
        self.outages: dict[ModelKey, Outage] = {}
        self._model_watchers: _Watchers[ModelEvent] = _Watchers()
        self._replica_watchers: _Watchers[ReplicaEvent] = _Watchers()

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        """As ``Platform.watch_models``."""
        unsubscribe = self._model_watchers.add(watcher)
        for model in tuple(self.specs):
            # Looked up again: the watcher itself may have changed what comes after.
            if spec := self.specs.get(model):
                deliver(watcher, ModelChanged(spec))
        return unsubscribe

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        """As ``Platform.watch_replicas``."""
        unsubscribe = self._replica_watchers.add(watcher)
        for replica_id in tuple(self.replicas):
            if replica := self.replicas.get(replica_id):
                deliver(watcher, ReplicaChanged(replica))
        for model in tuple(self.outages):
            if outage := self.outages.get(model):
                deliver(watcher, ModelOutage(model, outage))
        return unsubscribe

    def announce_model(self, event: ModelEvent) -> None:
        """Take over ``event`` and deliver it to everyone who watches models."""
        match event:
            case ModelChanged(spec):
                self.specs[spec.key] = spec
            case ModelRemoved(model):
                self.specs.pop(model, None)
        self._model_watchers.deliver(event)

    def announce_replica(self, event: ReplicaEvent) -> None:
        """Take over ``event`` and deliver it to everyone who watches replicas."""
        match event:
            case ReplicaChanged(replica):
                self.replicas[replica.id] = replica
            case ReplicaGone(replica):
                self.replicas.pop(replica.id, None)
            case ModelOutage(model, outage):
                if outage is None:
                    self.outages.pop(model, None)
                else:
                    self.outages[model] = outage
        self._replica_watchers.deliver(event)


def deliver(watcher: Callable[[_Event], None], event: _Event) -> None:
    """Call ``watcher``; what it raises is logged and goes no further."""
    try:
        watcher(event)
    except Exception:
        logger.exception("a watcher failed on %r; it stays subscribed", event)
