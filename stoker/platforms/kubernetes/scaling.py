"""How one Deployment gets the wanted number of replicas without losing a request: pure.

Growing is one write to ``/scale``. Shrinking is done the other way round from what
Kubernetes would do alone: a victim is marked first (an annotation that every activator sees,
and the lowest deletion cost), gets no new requests, and only when it is empty, or its time is
over, the count is lowered, so that the ReplicaSet ends that pod and no request with it. Until
then the count contains it: ``replicas = wish + victims that are not empty yet``.

A replica that never was ready has nothing to finish: the ReplicaSet ends those first anyway.
What was marked by an earlier leader is taken over. If the ReplicaSet has ended another one
(it takes replicas that are not ready before any cost), the victim itself is deleted.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stoker.platform import choose_victims
from stoker.platforms.kubernetes.names import COST_DRAINED, COST_DRAINING
from stoker.platforms.kubernetes.tracking import pod_part
from stoker.vocabulary import Phase, Replica

# How long a victim may stay once the count is right before it is taken that another pod went.
SETTLE = 10.0


@dataclass(frozen=True, slots=True)
class Mark:
    """Write the draining annotation and this deletion cost to the replica's pod."""

    id: str
    cost: int


@dataclass(frozen=True, slots=True)
class SetScale:
    """Write this count to ``/scale``."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the replica's pod."""

    id: str


Effect = Mark | SetScale | Delete


class _Stage(enum.IntEnum):
    CHOSEN = 0
    MARKED = 1
    EMPTY = 2


@dataclass(slots=True)
class _Victim:
    id: str
    stage: _Stage
    deadline: float
    cost: int = 0
    empty_since: float = math.inf


class Scaling:
    """One model's. ``next`` says what to write, ``done`` that it was written.

    Level-triggered: whatever fails is simply asked for again. ``replicas`` are given oldest
    first, in any phase. ``drain_timeout`` in seconds is how long a victim may finish requests.
    """

    def __init__(self, drain_timeout: float) -> None:
        self.drain_timeout = drain_timeout
        self.wish: int | None = None
        self._preferred: frozenset[str] = frozenset()
        self._asked: int | None = None
        self._victims: dict[str, _Victim] = {}

    # --- what is wanted, and what happens ---------------------------------------------------

    def want(self, count: int, preferred: Collection[str] = ()) -> None:
        """``count`` replicas are wanted; shrinking takes ``preferred`` first."""
        self.wish = count
        self._preferred = frozenset(preferred)

    def stand_down(self) -> None:
        """Nothing is wanted any more, and nobody is to go who was not told yet."""
        self.wish = None
        for id in [v.id for v in self._victims.values() if v.stage is _Stage.CHOSEN]:
            self.gone(id)

    def observed(self, count: int) -> None:
        """The Deployment's count as it stands in the cluster: somebody else may write it too."""
        self._asked = count

    def seen_draining(self, replica: Replica, now: float) -> None:
        """A replica is marked in the cluster: by us, or by a leader before us."""
        key = pod_part(replica.id)
        victim = self._victims.get(key)
        if victim is None:
            deadline = now + self.drain_timeout
            self._victims[key] = _Victim(replica.id, _Stage.MARKED, deadline, COST_DRAINING)
        elif victim.stage is _Stage.CHOSEN:
            victim.stage, victim.cost = _Stage.MARKED, COST_DRAINING

    def drained(self, replica_id: str, now: float) -> None:
        """No request is left in the replica. Of others than victims it need not be known."""
        victim = self._victims.get(pod_part(replica_id))
        if victim is not None and victim.stage is _Stage.MARKED:
            self._empty(victim, now)

    def gone(self, replica_id: str) -> None:
        """The replica's pod is ending, or has ended."""
        self._victims.pop(pod_part(replica_id), None)

    def is_victim(self, replica_id: str) -> bool:
        """Whether the replica is to go."""
        return pod_part(replica_id) in self._victims

    # --- what to do -------------------------------------------------------------------------

    def next(self, replicas: Sequence[Replica], now: float) -> Effect | None:
        """What to write now; None: nothing, until something happens or ``wake_at``."""
        self._choose(replicas, now)
        for victim in self._victims.values():
            if victim.stage is _Stage.CHOSEN:
                return Mark(victim.id, COST_DRAINING)
            if victim.stage is _Stage.MARKED and now >= victim.deadline:
                self._empty(victim, now)
        if self.wish is None:
            return None
        busy = self._busy()
        empty = [v for v in self._victims.values() if v.stage is _Stage.EMPTY]
        for victim in empty:
            # Cheaper than those that are not empty yet: else one of them might go instead.
            if busy and victim.cost != COST_DRAINED:
                return Mark(victim.id, COST_DRAINED)
        count = self.wish + len(busy)
        if self._asked != count:
            return SetScale(count)
        for victim in empty:
            there = sum(self._counts(r) for r in replicas)
            if now >= victim.empty_since + SETTLE and there <= self.wish:
                return Delete(victim.id)
        return None

    def done(self, effect: Effect, now: float) -> None:
        """It was written."""
        match effect:
            case Mark(id, cost):
                if victim := self._victims.get(pod_part(id)):
                    victim.cost = cost
                    victim.stage = max(victim.stage, _Stage.MARKED)
            case SetScale(count):
                self._asked = count
                for victim in self._victims.values():
                    if victim.stage is _Stage.EMPTY:
                        victim.empty_since = now
            case _:
                if victim := self._victims.get(pod_part(effect.id)):
                    victim.empty_since = math.inf

    @property
    def wake_at(self) -> float:
        """When ``next`` may have something that nothing happens for; infinity: never."""
        due = [math.inf]
        for victim in self._victims.values():
            is_empty = victim.stage is _Stage.EMPTY
            due.append(victim.empty_since + SETTLE if is_empty else victim.deadline)
        return min(due)

    def _choose(self, replicas: Sequence[Replica], now: float) -> None:
        """Who has to go before the count is lowered: as things are now, not as they were when
        it was wanted. One that became ready meanwhile may have requests."""
        if self.wish is None:
            return
        if self._asked is not None and self._asked <= self.wish + len(self._busy()):
            return
        living = [r for r in replicas if self._counts(r)]
        for replica in choose_victims(living, len(living) - self.wish, self._preferred):
            if replica.phase is Phase.READY:
                victim = _Victim(replica.id, _Stage.CHOSEN, now + self.drain_timeout)
                self._victims[pod_part(replica.id)] = victim

    def _busy(self) -> list[_Victim]:
        return [v for v in self._victims.values() if v.stage is not _Stage.EMPTY]

    def _empty(self, victim: _Victim, now: float) -> None:
        victim.stage = _Stage.EMPTY
        victim.empty_since = now

    def _counts(self, replica: Replica) -> bool:
        """Whether the ReplicaSet counts it, and we mean it to."""
        return replica.phase is not Phase.DRAINING and not self.is_victim(replica.id)
