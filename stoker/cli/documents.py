"""What a running Stoker says of its models: the entries of ``/api/models``, and explain.

Replicas and decisions are known where the platform is. What the activators have had to do is
given to it: they may live in this process or in others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from activator.router import Router, implied_hosts
from autoscaler.reconciler import Autoscaler
from stoker.cli.seen import Seen
from stoker.clock import Clock
from stoker.platform import (
    ModelEvent,
    ModelRemoved,
    ModelWatcher,
    ReplicaEvent,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.vocabulary import ModelKey, ModelSpec, Phase, Replica
from stoker.watches import Watches

WHY_LENGTH = 200
# Ended replicas of each model that explain tells of.
ENDED_KEPT = 8


class Shown(Protocol):
    """What a platform tells beyond the seam: ``LocalPlatform`` has all of it."""

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe: ...

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe: ...

    def output(self, replica_id: str) -> str: ...

    def pause(self, model: ModelKey) -> tuple[str, float] | None: ...

    def process_ids(self) -> Mapping[str, int]: ...


class Documents:
    """``seen`` tells what the activators know of a model; None: they know no such model."""

    def __init__(
        self,
        platform: Shown,
        autoscaler: Autoscaler,
        clock: Clock,
        seen: Callable[[ModelKey], Seen | None],
    ) -> None:
        self._platform = platform
        self._autoscaler = autoscaler
        self._clock = clock
        self._seen = seen
        self._watches = Watches()
        self._ended: dict[ModelKey, deque[tuple[Replica, float]]] = {}

    def start(self) -> None:
        """Begin to watch the platform."""
        self._platform.watch_models(self._model_event)
        self._platform.watch_replicas(self._replica_event)

    def _model_event(self, event: ModelEvent) -> None:
        if isinstance(event, ModelRemoved):
            self._ended.pop(event.model, None)
        self._watches.announce_model(event)

    def _replica_event(self, event: ReplicaEvent) -> None:
        if isinstance(event, ReplicaGone) and event.replica.model in self._watches.specs:
            ended = self._ended.setdefault(event.replica.model, deque(maxlen=ENDED_KEPT))
            ended.append((event.replica, self._clock.now()))
        self._watches.announce_replica(event)

    def models(self) -> list[dict[str, Any]]:
        """Every model's state, by name."""
        by_model: dict[ModelKey, list[Replica]] = {}
        for replica in self._watches.replicas.values():
            by_model.setdefault(replica.model, []).append(replica)
        return [
            self._state(spec, seen, by_model.get(key, []))
            for key, spec in sorted(self._watches.specs.items())
            if (seen := self._seen(key)) is not None
        ]

    def model(self, key: ModelKey) -> dict[str, Any] | None:
        """One model's state, with what its replicas printed last and how earlier ones ended;
        None: there is no such.
        """
        spec, seen = self._watches.specs.get(key), self._seen(key)
        if spec is None or seen is None:
            return None
        replicas = [r for r in self._watches.replicas.values() if r.model == key]
        state = self._state(spec, seen, replicas)
        for replica in state["replicas"]:
            replica["output"] = self._platform.output(replica["id"])
        now = self._clock.now()
        state["ended"] = [
            {
                "id": replica.id,
                "seconds_ago": round(now - at, 3),
                "reason": replica.reason,
                "lived": round(at - replica.created, 3),
                "phase_seconds": {phase.value: s for phase, s in replica.phase_seconds},
                "output": self._platform.output(replica.id),
            }
            for replica, at in self._ended.get(key, ())
        ]
        return state

    def named(self, name: str) -> ModelKey | None:
        """The model that ``name``, NAMESPACE/NAME or NAME or an alias, means."""
        # Built for each question: those who ask are people, and models change.
        router = Router()
        router.set_models(self._watches.specs.values)
        return router.names().get(name)

    def _state(self, spec: ModelSpec, seen: Seen, replicas: list[Replica]) -> dict[str, Any]:
        key, now = spec.key, self._clock.now()
        decision = self._autoscaler.decision(key)
        trouble = seen.outage
        phase = _phase(replicas, failed=bool(trouble))
        pause = self._platform.pause(key)
        if pause is not None and not trouble:
            why, seconds = pause
            trouble = f"next start in {seconds:.1f} s, the last replica {why}"
            phase = "starting" if phase == "zero" else phase
        pids = self._platform.process_ids() if replicas else {}
        return {
            "model": str(key),
            "phase": phase,
            "desired": decision.desired if decision else 0,
            "queued": seen.queued,
            "active": seen.active,
            "panicking": decision.panicking if decision else False,
            "why": _why(trouble, decision.reason if decision else ""),
            "stable": decision.stable if decision else -1.0,
            "panic": decision.panic if decision else -1.0,
            "answered": seen.answered,
            "refused": dict(seen.refused),
            "hosts": [*implied_hosts(key), *spec.hosts],
            "replicas": [_replica(replica, now, pids.get(replica.id)) for replica in replicas],
        }


def _replica(replica: Replica, now: float, pid: int | None) -> dict[str, Any]:
    return {
        "id": replica.id,
        "phase": replica.phase.value,
        "address": str(replica.address) if replica.address else "",
        "node": replica.node,
        "generation": replica.generation,
        "reason": replica.reason,
        "created": replica.created,
        "since": replica.since,
        "age": now - replica.created,
        "in_phase": now - replica.since,
        "phase_seconds": {phase.value: s for phase, s in replica.phase_seconds},
        "pid": pid,
    }


def _phase(replicas: list[Replica], *, failed: bool) -> str:
    """The model's phase: that of its best replica."""
    phases = {replica.phase for replica in replicas}
    if Phase.READY in phases:
        return "ready"
    if failed:
        return "failed"
    if any(replica.is_starting for replica in replicas):
        return "starting"
    return "draining" if Phase.DRAINING in phases else "zero"


def _why(trouble: str, reason: str) -> str:
    if trouble:
        line = " ".join(trouble.split())
        return line if len(line) <= WHY_LENGTH else f"{line[: WHY_LENGTH - 1]}…"
    return reason or "no request yet"
