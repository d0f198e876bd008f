"""Several policies in one planner, and a change from one to another while running."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoscaler.planner import Planner
from autoscaler.policies import Floor, Policy, Verdict
from autoscaler.policies.additions import Part
from autoscaler.policies.kpa import Kpa
from autoscaler.policies.per_model import PerModel
from autoscaler.scale_to_zero import NEVER, Kept, ScaleToZero, Supply
from autoscaler.window import Averages
from stoker.vocabulary import ModelKey, PolicyName, ScalingConfig
from tests.autoscaler.driving import A, B, say

ERLANG = ScalingConfig(policy=PolicyName.ERLANG_C, target=0.7, capacity=1.0, initial_scale=0)
ROW = np.array([0])


def test_a_change_of_policy_forgets_what_the_other_learned() -> None:
    """KPA's memory stays, service times do not; nor do they come back with the policy."""
    policy = PerModel()
    policy.reserve(1)
    policy.configure(0, ERLANG, 0.0)
    policy.begin(0, 3.0, 0.0)
    policy.serve(ROW, np.array([5.0]), np.array([10.0]))
    assert policy.measures_service
    learned = policy.take(0)
    assert learned["own"] == {"busy": 5.0, "completions": 10.0}
    policy.configure(0, replace(ERLANG, policy=PolicyName.KPA), 1.0)
    assert not policy.measures_service
    assert policy.take(0) == {"panicked": 0.0, "peak": 3.0}
    policy.put(0, learned)
    policy.configure(0, ERLANG, 2.0)
    assert policy.take(0)["own"] == {"busy": 0.0, "completions": 0.0}
    policy.put(0, {**learned, "of": "seasonal"})
    assert policy.take(0)["own"] == {"busy": 0.0, "completions": 0.0}
    policy.put(0, learned)
    assert policy.take(0) == learned


def test_slots_are_reused() -> None:
    """Ten thousand models that come and go need one slot; a row that leaves frees its own."""
    policy = PerModel()
    policy.reserve(2)
    for _ in range(100):
        policy.configure(1, ERLANG, 0.0)
        policy.serve(np.array([1]), np.array([5.0]), np.array([10.0]))
        policy.reset(1)
    policy.configure(0, ERLANG, 0.0)
    assert policy._slot[0] == 0
    assert policy.take(0)["own"] == {"busy": 0.0, "completions": 0.0}


def test_weights_are_each_policy_s_own() -> None:
    """Only rows of erlang-c weigh what waits differently."""
    policy = PerModel()
    policy.reserve(3)
    for row, name in enumerate((PolicyName.SEASONAL, PolicyName.ERLANG_C, PolicyName.KPA)):
        policy.configure(row, replace(ERLANG, policy=name), 0.0)
    rows = np.arange(3)
    policy.serve(rows, np.full(3, 2.5), np.full(3, 10.0))
    assert policy.weight_of_queued(rows).tolist() == [1.0, 0.25, 1.0]


def test_what_nobody_overrides() -> None:
    """A part that only has settings changes nothing of KPA's, nor does a bare policy listen."""
    part, averages = Part(), Averages(np.ones(1), np.ones(1), np.ones(1, dtype=np.bool_))
    part.reserve(1)
    part.configure(0, ERLANG, 0.0)
    part.observe(0, ROW, np.ones(1))
    part.serve(ROW, np.ones(1), np.ones(1))
    part.put(0, part.take(0), 0)
    part.reset(0)
    assert part.sizes(ROW, averages) is None
    assert part.wish(ROW, averages, np.zeros(1), 0.0) is None
    assert part.freeze(ROW, np.zeros(1), 0.0)(ROW) == [{}]
    assert part.weight_of_queued(ROW).tolist() == [1.0]
    kpa = Kpa()
    kpa.serve(ROW, np.ones(1), np.ones(1))
    assert kpa.weight_of_queued(ROW).tolist() == [1.0]
    assert not kpa.measures_service


def test_a_poke_of_others() -> None:
    """Deciding for rows of KPA alone, while others have policies of their own, is KPA's."""
    planner = Planner()
    planner.set_model(A, replace(ERLANG, policy=PolicyName.KPA), 0.0)
    planner.set_model(B, ERLANG, 0.0)
    say(planner, 0, {A: 0.7, B: 0.7})
    planner.decide(0.5, [A])
    decision = planner.decision(A)
    assert decision is not None
    assert (decision.desired, planner.decision(B)) == (1, None)
    planner.policy.reserve(1)
    assert planner.policy.take(1)["of"] == "erlang-c"


class Fixed(Kpa, Policy):
    """At least so many, whatever happens."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def decide(self, at, averages, supply, now, sizes=None):  # type: ignore[no-untyped-def]
        verdict = super().decide(at, averages, supply, now, sizes)
        count = len(averages.valid)
        floor = Floor(
            np.arange(count),
            np.full(count, self.least),
            np.full(count, NEVER),
            np.full(count, 7.0),
            np.zeros(count),
        )
        return Verdict(*verdict[:3], floor)


def test_a_floor_holds_without_data_and_within_bounds() -> None:
    """Three without any report; max-scale bounds it, min-scale and load go above it."""
    planner = Planner(Fixed(3.0))
    for name, bounds in (("a", (0, 0)), ("b", (0, 2)), ("c", (4, 0)), ("d", (0, 0))):
        config = ScalingConfig(min_scale=bounds[0], max_scale=bounds[1], initial_scale=0)
        planner.set_model(ModelKey("default", name), config, 0.0)
    say(planner, 0, {ModelKey("default", "d"): 700.0})
    planner.decide(0.5)
    decisions = [planner.decision(ModelKey("default", name)) for name in "abcd"]
    assert [d and d.desired for d in decisions] == [3, 2, 4, 10]
    assert [d and d.reason for d in decisions][:3] == [
        "the policy asks for at least 3, whatever the load",
        "the policy asks for at least 2, whatever the load",
        "no load data: min-scale 4",
    ]


def test_the_way_to_zero_begins_when_the_floor_falls() -> None:
    """Retention is counted from then; a rule's own time to look again comes first."""
    rules = ScaleToZero()
    rules.reserve(1)
    config = ScalingConfig(
        initial_scale=0, stable_window=10.0, scale_to_zero_pod_retention_period=30.0
    )
    rules.configure(0, config)
    asked = 0.0

    def step(now: float, least: float, look: float) -> tuple[float, Kept, float]:
        nonlocal asked
        floor = Floor(ROW, np.array([least]), np.array([look]), np.ones(1), np.ones(1))
        supply = Supply(np.array([asked]), np.zeros(1), np.array([asked]))
        outcome = rules.decide(
            slice(0, 1), np.zeros(1), np.zeros(1, dtype=np.bool_) | (asked > 0), supply, now, floor
        )
        asked = float(outcome.desired[0])
        return asked, Kept(int(outcome.kept[0])), float(outcome.look_again[0])

    assert step(0.0, 0.0, 100.0) == (0.0, Kept.NOT, 100.0)
    assert step(100.0, 1.0, 200.0) == (1.0, Kept.FLOOR, 200.0)
    assert step(150.0, 1.0, 200.0) == (1.0, Kept.FLOOR, 200.0)
    assert step(200.0, 0.0, 900.0) == (1.0, Kept.RETENTION, 230.0)
    assert step(230.0, 0.0, 900.0) == (0.0, Kept.NOT, 900.0)


def test_start_seconds_of_models_unknown_or_unchanged() -> None:
    """Neither is an input worth a line in the journal."""
    planner = Planner()
    planner.set_start_seconds(A, 5.0, 0.0)
    planner.set_model(A, ERLANG, 0.0)
    planner.set_model(B, ERLANG, 0.0)
    planner.set_start_seconds(A, 5.0, 0.0)
    planner.set_start_seconds(A, 5.0, 1.0)
    assert planner.state.start_seconds[:2].tolist() == [5.0, 0.0]
