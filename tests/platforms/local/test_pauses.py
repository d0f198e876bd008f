"""How often a starting replica is probed: what it adds to a start, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.platforms.local.pauses import EACH, FAR, NEAR, SHORTEST, UNKNOWN, pause_before_next

SECONDS = st.floats(0, 1e4)
SPREADS = st.none() | st.tuples(SECONDS, SECONDS).map(lambda pair: (min(pair), max(pair)))


def probes(start: float, expected: tuple[float, float] | None) -> tuple[int, float]:
    """How many probes a start of so many seconds takes, and how late its end is noticed."""
    count, now = 0, 0.0
    while now < start:
        now += pause_before_next(now, expected)
        count += 1
    return count, now - start


@given(SECONDS, SPREADS, st.floats(0, 10), st.integers(1, 10_000))
def test_bounds(
    elapsed: float, expected: tuple[float, float] | None, took: float, probing: int
) -> None:
    """One percent of the start at most, never longer than the longest, unless many are starting:
    all of them together are probed a thousand times per second.
    """
    pause = pause_before_next(elapsed, expected, took, probing)
    assert max(SHORTEST, probing * EACH) <= pause <= max(FAR, probing * EACH)
    alone = pause_before_next(elapsed, expected)
    assert alone <= max(SHORTEST, elapsed * 0.01)


@pytest.mark.parametrize("start", [0.05, 1.0, 8.0, 12.0, 100.0])
def test_a_start_as_it_was_before_is_noticed_soon(start: float) -> None:
    """Of a start within the known spread, or a fifth beyond it, it is 2 ms late at most."""
    for expected in [(start, start), (start / 1.1, start * 3), (start / 3, start / 1.1)]:
        _, late = probes(start, expected)
        assert late <= NEAR


def test_what_nobody_knows_is_asked_now_and_then() -> None:
    """The first start of a model, and one that outlasts all before: 10 ms late at most, with 100
    probes per second.
    """
    for expected in [None, (1.0, 2.0)]:
        count, late = probes(100.0, expected)
        assert late <= UNKNOWN
        assert count < 100 / UNKNOWN + 1000


def test_long_before_its_time_it_is_left_alone() -> None:
    """Of ten minutes eight are probed 20 times per second; then it is not slept past the time
    from which it is asked often.
    """
    expected = (600.0, 600.0)
    assert pause_before_next(100.0, expected) == FAR
    assert pause_before_next(479.99, expected) == pytest.approx(0.01)
    assert pause_before_next(480.0, expected) == NEAR
    count, late = probes(600.0, expected)
    assert late <= NEAR
    assert count < 480 / FAR + 120 / NEAR + 1000


def test_slow_answers_are_asked_for_less() -> None:
    """A replica that takes 5 ms to say that it is not ready spends a fifth of its time on it."""
    assert pause_before_next(10.0, (10.0, 10.0), took=0.005) == pytest.approx(0.02)
    assert pause_before_next(10.0, (10.0, 10.0), took=1.0) == FAR


def test_many_at_once_share() -> None:
    """A hundred starting replicas are each asked ten times per second."""
    assert pause_before_next(10.0, (10.0, 10.0), probing=100) == pytest.approx(0.1)
