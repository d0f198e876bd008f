"""Fronts, shortlists and the choice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulations.tuning.choosing import cheapest, front, promising
from simulations.tuning.slo import parse_slo
from tests.simulations.tuning.test_slo import NONE, judged

points = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


@given(points)
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int, int]]) -> None:
    """As the definition says, pair by pair; in the order of cost, equal ones once."""
    kept = front(points)
    assert [points[at][0] for at in kept] == sorted(points[at][0] for at in kept)
    assert len({points[at] for at in kept}) == len(kept)
    for at, point in enumerate(points):
        beaten = any(
            other != point and all(o <= p for o, p in zip(other, point, strict=True))
            for other in points
        )
        assert (point in {points[k] for k in kept}) != beaten, at


def test_the_cheapest_that_keeps_it_with_room_to_spare() -> None:
    """1.9 s is too near to 2 s where something else is at 1.7 s; alone it will do."""
    near, clear, dear = (
        judged([wait] * 100, dollars=cost) for wait, cost in ((1.9, 1.0), (1.7, 2.0), (0.1, 3.0))
    )
    slo = parse_slo("p99<2s")
    assert cheapest([dear, near, clear], slo, NONE, [False] * 3) == (2, True)
    assert cheapest([judged([9.0] * 9), near], slo, NONE, [False] * 2) == (1, True)


def test_one_that_keeps_it_everywhere_is_worth_more() -> None:
    """Kept in all segments apart, it is taken though it costs more, unless it is too near."""
    clear, dear, near = (
        judged([wait] * 100, dollars=cost) for wait, cost in ((1.7, 2.0), (0.1, 3.0), (1.9, 1.0))
    )
    slo = parse_slo("p99<2s")
    assert cheapest([clear, dear, near], slo, NONE, [False, True, True]) == (1, True)


def test_where_none_keeps_it_the_nearest() -> None:
    """It is said that it does not."""
    far, near = judged([9.0] * 9, dollars=0.1), judged([3.0] * 9, dollars=5.0)
    assert cheapest([far, near], parse_slo("p99<2s"), NONE, [False, False]) == (1, False)


def test_of_equal_cost_the_one_that_waits_less() -> None:
    """What costs nothing to have is taken."""
    slow, quick = judged([1.0] * 9, dollars=1.0), judged([0.5] * 9, dollars=1.0)
    assert cheapest([slow, quick], parse_slo("p99<2s"), NONE, [False, False]) == (1, True)


def test_a_shortlist_is_half_cheap_and_half_spread() -> None:
    """Near misses are on it, for estimates are rough; the rest shows the trade."""
    costs = [float(cost) for cost in range(10)]
    excesses = [5.0, 4.0, 1.3, 1.2, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    points = [(cost, excess) for cost, excess in zip(costs, excesses, strict=True)]
    chosen = promising(costs, excesses, points, 4)
    assert chosen[:2] == [2, 3]
    assert chosen[2:] == [0, 9]
    assert sorted(promising(costs, excesses, points, 30)) == list(range(10))
    assert promising(costs, [9.0 - at / 10 for at in range(10)], points, 2) == [9, 0]
