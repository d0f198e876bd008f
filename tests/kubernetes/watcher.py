"""Everything a platform says, as a test wants to ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
)
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.vocabulary import ModelKey, ModelSpec, Outage, Phase, Replica
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.waiting import until


class Watcher:
    """What ``platform`` said so far. Draining replicas are said to be empty at once, unless
    ``drains`` is False."""

    def __init__(self, platform: KubernetesPlatform, *, drains: bool = True) -> None:
        self.platform = platform
        self.drains = drains
        self.models: dict[ModelKey, ModelSpec] = {}
        self.replicas: dict[str, Replica] = {}
        self.gone: dict[str, Replica] = {}
        self.outages: dict[ModelKey, Outage] = {}
        platform.watch_models(self._model)
        platform.watch_replicas(self._replica)

    def _model(self, event: ModelEvent) -> None:
        if isinstance(event, ModelChanged):
            self.models[event.spec.key] = event.spec
        else:
            del self.models[event.model]

    def _replica(self, event: ReplicaEvent) -> None:
        match event:
            case ReplicaChanged(replica):
                self.replicas[replica.id] = replica
                if replica.phase is Phase.DRAINING and self.drains:
                    self.platform.drained(replica.id)
            case ReplicaGone(replica):
                del self.replicas[replica.id]
                self.gone[replica.id] = replica
            case ModelOutage(model, outage):
                if outage is None:
                    self.outages.pop(model, None)
                else:
                    self.outages[model] = outage

    def ids(self, phase: Phase) -> set[str]:
        return {id for id, replica in self.replicas.items() if replica.phase is phase}

    async def ready(self, count: int) -> set[str]:
        """Wait for exactly so many replicas, all ready; their ids."""
        await until(lambda: len(self.ids(Phase.READY)) == len(self.replicas) == count)
        return self.ids(Phase.READY)

    async def failed(self, reason: str) -> Replica:
        """Wait for a replica that failed for ``reason``."""

        def found() -> list[Replica]:
            failed = [r for r in self.replicas.values() if r.phase is Phase.FAILED]
            return [r for r in failed if r.reason.startswith(reason)]

        await until(lambda: bool(found()))
        return found()[0]


@asynccontextmanager
async def platform_of(
    cluster: Cluster, *, drains: bool = True, **more: Any
) -> AsyncIterator[tuple[KubernetesPlatform, Watcher]]:
    """A platform of the test's namespace, and what it says."""
    platform = KubernetesPlatform(cluster.client, namespaces=[cluster.namespace], **more)
    async with platform:
        yield platform, Watcher(platform, drains=drains)


async def events(cluster: Cluster, reason: str) -> Sequence[str]:
    """The messages of the namespace's Events with this reason."""
    items, _ = await cluster.client.list(cluster.path("events"))
    return [item["message"] for item in items if item["reason"] == reason]
