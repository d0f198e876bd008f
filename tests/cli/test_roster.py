"""Which workers there are: started, replaced one by one, never a queue without anybody."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stoker.cli.roster import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    NEVER,
    STEADY_SECONDS,
    Cause,
    Effect,
    Ended,
    Kill,
    Retire,
    Rolled,
    Roster,
    Serve,
    Stage,
    Start,
)
from tests.properties import costly


def serving(slots: int, patience: float = 60.0) -> Roster:
    """All slots have a worker that serves; time is 0."""
    roster = Roster(slots, patience=patience, retire_patience=20.0)
    for effect in roster.begin(0.0):
        assert isinstance(effect, Start)
        roster.ready(effect.worker, 0.0)
    assert roster.complete
    return roster


def test_each_slot_gets_a_worker() -> None:
    """The first that is ready takes all queues until the others come."""
    roster = Roster(3, retire_patience=20.0)
    assert roster.begin(0.0) == [Start(1, 0), Start(2, 1), Start(3, 2)]
    assert not roster.complete
    assert roster.ready(2, 0.1) == [Serve(2, (0, 1, 2))]
    # The new one listens before the other stops.
    assert roster.ready(1, 0.2) == [Serve(1, (0,)), Serve(2, (1, 2))]
    assert roster.ready(3, 0.3) == [Serve(3, (2,)), Serve(2, (1,))]
    assert roster.complete
    assert roster.ready(3, 0.4) == []
    assert roster.ready(9, 0.4) == []
    assert roster.exited(9, 0.4) == []
    roster.heard(9, 0.4)
    assert [worker.queues for worker in roster.serving()] == [(0,), (1,), (2,)]


def test_one_that_dies_is_restarted_at_once_and_its_queue_served_meanwhile() -> None:
    """Others are not touched; a second death right away waits, longer each time."""
    roster = serving(2, patience=NEVER)
    effects = roster.exited(2, 100.0)
    assert effects == [Ended(2, Cause.DIED, 0.0), Serve(1, (0, 1)), Start(3, 1)]
    assert roster.ready(3, 100.5) == [Serve(3, (1,)), Serve(1, (0,))]
    pauses = []
    number, now = 3, 101.0
    for _ in range(10):
        ended = roster.exited(number, now)[0]
        assert isinstance(ended, Ended)
        assert ended.pause is not None
        pauses.append(ended.pause)
        now += ended.pause
        if ended.pause:
            assert roster.wake_at() == now
            assert roster.tick(now - 0.001) == []
            assert roster.tick(now) == [Start(number + 1, 1)]
        number += 1
    assert pauses[0] == FIRST_PAUSE
    assert pauses[1] == 2 * FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    # One that has served for long enough has not failed at the start.
    roster.ready(number, now)
    now += STEADY_SECONDS
    assert roster.exited(number, now)[0] == Ended(number, Cause.DIED, 0.0)


def test_a_roll_replaces_one_after_the_other() -> None:
    """Start, listen, retire, and the next only when the last has gone."""
    roster = serving(2)
    assert roster.roll(10.0) == [Start(3, 0)]
    assert roster.rolling
    assert roster.tick(10.5) == []
    assert roster.ready(3, 11.0) == [Serve(3, (0,)), Retire(1)]
    assert roster.tick(11.5) == []
    assert roster.exited(1, 12.0) == [Ended(1, Cause.REPLACED, None), Start(4, 1)]
    assert roster.ready(4, 13.0) == [Serve(4, (1,)), Retire(2)]
    assert roster.exited(2, 14.0) == [Ended(2, Cause.REPLACED, None), Rolled(failed=False)]
    assert not roster.rolling
    assert roster.complete


def test_a_second_roll_during_a_roll_covers_those_that_serve_then() -> None:
    """Whoever was started before it was asked for is replaced, once."""
    roster = serving(1)
    roster.roll(1.0)
    assert roster.ready(2, 2.0) == [Serve(2, (0,)), Retire(1)]
    assert roster.roll(2.5) == []
    assert roster.exited(1, 3.0) == [Ended(1, Cause.REPLACED, None), Start(3, 0)]
    assert roster.ready(3, 4.0) == [Serve(3, (0,)), Retire(2)]
    assert roster.exited(2, 5.0)[-1] == Rolled(failed=False)


def test_a_successor_that_cannot_start_ends_the_roll() -> None:
    """Those that serve go on; a later roll tries again."""
    roster = serving(2)
    roster.roll(1.0)
    assert roster.exited(3, 2.0) == [Ended(3, Cause.DIED, None), Rolled(failed=True)]
    assert [worker.number for worker in roster.serving()] == [1, 2]
    assert roster.wake_at() < NEVER
    assert roster.roll(3.0) == [Start(4, 0)]


def test_one_that_dies_while_its_successor_starts_needs_no_other() -> None:
    """The successor takes the place; the roll goes on."""
    roster = serving(2)
    roster.roll(1.0)
    assert roster.exited(1, 1.5) == [Ended(1, Cause.DIED, None), Serve(2, (0, 1))]
    assert roster.ready(3, 2.0) == [Serve(3, (0,)), Serve(2, (1,))]
    assert roster.tick(2.0) == [Start(4, 1)]


def test_a_successor_that_dies_after_it_took_over_is_restarted() -> None:
    """Even while its predecessor still finishes: that one takes nothing new."""
    roster = serving(1)
    roster.roll(1.0)
    roster.ready(2, 2.0)
    assert roster.exited(2, 3.0) == [Ended(2, Cause.DIED, 0.0), Start(3, 0)]
    assert roster.exited(1, 4.0) == [Ended(1, Cause.REPLACED, None), Rolled(failed=False)]


def test_one_worker_may_ask_to_be_replaced() -> None:
    """SIGTERM to a worker: a successor first. Unknown or not serving: nothing."""
    roster = serving(2)
    assert roster.leave(9, 1.0) == []
    assert roster.leave(2, 1.0) == [Start(3, 1)]
    assert roster.leave(3, 1.0) == []
    assert roster.ready(3, 2.0) == [Serve(3, (1,)), Retire(2)]
    assert roster.exited(2, 3.0) == [Ended(2, Cause.REPLACED, None), Rolled(failed=False)]


def test_who_does_not_get_ready_is_killed() -> None:
    """After the patience for it, once, whatever it has said meanwhile."""
    roster = Roster(1, patience=60.0, retire_patience=20.0)
    roster.begin(0.0)
    roster.heard(1, 5.0)
    assert roster.wake_at() == 60.0
    assert roster.tick(59.0) == []
    assert roster.tick(60.0) == [Kill(1, "it did not get ready")]
    assert roster.tick(66.0) == []
    assert roster.exited(1, 67.0) == [Ended(1, Cause.DIED, 0.0), Start(2, 0)]


def test_who_hangs_is_killed() -> None:
    """A worker that serves reports every second; 60 s of silence are too much."""
    roster = serving(1)
    roster.heard(1, 30.0)
    assert roster.tick(89.0) == []
    assert roster.tick(90.0) == [Kill(1, "it has not been heard of")]


def test_who_does_not_end_is_killed() -> None:
    """One that was replaced has its time for it and no more."""
    roster = serving(1)
    roster.roll(1.0)
    roster.ready(2, 2.0)
    roster.heard(2, 21.0)
    assert roster.tick(21.9) == []
    assert roster.tick(22.0) == [Kill(1, "it did not end")]
    assert roster.exited(1, 23.0)[0] == Ended(1, Cause.REPLACED, None)


def test_nothing_is_started_once_all_ends() -> None:
    """Deaths are expected then; nobody is killed for being slow by the roster."""
    roster = serving(2)
    roster.roll(1.0)
    roster.exited(2, 1.0)
    roster.stop()
    assert roster.ready(3, 2.0) == []
    assert roster.roll(2.0) == []
    assert roster.wake_at() == NEVER
    assert roster.tick(1000.0) == []
    assert roster.exited(1, 1001.0) == [Ended(1, Cause.STOPPED, None)]


class Life(RuleBasedStateMachine):
    """Workers get ready, die, hang and are rolled in any order."""

    @initialize(slots=st.integers(1, 4))
    def start(self, slots: int) -> None:
        self.slots = slots
        self.now = 0.0
        self.running: set[int] = set()
        self.listening: dict[int, tuple[int, ...]] = {}
        self.retiring: set[int] = set()
        self.roster = Roster(slots, patience=60.0, retire_patience=20.0)
        self.act(self.roster.begin(self.now))

    def act(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(worker, slot):
                    assert worker not in self.running
                    assert 0 <= slot < self.slots
                    self.running.add(worker)
                case Serve(worker, queues):
                    assert worker in self.running
                    assert worker not in self.retiring
                    self.listening[worker] = queues
                case Retire(worker):
                    self.listening.pop(worker, None)
                    self.retiring.add(worker)
                case Kill(worker, _):
                    assert worker in self.running
                case Ended(worker, _, _):
                    assert worker not in self.running
                case Rolled():
                    pass
            covered = {queue for queues in self.listening.values() for queue in queues}
            assert not self.listening or len(covered) == self.slots

    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        if self.running:
            number = data.draw(st.sampled_from(sorted(self.running)))
            self.act(self.roster.ready(number, self.now))

    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        if self.running:
            number = data.draw(st.sampled_from(sorted(self.running)))
            self.running.discard(number)
            self.listening.pop(number, None)
            self.act_after_exit(number)

    def act_after_exit(self, number: int) -> None:
        effects = self.roster.exited(number, self.now)
        # The queues of the dead are taken over within the same step.
        self.listening = {w: q for w, q in self.listening.items() if w in self.running}
        for effect in effects:
            if isinstance(effect, Serve):
                self.listening[effect.worker] = effect.queues
        self.act(effects)

    @rule(seconds=st.sampled_from([0.1, 0.5, 5.0, 30.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.act(self.roster.tick(self.now))

    @rule()
    def roll(self) -> None:
        self.act(self.roster.roll(self.now))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.running:
            number = data.draw(st.sampled_from(sorted(self.running)))
            self.act(self.roster.leave(number, self.now))

    @invariant()
    def every_slot_has_somebody_or_a_time(self) -> None:
        roster = self.roster
        for slot in range(self.slots):
            able = [
                w
                for w in roster.workers.values()
                if w.slot == slot and w.stage is not Stage.RETIRING
            ]
            assert able or roster._slots[slot].start_at < NEVER
            assert len(able) <= 2
        assert set(roster.workers) == self.running


TestLife = Life.TestCase
TestLife.settings = settings(costly(15), stateful_step_count=40)
