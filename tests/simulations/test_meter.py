"""Integrals over time, by steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.meter import Track, empty_series, step_for, steps_in


def test_a_level_is_averaged_over_each_step() -> None:
    """2 from 5 s to 25 s in steps of 10 s: half, whole and half of it."""
    column = np.zeros(4)
    track = Track(column, 10.0)
    track.add(2, 5.0)
    track.add(-2, 25.0)
    track.settle(40.0)
    assert column.tolist() == [1.0, 2.0, 1.0, 0.0]
    assert track.integral == 40.0


def test_what_is_behind_the_last_step_counts_in_the_integral_alone() -> None:
    """The curve ends, the money does not."""
    column = np.zeros(1)
    track = Track(column, 10.0)
    track.add(1, 0.0)
    track.settle(10.0)
    track.settle(30.0)
    assert (column.tolist(), track.integral) == ([1.0], 30.0)


def test_time_that_does_not_move_changes_nothing() -> None:
    """Nor does one that would go back."""
    track = Track(np.zeros(1), 10.0)
    track.add(1, 5.0)
    track.add(1, 5.0)
    track.settle(4.0)
    assert (track.value, track.integral) == (2.0, 0.0)


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(-3, 3)), max_size=20),
    st.sampled_from([1.0, 7.0, 50.0]),
)
def test_the_steps_make_up_the_integral(changes: list[tuple[float, int]], step: float) -> None:
    """However many changes, wherever they fall."""
    end = sum(gap for gap, _ in changes) + 1
    column = np.zeros(steps_in(end, step))
    track, now = Track(column, step), 0.0
    for gap, change in changes:
        now += gap
        track.add(change, now)
    track.settle(end)
    assert column.sum() * step == pytest.approx(track.integral, abs=1e-6)


@pytest.mark.parametrize(
    ("duration", "step"), [(10.0, 1.0), (2001.0, 2.0), (86_400.0, 60.0), (1e9, 86_400.0 * 6)]
)
def test_steps_are_round_and_not_too_many(duration: float, step: float) -> None:
    """At most two thousand."""
    assert step_for(duration) == step
    assert len(empty_series(duration, 0.0)) <= 2000
    assert empty_series(duration, 1e6).step == 1e6
