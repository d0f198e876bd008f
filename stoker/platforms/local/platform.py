"""The local platform: Stoker's embedded world, where replicas are processes of this machine.

The shell around ``Supervision``: it owns the reaper, pipes, ports, probes and one timer, and
turns effects into system calls and announcements.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Self

from stoker.clock import Clock, SystemClock
from stoker.errors import PlatformClosedError, PlatformError, UnknownModelError
from stoker.estimate import Estimator
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
from stoker.platforms.local.effects import (
    Announce,
    Cause,
    Effect,
    Ending,
    Kill,
    Start,
    Terminate,
    ending,
    refusal,
)
from stoker.platforms.local.pauses import Probed
from stoker.platforms.local.ports import Ports
from stoker.platforms.local.process import ReplicaProcess
from stoker.platforms.local.reaper_client import Exited, Lost, ReaperClient, ReaperEvent, Refused
from stoker.platforms.local.supervision import Supervision
from stoker.telemetry import COLD_START_SECONDS, LATENCY_BOUNDS, REPLICA_EXITS, Histogram, Reading
from stoker.vocabulary import (
    LaunchConfig,
    ModelKey,
    ModelSpec,
    Node,
    NodePool,
    Phase,
    PlatformEvent,
    Replica,
    Resources,
)
from stoker.watches import Watches

logger = logging.getLogger(__name__)

EVENTS_KEPT = 1000
OUTPUTS_KEPT = 32
# Models that have cold-start series: a scrape must stay affordable.
METRIC_MODELS = 2000
POOL = "local"
# How long the end of a process may take after SIGKILL; then the reaper goes, and it with it.
KILL_TIMEOUT = 10.0


class LocalPlatform:
    """Implements ``stoker.platform.Platform`` with processes. Linux only.

    Used as ``async with LocalPlatform() as platform:``, or with ``start()`` and ``close()``.
    No process it starts outlives ``close()``, nor Stoker itself, however it ends.
    ``estimator``: what it has learned says when to probe often; somebody else feeds it.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        ports: Ports | None = None,
        estimator: Estimator | None = None,
    ) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._estimator = Estimator() if estimator is None else estimator
        self._probing = Probed()
        self._ports = Ports() if ports is None else ports
        self._watches = Watches()
        self._reaper = ReaperClient(self._heard)
        self._supervisions: dict[ModelKey, Supervision] = {}
        self._processes: dict[str, ReplicaProcess] = {}
        self._old_outputs: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._effects: deque[tuple[Supervision, Effect]] = deque()
        self._performing = False
        self._timer: asyncio.TimerHandle | None = None
        self._events: deque[PlatformEvent] = deque(maxlen=EVENTS_KEPT)
        self._exits: Counter[tuple[ModelKey, str]] = Counter()
        self._cold_starts: dict[tuple[ModelKey, Phase], Histogram] = {}
        self._node = _this_machine()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the reaper, so that the first replica need not wait for it.

        Raises PlatformError if that is impossible, PlatformClosedError after close().
        """
        self._refuse_if_closed()
        self._loop = asyncio.get_running_loop()
        try:
            self._reaper.ensure()
        except OSError as error:
            raise PlatformError(f"the reaper process cannot be started: {error}") from error

    # --- the models ---------------------------------------------------------------

    def apply(self, specs: Sequence[ModelSpec]) -> None:
        """Make ``specs`` the whole set of models: what is missing is drained and removed.

        A model whose launch changed gets the next generation, unless the spec brings a
        higher one itself; its replicas are replaced, new ones first. Raises PlatformError
        (a model twice, or without a command; nothing is changed then), PlatformClosedError.
        """
        self._refuse_if_closed()
        wanted = {spec.key: spec for spec in specs}
        if len(wanted) < len(specs):
            counts = Counter(spec.key for spec in specs)
            twice = ", ".join(str(key) for key, count in counts.items() if count > 1)
            raise PlatformError(f"given more than once: {twice}; a model has one spec")
        for spec in specs:
            if spec.launch is None or not spec.launch.command:
                raise PlatformError(f"{spec.key} has no command; a local model needs one")
        for key in [key for key in self._watches.specs if key not in wanted]:
            self._watches.announce_model(ModelRemoved(key))
            supervision = self._supervisions[key]
            self._perform(supervision, supervision.remove(self._clock.now()))
            self._forget_if_over(supervision)
        for spec in specs:
            self._apply_one(spec)

    def _apply_one(self, spec: ModelSpec) -> None:
        supervision = self._supervisions.get(spec.key)
        if supervision is None:
            supervision = Supervision(spec, self._new_id(spec.key), self._node.name)
            self._supervisions[spec.key] = supervision
        else:
            spec = _with_generation(spec, supervision.spec)
        if self._watches.specs.get(spec.key) != spec:
            self._watches.announce_model(ModelChanged(spec))
            self._perform(supervision, supervision.respec(spec, self._clock.now()))

    def _new_id(self, key: ModelKey) -> Iterator[str]:
        return (f"{key.name}-{number}" for number in self._numbers)

    # --- the Platform seam ----------------------------------------------------------

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._watches.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._watches.watch_replicas(watcher)

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        supervision = self._known(model)
        if replicas < 0:
            raise ValueError(f"replicas = {replicas}: must be 0 or more")
        self._perform(supervision, supervision.scale(replicas, victims, self._clock.now()))

    def nodes(self) -> Sequence[Node]:
        return (self._node,)

    def node_pools(self) -> Sequence[NodePool]:
        return ()

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        self._known(model)
        if not via_activator:
            raise PlatformError(
                f"{model}: local replicas are reached through the activator only; "
                "traffic cannot pass it by"
            )

    def record_event(self, event: PlatformEvent) -> None:
        self._events.append(event)

    def drained(self, replica_id: str) -> None:
        if process := self._processes.get(replica_id):
            supervision = process.supervision
            self._perform(supervision, supervision.drained(replica_id, self._clock.now()))

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Shielded: whoever is cancelled while waiting must not leave replicas behind.
        await asyncio.shield(self._closing)

    # --- beyond the seam ------------------------------------------------------------

    def events(self) -> Sequence[PlatformEvent]:
        """The last recorded events, oldest first."""
        return tuple(self._events)

    def output(self, replica_id: str) -> str:
        """What a replica printed last, stdout and stderr as they came.

        Of replicas that are gone the last few are kept; empty for an unknown id.
        """
        if process := self._processes.get(replica_id):
            return process.output.text()
        return self._old_outputs.get(replica_id, "")

    def pause(self, model: ModelKey) -> tuple[str, float] | None:
        """Why a model that should have replicas has none, and the seconds to the next start."""
        supervision = self._supervisions.get(model)
        return None if supervision is None else supervision.pause(self._clock.now())

    def process_ids(self) -> dict[str, int]:
        """The process id of each running replica, by replica id."""
        return {id: process.pid for id, process in self._processes.items() if process.pid}

    @property
    def reaper_pid(self) -> int:
        """The reaper's process id; 0 if there is none."""
        return self._reaper.pid

    def readings(self) -> Iterable[Reading]:
        """Cold starts by phase and exits by cause, for ``telemetry.Exposition``.

        Cold starts are those of the METRIC_MODELS models that were first to have one.
        """
        timed = itertools.islice(
            dict.fromkeys(model for model, _ in self._cold_starts), METRIC_MODELS
        )
        shown = frozenset(timed)
        for (model, phase), histogram in self._cold_starts.items():
            if model in shown:
                yield Reading(COLD_START_SECONDS, (str(model), phase), histogram)
        for (model, cause), count in self._exits.items():
            yield Reading(REPLICA_EXITS, (str(model), cause), count)

    # --- effects --------------------------------------------------------------------

    def _perform(self, supervision: Supervision, effects: Iterable[Effect]) -> None:
        """Carry out effects in order, also those that arise meanwhile (watchers call back)."""
        self._effects.extend((supervision, effect) for effect in effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects:
                self._perform_one(*self._effects.popleft())
        finally:
            self._performing = False
        self._arm()

    def _perform_one(self, supervision: Supervision, effect: Effect) -> None:
        match effect:
            case Start(id, launch):
                self._start_replica(supervision, id, launch)
            case Terminate(id):
                self._reaper.send_signal(id, signal.SIGTERM)
            case Kill(id):
                self._reaper.send_signal(id, signal.SIGKILL)
            case Announce(ReplicaChanged(replica) as event, _):
                if replica.phase is not Phase.STARTING:
                    self._finish_start(replica)
                self._watches.announce_replica(event)
            case Announce(ReplicaGone(replica) as event, cause):
                if cause is not None:
                    self._count_exit(replica, cause)
                self._watches.announce_replica(event)
                self._forget_if_over(supervision)
            case Announce(ModelOutage(model, outage) as event, _):
                if outage is None and supervision.removed:
                    pass  # it is over because the model is, or Stoker
                elif outage is None:
                    self._note(model, "Recovered", "may be started again")
                else:
                    self._note(model, "Outage", outage.reason)
                self._watches.announce_replica(event)

    def _count_exit(self, replica: Replica, cause: Cause) -> None:
        self._exits[replica.model, cause] += 1
        if cause is Cause.STOPPED:
            logger.info("%s: replica %s: %s", replica.model, replica.id, replica.reason)
        else:
            self._note(replica.model, "ReplicaFailed", f"{replica.id} {replica.reason}")

    def _note(self, model: ModelKey, kind: str, message: str) -> None:
        """An event that a person should be able to read later, and a log line now."""
        logger.warning("%s: %s: %s", model, kind, message)
        self.record_event(PlatformEvent(model, kind, message, self._clock.now()))

    def _start_replica(self, supervision: Supervision, id: str, launch: LaunchConfig) -> None:
        try:
            port = self._ports.take({process.address.port for process in self._processes.values()})
            process = ReplicaProcess(supervision, id, launch, port)
        except (OSError, PlatformError) as error:
            failure = Ending(f"could not be started: {error}")
            self._perform(supervision, supervision.ended(id, failure, self._clock.now()))
            return
        self._processes[id] = process
        try:
            process.spawn(self._reaper)
        except OSError as error:
            self._end(id, Ending(f"could not be started: the reaper process failed: {error}"))
            return
        self._perform(supervision, supervision.placed(id, process.address))
        process.probe(
            self._estimator.spread(supervision.spec.key, self._node.name, Phase.STARTING),
            self._probing,
            on_ready=lambda: self._perform(supervision, supervision.ready(id, self._clock.now())),
            on_outcome=lambda outcome: supervision.probed(id, outcome),
        )

    def _finish_start(self, replica: Replica) -> None:
        """A replica has left the starting phase, one way or the other."""
        if replica.phase is Phase.READY:
            for phase, seconds in replica.phase_seconds:
                key = replica.model, phase
                if key not in self._cold_starts:
                    self._cold_starts[key] = Histogram(LATENCY_BOUNDS)
                self._cold_starts[key].add(seconds)
        elif process := self._processes.get(replica.id):
            process.stop_probing()

    def _heard(self, event: ReaperEvent) -> None:
        match event:
            case Refused(id, what, number):
                if process := self._processes.get(id):
                    self._end(id, refusal(process.launch, what, number))
            case Exited(id, code):
                if process := self._processes.get(id):
                    process.finish_output()
                    self._end(id, ending(code, process.output.last_lines()))
            case Lost(ids, worked):
                logger.error("the reaper process ended; %d replicas went with it", len(ids))
                for id in ids:
                    how = "killed because Stoker's reaper process ended"
                    self._end(id, Ending(how, blameless=worked))
                if self._closing is None and worked:
                    with suppress(OSError):  # then the next start tries again, and tells
                        self._reaper.ensure()
            case _:
                if process := self._processes.get(event.id):
                    process.pid = event.pid

    def _end(self, id: str, end: Ending) -> None:
        process = self._processes.pop(id, None)
        if process is None:
            return
        process.close()
        self._old_outputs[id] = process.output.text()
        while len(self._old_outputs) > OUTPUTS_KEPT:
            del self._old_outputs[next(iter(self._old_outputs))]
        supervision = process.supervision
        self._perform(supervision, supervision.ended(id, end, self._clock.now()))

    def _forget_if_over(self, supervision: Supervision) -> None:
        key = supervision.spec.key
        if supervision.removed and supervision.is_empty and key not in self._watches.specs:
            self._supervisions.pop(key, None)
            for counted in [counted for counted in self._exits if counted[0] == key]:
                del self._exits[counted]
            for timed in [timed for timed in self._cold_starts if timed[0] == key]:
                del self._cold_starts[timed]
        if not self._processes:
            self._emptied.set()

    # --- time, and the end of it ------------------------------------------------------

    def _arm(self) -> None:
        """Have the timer fire when the first supervision has something due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = min((s.wake_at for s in self._supervisions.values()), default=float("inf"))
        if wake_at < float("inf") and self._loop is not None:
            delay = max(0.0, wake_at - self._clock.now())
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.now()
        for supervision in tuple(self._supervisions.values()):
            if supervision.wake_at <= now:
                self._perform(supervision, supervision.tick(now))
        self._arm()

    async def _close(self) -> None:
        try:
            for supervision in tuple(self._supervisions.values()):
                self._perform(supervision, supervision.stop_all(self._clock.now()))
            graces = [process.launch.grace_period for process in self._processes.values()]
            with suppress(TimeoutError):
                async with asyncio.timeout(max(graces, default=0.0) + KILL_TIMEOUT):
                    while self._processes:
                        self._emptied.clear()
                        await self._emptied.wait()
        finally:
            await self._reaper.close()
            for id in tuple(self._processes):
                self._end(id, Ending("killed with Stoker's reaper process"))

    def _known(self, model: ModelKey) -> Supervision:
        self._refuse_if_closed()
        if model not in self._watches.specs:
            raise UnknownModelError(f"{model}: no such model")
        return self._supervisions[model]

    def _refuse_if_closed(self) -> None:
        if self._closing is not None:
            raise PlatformClosedError("the local platform is closed")


def _with_generation(spec: ModelSpec, known: ModelSpec) -> ModelSpec:
    """``spec`` with the generation that follows from what is ``known``."""
    if spec.generation > known.generation:
        return spec
    changed = spec.launch != known.launch
    return replace(spec, generation=known.generation + changed)


def _this_machine() -> Node:
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Node(socket.gethostname(), POOL, Resources(cpus * 1000, memory))
