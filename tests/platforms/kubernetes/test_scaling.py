"""Growing and shrinking one Deployment: which writes, in which order, and after what."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from stoker.platforms.kubernetes.names import COST_DRAINED, COST_DRAINING
from stoker.platforms.kubernetes.scaling import SETTLE, Delete, Effect, Mark, Scaling, SetScale
from stoker.vocabulary import ModelKey, Phase, Replica

KEY = ModelKey("ns", "m")


def replica(id: str, phase: Phase = Phase.READY) -> Replica:
    return Replica(KEY, id, 1, phase, 0.0)


def ready(*ids: str) -> list[Replica]:
    return [replica(id) for id in ids]


def effects(scaling: Scaling, replicas: list[Replica], now: float = 0.0) -> list[Effect]:
    """Everything to write now, each written at once."""
    written = []
    while (effect := scaling.next(replicas, now)) is not None:
        scaling.done(effect, now)
        written.append(effect)
        assert len(written) < 50
    return written


def shrunk(*victims: str, of: list[Replica], to: int) -> Scaling:
    """One that wrote what shrinking needs at first."""
    scaling = Scaling(45.0)
    scaling.observed(len(of))
    scaling.want(to, victims)
    effects(scaling, of)
    return scaling


def test_growing_is_one_write() -> None:
    """And none where the count is right already."""
    scaling = Scaling(45.0)
    assert effects(scaling, []) == []  # nothing is wanted yet
    scaling.want(3)
    assert effects(scaling, []) == [SetScale(3)]
    scaling.want(3)
    assert effects(scaling, []) == []
    scaling.observed(5)  # somebody else's doing
    assert effects(scaling, []) == [SetScale(3)]
    assert scaling.wake_at == math.inf


def test_what_failed_is_asked_for_again() -> None:
    """Until it is done."""
    scaling = Scaling(45.0)
    scaling.want(2)
    assert scaling.next([], 0.0) == scaling.next([], 1.0) == SetScale(2)


def test_shrinking_marks_waits_and_only_then_lowers_the_count() -> None:
    """The victim is in the count until no request is left in it."""
    replicas = ready("a", "b")
    scaling = Scaling(45.0)
    scaling.observed(2)
    scaling.want(1, ["a"])
    assert effects(scaling, replicas) == [Mark("a", COST_DRAINING)]
    assert scaling.is_victim("a")
    assert scaling.is_victim("a~2")
    assert scaling.wake_at == 45.0
    scaling.drained("b", 1.0)  # nobody's victim
    assert effects(scaling, replicas, 1.0) == []
    scaling.drained("a", 2.0)
    assert effects(scaling, replicas, 2.0) == [SetScale(1)]
    scaling.drained("a", 3.0)
    scaling.gone("a")
    assert not scaling.is_victim("a")
    assert scaling.wake_at == math.inf


def test_a_victim_s_time_is_bounded() -> None:
    """After drain-timeout the count is lowered, whatever is still in it."""
    replicas = ready("a", "b")
    scaling = shrunk("a", of=replicas, to=1)
    assert effects(scaling, replicas, 44.9) == []
    assert effects(scaling, replicas, 45.0) == [SetScale(1)]


def test_of_several_victims_the_empty_one_goes_first() -> None:
    """It is made the cheapest: the others still have requests."""
    replicas = ready("a", "b", "c")
    scaling = shrunk(of=replicas, to=0)
    scaling.drained("b", 1.0)
    assert effects(scaling, replicas, 1.0) == [Mark("b", COST_DRAINED), SetScale(2)]
    scaling.gone("b")
    scaling.drained("a", 2.0)
    scaling.drained("c", 2.0)
    assert effects(scaling, ready("a", "c"), 2.0) == [SetScale(0)]


def test_growing_again_keeps_victims_out_of_the_wish() -> None:
    """What drains cannot be had back: new ones are started beside it."""
    replicas = ready("a", "b")
    scaling = shrunk("a", of=replicas, to=1)
    scaling.want(3)
    assert effects(scaling, replicas, 1.0) == [SetScale(4)]
    scaling.drained("a", 2.0)
    assert effects(scaling, replicas, 2.0) == [SetScale(3)]


def test_a_victim_that_dies_by_itself_is_not_replaced() -> None:
    """The count follows at once."""
    replicas = ready("a", "b")
    scaling = shrunk("a", of=replicas, to=1)
    scaling.gone("a")
    assert effects(scaling, ready("b"), 1.0) == [SetScale(1)]


def test_replicas_that_never_were_ready_are_left_to_the_cluster() -> None:
    """ReplicaSets end those first; nothing is in them."""
    replicas = [replica("a"), replica("b", Phase.STARTING), replica("c", Phase.FAILED)]
    scaling = Scaling(45.0)
    scaling.observed(3)
    scaling.want(1)
    assert effects(scaling, replicas) == [SetScale(1)]
    assert not any(scaling.is_victim(r.id) for r in replicas)


def test_a_new_leader_goes_on_with_what_was_marked() -> None:
    """From the annotation alone; what it is told of it is what counts."""
    draining = replica("a", Phase.DRAINING)
    replicas = [draining, replica("b")]
    scaling = Scaling(45.0)
    scaling.observed(2)
    scaling.seen_draining(draining, 100.0)
    scaling.seen_draining(draining, 110.0)
    assert effects(scaling, replicas, 110.0) == []
    scaling.want(1)
    assert effects(scaling, replicas, 111.0) == []
    assert scaling.wake_at == 145.0
    scaling.drained("a", 112.0)
    assert effects(scaling, replicas, 112.0) == [SetScale(1)]


def test_a_mark_that_is_seen_need_not_be_written_again() -> None:
    """The answer was lost, the watch tells."""
    replicas = ready("a", "b")
    scaling = Scaling(45.0)
    scaling.observed(2)
    scaling.want(1, ["a"])
    assert scaling.next(replicas, 0.0) == Mark("a", COST_DRAINING)
    scaling.drained("a", 0.5)  # not yet: nobody was told that it drains
    scaling.seen_draining(replica("a", Phase.DRAINING), 1.0)
    assert scaling.next(replicas, 1.0) is None
    scaling.drained("a", 2.0)
    assert scaling.next(replicas, 2.0) == SetScale(1)


def test_the_victim_is_deleted_where_another_went_instead() -> None:
    """A replica on its way up counts less than any cost: the ReplicaSet took that one."""
    replicas = [replica("a"), replica("b", Phase.STARTING)]
    scaling = shrunk("a", of=replicas, to=1)
    scaling.drained("a", 1.0)
    assert effects(scaling, replicas, 1.0) == [SetScale(1)]
    left = [replica("a", Phase.DRAINING)]
    assert scaling.wake_at == 1.0 + SETTLE
    assert effects(scaling, left, SETTLE) == []
    assert effects(scaling, left, 1.0 + SETTLE) == [Delete("a")]
    assert scaling.wake_at == math.inf
    # Not while more are there than wanted: the ReplicaSet has not done its part yet.
    scaling = shrunk("a", of=ready("a", "b"), to=1)
    scaling.drained("a", 1.0)
    effects(scaling, ready("a", "b"), 1.0)
    behind = [*left, replica("b"), replica("c", Phase.STARTING)]
    assert effects(scaling, behind, 50.0) == []


def test_writes_about_those_that_are_gone_change_nothing() -> None:
    """They ended between the write and its answer."""
    scaling = Scaling(45.0)
    scaling.done(Mark("a", COST_DRAINING), 0.0)
    scaling.done(Delete("a"), 0.0)
    scaling.gone("a")
    assert scaling.next([], 0.0) is None


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_nothing_with_requests_is_ended(seed: int) -> None:
    """Against a ReplicaSet that ends whom it ranks first: wishes, losses and failed writes in
    any order. It never ends a replica that was ready and is not empty, and in the end there
    are as many as were wanted."""
    rng = random.Random(seed)
    scaling, now, numbers = Scaling(45.0), 0.0, iter(range(1000))
    pods: dict[str, Replica] = {}
    costs: dict[str, int] = {}
    busy: set[str] = set()
    count = 0

    def settle() -> None:
        while len(pods) < count:
            id = f"p{next(numbers)}"
            pods[id] = replica(id, Phase.STARTING)
        while len(pods) > count:
            order = sorted(
                pods, key=lambda id: (pods[id].phase is not Phase.STARTING, costs.get(id, 0))
            )
            assert order[0] not in busy, f"{order[0]} had requests"
            end(order[0])

    def end(id: str) -> None:
        del pods[id]
        busy.discard(id)
        scaling.gone(id)

    def write(fails: float) -> None:
        nonlocal count
        while (effect := scaling.next(list(pods.values()), now)) is not None:
            # Requests have a bounded time: those of victims whose time is over are cut off.
            busy.difference_update([id for id in busy if is_over(scaling, id)])
            if rng.random() < fails:
                return
            match effect:
                case SetScale(n):
                    count = n
                    settle()
                case Mark(id, cost) if id in pods:
                    costs[id] = cost
                    pods[id] = replace(pods[id], phase=Phase.DRAINING)
                case Delete(id) if id in pods:
                    end(id)
                    settle()
            scaling.done(effect, now)

    for _ in range(120):
        now += 1.0
        match rng.choice(["want", "ready", "drained", "lost", "nothing"]):
            case "want":
                scaling.want(rng.randrange(5))
            case "ready":
                for id, pod in pods.items():
                    if pod.phase is Phase.STARTING:
                        pods[id] = replica(id)
                        busy.add(id)
            case "drained":
                for id in [id for id in sorted(busy) if pods[id].phase is Phase.DRAINING][:1]:
                    busy.discard(id)
                    scaling.drained(id, now)
            case "lost" if pods:
                end(rng.choice(sorted(pods)))
                settle()
        write(fails=0.3)
    for id in sorted(busy):
        scaling.drained(id, now)
    busy.clear()
    for _ in range(40):
        now += SETTLE
        write(fails=0.0)
    assert scaling.wish is None or len(pods) == scaling.wish


def is_over(scaling: Scaling, id: str) -> bool:
    """Whether a victim counts as empty, because it is or its time was over."""
    victim = scaling._victims.get(id)
    return victim is not None and victim.stage.name == "EMPTY"


def test_who_leads_no_more_wants_nothing_more() -> None:
    """What was wanted and not begun is given up; a replica that was told to go still goes."""
    scaling = Scaling(45.0)
    scaling.observed(3)
    three = ready("a", "b", "c")
    scaling.want(1, ["b", "c"])
    told = scaling.next(three, 0.0)
    assert told in (Mark("b", COST_DRAINING), Mark("c", COST_DRAINING))
    scaling.done(told, 0.0)
    other = "c" if told.id == "b" else "b"
    assert scaling.is_victim(other)
    scaling.stand_down()
    assert scaling.is_victim(told.id)
    assert not scaling.is_victim(other)
    assert effects(scaling, three, 100.0) == []
