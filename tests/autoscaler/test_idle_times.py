"""Histograms of idle times worked out by hand, and the replica that goes and comes by them."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planner import Planner
from autoscaler.policies import idle_times
from autoscaler.policies.idle_times import IdleTimes
from stoker.vocabulary import Decision, PolicyName, ScaleTo, ScalingConfig, WakeAt
from tests.autoscaler.driving import A, say

SLOT = np.array([0])
CONFIG = ScalingConfig(
    policy=PolicyName.HYBRID_HISTOGRAM, target=1.0, initial_scale=0, keep_alive_default=3600.0
)


def idle_for(*minutes: float) -> IdleTimes:
    """One slot with these idle times, each ended by a second of load."""
    result = IdleTimes()
    result.reserve(1)
    result.configure(0, bridged=60.0)
    second = 0
    result.observe(second, SLOT, np.array([1.0]))
    for each in minutes:
        second += 1 + int(each * 60)
        result.observe(second, SLOT, np.array([1.0]))
    return result


def said(idle: IdleTimes) -> tuple[object, ...]:
    """(wake, keep) in minutes, and whether there is a pattern."""
    slots = idle.slots
    wake, keep = float(slots.wake[0]) / 60, float(slots.keep[0]) / 60
    return round(wake, 6), round(keep, 6), bool(slots.patterned[0])


def test_one_habit() -> None:
    """28 minutes each time: wake at 0.9 x 28, keep until 1.1 x 29, once there are ten."""
    assert said(idle_for(*[28] * 9)) == (25.2, 31.9, False)
    assert said(idle_for(*[28] * 10))[2] is True


def test_the_tails_are_cut() -> None:
    """Of 100: five below the head's cutoff move it no further than their last bin, one beyond
    the tail's is left out."""
    five = idle_for(*[2] * 5, *[30.5] * 94, 200)
    assert said(five) == (1.8, 34.1, True)
    four = idle_for(*[2] * 4, *[30.5] * 95, 200)
    assert said(four) == (27.0, 34.1, True)


def test_even_spread_is_no_pattern() -> None:
    """A coefficient of variation of 2 means 240 x sum of squares >= 5 n^2: n equally often in
    48 bins have exactly that (240 x 48 x 9 = 5 x 144^2), in 49 they have less."""
    assert said(idle_for(*[m for m in range(1, 49) for _ in range(3)]))[2] is True
    assert said(idle_for(*[m for m in range(1, 50) for _ in range(3)]))[2] is False


def test_what_the_window_bridges_is_no_idle_time() -> None:
    """Gaps within the stable window never cost a replica: they are not counted."""
    idle = idle_for(*[0.5] * 30, *[0.99] * 5, 1.0)
    assert idle.take(0)["histogram"] == [[1, 1]]


def test_beyond_four_hours() -> None:
    """239 minutes are in the last bin, 240 beyond; more beyond than within is told."""
    idle = idle_for(239.9, 240, 500)
    assert idle.take(0)["histogram"] == [[239, 1]]
    assert idle.slots.beyond[0] == 2
    assert idle.mostly_beyond(SLOT).tolist() == [True]
    assert idle_for(239, 240).mostly_beyond(SLOT).tolist() == [False]


def test_late_seconds_and_silence_count_nothing() -> None:
    """A report of an earlier second, the same second again and zeros end no idle time."""
    idle = idle_for(5)
    before = idle.take(0)
    for second, value in ((300, 1.0), (301, 1.0), (900, 0.0)):
        idle.observe(second, SLOT, np.array([value]))
    assert idle.take(0) == before


def test_habits_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """All counts are halved at so many: 12 of the old habit weigh 6, then 3, ..."""
    monkeypatch.setattr(idle_times, "REMEMBERED", 12.0)
    idle = idle_for(*[10] * 12)
    assert idle.take(0)["histogram"] == [[10, 6]]
    idle = idle_for(*[10] * 12, *[300] * 2, *[20] * 4)
    assert idle.take(0)["histogram"] == [[10, 3], [20, 2]]
    assert (idle.slots.count[0], idle.slots.beyond[0]) == (5, 1)


class Clock:
    """A planner with one model that decides every 30 s, and when it asked to look again."""

    def __init__(self, config: ScalingConfig = CONFIG, start: float = 0.0) -> None:
        self.planner = Planner()
        self.planner.set_model(A, config, 0.0)
        self.planner.set_start_seconds(A, start, 0.0)
        self.now = 0.0
        self.wishes: list[tuple[float, int]] = []
        self.wakes: list[float] = []

    def until(self, time: float, load: float = 0.0) -> None:
        """Let time pass with this load; replicas are there at once."""
        while self.now < time:
            wakes = [wake for wake in self.wakes if wake > self.now]
            then = min([self.now // 30 * 30 + 30, time, *wakes])
            for second in range(int(self.now), int(then)):
                if load:
                    say(self.planner, second, {A: load})
            self.planner.open_second(int(then) - 1)
            self.now = then
            for command in self.planner.decide(then).commands:
                if isinstance(command, ScaleTo):
                    self.planner.set_counts(A, command.replicas, 0, then)
                    self.wishes.append((then, command.replicas))
                elif isinstance(command, WakeAt):
                    self.wakes.append(command.time)

    @property
    def decision(self) -> Decision:
        decision = self.planner.decision(A)
        assert decision is not None
        return decision


def every_half_hour(start: float) -> Clock:
    """Two minutes of load every half hour, eleven times; the last ended at 18120 s."""
    clock = Clock(start=start)
    for begin in range(0, 11 * 1800, 1800):
        clock.until(begin)
        clock.until(begin + 120, load=0.5)
    clock.wishes.clear()
    clock.wakes.clear()
    return clock


def test_gone_and_back_in_time() -> None:
    """After 10 idle times of 28 minutes: away a minute after the load, back 25 min 12 s after
    it less the 90 s of a start, kept until 31 min 54 s after it, then away."""
    clock = every_half_hour(start=90.0)
    end = 10 * 1800 + 120
    clock.until(end + 1400)
    assert clock.wishes == [(end + 60, 0)]
    wake = end + 25.2 * 60 - 90
    assert clock.wakes[-1] == pytest.approx(wake)
    clock.until(end + 1500)
    assert clock.decision.desired == 1
    assert clock.decision.reason == (
        "prewarmed: idle times of this model mostly end after 28m or more"
    )
    clock.until(end + 1912)
    assert clock.decision.desired == 1
    clock.until(end + 1940)
    assert [replicas for _, replicas in clock.wishes] == [0, 1, 0]
    assert clock.wishes[1][0] == pytest.approx(wake)
    assert clock.wishes[2][0] == pytest.approx(end + 31.9 * 60)


def test_not_worth_going() -> None:
    """With starts of 12 minutes it would be away for 25.2 - 12 - 1 = 12.2, and goes; with
    starts of 13 for less than a start takes, and stays."""
    clock = every_half_hour(start=12 * 60.0)
    clock.until(clock.now + 120)
    assert clock.decision.desired == 0
    clock = every_half_hour(start=13 * 60.0)
    clock.until(clock.now + 120)
    assert clock.decision.desired == 1
    assert clock.decision.reason == "kept: idle times of this model are mostly below 31m54s"


def test_without_a_pattern_it_is_kept() -> None:
    """keep-alive-default after the load's end, and no longer; never for one that had no load."""
    clock = Clock()
    clock.until(100)
    assert clock.wishes == []
    clock.until(110, load=0.5)
    clock.until(3700)
    assert [replicas for _, replicas in clock.wishes] == [1]
    assert clock.decision.reason == ("kept for 1h: the model's idle times show no pattern (yet)")
    assert clock.wakes[-1] == 110 + 3600
    clock.until(3720)
    assert clock.wishes[-1] == (3710.0, 0)


def test_long_idle_times_go_by_the_season() -> None:
    """Once a season of 5 hours, for 10 minutes: beyond the histogram. The first two times it is
    kept for want of anything better, then it is there when the season says so."""
    season = 5 * 3600
    clock = Clock(
        ScalingConfig(
            policy=PolicyName.HYBRID_HISTOGRAM,
            target=1.0,
            initial_scale=0,
            keep_alive_default=600.0,
            season=float(season),
        ),
        start=30.0,
    )
    for round_ in range(3):
        clock.until(round_ * season + 6000)
        clock.until(round_ * season + 6600, load=0.5)
    assert [replicas for _, replicas in clock.wishes] == [1, 0, 1, 0, 1]
    # The third is there before its load: bins are 62.5 s, 6000 s is the beginning of one.
    assert clock.wishes[-1][0] == 2 * season + 6000 - 30
    clock.until(2 * season + 6300, load=0.5)
    clock.until(2 * season + 7000)
    # Gone when load has ended here, though keep-alive-default would have kept it.
    assert clock.wishes[-1][1] == 0
    clock.until(3 * season + 5990)
    assert clock.decision.desired == 1
    assert clock.decision.reason == "kept or prewarmed: load came at this time, every 5h"
    assert clock.wakes[-1] == 3 * season + 6000 - 30
