"""The conformance suite of the Platform seam: what every world has to do alike.

Each check gets a world of its own with the given model at zero replicas. A check looks only
through the seam; what happens inside the world is waited for with ``until``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from stoker.errors import PlatformClosedError, PlatformError, UnknownModelError
from stoker.platform import (
    ModelChanged,
    ModelEvent,
    Platform,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
)
from stoker.vocabulary import PHASES_BEFORE_READY, ModelKey, NodePool, Phase, PlatformEvent, Replica

Condition = Callable[[], bool]
World = Callable[[], AbstractAsyncContextManager[Platform]]
Until = Callable[[Platform, Condition], Awaitable[None]]

_PROGRESS = list(Phase)
_NOBODY = ModelKey("conformance", "no-such-model")


async def poll_until(platform: Platform, condition: Condition, timeout: float = 30.0) -> None:
    """Wait for a world that moves by itself. Raises AssertionError after ``timeout`` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"{type(platform).__name__}: not within {timeout:g} s")
        await asyncio.sleep(0.002)


async def check_platform(world: World, model: ModelKey, until: Until = poll_until) -> None:
    """Run every check. Raises AssertionError, naming the check, at the first that fails.

    ``world`` makes a fresh platform that knows ``model``, whose replicas can become ready;
    ``until`` waits for a condition and drives a world that does not move by itself.
    """
    for name, check in CHECKS.items():
        async with world() as platform:
            try:
                await check(Subject(platform, model, until))
            except Exception as error:
                raise AssertionError(f"{name}: {error!r}") from error


class Subject:
    """A platform, and everything it said about one model since it was made.

    What each of ``CHECKS`` is given: with it, a test can run them one by one.
    """

    def __init__(self, platform: Platform, model: ModelKey, until: Until) -> None:
        self.platform = platform
        self.model = model
        self.drains = True
        self.living: dict[str, Replica] = {}
        self.gone: dict[str, Replica] = {}
        self.phases: dict[str, list[Phase]] = {}
        self.problems: list[str] = []
        self._until = until
        platform.watch_replicas(self._hear)

    def _hear(self, event: ReplicaEvent) -> None:
        # What is wrong is noted: raised here, the platform would have to swallow it.
        match event:
            case ReplicaChanged(replica) if replica.model == self.model:
                if replica.id in self.gone:
                    self.problems.append(f"{replica.id} came back after ReplicaGone")
                phases = self.phases.setdefault(replica.id, [])
                if phases and _PROGRESS.index(replica.phase) < _PROGRESS.index(phases[-1]):
                    self.problems.append(f"{replica.id} went from {phases[-1]} to {replica.phase}")
                phases.append(replica.phase)
                self.living[replica.id] = replica
                if replica.phase is Phase.DRAINING and self.drains:
                    self.platform.drained(replica.id)
            case ReplicaGone(replica) if replica.model == self.model:
                if self.living.pop(replica.id, None) is None:
                    self.problems.append(f"{replica.id} is gone but was not there")
                self.gone[replica.id] = replica

    def in_phase(self, phase: Phase) -> set[str]:
        return {id for id, replica in self.living.items() if replica.phase is phase}

    async def until(self, condition: Condition) -> None:
        await self._until(self.platform, condition)
        self.expect(not self.problems, "; ".join(self.problems))

    async def until_ready(self, count: int) -> list[str]:
        """Wait for exactly ``count`` replicas, all ready; their ids, oldest first."""
        await self.until(lambda: len(self.in_phase(Phase.READY)) == len(self.living) == count)
        return list(self.living)

    async def scale(self, count: int, *victims: str) -> list[str]:
        await self.platform.scale(self.model, count, victims)
        return await self.until_ready(count)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise AssertionError(otherwise)


async def _state_comes_first(subject: Subject) -> None:
    """What exists is delivered before watch_* returns."""
    ready = await subject.scale(2)
    replicas: list[ReplicaEvent] = []
    subject.platform.watch_replicas(replicas.append)
    told = {e.replica.id for e in replicas if isinstance(e, ReplicaChanged)}
    subject.expect(set(ready) <= told, f"watch_replicas told {told} of {ready} at once")
    models: list[ModelEvent] = []
    subject.platform.watch_models(models.append)
    known = [e.spec.key for e in models if isinstance(e, ModelChanged)]
    subject.expect(known.count(subject.model) == 1, f"watch_models told {known} at once")


async def _ready_replicas_are_complete(subject: Subject) -> None:
    """A ready replica has an address and a node that nodes() knows, and times in order."""
    await subject.scale(1)
    (replica,) = subject.living.values()
    subject.expect(replica.address is not None, "a ready replica without an address")
    names = {node.name for node in subject.platform.nodes()}
    subject.expect(replica.node in names, f"node {replica.node!r} is not one of {names}")
    subject.expect(replica.created <= replica.since, "since is before created")
    pools = subject.platform.node_pools()
    subject.expect(all(isinstance(pool, NodePool) for pool in pools), f"node pools {pools!r}")


async def _phases_in_order(subject: Subject) -> None:
    """Not ready, ready, draining, gone: nothing is left out, nothing goes backwards."""
    (first,) = await subject.scale(1)
    await subject.scale(0)
    phases = subject.phases[first]
    subject.expect(phases[0] in PHASES_BEFORE_READY, f"ready from the start: {phases}")
    subject.expect(Phase.READY in phases, f"never ready: {phases}")
    subject.expect(phases[-1] is Phase.DRAINING, f"gone without draining: {phases}")


async def _unsubscribe_twice(subject: Subject) -> None:
    """A watch ends when told to, and may be told twice."""
    replicas: list[ReplicaEvent] = []
    models: list[ModelEvent] = []
    ends = (
        subject.platform.watch_replicas(replicas.append),
        subject.platform.watch_models(models.append),
    )
    for end in ends * 2:
        end()
    replicas.clear()
    await subject.scale(1)
    subject.expect(not replicas, "events after the end of the watch")


async def _raising_watcher(subject: Subject) -> None:
    """A watcher that raises harms neither the platform nor other watchers nor its own watch."""
    heard: list[object] = []

    def raising(event: ReplicaEvent | ModelEvent) -> None:
        heard.append(event)
        raise RuntimeError("raised on purpose by the conformance suite")

    subject.platform.watch_models(raising)
    subject.expect(len(heard) > 0, "watch_models delivered nothing")
    subject.platform.watch_replicas(raising)
    heard.clear()
    late = Subject(subject.platform, subject.model, subject._until)
    await subject.scale(1)
    subject.expect(len(heard) >= 2, "the raising watcher lost its watch")
    subject.expect(bool(late.in_phase(Phase.READY)), "a later watcher missed events")


async def _scale_is_idempotent(subject: Subject) -> None:
    """The same wish twice starts nothing twice, neither on the way nor when met."""
    await subject.platform.scale(subject.model, 2)
    await subject.scale(2)
    await subject.scale(2)
    await subject.scale(3)
    subject.expect(len(subject.phases) == 3, f"3 wanted, {len(subject.phases)} started")


async def _bad_arguments(subject: Subject) -> None:
    """Unknown models and negative counts are refused and change nothing."""
    await _raises(UnknownModelError, subject.platform.scale(_NOBODY, 1))
    await _raises(UnknownModelError, subject.platform.set_traffic(_NOBODY, True))
    await _raises(ValueError, subject.platform.scale(subject.model, -1))
    await subject.scale(1)
    subject.expect(len(subject.phases) == 1, "a refused call started a replica")


async def _shrink_order(subject: Subject) -> None:
    """Victims go first, unknown victims are ignored, then the youngest goes."""
    first, second, third = await _one_by_one(subject, 3)
    left = await subject.scale(2, "no-such-replica", first)
    subject.expect(left == [second, third], f"victim {first}: left were {left}")
    left = await subject.scale(1, first)
    subject.expect(left == [second], f"youngest is {third}: left were {left}")


async def _shrink_spares_the_ready(subject: Subject) -> None:
    """A replica on its way up goes before one that is ready."""
    (ready,) = await subject.scale(1)
    await subject.platform.scale(subject.model, 3)
    left = await subject.scale(1)
    subject.expect(left == [ready], f"{ready} was ready: left were {left}")


async def _drains_before_it_stops(subject: Subject) -> None:
    """A draining replica stays until drained(); that may be said twice, and of anybody."""
    (first,) = await subject.scale(1)
    subject.drains = False
    await subject.platform.scale(subject.model, 0)
    await subject.until(lambda: subject.in_phase(Phase.DRAINING) == {first})
    subject.platform.drained("no-such-replica")
    subject.expect(first in subject.living, "gone before it was drained")
    subject.platform.drained(first)
    subject.platform.drained(first)
    await subject.until(lambda: first in subject.gone)
    subject.platform.drained(first)
    subject.expect(subject.gone[first].reason != "", "gone without a reason")


async def _ids_are_never_reused(subject: Subject) -> None:
    """Each replica has an id of its own."""
    (first,) = await subject.scale(1)
    await subject.scale(0)
    (second,) = await subject.scale(1)
    subject.expect(first != second, f"{first} again")


async def _traffic(subject: Subject) -> None:
    """Traffic through the activator can be asked for twice; past it, or it is refused."""
    await subject.platform.set_traffic(subject.model, True)
    await subject.platform.set_traffic(subject.model, True)
    try:
        await subject.platform.set_traffic(subject.model, False)
    except PlatformError:
        return
    await subject.platform.set_traffic(subject.model, False)


async def _events_never_raise(subject: Subject) -> None:
    """record_event takes anything, also after close()."""
    for key in (subject.model, _NOBODY, None):
        event = PlatformEvent(key, "Conformance", "\N{FIRE} \n" * 1000, -1.0, (("", ""),) * 100)
        subject.platform.record_event(event)
    await subject.platform.close()
    subject.platform.record_event(event)


async def _close_is_final(subject: Subject) -> None:
    """close() stops everything, may be called twice, and what comes later is refused."""
    ready = await subject.scale(2)
    subject.drains = False
    await asyncio.gather(subject.platform.close(), subject.platform.close())
    await subject.platform.close()
    subject.expect(set(ready) == set(subject.gone), f"of {ready} only {set(subject.gone)} ended")
    subject.expect(not subject.problems, "; ".join(subject.problems))
    await _raises(PlatformClosedError, subject.platform.scale(subject.model, 1))
    await _raises(PlatformClosedError, subject.platform.set_traffic(subject.model, True))
    subject.platform.drained(ready[0])
    subject.expect(not subject.living, "a replica after close()")


async def _one_by_one(subject: Subject, count: int) -> list[str]:
    """Replicas whose ages are known: each was ready before the next was asked for."""
    ids: list[str] = []
    for number in range(1, count + 1):
        ready = await subject.scale(number)
        ids += [id for id in ready if id not in ids]
    return ids


async def _raises(kind: type[Exception], call: Awaitable[None]) -> None:
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


Check = Callable[[Subject], Awaitable[None]]

CHECKS: dict[str, Check] = {
    check.__name__.strip("_"): check
    for check in (
        _state_comes_first,
        _ready_replicas_are_complete,
        _phases_in_order,
        _unsubscribe_twice,
        _raising_watcher,
        _scale_is_idempotent,
        _bad_arguments,
        _shrink_order,
        _shrink_spares_the_ready,
        _drains_before_it_stops,
        _ids_are_never_reused,
        _traffic,
        _events_never_raise,
        _close_is_final,
    )
}
