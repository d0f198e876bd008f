"""What came at the same time of earlier seasons, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planner import Planner
from autoscaler.policies.seasonal import Seasonal
from autoscaler.policies.seasons import BINS, Seasons
from autoscaler.window import NEVER, Averages
from stoker.vocabulary import Command, PolicyName, ScaleTo, ScalingConfig, WakeAt
from tests.autoscaler.driving import A, say

SLOT = np.array([0])
DAY = 86400.0
NINE = 9 * 3600.0
CONFIG = ScalingConfig(policy=PolicyName.SEASONAL, target=7.0, initial_scale=0)


def seasons(quantile: float = 0.9, season: float = DAY) -> Seasons:
    result = Seasons()
    result.reserve(1)
    result.configure(0, season, quantile, 0.0)
    return result


def note(target: Seasons, load: float, now: float) -> None:
    target.note(SLOT, np.array([load]), now)


def expected(target: Seasons, now: float, ahead: float = 0.0) -> float:
    return float(target.expected(SLOT, np.array([ahead]), now)[0])


def rises(target: Seasons, now: float, ahead: float = 0.0) -> float:
    return float(target.rises(SLOT, np.array([ahead]), now)[0])


def four_days() -> Seasons:
    """At 9:00 there were 20, 28, 24 and 30, on four days."""
    target = seasons()
    for day, load in enumerate((20.0, 28.0, 24.0, 30.0)):
        note(target, load, day * DAY + NINE + 10)
        note(target, load / 2, day * DAY + NINE + 20)
    return target


def test_quantile_over_seasons() -> None:
    """90 % of 20, 24, 28, 30 is 28 + 0.7 x 2; from two days' 20 and 28 it is 27.2."""
    target = seasons()
    note(target, 20.0, NINE)
    assert expected(target, NINE) == 0.0
    assert expected(target, DAY + NINE) == 20.0
    note(target, 28.0, DAY + NINE)
    assert expected(target, 2 * DAY + NINE) == pytest.approx(27.2)
    assert expected(four_days(), 4 * DAY + NINE) == pytest.approx(29.4)


def test_the_fifth_season_back_is_forgotten() -> None:
    """Four seasons are kept, and what is older makes room."""
    target = four_days()
    assert expected(target, 5 * DAY + NINE) == pytest.approx(28.0 + 0.7 * 2)
    note(target, 0.0, 5 * DAY + NINE)
    assert expected(target, 6 * DAY + NINE) == pytest.approx(24.0 + 0.7 * 6)
    note(target, 0.0, 12 * DAY)
    assert expected(target, 12 * DAY + NINE) == 0.0


def test_ahead_by_a_start() -> None:
    """Whatever is expected between now and a start from now: bins are 5 minutes."""
    target = four_days()
    four = 4 * DAY
    assert expected(target, four + NINE - 91, 90.0) == 0.0
    assert expected(target, four + NINE - 90, 90.0) == pytest.approx(29.4)
    assert expected(target, four + NINE + 299, 90.0) == pytest.approx(29.4)
    assert expected(target, four + NINE + 300, 90.0) == 0.0
    # A start of a day and more looks a season ahead at most.
    assert expected(target, four + NINE + 300, 2 * DAY) == pytest.approx(29.4)


def test_the_next_rise() -> None:
    """When to look again: a start before the next bin with load expected."""
    target = four_days()
    four = 4 * DAY
    assert rises(target, four, 90.0) == four + NINE - 90
    assert rises(target, four + 600, 30.0) == four + NINE - 30
    # Past it: that of tomorrow is known already, for three days of four have load then.
    assert rises(target, four + NINE + 300, 90.0) == four + NINE + DAY - 90


def test_no_rise_within_a_season() -> None:
    """Without expectations one looks again when a season is over; never had load: never."""
    target = seasons()
    assert rises(target, 100.0) == NEVER
    lowest = seasons(quantile=0.0)
    note(lowest, 5.0, 100.0)
    note(lowest, 0.0, DAY + 650.0)
    # Bin 290 of a ring of which bin 576 has 0 and 5 behind it, of which the lowest counts.
    assert rises(lowest, DAY + 650.0) == 300.0 * (290 + BINS)
    assert rises(lowest, DAY + 5000.0) == 300.0 * (290 + BINS)
    assert rises(lowest, DAY + 650.0, 2 * DAY) == 300.0 * (290 + BINS) - 2 * DAY


def test_another_season_begins_anew() -> None:
    """A season of another length forgets; the same one, or another quantile, does not."""
    target = four_days()
    target.configure(0, DAY, 0.5, 4 * DAY)
    assert expected(target, 4 * DAY + NINE) == 26.0
    taken = target.take(0)
    target.configure(0, 2 * DAY, 0.5, 4 * DAY)
    assert expected(target, 4 * DAY + NINE) == 0.0
    target.put(0, taken, 0)
    assert expected(target, 4 * DAY + NINE) == 0.0


def test_memory_of_what_is_looked_at() -> None:
    """The few bins that a decision looks at give it again, without all the rest."""
    target, other = four_days(), seasons()
    now = 4 * DAY + NINE - 60
    memory = target.looked_at(0, 90.0, now)
    assert memory["cells"] == [
        [(3 - back) * BINS + 108, load] for back, load in enumerate((30.0, 24.0, 28.0, 20.0))
    ]
    other.put(0, memory, 0)
    assert expected(other, now, 90.0) == expected(target, now, 90.0)


def test_the_floor_is_above_what_there_is_load_for() -> None:
    """The docstring's example: 29.4 expected, target 7, so 5 replicas without any load."""
    part = Seasonal()
    part.reserve(1)
    part.configure(0, CONFIG, 0.0)
    part.seasons = four_days()
    averages = Averages(np.array([-1.0]), np.array([-1.0]), np.array([False]))
    wish = part.wish(SLOT, averages, np.array([90.0]), 4 * DAY + NINE - 90)
    assert wish.replicas.tolist() == [5.0]
    wish = part.wish(SLOT, averages, np.array([90.0]), 4 * DAY + NINE - 100)
    assert wish.replicas.tolist() == [0.0]
    assert wish.look_again.tolist() == [4 * DAY + NINE - 90]


def test_a_sleeping_model_is_woken_in_time() -> None:
    """Yesterday's load at 9:00 wakes it today, a start earlier, by a WakeAt that says when;
    once the time of the load is over it goes to sleep again."""
    planner = Planner()
    planner.set_model(A, CONFIG, 0.0)
    planner.set_start_seconds(A, 90.0, 0.0)
    commands: list[Command] = []
    for second in range(int(NINE), int(NINE) + 120):
        say(planner, second, {A: 20.0})
        commands += planner.decide(second + 0.5).commands
    planner.set_counts(A, 3, 0, NINE + 120)
    for second in range(int(NINE) + 120, int(NINE) + 480):
        planner.open_second(second)
        commands += planner.decide(second + 0.5).commands
        if second % 60 == 0:
            planner.set_counts(A, int(planner.state.desired[0]), 0, second)
    commands += planner.decide(DAY + 10).commands
    wake = DAY + NINE - 90
    assert [c.time for c in commands if isinstance(c, WakeAt)][-1] == wake
    assert [c.replicas for c in commands if isinstance(c, ScaleTo)][-1] == 0
    assert not planner.decide(wake - 1).commands
    (command,) = planner.decide(wake, [A]).commands
    assert isinstance(command, ScaleTo)
    assert command == ScaleTo(
        A,
        3,
        "20 concurrent expected when a start begun now is ready "
        "(90 % of earlier seasons of 24h), target 7: 3",
    )
    planner.set_counts(A, 3, 0, wake + 90)
    wishes = []
    for second in range(int(wake) + 90, int(wake) + 600):
        planner.open_second(second)
        later = planner.decide(second + 0.5).commands
        wishes += [c.replicas for c in later if isinstance(c, ScaleTo)]
        planner.set_counts(A, int(planner.state.desired[0]), 0, second)
    assert wishes[-1] == 0
