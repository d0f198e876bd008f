"""Learned starts: which of them are asked, and what is left of one under way."""

from __future__ import annotations

import pytest

from stoker import estimate
from stoker.estimate import DEFAULT_SECONDS, Estimate, Estimator
from stoker.vocabulary import ModelKey, Phase, Replica

A = ModelKey("default", "a")
B = ModelKey("default", "b")
PULL, START = Phase.PULLING_IMAGE, Phase.STARTING


def learned(*starts: tuple[float, float], model: ModelKey = A, node: str = "n1") -> Estimator:
    """An estimator that saw these starts: seconds of pulling, of starting."""
    estimator = Estimator()
    for pulling, starting in starts:
        estimator.observe(model, node, [(PULL, pulling), (START, starting)])
    return estimator


def test_nothing_known() -> None:
    """Without any start there is a guess, marked as one, that never falls to nothing."""
    estimator = Estimator()
    assert estimator.eta(A) == Estimate(DEFAULT_SECONDS, False, None, 0)
    assert estimator.eta(A, phase=START, elapsed=10.0).seconds == DEFAULT_SECONDS - 10
    assert estimator.eta(A, phase=START, elapsed=1000.0).seconds == 1.0
    assert estimator.phases(A) == {}


def test_the_whole_way() -> None:
    """A high quantile of whole starts: 75 % between 10 and 20 s is 17.5 s."""
    assert learned((5, 5), (10, 10)).eta(A) == Estimate(17.5, True, None, 2)


def test_what_is_left() -> None:
    """Only starts that took longer in this phase say how much of it is left."""
    estimator = learned((10, 2), (20, 4), (30, 6))
    assert estimator.eta(A, "n1", PULL, 15.0) == Estimate(18.0, True, PULL, 2)
    assert estimator.eta(A, "n1", PULL, 25.0) == Estimate(11.0, True, PULL, 1)
    assert estimator.eta(A, "n1", START, 5.0) == Estimate(1.0, True, START, 1)


def test_the_spread_of_a_phase() -> None:
    """The shortest and the longest time; what other models took says nothing of this one."""
    estimator = learned((10, 2), (20, 6), (30, 4))
    assert estimator.spread(A, "n1", START) == (2, 6)
    assert estimator.spread(A, "elsewhere", PULL) == (10, 30)
    assert estimator.spread(B, "n1", START) is None
    assert Estimator().spread(A, "n1", START) is None


def test_slower_than_ever() -> None:
    """A start that outlasts all known ones gets a guess, marked as one."""
    estimator = learned((10, 4))
    assert estimator.eta(A, "n1", PULL, 40.0) == Estimate(24.0, False, PULL, 1)
    assert estimator.eta(A, "n1", START, 5.0).seconds == 2.5
    assert estimator.eta(A, "n1", START, 4.0).known is False


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.DRAINING])
def test_another_start_is_needed(phase: Phase) -> None:
    """What will not become ready counts as nothing begun."""
    assert learned((10, 4)).eta(A, "n1", phase, 99.0) == Estimate(14.0, True, None, 1)


def test_ready_is_ready() -> None:
    """Nothing is left for a replica that is ready."""
    assert learned((10, 4)).eta(A, "n1", Phase.READY, 99.0).seconds == 0.0


def test_node_then_model_then_all() -> None:
    """The node's own starts once there are three, else the model's, else everyone's."""
    estimator = learned((0, 10), (0, 10), node="n1")
    estimator.observe(A, "n2", [(START, 50.0)])
    assert estimator.eta(A, "n1").seconds == 30.0
    estimator.observe(A, "n1", [(START, 10.0)])
    assert estimator.eta(A, "n1") == Estimate(10.0, True, None, 3)
    assert estimator.eta(A, "n2") == estimator.eta(A) == Estimate(20.0, True, None, 4)
    assert estimator.eta(B) == Estimate(20.0, False, None, 4)


def test_skipped_phases_count_as_nothing() -> None:
    """An image that was there already makes a start shorter, not the phase unknown."""
    estimator = learned((0, 4), (0, 4), (0, 4))
    assert estimator.phases(A) == {START: 4.0}
    estimator.observe(A, "n1", [(PULL, 40.0), (START, 4.0)])
    assert estimator.phases(A, "n1") == {PULL: 10.0, START: 4.0}


def test_what_is_not_a_start_is_ignored() -> None:
    """Phases after ready, negative times, and starts of which nothing is known."""
    estimator = Estimator()
    estimator.observe(A, "n1", [(Phase.READY, 100.0), (START, -1.0)])
    estimator.observe(A, "n1", [])
    assert estimator.eta(A).known is False
    estimator.observe(A, "n1", [(START, 2.0), (Phase.DRAINING, 30.0), (START, 1.0)])
    assert estimator.eta(A).seconds == 3.0


def test_old_starts_make_way() -> None:
    """After enough faster starts the slow ones are forgotten."""
    estimator = learned(*[(0, 100)] * 32)
    for _ in range(32):
        estimator.observe(A, "n1", [(START, 1.0)])
    assert estimator.eta(A).seconds == 1.0


def test_forgetting_a_model() -> None:
    """A model that is gone leaves nothing of its own."""
    estimator = learned((0, 100))
    estimator.observe(B, "n1", [(START, 1.0)])
    estimator.forget(A)
    assert estimator.eta(A).known is False
    assert estimator.eta(B).known is True


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The histories fed least recently go first."""
    monkeypatch.setattr(estimate, "_MOST_HISTORIES", 4)
    estimator = learned((0, 1))
    estimator.observe(B, "n1", [(START, 2.0)])
    estimator.observe(A, "n1", [(START, 1.0)])
    estimator.observe(ModelKey("default", "c"), "n1", [(START, 3.0)])
    assert estimator.eta(A).known
    assert not estimator.eta(B).known


def replica(phase: Phase, since: float) -> Replica:
    return Replica(A, f"a-{phase}-{since}", 1, phase, since, node="n1")


def test_until_a_model_is_served() -> None:
    """The quickest way counts: a ready replica, one under way, else a new one."""
    estimator = learned((10, 2), (10, 2))
    assert Estimator().until_served(A, [], 0.0) is None
    assert Estimator().until_served(A, [replica(START, 0.0)], 1.0) is None
    assert estimator.until_served(A, [], 0.0) == 12.0
    under_way = [replica(PULL, 0.0), replica(START, 99.0)]
    assert estimator.until_served(A, under_way, 100.0) == 1.0
    assert estimator.until_served(A, [replica(Phase.DRAINING, 0.0)], 1.0) == 12.0
    assert estimator.until_served(A, [*under_way, replica(Phase.READY, 0.0)], 100.0) == 0.0
