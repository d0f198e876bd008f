"""Replicas that only seem to be: the Platform seam under a virtual clock.

What becomes of a model's replicas is decided by the local platform's own supervision
(back-off, outages, draining, replacement); here its effects take drawn amounts of time
instead of processes, and a start shows every phase on its way.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

import numpy as np

from simulations.world import World
from stoker.clock import Clock
from stoker.errors import PlatformClosedError, PlatformError, UnknownModelError
from stoker.platform import (
    ModelChanged,
    ModelRemoved,
    ModelWatcher,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.platforms.local.effects import Announce, Effect, Ending, Kill, Start, Terminate
from stoker.platforms.local.supervision import Supervision
from stoker.vocabulary import (
    PHASES_BEFORE_READY,
    Address,
    LaunchConfig,
    ModelKey,
    ModelSpec,
    Node,
    NodePool,
    Phase,
    PlatformEvent,
    Replica,
)
from stoker.watches import Watches

NOWHERE = Address("simulated", 1)
LAUNCH = LaunchConfig(command=("simulated",))
"""For models whose settings say nothing about launching: its budgets are the defaults."""

_STARTS_DRAWN = 102
"""Seeds: what is drawn for starts, apart from what is drawn for anything else."""


@dataclass(slots=True)
class _Life:
    """One replica on its way: ``left`` are the phases still to come, with their seconds."""

    id: str
    supervision: Supervision
    left: deque[tuple[Phase, float]]
    phase: Phase
    since: float
    fails: bool
    crash: float
    passed: tuple[tuple[Phase, float], ...] = ()
    pending: bool = False
    over: bool = False


class SimulatedPlatform:
    """Implements ``stoker.platform.Platform``. ``advance`` lets happen what has become due.

    Every start of a model is drawn from the model's own stream, so that the k-th start takes
    as long whatever was decided before it (common random numbers).
    """

    def __init__(self, clock: Clock, world: World, seed: int = 0) -> None:
        self._clock = clock
        self._world = world
        self._seed = seed
        self._watches = Watches()
        self._supervisions: dict[ModelKey, Supervision] = {}
        self._streams: dict[ModelKey, np.random.Generator] = {}
        self._lives: dict[str, _Life] = {}
        self._pending: deque[_Life] = deque()
        self._room: float = world.capacity.replicas or math.inf
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._effects: deque[tuple[Supervision, Effect]] = deque()
        self._performing = False
        self._closed = False
        self.events: deque[PlatformEvent] = deque(maxlen=1000)
        for second, replicas in world.capacity.later:
            self._at(second, partial(self._more_room, replicas))

    # --- models ---

    def apply(self, specs: Iterable[ModelSpec]) -> None:
        """Add or change models."""
        self._refuse_if_closed()
        for spec in specs:
            if spec.launch is None:
                spec = replace(spec, launch=LAUNCH)
            supervision = self._supervisions.get(spec.key)
            if supervision is None:
                # By name, so that it does not matter which other models there are.
                name = crc32(str(spec.key).encode())
                stream = np.random.SeedSequence((self._seed, name, _STARTS_DRAWN))
                self._streams[spec.key] = np.random.Generator(np.random.PCG64(stream))
                supervision = Supervision(spec, self._ids(spec.key), "simulated")
                self._supervisions[spec.key] = supervision
            self._watches.announce_model(ModelChanged(spec))
            self._perform(supervision, supervision.respec(spec, self._clock.now()))

    def remove(self, model: ModelKey) -> None:
        """The model is gone: its replicas drain."""
        supervision = self._known(model)
        self._watches.announce_model(ModelRemoved(model))
        self._perform(supervision, supervision.remove(self._clock.now()))

    def _ids(self, key: ModelKey) -> Iterator[str]:
        return (f"{key.name}-{number}" for number in self._numbers)

    # --- the seam ---

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._watches.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._watches.watch_replicas(watcher)

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        self.scale_now(model, replicas, victims)

    def scale_now(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        """``scale`` for a caller without an event loop."""
        supervision = self._known(model)
        if replicas < 0:
            raise ValueError(f"replicas = {replicas}: must be 0 or more")
        self._perform(supervision, supervision.scale(replicas, victims, self._clock.now()))

    def nodes(self) -> Sequence[Node]:
        return (Node("simulated", "simulated"),)

    def node_pools(self) -> Sequence[NodePool]:
        return ()

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        self._known(model)
        if not via_activator:
            raise PlatformError(f"{model}: simulated traffic cannot pass the activator by")

    def record_event(self, event: PlatformEvent) -> None:
        self.events.append(event)

    def drained(self, replica_id: str) -> None:
        life = self._lives.get(replica_id)
        if life is not None:
            now = self._clock.now()
            self._perform(life.supervision, life.supervision.drained(replica_id, now))

    async def close(self) -> None:
        self._closed = True
        for supervision in self._supervisions.values():
            self._perform(supervision, supervision.stop_all(self._clock.now()))
        while self._lives:
            for life in list(self._lives.values()):
                self._end(life, "exited with code 0")

    def _known(self, model: ModelKey) -> Supervision:
        self._refuse_if_closed()
        supervision = self._supervisions.get(model)
        if supervision is None or supervision.removed:
            raise UnknownModelError(f"{model} is not known here")
        return supervision

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise PlatformClosedError("the platform is closed")

    @property
    def busy(self) -> bool:
        """Any replica exists."""
        return bool(self._lives)

    # --- time ---

    def next_at(self) -> float:
        """When ``advance`` has something to do next; infinity when nothing is under way."""
        return self._due[0][0] if self._due else math.inf

    def advance(self) -> None:
        """Let happen what is due by now, in order."""
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def _at(self, time: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time, next(self._order), what))

    # --- effects ---

    def _perform(self, supervision: Supervision, effects: Iterable[Effect]) -> None:
        """Carry out effects in order, also those that arise meanwhile (watchers call back)."""
        self._effects.extend((supervision, effect) for effect in effects)
        if self._performing:
            return
        self._performing = True
        touched = {supervision: None}
        try:
            while self._effects:
                owner, effect = self._effects.popleft()
                touched[owner] = None
                self._perform_one(owner, effect)
        finally:
            self._performing = False
        for owner in touched:
            self._arm(owner)

    def _arm(self, supervision: Supervision) -> None:
        wake = supervision.wake_at
        if wake < math.inf:
            self._at(max(wake, self._clock.now()), lambda: self._tick(supervision, wake))

    def _tick(self, supervision: Supervision, wake: float) -> None:
        # Deadlines move with every event; only the one in force counts.
        if supervision.wake_at == wake:
            self._perform(supervision, supervision.tick(self._clock.now()))

    def _perform_one(self, supervision: Supervision, effect: Effect) -> None:
        match effect:
            case Start(id, _):
                self._begin(supervision, id)
            case Announce(event):
                self._announce(event)
            case Terminate(id):
                if (life := self._lives.get(id)) is not None:
                    life.crash = math.inf
                    pause = self._world.drain if life.phase is Phase.READY else 0.0
                    self._end_in(pause, life, "terminated")
            case Kill(id):
                if (life := self._lives.get(id)) is not None:
                    self._end_in(0.0, life, "killed by SIGKILL")

    def _begin(self, supervision: Supervision, id: str) -> None:
        world, stream = self._world, self._streams[supervision.spec.key]
        phases = world.start.sample(stream)
        slow, failing = stream.random(2).tolist()
        failures = world.failures
        if slow < failures.slow_starts:
            phases = [(phase, seconds * failures.slow_factor) for phase, seconds in phases]
        crash = math.inf
        if failures.crash_after is not None:
            crash = float(failures.crash_after.sample(stream, 1)[0])
        life = _Life(
            id,
            supervision,
            deque(phases),
            Phase.PENDING_NODE,
            self._clock.now(),
            failing < failures.failed_starts,
            crash,
        )
        self._lives[id] = life
        if self._room > 0:
            self._place(life)
        else:
            life.pending = True
            self._pending.append(life)

    def _place(self, life: _Life) -> None:
        self._room -= 1
        waited = self._clock.now() - life.since
        if waited > 0:
            life.passed = ((Phase.PENDING_NODE, waited),)
        self._next_phase(life, told=life.pending)
        life.pending = False

    def _next_phase(self, life: _Life, *, told: bool) -> None:
        """Enter the next phase; ``told``: announce it (the first comes with the start)."""
        now = self._clock.now()
        life.phase, seconds = life.left.popleft()
        life.since = now
        self._at(now + seconds, lambda: self._phase_over(life, seconds))
        if told:
            self._announce(ReplicaChanged(self._watches.replicas[life.id]))

    def _phase_over(self, life: _Life, seconds: float) -> None:
        if life.over:
            return
        life.passed = (*life.passed, (life.phase, seconds))
        if life.left:
            self._next_phase(life, told=True)
            return
        now = self._clock.now()
        if life.fails:
            self._end(life, "exited with code 1")
            return
        supervision = life.supervision
        self._perform(supervision, supervision.placed(life.id, NOWHERE))
        life.phase, life.since = Phase.READY, now
        if life.crash < math.inf:
            self._at(now + life.crash, lambda: self._crash(life))
        self._perform(supervision, supervision.ready(life.id, now))

    def _crash(self, life: _Life) -> None:
        if not life.over and life.crash < math.inf:
            self._end(life, "killed by SIGSEGV")

    def _end_in(self, seconds: float, life: _Life, how: str) -> None:
        self._at(self._clock.now() + seconds, lambda: self._end(life, how))

    def _end(self, life: _Life, how: str) -> None:
        if life.over:
            return
        life.over = True
        if life.pending:
            self._pending.remove(life)
        supervision = life.supervision
        self._perform(supervision, supervision.ended(life.id, Ending(how), self._clock.now()))
        del self._lives[life.id]
        self._more_room(0 if life.pending else 1)

    def _more_room(self, replicas: int) -> None:
        self._room += replicas
        while self._pending and self._room > 0:
            self._place(self._pending.popleft())

    def _announce(self, event: ReplicaEvent) -> None:
        if isinstance(event, ReplicaChanged | ReplicaGone):
            life = self._lives.get(event.replica.id)
            if life is not None:
                event = type(event)(_dressed(event.replica, life))
        self._watches.announce_replica(event)


def _dressed(replica: Replica, life: _Life) -> Replica:
    """The replica with the phases that it really goes through: supervision knows but one."""
    if replica.phase in PHASES_BEFORE_READY:
        phase, since, passed = life.phase, life.since, life.passed
    else:
        later = [part for part in replica.phase_seconds if part[0] not in PHASES_BEFORE_READY]
        phase, since, passed = replica.phase, replica.since, (*life.passed, *later)
    # Written out: dataclasses.replace would take three times as long, at each step of a start.
    return Replica(
        replica.model,
        replica.id,
        replica.generation,
        phase,
        since,
        replica.address,
        replica.node,
        replica.resources,
        replica.reason,
        replica.created,
        passed,
    )
