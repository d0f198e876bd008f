"""The slots that this member may use, and the member that is asked where it has none."""

from __future__ import annotations

import pytest

from activator.balancer import Backend
from activator.shared_slots import PEER_PAUSE, PeerBackend, SharedSlots
from stoker.vocabulary import Address, Balancing, ModelKey

KEY = ModelKey("default", "digits")
HERE = Address("127.0.0.1", 1)


class Desk:
    """Allows what it is told to, and notes what it is asked."""

    def __init__(self) -> None:
        self.round = 1
        self.fence = float("inf")
        self.watched: set[str] = set()
        self.arranged = 0
        self.ended: list[str] = []
        self.allowed: dict[str, int] = {}
        self.peer: PeerBackend | None = None

    def arrange(self, slots: SharedSlots) -> None:
        self.arranged += 1
        slots.round = self.round
        for replica_id in slots.ready:
            slots.allow(replica_id, self.allowed.get(replica_id, 0))
        slots.show(self.peer)

    def released(self, replica_id: str) -> None:
        self.ended.append(replica_id)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def make(desk: Desk, limit: int = 5) -> SharedSlots:
    return SharedSlots(KEY, limit, desk, 0.0)


def test_what_is_allowed_may_be_used(desk: Desk) -> None:
    """So many slots of a replica as are allowed, and none of one that is another's."""
    desk.allowed = {"r1": 2}
    slots = make(desk)
    assert slots.add("r1", HERE, backlog=False)
    assert not slots.add("r1", HERE, backlog=False)
    slots.add("r2", HERE, backlog=False)
    taken = [slots.take(0.0, "") for _ in range(3)]
    assert [backend and backend.replica_id for backend in taken] == ["r1", "r1", None]
    assert (slots.in_flight("r1"), slots.in_flight("r3")) == (2, 0)
    # Less is allowed than is in use: nothing more, until less is in use.
    slots.allow("r1", 1)
    slots.show(None)
    slots.give_back(taken[0] or Backend("", HERE, 0, backlog=False), 1.0)
    assert slots.take(1.0, "") is None
    slots.allow("r1", 0)
    slots.show(None)
    assert slots.backends == []
    slots.allow("gone", 3)


def test_looks_again_when_members_changed(desk: Desk) -> None:
    """A model that nobody asked for meanwhile is arranged when it is asked for."""
    slots = make(desk)
    slots.take(0.0, "")
    slots.take(0.0, "")
    assert desk.arranged == 1
    desk.round += 1
    slots.take(0.0, "")
    assert desk.arranged == 2


def test_nothing_behind_the_fence(desk: Desk) -> None:
    """A member that stood still grants nothing before it has looked around."""
    desk.allowed = {"r1": 2}
    slots = make(desk)
    slots.add("r1", HERE, backlog=False)
    desk.fence = 10.0
    assert slots.take(10.0, "") is not None
    assert slots.take(10.1, "") is None


def test_draining_and_gone(desk: Desk) -> None:
    """A draining replica gets no more; how many it has is known until it is gone."""
    desk.allowed = {"r1": 2}
    slots = make(desk)
    slots.add("r1", HERE, backlog=False)
    backend = slots.take(0.0, "")
    assert backend is not None
    assert slots.drain("r1") is backend
    assert slots.drain("r1") is backend
    assert slots.drain("r9") is None
    assert (slots.ready, slots.backends, slots.known) == ([], [], True)
    desk.watched = {"r1"}
    slots.give_back(backend, 0.0)
    assert desk.ended == ["r1"]
    slots.add("r2", HERE, backlog=False)
    assert slots.drain("r2") is not None
    slots.remove("r2")
    slots.remove("r1")
    slots.remove("r1")
    assert not slots.known


def test_limits_and_policies(desk: Desk) -> None:
    """A new limit is arranged anew; without one a replica takes any number."""
    desk.allowed = {"r1": 1}
    slots = make(desk)
    slots.add("r1", HERE, backlog=False)
    slots.set_limit(5, backlog=False)
    assert desk.arranged == 1
    slots.set_limit(0, backlog=False)
    assert slots.balancer.policy.value == "least-of-two"
    assert all(slots.take(0.0, "") for _ in range(20))
    slots.set_balancing(Balancing.ROUND_ROBIN, 1.5)
    slots.set_limit(2, backlog=False)
    assert slots.balancer.policy.value == "round-robin"


def test_passed_on_to_a_member(desk: Desk) -> None:
    """Where another has the model, it gets any number, and that is its load, not ours."""
    desk.peer = PeerBackend("b", HERE)
    slots = make(desk)
    backend = slots.take(0.0, "")
    assert backend is desk.peer
    assert backend.replica_id == "peer:b"
    assert slots.take(2.0, "") is backend
    slots.give_back(backend, 4.0)
    # One for 2 s, two for 2 s, one for 1 s.
    active, began, ended = slots.take_forwarded(5.0, 5.0)
    assert active == pytest.approx(7 / 5)
    assert (began, ended) == (2, 1)
    assert slots.take_forwarded(6.0, 1.0) == (1.0, 0, 0)
    assert slots.take_forwarded(6.0, 0.0) == (1.0, 0, 0)


def test_a_member_that_failed_is_tried_again_soon(desk: Desk) -> None:
    """It is out for a moment each time, never longer, and is not counted as ejected."""
    backend = PeerBackend("b", HERE)
    for now in (1.0, 2.0, 3.0):
        assert not backend.failed(now)
        assert not backend.has_room(now)
        assert backend.has_room(now + PEER_PAUSE)
