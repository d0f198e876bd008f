"""Requests that slow each other down."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.throttler import Throttler
from activator.tickets import Ticket
from simulations.sharing import Sharing
from stoker.vocabulary import ModelKey, ServingConfig

THROTTLER = Throttler(ModelKey("default", "m"), ServingConfig(), 0.0)


def ticket() -> Ticket:
    return Ticket(THROTTLER, "", 0, None, 0, 0.0, None)


def halves(in_flight: int) -> float:
    """Two take twice as long as one: nothing is gained."""
    return float(in_flight)


def test_nobody_ends_where_nobody_is() -> None:
    """There is no next end."""
    assert Sharing(halves, 0.0).next_end(5.0) is None


def test_two_share_and_the_first_to_leave_frees_the_other() -> None:
    """2 s and 3 s of work from 0 s: at half speed the first is done at 4 s, the second, with
    1 s left and alone, at 5 s.
    """
    sharing, first, second = Sharing(halves, 0.0), ticket(), ticket()
    sharing.join(first, 2.0, 1, 0.0)
    sharing.join(second, 3.0, 2, 0.0)
    assert sharing.tickets() == [first, second]
    assert sharing.next_end(0.0) == 4.0
    assert sharing.end(4.0) is first
    assert sharing.next_end(4.0) == pytest.approx(5.0)


def test_who_leaves_early_speeds_up_who_stays() -> None:
    """At 2 s one goes: the other has done 1 of 3 s and ends at 4 s."""
    sharing, first, second = Sharing(halves, 0.0), ticket(), ticket()
    sharing.join(first, 2.0, 1, 0.0)
    sharing.join(second, 3.0, 2, 0.0)
    before = sharing.version
    sharing.leave(first, 2.0)
    assert sharing.version > before
    assert sharing.next_end(2.0) == pytest.approx(4.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), min_size=1, max_size=15))
def test_the_work_is_done_however_it_is_shared(requests: list[tuple[float, float]]) -> None:
    """Without gain from sharing, the replica is busy for exactly the sum of all work."""
    sharing, now, arrivals = Sharing(halves, 0.0), 0.0, []
    for number, (gap, work) in enumerate(requests):
        now += gap
        arrivals.append((now, work, number))
    busy, clock, left = 0.0, 0.0, 0
    while arrivals or left:
        end = sharing.next_end(clock)
        if arrivals and (end is None or arrivals[0][0] <= end):
            time, work, number = arrivals.pop(0)
            busy += (time - clock) if left else 0.0
            sharing.join(ticket(), work, number, time)
            left += 1
        else:
            time = cast(float, end)
            busy += time - clock
            sharing.end(time)
            left -= 1
        assert time >= clock
        clock = time
    assert busy == pytest.approx(sum(work for _, work in requests), rel=1e-6)
