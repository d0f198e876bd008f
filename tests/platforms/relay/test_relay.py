"""What goes between the parent and its workers: replicas that drain, load, lost links."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from autoscaler.collector import Collector
from autoscaler.planner import Planner
from stoker.errors import PlatformClosedError, PlatformError
from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    ModelRemoved,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
)
from stoker.platforms.relay import channel
from stoker.platforms.relay.drains import Drains
from stoker.platforms.relay.feed import Feed
from stoker.platforms.relay.link import RelayedLink
from stoker.platforms.relay.messages import Nodes, World
from stoker.platforms.relay.platform import RelayedPlatform
from stoker.testing import FakePlatform
from stoker.vocabulary import (
    ModelKey,
    ModelSpec,
    Node,
    Phase,
    PlatformEvent,
    Poke,
    ScalingConfig,
    Stat,
    StatReport,
)
from tests.platforms.relay.pairs import End, connected, until

KEY = ModelKey.parse("digits")


def test_a_replica_is_empty_when_all_have_said_so() -> None:
    """Said once; who has died or was never there is not waited for; strangers say nothing."""
    drains = Drains()
    assert not drains.begin("r1", {1, 2, 3})
    assert not drains.begin("r1", set())  # told again: nothing new
    assert not drains.drained(1, "r1")
    assert not drains.drained(1, "r1")
    assert not drains.drained(9, "r1")
    assert not drains.drained(2, "r9")
    assert drains.worker_gone(2) == []
    assert drains.drained(3, "r1")
    assert not drains.drained(3, "r1")
    assert drains.begin("r2", set())
    assert not drains.begin("r3", {1})
    assert not drains.begin("r4", {1, 2})
    assert drains.worker_gone(1) == ["r3"]
    drains.replica_gone("r4")
    drains.replica_gone("r9")
    assert drains.worker_gone(2) == []


class Worker:
    """One worker's end of a feed, with a platform of its own."""

    def __init__(self, feed: Feed, number: int) -> None:
        self.feed, self.number = feed, number
        self.parent = End(feed.handlers(), lambda message: feed.take(number, message))
        self.end = End(take=lambda message: self.platform.take(message))
        self.platform = RelayedPlatform(self.end)
        self.events: list[ReplicaEvent] = []

    def join(self) -> None:
        self.platform.begin(self.feed.join(self.number, self.parent))
        self.platform.watch_replicas(self.events.append)

    def phases(self, replica_id: str) -> list[Phase]:
        return [
            event.replica.phase
            for event in self.events
            if isinstance(event, ReplicaChanged) and event.replica.id == replica_id
        ]


@pytest.fixture
def real() -> FakePlatform:
    """A platform whose replicas are ready at once."""
    return FakePlatform([ModelSpec(KEY)], start_up=())


async def test_a_replica_is_stopped_when_the_last_worker_has_done_with_it(
    real: FakePlatform,
) -> None:
    """Two workers have to say so, or die; one that came later is not waited for."""
    feed = Feed(real)
    feed.start()
    workers = [Worker(feed, number) for number in (1, 2, 3, 4)]
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(connected(worker.parent, worker.end))
        for worker in workers[:3]:
            worker.join()
        await real.scale(KEY, 1)
        (replica,) = real.replicas(KEY)
        await until(lambda: all(Phase.READY in w.phases(replica.id) for w in workers[:3]))
        await real.scale(KEY, 0)
        await until(lambda: all(Phase.DRAINING in w.phases(replica.id) for w in workers[:3]))
        workers[3].join()
        assert workers[3].phases(replica.id) == [Phase.DRAINING]
        workers[0].platform.drained(replica.id)
        workers[0].platform.drained(replica.id)
        workers[3].platform.drained(replica.id)
        workers[1].platform.drained("no-such-replica")
        workers[1].platform.record_event(PlatformEvent(KEY, "Seen", "in order", 0.0))
        await until(lambda: real.events)
        assert real.drained_ids == []
        workers[1].platform.drained(replica.id)
        await until(lambda: len(workers[1].parent.told) == 3)
        assert real.drained_ids == []
        feed.leave(3)
        feed.leave(3)
        assert real.drained_ids == [replica.id]
        await until(
            lambda: all(isinstance(w.events[-1], ReplicaGone) for w in (workers[0], workers[3]))
        )
        # With nobody there nobody is waited for.
        for number in (1, 2, 4):
            feed.leave(number)
        await real.scale(KEY, 1)
        await real.scale(KEY, 0)
        assert len(real.drained_ids) == 2
    feed.close()
    feed.close()


async def test_models_and_outages_come_and_go(real: FakePlatform) -> None:
    """As they change, and as they are to a worker that comes later."""
    feed = Feed(real)
    feed.start()
    early, late = Worker(feed, 1), Worker(feed, 2)
    other = ModelKey.parse("words")
    async with connected(early.parent, early.end), connected(late.parent, late.end):
        early.join()
        heard: list[ModelEvent] = []
        early.platform.watch_models(heard.append)
        real.add_model(ModelSpec(other))
        real.set_outage(other, "no weights")
        await until(lambda: early.events)
        late.join()
        real.remove_model(KEY)
        await until(lambda: len(heard) == 3)
        assert [type(event) for event in heard] == [ModelChanged, ModelChanged, ModelRemoved]
        assert early.events == late.events
        (outage,) = late.events
        assert isinstance(outage, ModelOutage)
        assert outage.outage is not None
        assert outage.outage.reason == "no weights"
        assert early.platform.take("something else") is False
        known: list[ModelEvent] = []
        await until(lambda: len(late.end.told) == 1)
        late.platform.watch_models(known.append)
        assert known == [ModelChanged(ModelSpec(other))]
    feed.close()


async def test_new_nodes_are_told_before_replicas_on_them(real: FakePlatform) -> None:
    """A worker never sees a replica on a node that it does not know."""
    nodes = [Node("first", "pool")]
    real._nodes = nodes
    feed = Feed(real)
    feed.start()
    worker = Worker(feed, 1)
    async with connected(worker.parent, worker.end):
        worker.join()
        assert [node.name for node in worker.platform.nodes()] == ["first"]
        nodes.append(Node("second", "pool"))
        await real.scale(KEY, 1)
        await until(lambda: worker.events)
        assert [node.name for node in worker.platform.nodes()] == ["first", "second"]
        kinds = [type(message) for message in worker.end.told]
        assert kinds[0] is Nodes
    feed.close()


async def test_a_worker_without_its_parent_is_told_so(real: FakePlatform) -> None:
    """What has to be asked fails as a platform fails; the rest goes nowhere."""
    worker = Worker(Feed(real), 1)
    async with connected(worker.parent, worker.end):
        worker.platform.begin(World((), (), (), Nodes((), ())))
        worker.parent.close()
        await worker.end.wait_closed()
        with pytest.raises(PlatformError, match="gone"):
            await worker.platform.scale(KEY, 1)
        worker.platform.drained("r1")
        worker.platform.record_event(PlatformEvent(None, "x", "y", 0.0))
        await worker.platform.close()
        with pytest.raises(PlatformClosedError):
            await worker.platform.set_traffic(KEY, True)


async def test_load_goes_by_columns_and_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers' reports are one load; what cannot be sent is counted, and the numbering of
    models survives it.
    """
    planner = Planner()
    planner.set_model(KEY, ScalingConfig(stable_window=6.0, panic_window=1.0), 0.0)
    collector = Collector(planner)
    ends = [End() for _ in range(4)]
    async with connected(ends[0], ends[1]), connected(ends[2], ends[3]):
        links = [RelayedLink(ends[0]), RelayedLink(ends[2])]
        for name, link in zip("ab", links, strict=True):
            for sequence in (1, 2, 3):
                stats = (Stat(KEY, 0.0, 2.0, 1, 1),)
                report = StatReport(name, 7, sequence, sequence + 0.5, 1.0, stats)
                if sequence == 2:
                    monkeypatch.setattr(channel, "BEHIND", -1)
                link.report(report)
                link.poke(Poke(name, 7, KEY, 1, 2, sequence + 0.5))
                monkeypatch.undo()
        await until(lambda: len(ends[1].told) == len(ends[3].told) == 4)
        for end in (ends[1], ends[3]):
            for message in end.told:
                if isinstance(message, Poke):
                    assert message.model == KEY
                else:
                    assert collector.take(message, message.time)
        assert collector.reporters == 2
        assert not collector.dropped
        readings = [(r.labels, r.value) for r in links[0].readings()]
        assert readings == [(("report",), 1), (("poke",), 1)]
        collector.advance(4.5)
        plan = planner.decide(4.5, {KEY})
        assert plan.decisions[0].panic == 4.0
