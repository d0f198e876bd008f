"""When a wanted zero becomes one, and what the bounds make of everything else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoscaler.scale_to_zero import ACTIVATION_LIMIT, NEVER, Kept, ScaleToZero, Supply
from stoker.vocabulary import ScalingConfig


class Answer(NamedTuple):
    desired: int
    kept: Kept
    look_again: float


class One:
    """One row; what is asked for follows what is desired."""

    def __init__(self, config: ScalingConfig) -> None:
        self.rules = ScaleToZero()
        self.rules.reserve(1)
        self.rules.configure(0, config)
        self.asked = 0.0

    def __call__(
        self, now: float, wanted: float, ready: int, starting: int = 0, valid: bool = True
    ) -> Answer:
        supply = Supply(
            np.array([float(ready)]), np.array([float(starting)]), np.array([self.asked])
        )
        outcome = self.rules.decide(slice(0, 1), np.array([wanted]), np.array([valid]), supply, now)
        self.asked = float(outcome.desired[0])
        return Answer(
            int(outcome.desired[0]), Kept(int(outcome.kept[0])), float(outcome.look_again[0])
        )


def zero(desired: int = 0) -> Answer:
    return Answer(desired, Kept.NOT, NEVER)


def test_the_way_to_zero() -> None:
    """Active for a stable window first, then at once when nothing else keeps it."""
    one = One(ScalingConfig(initial_scale=0, stable_window=60.0))
    assert one(0.0, 0, 0) == zero()
    assert one(1.0, 1, 0) == zero(1)
    assert one(5.0, 1, 1) == zero(1)
    assert one(20.0, 0, 1) == Answer(1, Kept.JUST_ACTIVE, 65.0)
    assert one(64.9, 0, 1) == Answer(1, Kept.JUST_ACTIVE, 65.0)
    assert one(65.0, 0, 1) == zero()
    # Still draining: nothing begins anew.
    assert one(66.0, 0, 1) == zero()


def test_many_shrink_to_one_first() -> None:
    """Several replicas of a just-activated model shrink to one, not to none."""
    one = One(ScalingConfig(initial_scale=0))
    one(0.0, 3, 0)
    one(1.0, 3, 3)
    assert one(2.0, 0, 3) == Answer(1, Kept.JUST_ACTIVE, 61.0)


def test_a_start_is_not_given_up() -> None:
    """A replica on its way up is awaited, but not for ever."""
    one = One(ScalingConfig(initial_scale=0))
    one(0.0, 1, 0)
    assert one(100.0, 0, 0, starting=1) == Answer(1, Kept.ACTIVATING, ACTIVATION_LIMIT)
    assert one(ACTIVATION_LIMIT, 0, 0, starting=1) == zero()


def test_what_cannot_start_is_given_up_at_once() -> None:
    """Nothing ready, nothing starting, nothing wanted: no reason to stay."""
    one = One(ScalingConfig(initial_scale=0, scale_to_zero_pod_retention_period=100.0))
    one(0.0, 1, 0)
    assert one(2.0, 0, 0) == zero()


def test_retention_begins_when_idle() -> None:
    """The last replica stays for the retention period; load in between starts it over."""
    one = One(
        ScalingConfig(initial_scale=0, stable_window=10.0, scale_to_zero_pod_retention_period=30.0)
    )
    one(0.0, 1, 0)
    one(0.0, 1, 1)
    assert one(12.0, 0, 1) == Answer(1, Kept.RETENTION, 42.0)
    assert one(20.0, 1, 1) == zero(1)
    assert one(22.0, 0, 1) == Answer(1, Kept.RETENTION, 52.0)
    assert one(51.9, 0, 1) == Answer(1, Kept.RETENTION, 52.0)
    assert one(52.0, 0, 1) == zero()


def test_grace_while_traffic_passes_the_activator_by() -> None:
    """The grace period only counts while the activator is not in the path."""
    one = One(ScalingConfig(initial_scale=0, stable_window=10.0, scale_to_zero_grace_period=30.0))
    one(0.0, 1, 0)
    one(0.0, 1, 1)
    one.rules.memory.put(0, {"via_activator": False})
    assert one(12.0, 0, 1) == Answer(1, Kept.GRACE, 42.0)
    one.rules.memory.put(0, {"via_activator": True})
    assert one(14.0, 0, 1) == zero()


def test_scale_to_zero_disabled() -> None:
    """One replica stays for good; but a model that was never started is not started."""
    one = One(ScalingConfig(initial_scale=0, enable_scale_to_zero=False))
    assert one(0.0, 0, 0) == zero()
    one(1.0, 2, 0)
    assert one(1000.0, 0, 2) == Answer(1, Kept.DISABLED, NEVER)


def test_replicas_of_unknown_past() -> None:
    """What is there when first looked at is treated as just begun."""
    ready, starting = One(ScalingConfig()), One(ScalingConfig(initial_scale=0))
    ready.asked = starting.asked = 1.0
    assert ready(0.0, 0, 1) == Answer(1, Kept.JUST_ACTIVE, 60.0)
    assert starting(5.0, 0, 0, starting=1) == Answer(1, Kept.ACTIVATING, 5.0 + ACTIVATION_LIMIT)


def test_initial_scale_until_it_was_reached() -> None:
    """A lower bound until that many were ready once, whatever the load says."""
    one = One(ScalingConfig(initial_scale=3, stable_window=10.0))
    assert one(0.0, 0, 0, valid=False) == zero(3)
    assert one(2.0, 0, 2, starting=1) == zero(3)
    assert one(3.0, 5, 2, starting=1) == zero(5)
    assert one(4.0, 2, 3) == zero(2)
    assert one(15.0, 0, 2) == zero()


def test_bounds() -> None:
    """min_scale from below, max_scale from above, and the latter wins."""
    one = One(ScalingConfig(initial_scale=0, min_scale=2, max_scale=4))
    assert one(0.0, 0, 0) == zero(2)
    assert one(1.0, 9, 2) == zero(4)
    assert One(ScalingConfig(min_scale=9, max_scale=4, initial_scale=8))(0.0, 0, 0) == zero(4)


def test_without_data_only_bounds_move_anything() -> None:
    """No data keeps what was asked for, within the bounds."""
    one = One(ScalingConfig(initial_scale=0))
    one(0.0, 5, 0)
    assert one(2.0, -1, 5, valid=False) == zero(5)
    one.rules.configure(0, ScalingConfig(max_scale=3))
    assert one(4.0, -1, 5, valid=False) == zero(3)


def test_memory_moves_with_the_clock() -> None:
    """Times in a snapshot move along; what never was stays never."""
    one = One(ScalingConfig(initial_scale=0))
    one(10.0, 1, 0)
    other = One(ScalingConfig(initial_scale=0))
    other.rules.put(0, one.rules.memory.take(0), shift=1000)
    assert other.rules.memory.take(0) == {
        **one.rules.memory.take(0),
        "awake": 1010.0,
        "active": NEVER,
    }
