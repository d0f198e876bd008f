"""A world in memory: replicas start up by script, and fail or vanish when a test says so."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from stoker.clock import Clock
from stoker.errors import PlatformClosedError, PlatformError, UnknownModelError
from stoker.platform import (
    ModelChanged,
    ModelOutage,
    ModelRemoved,
    ModelWatcher,
    ReplicaChanged,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
    choose_victims,
)
from stoker.testing.clock import ManualClock
from stoker.vocabulary import (
    Address,
    ModelKey,
    ModelSpec,
    Node,
    NodePool,
    Outage,
    Phase,
    PlatformEvent,
    Replica,
)
from stoker.watches import Watches

StartUp = Sequence[tuple[Phase, float]]

MANUAL: StartUp = ((Phase.STARTING, math.inf),)
NODE = Node("node-1", "pool-1")


class ScaleCall(NamedTuple):
    """One call of ``FakePlatform.scale`` that was accepted."""

    model: ModelKey
    replicas: int
    victims: tuple[str, ...]


class FakePlatform:
    """Implements ``stoker.platform.Platform`` without any I/O; nothing in it ever suspends.

    ``start_up`` is the script each new replica follows: phases and how many seconds each
    takes, then it is ready; empty means ready at once, infinity means that it waits for
    ``make_ready``. Time passes by ``advance()`` (or ``tick()`` after the given clock moved).
    A replica that ends unasked is replaced, as in any world; ``replaces_lost`` False stops
    that. Errors put into ``errors`` are raised by the next calls of scale and set_traffic,
    one each.
    """

    def __init__(
        self,
        specs: Iterable[ModelSpec] = (),
        *,
        clock: Clock | None = None,
        start_up: StartUp = MANUAL,
        nodes: Sequence[Node] = (NODE,),
        node_pools: Sequence[NodePool] = (),
        direct_traffic: bool = False,
        replaces_lost: bool = True,
    ) -> None:
        self.clock: Clock = ManualClock() if clock is None else clock
        self.start_up = start_up
        self.scales: list[ScaleCall] = []
        self.traffic: dict[ModelKey, bool] = {}
        self.events: list[PlatformEvent] = []
        self.errors: deque[Exception] = deque()
        self.drained_ids: list[str] = []
        self.replaces_lost = replaces_lost
        self._nodes = nodes
        self._node_pools = node_pools
        self._direct_traffic = direct_traffic
        self._watches = Watches()
        self._wishes: dict[ModelKey, int] = {}
        self._scripts: dict[str, tuple[StartUp, float]] = {}
        self._numbers = itertools.count(1)
        self._closed = False
        for spec in specs:
            self.add_model(spec)

    # --- the Platform seam ----------------------------------------------------------

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._watches.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._watches.watch_replicas(watcher)

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        self._check(model)
        if replicas < 0:
            raise ValueError(f"replicas = {replicas}: must be 0 or more")
        self.scales.append(ScaleCall(model, replicas, tuple(victims)))
        self._wishes[model] = replicas
        self._settle(model, victims)

    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def node_pools(self) -> Sequence[NodePool]:
        return self._node_pools

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        self._check(model)
        if not via_activator and not self._direct_traffic:
            raise PlatformError(f"{model}: all traffic passes the activator here")
        self.traffic[model] = via_activator

    def record_event(self, event: PlatformEvent) -> None:
        self.events.append(event)

    def drained(self, replica_id: str) -> None:
        self.drained_ids.append(replica_id)
        replica = self._watches.replicas.get(replica_id)
        if replica is not None and replica.phase is Phase.DRAINING:
            self._watches.announce_replica(ReplicaGone(replica))

    async def close(self) -> None:
        self._closed = True
        for model in self._wishes:
            self._wishes[model] = 0
        for replica in tuple(self._watches.replicas.values()):
            draining = self._enter(replica, Phase.DRAINING, "closing")
            self._watches.announce_replica(ReplicaGone(draining))

    # --- what a test may look at ------------------------------------------------------

    def replicas(self, model: ModelKey) -> list[Replica]:
        """The model's replicas in any phase, oldest first."""
        return [r for r in self._watches.replicas.values() if r.model == model]

    def wish(self, model: ModelKey) -> int:
        """The count that was last asked for; 0 at first."""
        return self._wishes.get(model, 0)

    # --- what a test may cause ----------------------------------------------------------

    def add_model(self, spec: ModelSpec) -> None:
        """Add a model, or change the spec of one. An older generation's replicas stay."""
        self._wishes.setdefault(spec.key, 0)
        self._watches.announce_model(ModelChanged(spec))

    def remove_model(self, model: ModelKey) -> None:
        """Take a model away; its replicas drain. Raises KeyError if there is none."""
        del self._wishes[model]
        self.clear_outage(model)
        self._watches.announce_model(ModelRemoved(model))
        for replica in self.replicas(model):
            self._stop(replica, "model removed")

    def add_replica(
        self, model: ModelKey, *, address: Address | None = None, phase: Phase = Phase.READY
    ) -> Replica:
        """One replica more than asked for so far, already in ``phase``."""
        self._wishes[model] += 1
        if phase is not Phase.READY:
            return self._begin(model, ((phase, math.inf),))
        return self.make_ready(self._begin(model, MANUAL).id, address)

    def make_ready(self, replica_id: str, address: Address | None = None) -> Replica:
        """Let a starting replica become ready; the address defaults to a made-up one."""
        replica = self._watches.replicas[replica_id]
        number = int(replica_id.rpartition("-")[2])
        address = address or Address("127.0.0.1", 20_000 + number % 10_000)
        self._scripts.pop(replica_id, None)
        return self._enter(replace(replica, address=address), Phase.READY)

    def set_phase(self, replica_id: str, phase: Phase, reason: str = "") -> Replica:
        """Move a replica to any phase, off its script; it stays there."""
        self._scripts.pop(replica_id, None)
        return self._enter(self._watches.replicas[replica_id], phase, reason)

    def fail(self, replica_id: str, reason: str) -> None:
        """The replica fails, is gone, and is replaced."""
        self.vanish(self.set_phase(replica_id, Phase.FAILED, reason).id, reason)

    def vanish(self, replica_id: str, reason: str = "vanished") -> None:
        """The replica is gone from one moment to the next, and is replaced."""
        replica = self._watches.replicas[replica_id]
        self._scripts.pop(replica_id, None)
        self._watches.announce_replica(ReplicaGone(replace(replica, reason=reason)))
        if self.replaces_lost:
            self._settle(replica.model, ())

    def set_outage(self, model: ModelKey, reason: str, retry_in: float = 60.0) -> None:
        """The model cannot start for now."""
        now = self.clock.now()
        outage = Outage(model, reason, now, now + retry_in)
        self._watches.announce_replica(ModelOutage(model, outage))

    def clear_outage(self, model: ModelKey) -> None:
        """The model may start again; nothing if it had no outage."""
        if model in self._watches.outages:
            self._watches.announce_replica(ModelOutage(model, None))

    def advance(self, seconds: float) -> None:
        """Let time pass on a ManualClock; scripts proceed at the very moments they are due.

        Raises TypeError with any other clock: move that one, then call ``tick()``.
        """
        clock = self.clock
        if not isinstance(clock, ManualClock):
            raise TypeError(f"advance() needs a ManualClock, not {type(clock).__name__}")
        end = clock.now() + seconds
        while (due := self._next_due()) <= end:
            clock.advance_to(max(due, clock.now()))
            self.tick()
        clock.advance_to(end)

    def tick(self) -> None:
        """Let every replica's script proceed to what is due by now."""
        now = self.clock.now()
        while self._next_due() <= now:
            self._proceed_next()

    async def run_until(self, condition: Callable[[], bool]) -> None:
        """Let scripts proceed, whatever the clock says, until ``condition`` holds.

        Raises AssertionError if it does not when every replica is ready.
        """
        while not condition():
            if not self._scripts:
                raise AssertionError("every replica is ready and the condition does not hold")
            self._proceed_next()

    # --- within -------------------------------------------------------------------------

    def _check(self, model: ModelKey) -> None:
        if self._closed:
            raise PlatformClosedError("this platform is closed")
        if model not in self._watches.specs:
            raise UnknownModelError(f"{model}: no such model")
        if self.errors:
            raise self.errors.popleft()

    def _settle(self, model: ModelKey, victims: Sequence[str]) -> None:
        wish = self._wishes.get(model, 0)
        live = [
            replica
            for replica in self.replicas(model)
            if replica.is_starting or replica.phase is Phase.READY
        ]
        for replica in choose_victims(live, len(live) - wish, victims):
            self._stop(replica, "scaled down")
        for _ in range(wish - len(live)):
            self._begin(model, self.start_up)

    def _begin(self, model: ModelKey, script: StartUp) -> Replica:
        now = self.clock.now()
        replica = Replica(
            model=model,
            id=f"{model.name}-{next(self._numbers)}",
            generation=self._watches.specs[model].generation,
            phase=script[0][0] if script else Phase.STARTING,
            since=now,
            node=self._nodes[0].name if self._nodes else "",
            created=now,
        )
        self._watches.announce_replica(ReplicaChanged(replica))
        if script:
            self._scripts[replica.id] = (script, now + script[0][1])
        else:
            replica = self.make_ready(replica.id)
        return replica

    def _stop(self, replica: Replica, reason: str) -> None:
        was_ready = replica.phase is Phase.READY
        self._scripts.pop(replica.id, None)
        draining = self._enter(replica, Phase.DRAINING, reason)
        # Whoever heard of the draining may have said drained() already.
        if not was_ready and replica.id in self._watches.replicas:
            self._watches.announce_replica(ReplicaGone(draining))

    def _proceed_next(self) -> None:
        replica_id = min(self._scripts, key=lambda id: self._scripts[id][1])
        script, _ = self._scripts[replica_id]
        rest = script[1:]
        if not rest:
            self.make_ready(replica_id)
            return
        phase, seconds = rest[0]
        self._scripts[replica_id] = (rest, self.clock.now() + seconds)
        self._enter(self._watches.replicas[replica_id], phase)

    def _next_due(self) -> float:
        """NaN, which is before nothing, if no script proceeds by time."""
        due = min((due for _, due in self._scripts.values()), default=math.inf)
        return due if due < math.inf else math.nan

    def _enter(self, replica: Replica, phase: Phase, reason: str = "") -> Replica:
        now = self.clock.now()
        entered = replace(
            replica,
            phase=phase,
            since=now,
            reason=reason,
            phase_seconds=(*replica.phase_seconds, (replica.phase, now - replica.since)),
        )
        self._watches.announce_replica(ReplicaChanged(entered))
        return entered
