"""Knative's rules one by one; all of them together are compared in simulations.parity."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.delay import DelayWindow
from autoscaler.policies import Supply
from autoscaler.policies.kpa import Kpa
from autoscaler.window import Averages
from stoker.vocabulary import ScalingConfig

NO_DATA = (-1.0, -1.0)


def kpa(*, reachable: bool = True, **settings: float) -> Kpa:
    """A policy with one row: target 10, capacity 10 unless told otherwise."""
    policy = Kpa()
    policy.reserve(1)
    config = ScalingConfig(**{"target": 10.0, "capacity": 10.0, **settings})  # type: ignore[arg-type]
    policy.configure(0, config, 0.0, reachable)
    return policy


def decide(
    policy: Kpa, load: tuple[float, float], ready: float, now: float, counted: float | None = None
) -> tuple[int, int, bool]:
    """(wanted, EBC, panicking) for the load (stable, panic)."""
    valid = load != NO_DATA
    averages = Averages(np.array([load[0]]), np.array([load[1]]), np.array([valid]))
    counts = np.array([ready]), np.array([ready if counted is None else counted])
    supply = Supply(*counts, np.zeros(1))
    wanted, excess, panicking, _ = policy.decide(slice(0, 1), averages, supply, now)
    return int(wanted[0]), int(excess[0]), bool(panicking[0])


@pytest.mark.parametrize(
    ("load", "ready", "settings", "wanted"),
    [
        (0.0, 1, {}, 0),
        (0.1, 1, {}, 1),
        (10.0, 1, {}, 1),
        (10.1, 1, {}, 2),
        (100.0, 5, {"max_scale_up_rate": 1.1}, 6),
        (15.0, 1, {"max_scale_up_rate": 1.5}, 2),
        (0.0, 5, {}, 2),
        (0.0, 0, {"max_scale_down_rate": 1.1}, 0),
        (5.0, 1, {"activation_scale": 3}, 3),
        (0.0, 4, {"activation_scale": 3}, 2),
    ],
)
def test_wanted(load: float, ready: int, settings: dict[str, float], wanted: int) -> None:
    """ceil(load / target), within what the rates allow, at least the activation scale."""
    policy = kpa(panic_threshold=1000.0, **settings)  # type: ignore[arg-type]
    assert decide(policy, (load, load), ready, 0.0)[0] == wanted


def test_unreachable_shrinks_at_once() -> None:
    """Without traffic to it a model has no scale-down rate and no delay."""
    policy = kpa(reachable=False, scale_down_delay=60.0, panic_threshold=1000.0)
    assert decide(policy, (90.0, 90.0), 9, 0.0)[0] == 9
    assert decide(policy, (0.0, 0.0), 9, 2.0)[0] == 0


def test_panic_latches_and_ends_strictly_after_a_window() -> None:
    """The highest answer stays until more than a stable window has passed without cause."""
    policy = kpa(stable_window=60.0)
    assert decide(policy, (5.0, 10.1), 1, 0.0) == (2, -212, True)
    assert decide(policy, (5.0, 90.0), 4, 2.0) == (9, -261, True)
    assert decide(policy, (5.0, 85.0), 5, 4.0) == (9, -246, True)
    assert decide(policy, (0.0, 0.0), 9, 60.0) == (9, -121, True)
    assert decide(policy, (0.0, 0.0), 9, 62.0) == (9, -121, True)
    assert decide(policy, (0.0, 0.0), 9, 62.1) == (4, -121, False)


def test_panic_by_the_rounded_up_count() -> None:
    """ceil comes before the division: 10.1 / 10 is 2 replicas, twice the one there is."""
    assert decide(kpa(), (1.0, 10.0), 1, 0.0)[2] is False
    assert decide(kpa(), (1.0, 10.1), 1, 0.0)[2] is True
    assert decide(kpa(), (1.0, 10.1), 0, 0.0)[2] is True


def test_starting_replicas_count_where_they_are_counted() -> None:
    """They stop a panic and lift the rate limits; EBC knows only the ready ones."""
    assert decide(kpa(), (30.0, 30.0), 1, 0.0, counted=3) == (3, -231, False)
    assert decide(kpa(), (30.0, 30.0), 1, 0.0) == (3, -231, True)


def test_no_data_changes_no_memory() -> None:
    """A tick without data neither begins nor ends a panic."""
    policy = kpa(stable_window=60.0)
    decide(policy, (5.0, 90.0), 1, 0.0)
    memory = policy.take(0)
    assert decide(policy, NO_DATA, 1, 100.0)[2] is True
    assert policy.take(0) == memory


def test_more_than_one_replica_without_a_past_is_panic() -> None:
    """After a restart nothing shrinks for a stable window."""
    policy = kpa(stable_window=60.0)
    policy.begin(0, 4, 10.0)
    assert decide(policy, (0.0, 0.0), 4, 70.0) == (4, -171, True)
    assert decide(policy, (0.0, 0.0), 4, 70.1) == (2, -171, False)
    alone = kpa()
    alone.begin(0, 1, 10.0)
    assert decide(alone, (0.0, 0.0), 1, 11.0)[2] is False


@pytest.mark.parametrize(("burst", "excess"), [(211.0, -142), (0.0, 0), (-1.0, -1), (5.0, 64)])
def test_excess_burst_capacity(burst: float, excess: int) -> None:
    """floor(7 x 10 - burst - 0.5); 0 when off, -1 when unlimited."""
    policy = kpa(target_burst_capacity=burst)
    assert decide(policy, (0.5, 0.5), 7, 0.0)[1] == excess


def test_scale_down_delay() -> None:
    """The highest answer of the last 10 s counts, strictly younger than that."""
    policy = kpa(scale_down_delay=10.0, panic_threshold=1000.0, max_scale_down_rate=100.0)
    answers = [
        decide(policy, (load, load), 5, now)[0]
        for now, load in ((0.0, 50.0), (2.0, 30.0), (8.0, 10.0), (10.0, 10.0), (12.0, 0.0))
    ]
    assert answers == [5, 5, 5, 3, 1]
    assert decide(policy, (0.0, 0.0), 5, 500.0)[0] == 0


def test_a_changed_delay_begins_anew() -> None:
    """Another delay forgets what was noted under the old one; none holds nothing up."""
    policy = kpa(scale_down_delay=10.0, panic_threshold=1000.0)
    decide(policy, (50.0, 50.0), 1, 0.0)
    config = ScalingConfig(target=10.0, panic_threshold=1000.0, scale_down_delay=20.0)
    policy.configure(0, config, 0.0)
    assert decide(policy, (10.0, 10.0), 1, 2.0)[0] == 1
    policy.configure(0, ScalingConfig(target=10.0, panic_threshold=1000.0), 0.0)
    assert decide(policy, (0.0, 0.0), 1, 4.0)[0] == 0


def test_memory_of_another_delay_is_not_taken_over() -> None:
    """A snapshot made under another scale-down delay brings the panic, not the delay."""
    old = kpa(scale_down_delay=10.0)
    decide(old, (50.0, 50.0), 1, 0.0)
    new = kpa(scale_down_delay=20.0)
    new.put(0, old.take(0))
    assert new.take(0) == {"panicked": 0.0, "peak": 5.0, "delay": 20.0, "delayed": []}


def test_delay_rows_move_up_and_grow() -> None:
    """Rows come and go, beyond the first capacity, without touching each other."""
    window = DelayWindow(10.0)
    for row in range(40):
        window.add(row)
    rows = np.arange(40)
    window.highest(rows, rows.astype(float), 0.0)
    window.remove(3)
    window.remove(39)
    left = np.array([row for row in range(40) if row not in (3, 39)])
    highest = window.highest(left, np.zeros(len(left)), 1.0)
    assert highest.tolist() == left.tolist()
    window.add(3)
    assert window.highest(np.array([3]), np.array([1.0]), 2.0).tolist() == [1.0]


def test_a_long_delay_uses_blocks() -> None:
    """Ten minutes are sixty blocks of ten seconds."""
    window = DelayWindow(600.0)
    window.add(0)
    row = np.array([0])
    window.highest(row, np.array([9.0]), 5.0)
    assert window.highest(row, np.array([1.0]), 599.0).tolist() == [9.0]
    assert window.highest(row, np.array([1.0]), 600.0).tolist() == [1.0]
    window.put(0, [(0, 50.0)])
    assert window.highest(row, np.array([1.0]), 600.0).tolist() == [1.0]
