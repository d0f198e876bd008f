"""What holds for every load and every setting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.planner import Planner
from autoscaler.policies import Supply
from autoscaler.policies.kpa import Kpa
from autoscaler.window import Shape, Windows
from stoker.vocabulary import ModelKey, ScalingConfig
from tests.autoscaler.driving import A, B, Life, configs, drive, lives
from tests.properties import costly

SECONDS = 20
C = ModelKey("other", "c")
few = costly(15)


@few
@given(configs, lives(SECONDS))
def test_bounds_hold(config: ScalingConfig, life: Life) -> None:
    """Never below min_scale, never above max_scale; max_scale wins over min_scale."""
    most = config.max_scale or 10**9
    least = min(config.min_scale, most)
    for decision in drive(Planner(), {A: (config, life)})[A]:
        assert least <= decision.desired <= most


@few
@given(configs, lives(SECONDS))
def test_never_down_in_panic(config: ScalingConfig, life: Life) -> None:
    """While a panic lasts, what the policy wants does not fall.

    Without a scale-down delay: that may hold up an answer from before the panic above the
    panic's own, and its end is then seen, as in Knative.
    """
    config = replace(config, scale_down_delay=0.0)
    before = None
    for decision in drive(Planner(), {A: (config, life)})[A]:
        if not decision.valid:
            continue
        if before is not None and before.panicking and decision.panicking:
            assert decision.wanted >= before.wanted
        before = decision


@few
@given(
    configs,
    st.lists(
        st.tuples(st.floats(0, 200), st.floats(0, 200), st.integers(0, 9)),
        min_size=SECONDS,
        max_size=SECONDS,
    ),
)
def test_monotone_in_load(config: ScalingConfig, life: list[tuple[float, float, int]]) -> None:
    """More load at every second never makes the policy want fewer replicas."""
    windows, policy = Windows(), Kpa()
    policy.reserve(2)
    for row in range(2):
        windows.place(
            row, Shape(config.stable_window, config.panic_window, config.window_aggregation)
        )
        policy.configure(row, config, 0.0)
    both = np.arange(2)
    for second, (load, more, replicas) in enumerate(life):
        windows.add(second, both, np.array([load, load + more]))
        ready = np.full(2, float(replicas))
        averages = windows.averages(second, 2)
        verdict = policy.decide(slice(0, 2), averages, Supply(ready, ready, np.zeros(2)), second)
        assert verdict.wanted[0] <= verdict.wanted[1]
        assert verdict.panicking[0] <= verdict.panicking[1]


three = st.tuples(*[st.tuples(configs, lives(SECONDS))] * 3)


@few
@given(three, st.permutations([A, B, C]))
def test_order_is_irrelevant(
    each: tuple[tuple[ScalingConfig, Life], ...], order: list[ModelKey]
) -> None:
    """In whatever order models are set and told of, each gets the same decisions."""
    models = dict(zip((A, B, C), each, strict=True))
    assert drive(Planner(), models) == drive(Planner(), {model: models[model] for model in order})


@few
@given(three)
def test_all_at_once_is_each_alone(each: tuple[tuple[ScalingConfig, Life], ...]) -> None:
    """N models in one planner get exactly what N planners of one model give."""
    models = dict(zip((A, B, C), each, strict=True))
    together = drive(Planner(), models)
    for model, life in models.items():
        assert drive(Planner(), {model: life})[model] == together[model]


@few
@given(three, configs)
def test_a_reused_row_inherits_nothing(
    each: tuple[tuple[ScalingConfig, Life], ...], changed: ScalingConfig
) -> None:
    """After a removal the row's next tenant is decided on as if nobody had been there."""
    (first, second, stays) = each
    planner = Planner()
    drive(planner, {A: first, C: stays})
    planner.set_model(A, changed, SECONDS)
    row = planner.rows.index[A]
    planner.remove_model(A, float(SECONDS))
    reused = drive(planner, {B: second, C: stays}, start=SECONDS)[B]
    assert planner.rows.index[B] == row
    assert reused == drive(Planner(), {B: second}, start=SECONDS)[B]


@few
@given(configs, lives(SECONDS), lives(SECONDS))
def test_a_snapshot_carries_everything(config: ScalingConfig, before: Life, after: Life) -> None:
    """A new leader that took over a snapshot decides exactly as the old one would have."""
    old = Planner()
    drive(old, {A: (config, before)})
    new = Planner()
    new.restore(old.snapshot(float(SECONDS)))
    assert drive(new, {A: (config, after)}, SECONDS) == drive(old, {A: (config, after)}, SECONDS)


@few
@given(configs, lives(SECONDS), lives(SECONDS))
def test_a_snapshot_moves_to_another_clock(
    config: ScalingConfig, before: Life, after: Life
) -> None:
    """The same with a clock that is 1000 s ahead of the old leader's; but for times."""
    config = replace(config, scale_down_delay=min(config.scale_down_delay, 60.0))
    old, new = Planner(), Planner()
    drive(old, {A: (config, before)})
    new.set_model(A, config, 1000.0)
    new.restore(old.snapshot(float(SECONDS)), shift=1000)
    theirs = drive(old, {A: (config, after)}, SECONDS)[A]
    ours = drive(new, {A: (config, after)}, SECONDS + 1000)[A]
    assert ours == [decision._replace(time=decision.time + 1000) for decision in theirs]
