"""From pods as they change to replicas as the Platform seam wants them: pure.

A replica's phase never goes back, a pod's readiness may: a container restarts, a probe fails
for a while. Then the replica is gone, with the reason, and the pod is another replica with an
id of its own (``POD.UID~2``) from there on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stoker.platform import ModelOutage, ReplicaChanged, ReplicaEvent, ReplicaGone
from stoker.platforms.kubernetes.pods import PodView, port_among
from stoker.vocabulary import Address, ModelKey, Outage, Phase, Replica

_PROGRESS = {phase: rank for rank, phase in enumerate(Phase)}
# As kubelets and ReplicaSets do: 10 s, doubled by each failure, up to five minutes.
_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 300.0


@dataclass(slots=True)
class _Tracked:
    pod: PodView
    replica: Replica
    incarnation: int = 1


class Tracker:
    """The replicas of one model, oldest first. ``port``: as ``pods.port_among`` takes it.

    Times are monotonic; ``wall`` is the time of day at ``now``, which pods' creation is told in.
    """

    def __init__(self, model: ModelKey, port: str = "") -> None:
        self.model = model
        self.port = port
        self.outage: Outage | None = None
        self._tracked: dict[str, _Tracked] = {}  # by the pod's uid

    @property
    def replicas(self) -> list[Replica]:
        """Every replica, oldest first."""
        return [tracked.replica for tracked in self._tracked.values()]

    def pod(self, replica_id: str) -> PodView | None:
        """The pod of a replica, by the id of any of its incarnations."""
        for tracked in self._tracked.values():
            if pod_part(tracked.replica.id) == pod_part(replica_id):
                return tracked.pod
        return None

    def current(self, pod: PodView) -> Replica | None:
        """The replica that a pod is now."""
        tracked = self._tracked.get(pod.uid)
        return None if tracked is None else tracked.replica

    def changed(self, pod: PodView, now: float, wall: float) -> list[ReplicaEvent]:
        """A pod appeared or changed."""
        tracked = self._tracked.get(pod.uid)
        if tracked is None:
            # Creation has whole seconds and the cluster's clock: never later than now.
            created = min(now, now - (wall - pod.created))
            replica = Replica(self.model, _id(pod, 1), 1, pod.phase, now, created=created)
            tracked = self._tracked[pod.uid] = _Tracked(pod, replica)
            tracked.replica = self._shown(replica, pod)
            return [ReplicaChanged(tracked.replica), *self._judge(now)]
        events: list[ReplicaEvent] = []
        was = tracked.replica
        restarted = pod.restarts > tracked.pod.restarts and was.phase is Phase.READY
        tracked.pod = pod
        ending = was.phase is Phase.DRAINING and pod.phase is not Phase.FAILED
        if not ending and (restarted or _PROGRESS[pod.phase] < _PROGRESS[was.phase]):
            reason = was.reason if was.phase is Phase.FAILED else pod.reason or "not ready any more"
            events.append(ReplicaGone(replace(was, reason=reason)))
            tracked.incarnation += 1
            id = _id(pod, tracked.incarnation)
            was = Replica(self.model, id, 1, pod.phase, now, created=now)
            tracked.replica = self._shown(was, pod)
            return [*events, ReplicaChanged(tracked.replica), *self._judge(now)]
        new = self._shown(was, pod)
        if ending:
            new = replace(new, phase=was.phase, reason=was.reason)
        elif pod.phase is not was.phase:
            spent = (*was.phase_seconds, (was.phase, now - was.since))
            new = replace(new, phase=pod.phase, since=now, phase_seconds=spent)
        if new != was:
            tracked.replica = new
            events.append(ReplicaChanged(new))
        return [*events, *self._judge(now)]

    def gone(self, pod: PodView, now: float) -> list[ReplicaEvent]:
        """A pod is no more."""
        tracked = self._tracked.pop(pod.uid, None)
        if tracked is None:
            return []
        replica = tracked.replica
        reason = replica.reason or "the pod was deleted"
        return [ReplicaGone(replace(replica, reason=reason)), *self._judge(now)]

    def all_gone(self, reason: str) -> list[ReplicaEvent]:
        """Nothing is known any more of what goes on in the cluster."""
        events: list[ReplicaEvent] = [
            ReplicaGone(replace(replica, reason=reason)) for replica in self.replicas
        ]
        self._tracked.clear()
        return events + ([ModelOutage(self.model, None)] if self.outage else [])

    def _shown(self, replica: Replica, pod: PodView) -> Replica:
        port = port_among(pod.ports, self.port)
        address = Address(pod.host, port) if pod.host and port is not None else None
        reason = pod.reason
        if pod.phase is Phase.READY and address is None:
            wanted = f"port {self.port}" if self.port else "port"
            reason = f"ready, but its containers declare no {wanted}"
        return replace(replica, address=address, node=pod.node, reason=reason)

    def _judge(self, now: float) -> Iterable[ReplicaEvent]:
        """An outage while every replica that there is is stuck; over once one is ready, or
        none is there: not when a stuck one is tried again, or callers would be let in for a
        moment every time."""
        pods = [t.pod for t in self._tracked.values() if t.replica.phase is not Phase.DRAINING]
        if self.outage is not None:
            if not pods or any(pod.phase is Phase.READY for pod in pods):
                self.outage = None
                yield ModelOutage(self.model, None)
        elif pods and all(pod.stuck for pod in pods):
            worst = max(pods, key=lambda pod: pod.restarts)
            pause = min(_FIRST_BACKOFF * 2.0 ** min(worst.restarts, 10), _LONGEST_BACKOFF)
            self.outage = Outage(self.model, worst.reason, now, now + pause)
            yield ModelOutage(self.model, self.outage)


def _id(pod: PodView, incarnation: int) -> str:
    """The pod's name is for people; StatefulSets use it again, so its uid is there too."""
    again = f"~{incarnation}" if incarnation > 1 else ""
    return f"{pod.name}.{pod.uid[:8]}{again}"


def pod_part(replica_id: str) -> str:
    """What all incarnations of a pod have in common."""
    return replica_id.partition("~")[0]
