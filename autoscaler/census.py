"""Who is there: every model's replicas as its platform tells of them, counted by phase."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from stoker.platform import ModelOutage, ReplicaEvent, ReplicaGone
from stoker.vocabulary import ModelKey, Outage, Phase, Replica


class Change(NamedTuple):
    """What an event meant for its model. ``became_ready``: the replica that just did."""

    model: ModelKey
    ready: int
    starting: int
    became_ready: Replica | None


class Census:
    """Replicas and outages by model. Draining and failed replicas count as neither."""

    def __init__(self) -> None:
        self._replicas: dict[ModelKey, dict[str, Replica]] = {}
        self._outages: dict[ModelKey, Outage] = {}

    def take(self, event: ReplicaEvent) -> Change:
        """Note an event of ``Platform.watch_replicas``."""
        became_ready = None
        match event:
            case ModelOutage(model, outage):
                if outage is None:
                    self._outages.pop(model, None)
                else:
                    self._outages[model] = outage
            case ReplicaGone(replica):
                model = replica.model
                replicas = self._replicas.get(model, {})
                replicas.pop(replica.id, None)
                if not replicas:
                    self._replicas.pop(model, None)
            case _:
                replica = event.replica
                model = replica.model
                replicas = self._replicas.setdefault(model, {})
                before = replicas.get(replica.id)
                replicas[replica.id] = replica
                # One that is ready when first seen was so before: nothing is known of its way.
                if (
                    replica.phase is Phase.READY
                    and before is not None
                    and before.phase is not Phase.READY
                ):
                    became_ready = replica
        return Change(model, *self.counts(model), became_ready)

    def counts(self, model: ModelKey) -> tuple[int, int]:
        """(ready, starting)."""
        replicas = self._replicas.get(model, {}).values()
        ready = sum(replica.phase is Phase.READY for replica in replicas)
        return ready, sum(replica.is_starting for replica in replicas)

    def phases(self, model: ModelKey) -> Counter[Phase]:
        return Counter(replica.phase for replica in self.replicas(model))

    def replicas(self, model: ModelKey) -> tuple[Replica, ...]:
        return tuple(self._replicas.get(model, {}).values())

    def outage(self, model: ModelKey) -> Outage | None:
        return self._outages.get(model)

    def forget(self, model: ModelKey) -> None:
        """The model is gone. Its replicas still end, one by one; its outage is over."""
        self._outages.pop(model, None)
