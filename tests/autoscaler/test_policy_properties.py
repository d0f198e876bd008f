"""What holds for every load and every setting, whatever the models' policies are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.journal import Journal
from autoscaler.journal_file import Line
from autoscaler.planner import Planner
from autoscaler.policies import idle_times
from autoscaler.replay import again, replay
from stoker.vocabulary import Decision, ModelKey, Plan, ScalingConfig
from tests.autoscaler.driving import A, B, Life, configs, drive, lives, with_policies

MOMENTS, STRIDE = 24, 9
END = MOMENTS * STRIDE
C = ModelKey("other", "c")
ONE = st.tuples(with_policies(configs), lives(MOMENTS))
THREE = st.tuples(ONE, ONE, ONE)
few = settings(max_examples=8, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def quick_learners() -> Iterator[None]:
    """Two idle times of a few seconds are a pattern: lives here last 216 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle_times, "ENOUGH", 2.0)
        patch.setattr(idle_times, "WIDTH", 5.0)
        yield


def live(
    planner: Planner, models: dict[ModelKey, tuple[ScalingConfig, Life]], start: int = 0
) -> dict[ModelKey, list[Decision]]:
    return drive(planner, models, start, every=1, stride=STRIDE)


@few
@given(ONE)
def test_bounds_hold(one: tuple[ScalingConfig, Life]) -> None:
    """Never below min_scale, never above max_scale, whatever a policy's floor is."""
    most = one[0].max_scale or 10**9
    least = min(one[0].min_scale, most)
    for decision in live(Planner(), {A: one})[A]:
        assert least <= decision.desired <= most


@few
@given(THREE, st.permutations([A, B, C]))
def test_all_at_once_is_each_alone_in_any_order(
    each: tuple[tuple[ScalingConfig, Life], ...], order: list[ModelKey]
) -> None:
    """N models in one planner, set in whatever order, get what N planners of one give."""
    models = dict(zip((A, B, C), each, strict=True))
    together = live(Planner(), {model: models[model] for model in order})
    for model, one in models.items():
        assert live(Planner(), {model: one})[model] == together[model]


@few
@given(THREE, with_policies(configs))
def test_a_reused_row_inherits_nothing(
    each: tuple[tuple[ScalingConfig, Life], ...], changed: ScalingConfig
) -> None:
    """After a change of policy and a removal the next tenant starts from nothing."""
    first, second, stays = each
    planner = Planner()
    live(planner, {A: first, C: stays})
    planner.set_model(A, changed, END)
    row = planner.rows.index[A]
    planner.remove_model(A, float(END))
    reused = live(planner, {B: second, C: stays}, END)[B]
    assert planner.rows.index[B] == row
    assert reused == live(Planner(), {B: second}, END)[B]


@few
@given(ONE, lives(MOMENTS))
def test_a_snapshot_carries_everything(one: tuple[ScalingConfig, Life], after: Life) -> None:
    """A leader that took over a snapshot decides as the old one would have; also when its
    clock is 1000 s ahead, but for times. It goes through JSON, as in the journal's file."""
    config = replace(one[0], scale_down_delay=min(one[0].scale_down_delay, 60.0))
    old, new, ahead = Planner(), Planner(), Planner()
    live(old, {A: (config, one[1])})
    snapshot = json.loads(json.dumps(old.snapshot(float(END))))
    new.restore(snapshot)
    ahead.set_model(A, config, 1000.0)
    ahead.restore(snapshot, shift=1000)
    theirs = live(old, {A: (config, after)}, END)[A]
    assert live(new, {A: (config, after)}, END)[A] == theirs
    shifted = live(ahead, {A: (config, after)}, END + 1000)[A]
    assert shifted == [decision._replace(time=decision.time + 1000) for decision in theirs]


@few
@given(ONE)
def test_decisions_are_made_again(one: tuple[ScalingConfig, Life]) -> None:
    """Every journalled decision follows again from its evidence alone, bit for bit."""
    journal = Journal(per_model=1000)
    live(Planner(journal=journal), {A: one})
    assert journal.verdicts(A)
    for verdict in journal.verdicts(A):
        evidence = verdict.evidence._replace(policy=json.loads(json.dumps(verdict.evidence.policy)))
        assert again(verdict._replace(evidence=evidence)) == verdict.decision


@few
@given(ONE, ONE, with_policies(configs), lives(MOMENTS))
def test_a_run_is_repeated_from_its_lines(
    first: tuple[ScalingConfig, Life],
    second: tuple[ScalingConfig, Life],
    changed: ScalingConfig,
    after: Life,
) -> None:
    """From the beginning or from a snapshot within, all plans come out the same, through a
    change of policy too."""
    recorded: list[Line] = []
    planner = Planner(journal=Journal(writer=recorded.append))
    plans: list[Plan] = []
    decide = planner.decide

    def observed(*args: object) -> object:
        plans.append(decide(*args))  # type: ignore[arg-type]
        return plans[-1]

    planner.decide = observed  # type: ignore[method-assign, assignment]
    live(planner, {A: first, B: second})
    begun, before = len(recorded), len(plans)
    snapshot: Line = {"kind": "snapshot", **planner.snapshot(float(END))}
    live(planner, {A: (changed, after), B: (second[0], after)}, END)
    recorded = json.loads(json.dumps(recorded))
    assert list(replay(recorded)) == plans
    assert list(replay([json.loads(json.dumps(snapshot)), *recorded[begun:]])) == plans[before:]
