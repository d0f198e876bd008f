"""Windows against a plain model of them, and the cases with worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.window import NEVER, Shape, Windows
from stoker.vocabulary import Aggregation
from tests.properties import costly

LINEAR = Aggregation.LINEAR
WEIGHTED = Aggregation.WEIGHTED_EXPONENTIAL
ROW = np.array([0])


def windows(stable: float, panic: float, aggregation: Aggregation = LINEAR) -> Windows:
    """Windows with one row, 0."""
    result = Windows()
    result.place(0, Shape(stable, panic, aggregation))
    return result


def record(target: Windows, *samples: tuple[int, float], row: int = 0) -> None:
    for second, value in samples:
        target.add(second, np.array([row]), np.array([value]))


def averages(target: Windows, now: float) -> tuple[float, float, bool]:
    stable, panic, valid = target.averages(now, 1)
    return float(stable[0]), float(panic[0]), bool(valid[0])


def test_no_data() -> None:
    """A window nothing was recorded in has no averages."""
    assert averages(windows(60, 6), 5.0) == (-1.0, -1.0, False)


def test_a_partial_window_is_divided_by_what_it_covers() -> None:
    """Three seconds into a window of 60 s the average is over three seconds."""
    target = windows(60, 6)
    record(target, (10, 3.0), (11, 6.0), (12, 9.0))
    assert averages(target, 12.9) == (6.0, 6.0, True)


def test_gaps_count_as_zero() -> None:
    """A second without a sample between two with one is a second of zero."""
    target = windows(60, 6)
    record(target, (10, 8.0), (13, 8.0))
    assert averages(target, 13.0) == (4.0, 4.0, True)


def test_a_silent_tail_is_left_out() -> None:
    """Seconds since the last sample do not dilute the average until they expire it."""
    target = windows(10, 4)
    record(target, *((second, 6.0) for second in range(10)))
    assert averages(target, 11.0) == (6.0, 6.0, True)
    assert averages(target, 13.0) == (6.0, 0.0, True)
    assert averages(target, 19.0) == (0.0, 0.0, True)
    assert averages(target, 20.0) == (-1.0, -1.0, False)


def test_a_silence_begins_the_history_anew() -> None:
    """After a stable window of silence the first sample is the only one."""
    target = windows(10, 4)
    record(target, (0, 100.0), (3, 100.0), (13, 7.0))
    assert averages(target, 13.0) == (7.0, 7.0, True)
    record(target, (14, 0.0), (18, 12.0))
    assert averages(target, 18.0) == (round(19 / 6, 6), 12.0, True)


def test_rounded_to_six_digits() -> None:
    """2/3 is 0.666667: to the nearest, not down."""
    target = windows(60, 6)
    record(target, (1, 2.0), (3, 0.0))
    assert averages(target, 3.0)[0] == 0.666667


def test_a_fractional_panic_window() -> None:
    """2.5 s are three buckets, and empty once three seconds are silent."""
    target = windows(10, 2.5)
    record(target, (0, 1.0), (1, 2.0), (2, 3.0), (3, 7.0))
    assert averages(target, 3.0)[1] == 4.0
    assert averages(target, 5.0)[1] == 7.0
    assert averages(target, 6.0)[1] == 0.0


def test_weights() -> None:
    """alpha is 0.2 for 60 buckets; newest second first, silence counts as zero."""
    target = windows(60, 3, WEIGHTED)
    record(target, (0, 10.0), (1, 20.0))
    stable, panic, valid = averages(target, 1.0)
    assert valid
    assert stable == pytest.approx(20 * 0.2 + 10 * 0.2 * 0.8, abs=1e-12)
    alpha = 1 - 1e-4 ** (1 / 3)
    assert panic == pytest.approx(20 * alpha + 10 * alpha * (1 - alpha), abs=1e-12)
    assert averages(target, 2.0)[0] == pytest.approx(stable * 0.8, abs=1e-12)


def test_a_late_sample_counts_in_its_own_second() -> None:
    """A report that comes late adds to its second, and may begin the history earlier."""
    target = windows(10, 4)
    record(target, (5, 6.0), (4, 2.0))
    assert averages(target, 5.0) == (4.0, 4.0, True)
    # Too late for the panic window, not for the stable one; then too late for both.
    record(target, (11, 0.0), (6, 16.0), (1, 1000.0))
    assert averages(target, 11.0) == (3.0, 0.0, True)


def test_a_long_window_uses_blocks() -> None:
    """An hour is 600 blocks of 6 s: exact averages, over up to 5 s less than an hour."""
    target = windows(3600, 360)
    assert next(iter(target.rings.values())).buckets.shape[0] == 600
    record(target, *((second, 2.0) for second in range(4000)))
    assert averages(target, 3999.0) == (2.0, 2.0, True)
    record(target, (4000, 2.0 + 36.0))
    stable, panic, _ = averages(target, 4000.0)
    assert stable == round(2 + 36 / (599 * 6 + 4000 % 6 + 1), 6)
    assert panic == round(2 + 36 / (59 * 6 + 4000 % 6 + 1), 6)


def test_opening_records_zero_for_the_awake() -> None:
    """A live reporter's silence about a model pulls its average down."""
    target = windows(10, 4)
    record(target, (1, 8.0))
    target.open(2)
    target.open(3)
    target.open(4)
    target.open(3)
    assert averages(target, 4.0) == (2.0, 2.0, True)


def test_sleepers_get_no_zeros_and_forget() -> None:
    """What comes after a sleep is not diluted by the time before it."""
    target = windows(10, 4)
    for second in range(5):
        target.open(second)
    target.set_awake(ROW, awake=False)
    target.open(5)
    assert averages(target, 5.0) == (-1.0, -1.0, False)
    record(target, (6, 12.0))
    assert averages(target, 6.0) == (12.0, 12.0, True)
    target.set_awake(ROW, awake=True)
    target.open(7)
    assert averages(target, 7.0) == (6.0, 6.0, True)


def test_another_shape_keeps_the_history() -> None:
    """A changed window length goes on with what was recorded, as far as it reaches."""
    target = windows(10, 4)
    record(target, *((second, float(second)) for second in range(10)))
    target.place(0, Shape(4, 2, LINEAR))
    assert averages(target, 9.0) == (7.5, 8.5, True)
    target.place(0, Shape(4, 2, LINEAR))
    target.place(0, Shape(20, 4, LINEAR))
    record(target, (10, 10.0))
    assert averages(target, 10.0)[1] == 8.5


def test_rows_of_several_shapes_and_none() -> None:
    """Rows are answered in their own order, those without a window as without data."""
    target = Windows()
    for row, stable in enumerate((10, 20, 10, 30)):
        target.place(row, Shape(stable, 4, LINEAR))
    everyone = np.arange(4)
    target.add(1, everyone, np.array([1.0, 2.0, 3.0, 4.0]))
    target.remove(0)
    target.remove(0)
    found = target.averages(1.0, 4)
    assert found.stable.tolist() == found.panic.tolist() == [-1.0, 2.0, 3.0, 4.0]
    assert found.valid.tolist() == [False, True, True, True]
    assert target.averages(1.0, 4, np.array([3, 2])).stable.tolist() == [4.0, 3.0]
    target.place(0, Shape(10, 4, LINEAR))
    assert target.averages(1.0, 4).valid.tolist() == [False, True, True, True]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [1, 2], [2, 1], [3], [0, 3]])
def test_rows_in_any_order(order: list[int]) -> None:
    """Whether or not the rows told of follow each other, each gets its own load."""
    target = Windows()
    for row in range(4):
        target.place(row, Shape(10, 4, LINEAR))
    rows = np.array(order)
    target.add(1, rows, rows + 1.0)
    expected = [row + 1.0 if row in order else -1.0 for row in range(4)]
    assert target.averages(1.0, 4).stable.tolist() == expected
    assert target.averages(1.0, 4, rows).stable.tolist() == (rows + 1.0).tolist()


def test_growing_keeps_what_is_there() -> None:
    """Row after row, beyond the first capacity."""
    target = windows(6, 2)
    record(target, (0, 5.0))
    for row in range(1, 40):
        target.place(row, Shape(6, 2, LINEAR))
        record(target, (0, float(row)), row=row)
    expected = [5.0, *map(float, range(1, 40))]
    assert target.averages(0.0, 40).stable.tolist() == expected


class Plain:
    """The same window, one model, as simply as it can be said: samples in a dictionary."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.buckets = math.ceil(window)
        self.samples: dict[int, float] = {}
        self.first = self.last = int(NEVER)

    def record(self, second: int, value: float) -> None:
        if second - self.last >= self.buckets:
            self.samples.clear()
            self.first = second
        elif self.last - second >= self.buckets:
            return
        self.first = min(self.first, second)
        self.last = max(self.last, second)
        self.samples[second] = self.samples.get(second, 0.0) + value

    def average(self, now: int, weighted: bool) -> float | None:
        lag = now - self.last
        if lag > self.window:
            return None
        kept = {s: value for s, value in self.samples.items() if now - s < self.buckets}
        if weighted:
            alpha = max(1 - math.pow(1e-4, 1 / self.buckets), 0.2)
            return sum(v * alpha * math.pow(1 - alpha, now - s) for s, v in kept.items())
        return sum(kept.values()) / max(1, min(self.last - self.first + 1, self.buckets - lag))


@costly(50)
@given(
    st.sampled_from([6.0, 9.5, 13.0]),
    st.sampled_from([1.0, 2.5, 6.0]),
    st.sampled_from(list(Aggregation)),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 50)), max_size=60),
)
def test_equals_the_plain_model(
    stable: float, panic: float, aggregation: Aggregation, steps: list[tuple[int, int, int]]
) -> None:
    """Gaps, bursts, late samples: both averages are those of the plain model."""
    target = windows(stable, panic, aggregation)
    plain = (Plain(stable), Plain(panic))
    now = 0
    for forward, late, value in steps:
        now += forward
        record(target, (now - late, float(value)))
        for each in plain:
            each.record(now - late, float(value))
        weighted = aggregation is WEIGHTED
        expected, short = (each.average(now, weighted) for each in plain)
        assert expected is not None
        got_stable, got_panic, valid = averages(target, now)
        assert valid
        assert got_stable == pytest.approx(expected, abs=2e-6)
        assert got_panic == pytest.approx(short or 0.0, abs=2e-6)


def test_the_running_second_is_not_taken_for_silence() -> None:
    """While reports keep up, windows end with the last second opened; else with now."""
    target = windows(6.0, 1.0)
    for second in (10, 11):
        target.open(second)
        target.add(second, np.array([0]), np.array([8.0]))
    assert averages(target, 12.4)[:2] == (8.0, 8.0)
    # Two seconds without a report are not a report that is under way.
    assert averages(target, 13.4)[1] == 0.0


shapes = st.builds(
    Shape, st.sampled_from([6.0, 8.0]), st.sampled_from([1.0, 4.0]), st.sampled_from(Aggregation)
)
steps = st.tuples(
    st.integers(-9, 4),
    st.lists(st.sampled_from([0.0, 0.0, 1.5, 7.0]), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)


@costly(50)
@given(st.lists(shapes, min_size=5, max_size=5), st.lists(steps, max_size=12), st.booleans())
def test_all_rows_at_once_are_as_one_after_the_other(
    shapes: list[Shape], steps: list[tuple[int, list[float], list[bool]]], removes: bool
) -> None:
    """``fill`` leaves what ``open`` and ``add`` of those with load leave, late seconds too."""
    together, apart = Windows(), Windows()
    for target in (together, apart):
        for row, shape in enumerate(shapes):
            target.place(row, shape)
        if removes:
            target.remove(1)
            target.place(1, shapes[1])
    second = 100
    for ahead, values, awake in steps:
        at = second + ahead
        second = max(second, at)
        loads = np.array(values)
        for target in (together, apart):
            for row, state in enumerate(awake):
                target.set_awake(np.array([row]), state)
        together.fill(at, loads)
        apart.open(at)
        some = np.flatnonzero(loads > 0)
        apart.add(at, some, loads[some])
        for ours, theirs in zip(
            together.averages(second + 1, 5), apart.averages(second + 1, 5), strict=True
        ):
            assert ours.tolist() == theirs.tolist()
    for row in range(5):
        assert together.take(row) == apart.take(row)
