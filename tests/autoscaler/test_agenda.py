"""When decisions are due: the grid of ticks, pokes in between, looking again."""

from __future__ import annotations

import pytest

from autoscaler.agenda import POKE_GAP, Agenda
from tests.autoscaler.driving import A, B


def agenda(interval: float = 2.0, now: float = 10.0) -> Agenda:
    made = Agenda(interval)
    made.begin(now)
    return made


def test_ticks_are_on_a_grid_and_missed_ones_are_not_made_up_for() -> None:
    """At 10, 12, then, after being late by more than a tick, from there on."""
    it = agenda()
    assert it.take(10.0) == (True, set())
    assert (it.until(), it.take(11.9)) == (12.0, (False, set()))
    assert it.take(12.1) == (True, set())
    assert it.until() == 14.0
    assert it.take(17.0) == (True, set())
    assert it.until() == 19.0


def test_pokes_come_at_once_then_with_a_gap() -> None:
    """The first is due now; one 5 ms later waits until 20 ms after the first."""
    it = agenda()
    it.take(10.0)
    it.poke(A)
    assert it.until() == 10.0
    assert it.take(10.5) == (False, {A})
    it.poke(B)
    assert it.until() == pytest.approx(10.5 + POKE_GAP)
    assert it.take(10.505) == (False, set())
    assert it.take(it.until()) == (False, {B})


def test_looking_again_waits_for_the_gap_too() -> None:
    """What is to be looked at just after a poke is due when the gap is over, not before:
    a loop that sleeps until ``until`` must not spin.
    """
    it = agenda()
    it.take(10.0)
    it.wake(A, 10.51)
    it.poke(B)
    assert it.take(10.5) == (False, {B})
    assert it.until() == pytest.approx(10.5 + POKE_GAP)
    assert it.take(it.until()) == (False, {A})


def test_a_tick_covers_what_was_poked_and_what_was_to_be_looked_at() -> None:
    """Nothing is decided twice because of it."""
    it = agenda()
    it.poke(A)
    it.wake(B, 9.0)
    assert it.take(10.0) == (True, set())
    assert it.until() == 12.0


def test_a_model_that_is_gone_is_not_due() -> None:
    """Only those still there are."""
    it = agenda()
    it.take(10.0)
    it.poke(A)
    it.forget(A)
    assert it.until() == 12.0


def test_an_interval_must_be_above_zero() -> None:
    """Else it would tick for ever."""
    with pytest.raises(ValueError, match="tick_interval = 0"):
        Agenda(0)
