"""Rows, commands, reasons: what the planner adds to windows, policy and scale-to-zero."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planner import Planner
from autoscaler.rows import Handles, Rows
from autoscaler.table import Table
from stoker.vocabulary import Decision, Metric, ModelKey, ScaleTo, ScalingConfig, WakeAt
from tests.autoscaler.driving import A, B, say

ASLEEP = ScalingConfig(initial_scale=0, target=10.0, capacity=10.0)


def planner(**models: ScalingConfig) -> Planner:
    result = Planner()
    for name, config in models.items():
        result.set_model(ModelKey("default", name), config, 0.0)
    return result


def decision(target: Planner, now: float) -> Decision:
    target.decide(now)
    found = target.decision(A)
    assert found is not None
    return found


def test_first_scale_and_silence_after_it() -> None:
    """A new model is brought to its initial scale once; then nothing is repeated."""
    target = planner(a=ScalingConfig(initial_scale=2))
    plan = target.decide(0.0)
    assert plan.commands == (ScaleTo(A, 2, "no load data yet: initial-scale 2"),)
    assert [d.desired for d in plan.decisions] == [2]
    assert target.decide(2.0).decisions == ()


def test_replicas_that_are_there_are_not_asked_for() -> None:
    """What is there at the first look is taken as asked for, starting ones too."""
    target = planner(a=ScalingConfig(initial_scale=2))
    target.set_counts(A, 1, 1, 0.0)
    assert target.decide(0.0).commands == ()


def test_poked_models_alone() -> None:
    """A decision out of turn touches only the models it is for; unknown ones are skipped."""
    target = planner(a=ASLEEP, b=ASLEEP)
    say(target, 1, {A: 1.0, B: 1.0})
    plan = target.decide(1.5, [A, ModelKey("default", "nobody"), A])
    assert [command.model for command in plan.commands if isinstance(command, ScaleTo)] == [A]
    assert target.decision(B) is None
    assert [d.model for d in target.decide(2.0).decisions] == [B]


def test_several_poked_models() -> None:
    """Rows that do not follow each other are decided for together as each would be alone."""
    target, alone = (planner(a=ASLEEP, b=ASLEEP, c=ASLEEP) for _ in range(2))
    c = ModelKey("default", "c")
    for each in (target, alone):
        say(each, 1, {A: 11.0, B: 1.0, c: 31.0})
    plan = target.decide(1.5, [c, A])
    assert [(d.model, d.desired) for d in plan.decisions] == [(A, 2), (c, 4)]
    assert plan.decisions == (*alone.decide(1.5, [A]).decisions, *alone.decide(1.5, [c]).decisions)
    assert target.decision(B) is None


def test_look_again_is_a_command() -> None:
    """The time at which a kept replica may go is announced once, when it is known."""
    target = planner(a=ASLEEP)
    say(target, 0, {A: 1.0})
    target.decide(0.0)
    target.set_counts(A, 1, 0, 1.0)
    target.decide(1.0)
    target.open_second(59)
    target.windows.averages(60.0, 1)
    target.open_second(60)
    plan = target.decide(60.5)
    wakes = [command for command in plan.commands if isinstance(command, WakeAt)]
    assert [wake.time for wake in wakes] == [61.0]
    assert target.decide(60.7).commands == ()
    assert [c for c in target.decide(61.0).commands if isinstance(c, ScaleTo)] == [
        ScaleTo(A, 0, "no load over 60 s")
    ]


def test_asleep_models_start_afresh() -> None:
    """The first load after a sleep is not diluted by zeros said during it."""
    target = planner(a=ASLEEP)
    for second in range(20):
        target.open_second(second)
        target.decide(second)
    say(target, 20, {A: 25.0})
    assert decision(target, 20.0).desired == 3
    target.open_second(21)
    assert decision(target, 21.0).stable == 12.5


def test_rates() -> None:
    """Models scaled on arrivals get those, the others their concurrency."""
    target = planner(a=ScalingConfig(metric=Metric.RPS), b=ASLEEP)
    assert target.scales_on_rates
    rows = target.rows.resolve([A, B]).rows
    both = target.load_of(rows, np.array([1.0, 2.0]), np.array([10.0, 20.0]), np.zeros(2))
    assert both.tolist() == [10.0, 2.0]
    target.set_model(A, ASLEEP, 1.0)
    assert not target.scales_on_rates
    target.set_model(A, ScalingConfig(metric=Metric.RPS), 1.0)
    target.remove_model(A, 2.0)
    assert not target.scales_on_rates


def test_unknown_models_are_ignored() -> None:
    """Late news of a model that is gone changes nothing."""
    target = planner(a=ASLEEP)
    target.remove_model(A, 1.0)
    target.remove_model(A, 1.0)
    target.set_counts(A, 5, 5, 1.0)
    target.forget_asked(A, 1.0)
    assert target.decision(A) is None
    assert target.decide(2.0).decisions == ()
    with pytest.raises(KeyError):
        target.config(A)


def test_given_up_commands_are_repeated() -> None:
    """After a refusal what is there counts, not what was asked for."""
    target = planner(a=ScalingConfig(initial_scale=2))
    target.decide(0.0)
    target.forget_asked(A, 1.0)
    assert [c.replicas for c in target.decide(2.0).commands if isinstance(c, ScaleTo)] == [2]


def reason(
    config: ScalingConfig,
    *loads: float,
    ready: int = 1,
    starting: int = 0,
    now: float | None = None,
) -> str:
    """The reason given after these loads, one per second, with these replicas throughout."""
    target = planner(a=config)
    target.set_counts(A, ready, starting, 0.0)
    for second, load in enumerate(loads):
        say(target, second, {A: load})
        target.decide(second + 0.5)
    return decision(target, len(loads) if now is None else now).reason


BASE = {"target": 10.0, "capacity": 10.0, "initial_scale": 0}


@pytest.mark.parametrize(
    ("config", "loads", "replicas", "text"),
    [
        ({}, (), (0, 0), "asleep: no load"),
        ({"initial_scale": 2}, (), (0, 0), "no load data yet: initial-scale 2"),
        ({"min_scale": 2}, (), (0, 0), "no load data: min-scale 2"),
        ({"min_scale": 1}, (), (2, 0), "no load data: nothing is changed"),
        (
            {},
            (15.25,),
            (3, 0),
            "panic: 15.25 concurrent over 6 s, target 10: 2 wanted, 3 ready; "
            "not below 3 while in panic",
        ),
        (
            {},
            (15.25,),
            (1, 1),
            "15.25 concurrent over 60 s, target 10: 2 wanted, 1 ready, 1 starting",
        ),
        (
            {"metric": Metric.RPS},
            (30.0,),
            (1, 0),
            "panic: 30 requests/s over 6 s, target 10: 3 wanted, 1 ready",
        ),
        (
            {"max_scale_up_rate": 2.0},
            (90.0,),
            (1, 0),
            "panic: 90 concurrent over 6 s, target 10: 9 wanted, 1 ready; "
            "max-scale-up-rate allows 2",
        ),
        (
            {"max_scale_up_rate": 2.0, "panic_threshold": 100.0},
            (90.0,),
            (1, 0),
            "90 concurrent over 60 s, target 10: 9 wanted, 1 ready; max-scale-up-rate allows 2",
        ),
        (
            {"activation_scale": 3},
            (5.0,),
            (1, 0),
            "5 concurrent over 60 s, target 10: 1 wanted, 1 ready; activation-scale 3",
        ),
        (
            {"max_scale": 2},
            (90.0,),
            (5, 0),
            "panic: 90 concurrent over 6 s, target 10: 9 wanted, 5 ready; max-scale 2",
        ),
        (
            {"min_scale": 2},
            (5.0,),
            (1, 0),
            "5 concurrent over 60 s, target 10: 1 wanted, 1 ready; min-scale 2",
        ),
        (
            {"initial_scale": 3},
            (5.0,),
            (1, 0),
            "5 concurrent over 60 s, target 10: 1 wanted, 1 ready; initial-scale 3",
        ),
        ({}, (0.0,), (1, 0), "idle, but active for less than a stable window of 60 s: 59.5 s left"),
        (
            {"stable_window": 6.0, "scale_to_zero_pod_retention_period": 30.0},
            (0.0,) * 8,
            (1, 0),
            "idle; the last replica is retained: 28.5 s left",
        ),
        (
            {"enable_scale_to_zero": False},
            (0.0,),
            (1, 0),
            "idle; one replica stays: enable-scale-to-zero is false",
        ),
        (
            {},
            (0.0,),
            (0, 1),
            "idle, but its first replica is still starting: not given up yet, 609.5 s left",
        ),
    ],
)
def test_reasons(
    config: dict[str, float], loads: tuple[float, ...], replicas: tuple[int, int], text: str
) -> None:
    """Each decision says in one line what it follows from, with the setting to blame."""
    settings = ScalingConfig(**{**BASE, **config})  # type: ignore[arg-type]
    assert reason(settings, *loads, ready=replicas[0], starting=replicas[1]) == text


@pytest.mark.parametrize(
    ("delay", "text"),
    [
        (0.0, "; max-scale-down-rate allows no less than 4"),
        (30.0, "; falling no lower than 8 yet (scale-down-delay, max-scale-down-rate)"),
    ],
)
def test_reasons_for_falling_slowly(delay: float, text: str) -> None:
    """A model that shrinks says what slows it down."""
    config = ScalingConfig(
        **BASE,  # type: ignore[arg-type]
        stable_window=6.0,
        panic_threshold=100.0,
        scale_down_delay=delay,
    )
    assert reason(config, 80.0, 0, 0, 0, 0, 0, 0, 5.0, ready=8).endswith(text)


def test_reason_for_grace() -> None:
    """Traffic that passes the activator by is named as the cause."""
    target = planner(a=ScalingConfig(initial_scale=0, stable_window=6.0))
    target.set_counts(A, 1, 0, 0.0)
    target.to_zero.memory.put(0, {"via_activator": False})
    for second in range(8):
        target.open_second(second)
        target.decide(second)
    assert decision(target, 8.0).reason == (
        "idle; traffic does not pass the activator yet: grace period, 28 s left"
    )


def test_rows_are_reused_and_handles_void() -> None:
    """A handle from before a removal does not reach the row's next tenant."""
    rows = Rows()
    keys = [ModelKey("default", str(number)) for number in range(40)]
    for key in keys:
        rows.add(key)
    handles = rows.resolve([*keys, A])
    assert rows.valid(handles).tolist() == [True] * 40 + [False]
    row = rows.remove(keys[7])
    assert rows.add(B) == row == rows.add(B)
    assert np.flatnonzero(~rows.valid(handles)).tolist() == [7, 40]
    assert len(rows) == 40
    assert rows.valid(Handles(*rows.resolve([B]))).tolist() == [True]


class Pair(Table):
    DEFAULTS = {"x": 1.0, "on": False}  # noqa: RUF012


def test_tables_refuse_unknown_columns() -> None:
    """A misspelt column is an error, not a new attribute."""
    table = Pair()
    table.reserve(1)
    table.put(0, {"x": 2.0, "on": True})
    assert table.take(0) == {"x": 2.0, "on": True}
    table.reset(0)
    assert table.take(0) == {"x": 1.0, "on": False}
    with pytest.raises(KeyError, match="y"):
        table.put(0, {"y": 1.0})
