"""What an autoscaler makes of what activators say of themselves."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoker.cli.linked import GRACE_SECONDS, MEETING_SECONDS, LinkedActivators, told_by
from stoker.columns import StatColumns
from stoker.platforms.kubernetes.emptiness import LOST_SECONDS
from stoker.stats_receiver import Linked
from stoker.testing import FakePlatform, ManualClock
from stoker.vocabulary import ModelKey, ModelSpec, Phase, StatReport

KEY = ModelKey("ns", "m")


class Led(FakePlatform):
    """A platform that notes what it is told."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__([ModelSpec(KEY)], clock=clock)
        self.ended: list[str] = []
        self.changes = 0

    def drained(self, replica_id: str) -> None:
        self.ended.append(replica_id)

    def activators_changed(self) -> None:
        self.changes += 1


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.platform = Led(self.clock)
        self.heard: list[StatReport | StatColumns] = []
        sink = SimpleNamespace(report=self.heard.append)
        self.linked = LinkedActivators(self.platform, sink, self.clock)
        self.platform.watch_replicas(self.linked._replica_event)

    def says(self, name: str, *, leaving: bool = False, empty: tuple[str, ...] = ()) -> Linked:
        linked = Linked(name, cast(Any, None))
        addresses = {"IPv4": f"10.0.0.{len(name)}"}
        linked.state = {
            "addresses": addresses,
            "ports": [20000],
            "leaving": leaving,
            "empty": list(empty),
        }
        self.linked.state(linked)
        return linked

    @property
    def takers(self) -> list[str]:
        return [taker.name for taker in self.linked.takers()]

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.linked.tick()


@pytest.fixture
def world() -> World:
    return World()


def test_who_takes_requests_is_who_said_so(world: World) -> None:
    """One that leaves takes none any more; the platform is told of each change, and of what is
    none it is not."""
    world.linked.members_changed({"a": "10.0.0.1", "bb": "10.0.0.2"})
    world.says("a")
    assert world.takers == []  # of the other nothing is known yet
    world.says("bb")
    assert world.takers == ["a", "bb"]
    changes = world.platform.changes
    world.says("bb", empty=("p",))
    assert world.platform.changes == changes
    world.says("bb", leaving=True)
    assert (world.takers, world.platform.changes) == (["a"], changes + 1)


def test_one_that_never_says_anything_is_not_waited_for_for_ever(world: World) -> None:
    """Nor after another begins to lead."""
    world.linked.members_changed({"a": "10.0.0.1", "bb": "10.0.0.2"})
    world.says("a")
    world.passes(MEETING_SECONDS)
    assert world.takers == ["a"]
    world.linked.lead_changed()
    assert world.takers == []
    changes = world.platform.changes
    world.passes(MEETING_SECONDS)
    assert (world.takers, world.platform.changes) == (["a"], changes + 1)


def test_a_link_that_breaks_is_given_a_moment(world: World) -> None:
    """Then slices are led past it; one that is back in time was never gone."""
    linked = world.says("a")
    world.says("bb")
    world.linked.lost(linked)
    world.passes(GRACE_SECONDS / 2)
    assert world.takers == ["a", "bb"]
    world.says("a")
    world.passes(GRACE_SECONDS)
    assert world.takers == ["a", "bb"]
    world.linked.lost(linked)
    world.passes(GRACE_SECONDS)
    assert world.takers == ["bb"]


def test_the_load_of_one_that_left_is_over(world: World) -> None:
    """It is answered for; of one that was lost the last numbers stand for a while."""
    columns = StatColumns("a", 3, 7, 1.0, 1.0, 0, (KEY,), *(array("q", [1]) for _ in range(5)))
    world.linked.report(columns)
    world.linked.lost(world.says("a"))
    assert world.heard == [columns]
    world.linked.report(columns)
    world.linked.lost(world.says("a", leaving=True))
    last = world.heard[-1]
    assert (last.reporter, last.epoch, last.sequence) == ("a", 3, 8)
    assert isinstance(last, StatReport)
    assert last.stats == ()


def test_a_replica_is_empty_once_all_have_said_so(world: World) -> None:
    """Whoever was lost is waited for a while."""
    world.linked.members_changed({"a": "10.0.0.1"})
    id = world.platform.add_replica(KEY).id
    world.says("a")
    lost = world.says("bb")
    world.platform.set_phase(id, Phase.DRAINING)
    world.says("a", empty=(id,))
    world.linked.lost(lost)
    assert world.platform.ended == []
    world.passes(LOST_SECONDS)
    assert world.platform.ended == [id]
    world.platform.vanish(id)
    assert world.linked._draining == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": {"IPv4": "somewhere"}},
        {"addresses": {"IPv6": "10.0.0.1"}},
        {"addresses": []},
        {"ports": [80]},
        {"ports": 1},
        {"empty": 1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """An activator's word leads traffic: it has to make sense."""
    state = {"addresses": {"IPv4": "10.0.0.1"}, "ports": [20000], "leaving": False, "empty": []}
    assert told_by(state).ports == {20000}
    with pytest.raises((ValueError, TypeError)):
        told_by(state | wrong)
