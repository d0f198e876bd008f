"""The test kit itself: the clock, the fake world, and that the suite catches bad worlds."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.clock import Clock, SystemClock
from stoker.errors import PlatformError, UnknownModelError
from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    ModelRemoved,
    ModelWatcher,
    Platform,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.testing import FakePlatform, ManualClock, ScaleCall, check_platform, poll_until
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase, PlatformEvent, Replica

KEY = ModelKey.parse("digits")
SPEC = ModelSpec(KEY)


async def run_fake(platform: Platform, condition: Callable[[], bool]) -> None:
    assert isinstance(platform, FakePlatform)
    await platform.run_until(condition)


async def check(make: Callable[[], FakePlatform]) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Platform]:
        yield make()

    await check_platform(world, KEY, run_fake)


# --- ManualClock ------------------------------------------------------------------


def test_manual_clock_moves_only_when_told() -> None:
    """Both readings stand still, and move by the same amount."""
    clock: Clock = ManualClock(5.0, wall=100.0)
    assert (clock.now(), clock.wall()) == (5.0, 100.0)
    assert isinstance(clock, ManualClock)
    clock.advance(2.5)
    assert (clock.now(), clock.wall()) == (7.5, 102.5)
    clock.advance_to(10.0)
    assert (clock.now(), clock.wall()) == (10.0, 105.0)


@pytest.mark.parametrize("seconds", [-0.1, math.nan])
def test_manual_clock_never_goes_back(seconds: float) -> None:
    """Neither a negative step nor one that is no number is taken."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="0 or more"):
        clock.advance(seconds)
    assert clock.now() == 1000.0


# --- FakePlatform -----------------------------------------------------------------


@pytest.mark.parametrize(
    "start_up",
    [
        (),
        ((Phase.STARTING, math.inf),),
        ((Phase.PENDING_NODE, 30.0), (Phase.PULLING_IMAGE, 60.0), (Phase.STARTING, 5.0)),
    ],
)
async def test_fake_platform_conforms(start_up: Sequence[tuple[Phase, float]]) -> None:
    """It passes the suite at once ready, started by hand, and in several phases."""
    await check(lambda: FakePlatform([SPEC], start_up=start_up))


async def test_fake_platform_with_direct_traffic_conforms() -> None:
    """A world in which traffic can pass the activator by is as good."""
    await check(lambda: FakePlatform([SPEC], direct_traffic=True))


async def test_script_follows_the_clock() -> None:
    """Each phase begins at the very moment it is due, however far one advance goes."""
    script = ((Phase.PULLING_IMAGE, 2.0), (Phase.STARTING, 3.0))
    platform = FakePlatform([SPEC], start_up=script, clock=ManualClock(0.0))
    await platform.scale(KEY, 1)
    platform.advance(1.0)
    assert platform.replicas(KEY)[0].phase is Phase.PULLING_IMAGE
    platform.advance(1.0)
    assert platform.replicas(KEY)[0].phase is Phase.STARTING
    platform.advance(100.0)
    (replica,) = platform.replicas(KEY)
    assert (replica.phase, replica.since, platform.clock.now()) == (Phase.READY, 5.0, 102.0)
    assert replica.phase_seconds == ((Phase.PULLING_IMAGE, 2.0), (Phase.STARTING, 3.0))


async def test_tick_serves_a_clock_of_ones_own() -> None:
    """With a clock that it cannot move, advance refuses and tick proceeds."""
    platform = FakePlatform([SPEC], start_up=((Phase.STARTING, 0.0),), clock=SystemClock())
    await platform.scale(KEY, 1)
    with pytest.raises(TypeError, match="SystemClock"):
        platform.advance(1.0)
    platform.tick()
    assert platform.replicas(KEY)[0].phase is Phase.READY


async def test_scale_calls_and_errors_are_scripted() -> None:
    """Accepted calls are recorded; an injected error fails one call and records nothing."""
    platform = FakePlatform([SPEC])
    platform.errors.append(PlatformError("on purpose"))
    with pytest.raises(PlatformError, match="on purpose"):
        await platform.scale(KEY, 2)
    assert platform.wish(KEY) == 0
    await platform.scale(KEY, 2, ["x"])
    assert platform.scales == [ScaleCall(KEY, 2, ("x",))]
    assert platform.wish(KEY) == 2


async def test_lost_replicas_are_replaced_unless_told_otherwise() -> None:
    """vanish and fail end a replica with its reason; another follows, or not."""
    platform = FakePlatform([SPEC])
    events: list[ReplicaEvent] = []
    platform.watch_replicas(events.append)
    await platform.scale(KEY, 1)
    platform.make_ready("digits-1", Address("127.0.0.1", 9))
    platform.vanish("digits-1", "killed by SIGKILL")
    assert isinstance(events[-2], ReplicaGone)
    assert events[-2].replica.reason == "killed by SIGKILL"
    assert events[-2].replica.address == ("127.0.0.1", 9)
    assert [r.id for r in platform.replicas(KEY)] == ["digits-2"]
    platform.replaces_lost = False
    platform.fail("digits-2", "exited with code 1")
    assert isinstance(events[-1], ReplicaGone)
    assert events[-1].replica.phase is Phase.FAILED
    assert platform.replicas(KEY) == []


async def test_replicas_can_be_put_there() -> None:
    """add_replica counts as wished for, so that the next scale takes it into account."""
    platform = FakePlatform([SPEC], nodes=())
    ready = platform.add_replica(KEY, address=Address("127.0.0.1", 7))
    starting = platform.add_replica(KEY, phase=Phase.PULLING_IMAGE)
    assert (ready.phase, ready.address) == (Phase.READY, ("127.0.0.1", 7))
    assert starting.phase is Phase.PULLING_IMAGE
    assert platform.wish(KEY) == 2
    await platform.scale(KEY, 1)
    assert platform.replicas(KEY) == [ready]


async def test_not_ready_goes_before_younger() -> None:
    """A replica on its way goes before a younger one that is ready already."""
    platform = FakePlatform([SPEC])
    await platform.scale(KEY, 2)
    platform.make_ready("digits-2")
    await platform.scale(KEY, 1)
    assert [r.id for r in platform.replicas(KEY)] == ["digits-2"]


async def test_models_and_outages_come_and_go() -> None:
    """Models can be added, changed and removed, and be out of order for a time."""
    platform = FakePlatform()
    models: list[ModelEvent] = []
    replicas: list[ReplicaEvent] = []
    platform.watch_models(models.append)
    platform.watch_replicas(replicas.append)
    platform.add_model(SPEC)
    platform.add_replica(KEY)
    platform.set_outage(KEY, "exits at once", retry_in=5.0)
    later: list[ReplicaEvent] = []
    platform.watch_replicas(later.append)
    outage = later[-1]
    assert isinstance(outage, ModelOutage)
    assert outage.outage is not None
    assert outage.outage.retry_at == platform.clock.now() + 5.0
    platform.remove_model(KEY)
    assert models == [ModelChanged(SPEC), ModelRemoved(KEY)]
    assert ModelOutage(KEY, None) in replicas
    assert [r.phase for r in platform.replicas(KEY)] == [Phase.DRAINING]
    platform.drained("digits-1")
    assert platform.replicas(KEY) == []
    with pytest.raises(UnknownModelError):
        await platform.scale(KEY, 1)
    platform.clear_outage(KEY)
    assert platform.drained_ids == ["digits-1"]


async def test_run_until_says_when_it_cannot() -> None:
    """A condition that nothing can bring about is an error, not a hang."""
    platform = FakePlatform([SPEC])
    await platform.scale(KEY, 1)
    with pytest.raises(AssertionError, match="does not hold"):
        await platform.run_until(lambda: len(platform.replicas(KEY)) == 2)


async def test_poll_until_gives_up() -> None:
    """Waiting for a world that does not move ends with an error that names it."""
    with pytest.raises(AssertionError, match="FakePlatform"):
        await poll_until(FakePlatform(), lambda: False, timeout=0.01)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=20))
def test_fake_platform_meets_any_series_of_wishes(steps: list[tuple[int, int]]) -> None:
    """Whatever is asked for in whatever order, the last wish is met exactly."""
    platform = FakePlatform([SPEC], start_up=((Phase.STARTING, 2.0),))
    for wish, seconds in steps:
        run = platform.scale(KEY, wish)
        with pytest.raises(StopIteration):
            run.send(None)
        platform.advance(float(seconds))
    platform.advance(2.0)
    for replica in platform.replicas(KEY):
        if replica.phase is Phase.DRAINING:
            platform.drained(replica.id)
    assert [r.phase for r in platform.replicas(KEY)] == [Phase.READY] * platform.wish(KEY)


# --- what the suite must catch ------------------------------------------------------


class LateState(FakePlatform):
    """Does not deliver what exists."""

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        known, self._watches.replicas = self._watches.replicas, {}
        try:
            return super().watch_replicas(watcher)
        finally:
            self._watches.replicas = known


class NoModels(FakePlatform):
    """Never tells of its models."""

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return lambda: None


class NoAddress(FakePlatform):
    """Ready replicas cannot be reached."""

    def _enter(self, replica: Replica, phase: Phase, reason: str = "") -> Replica:
        object.__setattr__(replica, "address", None)
        return super()._enter(replica, phase, reason)


class StrangeNode(FakePlatform):
    """Replicas run on a node that is not known."""

    def nodes(self) -> Sequence[object]:  # type: ignore[override]
        return ()


class Backwards(FakePlatform):
    """Goes back to starting before it is ready."""

    def make_ready(self, replica_id: str, address: Address | None = None) -> Replica:
        super().make_ready(replica_id, address)
        self.set_phase(replica_id, Phase.STARTING)
        return super().make_ready(replica_id, address)


class NoDraining(FakePlatform):
    """Stops replicas without draining them."""

    def _stop(self, replica: Replica, reason: str) -> None:
        self._scripts.pop(replica.id, None)
        self._watches.announce_replica(ReplicaGone(replica))


class ImpatientDraining(FakePlatform):
    """Says that it drains, and stops at once."""

    def _stop(self, replica: Replica, reason: str) -> None:
        super()._stop(replica, reason)
        if replica.id in self._watches.replicas:
            self.vanish(replica.id)


class DeafUnsubscribe(FakePlatform):
    """A watch never ends."""

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        super().watch_replicas(watcher)
        return lambda: None


class UnsubscribeOnce(FakePlatform):
    """Ending a watch twice is an error."""

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        ends = [super().watch_replicas(watcher)]
        return lambda: ends.pop()()


class DropsRaising(FakePlatform):
    """A watcher that raises loses its watch."""

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        alive = [True]

        def once(event: ReplicaEvent) -> None:
            try:
                if alive:
                    watcher(event)
            except Exception:
                alive.clear()
                raise

        return super().watch_replicas(once)


class Additive(FakePlatform):
    """Takes the count for a number to add."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        more = replicas and replicas == self.wish(model)
        await super().scale(model, replicas + more, victims)


class TakesAnyModel(FakePlatform):
    """Knows every model."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        if model == KEY:
            await super().scale(model, replicas, victims)


class TakesNegative(FakePlatform):
    """Takes a negative count for none."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        await super().scale(model, max(replicas, 0), victims)


class IgnoresVictims(FakePlatform):
    """Shrinks by age alone."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        await super().scale(model, replicas)


class OldestFirst(FakePlatform):
    """Shrinks from the wrong end, ready or not."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        oldest = [r.id for r in self.replicas(model) if r.phase is not Phase.DRAINING]
        surplus = max(len(oldest) - replicas, 0)
        await super().scale(model, replicas, [*victims, *oldest[:surplus]][:surplus])


class NoReason(FakePlatform):
    """Never says why."""

    def _enter(self, replica: Replica, phase: Phase, reason: str = "") -> Replica:
        return super()._enter(replica, phase, "")


class ReusesIds(FakePlatform):
    """Numbers replicas by how many there are."""

    def _begin(self, model: ModelKey, script: Sequence[tuple[Phase, float]]) -> Replica:
        self._numbers = iter((len(self.replicas(model)) + 1,))  # type: ignore[assignment]
        return super()._begin(model, script)


class TrafficOnce(FakePlatform):
    """Refuses to route what it routes already."""

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        if self.traffic.get(model) is via_activator:
            raise RuntimeError("already so")
        await super().set_traffic(model, via_activator)


class FussyEvents(FakePlatform):
    """Raises at events of models that it does not know."""

    def record_event(self, event: PlatformEvent) -> None:
        if event.model != KEY:
            raise UnknownModelError(str(event.model))


class CloseKeepsReplicas(FakePlatform):
    """Leaves its replicas behind."""

    async def close(self) -> None:
        self._closed = True


class ScalesAfterClose(FakePlatform):
    """Takes wishes after close()."""

    async def close(self) -> None:
        await super().close()
        self._closed = False


class ComesBack(FakePlatform):
    """Announces a replica once more after it was gone."""

    def drained(self, replica_id: str) -> None:
        replica = self._watches.replicas.get(replica_id)
        super().drained(replica_id)
        if replica is not None:
            self._watches.announce_replica(ReplicaChanged(replica))
            self._watches.announce_replica(ReplicaGone(replica))


class GoneTwice(FakePlatform):
    """Announces an end twice."""

    def drained(self, replica_id: str) -> None:
        replica = self._watches.replicas.get(replica_id)
        super().drained(replica_id)
        if replica is not None:
            self._watches.announce_replica(ReplicaGone(replica))


BAD_WORLDS: dict[type[FakePlatform], str] = {
    LateState: "state_comes_first",
    NoModels: "state_comes_first",
    NoAddress: "ready_replicas_are_complete",
    StrangeNode: "ready_replicas_are_complete",
    Backwards: "from ready to starting",
    NoDraining: "phases_in_order",
    ImpatientDraining: "drains_before_it_stops",
    DeafUnsubscribe: "unsubscribe_twice",
    UnsubscribeOnce: "unsubscribe_twice",
    DropsRaising: "raising_watcher",
    Additive: "scale_is_idempotent",
    TakesAnyModel: "bad_arguments",
    TakesNegative: "bad_arguments",
    IgnoresVictims: "shrink_order",
    OldestFirst: "shrink_order",
    NoReason: "drains_before_it_stops",
    ReusesIds: "ids",
    TrafficOnce: "traffic",
    FussyEvents: "events_never_raise",
    CloseKeepsReplicas: "close_is_final",
    ScalesAfterClose: "close_is_final",
    ComesBack: "came back",
    GoneTwice: "was not there",
}


@pytest.mark.parametrize("bad", BAD_WORLDS, ids=lambda bad: bad.__name__)
async def test_the_suite_catches(bad: type[FakePlatform]) -> None:
    """Each of these worlds breaks one promise of the seam, and the suite names the check."""
    with pytest.raises(AssertionError, match=BAD_WORLDS[bad]):
        await check(lambda: bad([SPEC]))
