"""What runs come to: spreads, totals, series, and that they add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.result import LONGEST, SHORTEST, Money, Series, Spread, Totals
from tests.simulations.made import result

SECONDS = st.one_of(
    st.just(0.0),
    st.floats(SHORTEST, LONGEST),
    st.floats(-4, 5).map(lambda power: 10**power),
)
MANY = st.lists(SECONDS, max_size=60)


def spread_of(values: list[float]) -> Spread:
    """A spread with these values, taken in at once."""
    spread = Spread()
    spread.add(np.array(values, dtype=np.float64))
    return spread


def same(one: Spread, other: Spread) -> None:
    """Equal but for the rounding of sums."""
    assert (one.counts == other.counts).all()
    assert (one.count, one.longest) == (other.count, other.longest)
    assert one.total == pytest.approx(other.total, rel=1e-12)
    assert one.squares == pytest.approx(other.squares, rel=1e-12)


@given(MANY.filter(bool), st.one_of(st.sampled_from((0.0, 50.0, 99.0, 100.0)), st.floats(0, 100)))
def test_percentiles_are_within_a_quarter_of_a_percent(values: list[float], percent: float) -> None:
    """Of the nearest rank; 0 is exact."""
    rank = max(1, int(np.ceil(len(values) * percent / 100)))
    exact = sorted(values)[rank - 1]
    found = spread_of(values).percentile(percent)
    assert abs(found - exact) <= 0.0025 * exact


@settings(max_examples=40)
@given(MANY, MANY, MANY)
def test_spreads_merge_in_any_grouping_and_order(
    a: list[float], b: list[float], c: list[float]
) -> None:
    """(a + b) + c, a + (b + c), c + b + a and all at once are one spread."""
    left = spread_of(a)
    left.merge(spread_of(b))
    left.merge(spread_of(c))
    tail = spread_of(b)
    tail.merge(spread_of(c))
    right = spread_of(a)
    right.merge(tail)
    back = spread_of(c)
    back.merge(spread_of(b))
    back.merge(spread_of(a))
    for other in (right, back, spread_of([*a, *b, *c])):
        same(left, other)


@given(MANY.filter(bool))
def test_a_curve_rises_to_one_and_lies_by_the_values(values: list[float]) -> None:
    """At each of its points the share is that of values up to there, to the width of a bin."""
    seconds, shares = spread_of(values).curve()
    assert shares[-1] == 1.0
    assert seconds[-1] == pytest.approx(max(values), rel=0.005)
    assert all(a < b for a, b in pairwise(shares.tolist()))
    ordered = np.sort(np.array(values))
    for at, share in zip(seconds.tolist(), shares.tolist(), strict=True):
        below = np.searchsorted(ordered, at * (1 - 1e-9) / 1.005, side="left") / len(values)
        above = np.searchsorted(ordered, at * 1.005, side="right") / len(values)
        assert below <= share <= above


@given(MANY.filter(bool), SECONDS)
def test_the_share_above_a_bound_is_right_to_the_width_of_a_bin(
    values: list[float], bound: float
) -> None:
    """Between the shares above half a percent more and half a percent less."""
    found = spread_of(values).share_above(bound)
    more = sum(v > bound * 1.0051 for v in values) / len(values)
    less = sum(v > bound / 1.0051 for v in values) / len(values)
    assert more <= found <= less


def test_an_empty_spread_says_zero() -> None:
    """Nothing was measured, and nothing is divided by zero."""
    spread = spread_of([])
    seconds, shares = spread.curve()
    assert (spread.mean, spread.percentile(99), spread.share_above(0.0)) == (0.0, 0.0, 0.0)
    assert (len(seconds), len(shares)) == (0, 0)


def test_values_outside_of_the_bins_are_counted_at_their_ends() -> None:
    """Below 10 µs it is 0; above 1e6 s the percentile stays there, the longest is exact."""
    spread = spread_of([1e-7, 3e6])
    assert spread.percentile(50) == 0.0
    assert spread.percentile(100) == pytest.approx(LONGEST, rel=0.005)
    assert spread.longest == 3e6
    assert spread.mean == pytest.approx(1.5e6)


@pytest.mark.parametrize("wrong", [-1e-9, float("nan")])
def test_seconds_that_cannot_be_are_refused(wrong: float) -> None:
    """Nothing is taken in then."""
    spread = spread_of([1.0])
    with pytest.raises(ValueError, match="cannot take in"):
        spread.add(np.array([2.0, wrong]))
    assert (spread.count, spread.total) == (1, 1.0)


COUNTS = st.integers(0, 10**9)
TOTALS = st.builds(
    Totals,
    **{f.name: COUNTS for f in fields(Totals) if f.name != "refused"},
    refused=st.dictionaries(st.sampled_from("abc"), COUNTS).map(Counter),
)


@settings(max_examples=40)
@given(TOTALS, TOTALS, TOTALS)
def test_totals_merge_in_any_grouping(a: Totals, b: Totals, c: Totals) -> None:
    """Every field adds up, reasons of refusals each by itself."""
    left, right = Totals(), Totals()
    for part in (a, b, c):
        left.merge(part)
    for part in (c, b):
        right.merge(part)
    right.merge(a)
    assert left == right
    assert left.requests == a.requests + b.requests + c.requests
    assert left.refusals == a.refusals + b.refusals + c.refusals
    assert left.refused["a"] == sum(t.refused["a"] for t in (a, b, c))


def test_shares_of_totals() -> None:
    """Of answered requests, of ready time; 0 where there is none."""
    totals = Totals(answered=50, cold=5, busy_seconds=30.0, ready_seconds=120.0)
    assert (totals.cold_share, totals.utilisation) == (0.1, 0.25)
    assert (Totals().cold_share, Totals().utilisation) == (0.0, 0.0)


def test_series_merge_by_step() -> None:
    """Counts and averages add up, the longest wait is the longer one; times are the steps'."""
    one, other = Series.empty(2.0, 3), Series.empty(2.0, 3)
    one.arrivals[:], other.arrivals[:] = [1, 2, 3], [10, 0, 0]
    one.wait_max[:], other.wait_max[:] = [0.5, 0, 2], [0.2, 1, 3]
    one.merge(other)
    assert one.arrivals.tolist() == [11, 2, 3]
    assert one.wait_max.tolist() == [0.5, 1, 3]
    assert (one.step, len(one), one.times.tolist()) == (2.0, 3, [0.0, 2.0, 4.0])


def test_dollars_per_thousand_answered() -> None:
    """Of answered requests alone; 0 without any."""
    made = result()
    made.money = Money(dollars=3.0)
    made.totals = Totals(requests=5000, answered=1500)
    assert made.dollars_per_thousand == 2.0
    made.totals = Totals(requests=10)
    assert made.dollars_per_thousand == 0.0
