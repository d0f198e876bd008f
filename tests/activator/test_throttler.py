"""One model's queue, slots and load."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.balancer import SLOW_START_WINDOW
from activator.slots import OwnSlots
from activator.throttler import Held, Throttler
from activator.tickets import State, Ticket
from stoker.vocabulary import Address, Balancing, ModelKey, Outage, ServingConfig

KEY = ModelKey("default", "digits")
ADDRESS = Address("127.0.0.1", 80)


def throttler(limit: int = 1, **config: Any) -> Throttler:
    """An idle model at time 0."""
    return Throttler(KEY, ServingConfig(container_concurrency=limit, **config), 0.0)


def ask(model: Throttler, now: float, priority: int = 0, size: int = 0) -> Ticket:
    """A request as admission treats it: granted at once or held."""
    ticket = Ticket(model, "", priority, None, size, now, None)
    if not model.claim(ticket, now):
        model.enqueue(ticket, now)
    return ticket


def test_a_free_slot_is_taken_at_once() -> None:
    """Without a line there is nothing to wait for."""
    model = throttler()
    model.add_replica("a", ADDRESS, 0.0)
    ticket = ask(model, 1.0)
    assert ticket.state is State.GRANTED
    assert ticket.backend is not None
    assert ticket.backend.replica_id == "a"
    assert (model.active, model.queued) == (1, 0)


def test_held_tickets_go_oldest_first_within_the_highest_priority() -> None:
    """And all of them are told of in that order."""
    model = throttler()
    low, high, higher, low_too, high_too = (
        ask(model, n, priority) for n, priority in enumerate([0, 1, 2, 0, 1])
    )
    order = [higher, high, high_too, low, low_too]
    assert model.held() == order
    assert model.add_replica("a", ADDRESS, 9.0) == order[:1]
    for before, after in pairwise(order):
        assert model.finish(before, 10.0, answered=True) == [after]
    assert model.finish(order[-1], 11.0, answered=True) == []


def test_a_failed_ticket_goes_before_those_that_wait() -> None:
    """It was first once; several that failed keep their order among themselves."""
    model = throttler(2)
    model.add_replica("a", ADDRESS, 0.0)
    first, second = ask(model, 0.0), ask(model, 1.0)
    waiting, urgent = ask(model, 2.0), ask(model, 3.0, priority=1)
    for ticket in (first, second):
        model.failed(ticket, 4.0, eject=True)
        model.enqueue(ticket, 4.0)
    assert model.held() == [urgent, first, second, waiting]


def test_a_failed_ticket_avoids_the_replica_that_failed_it() -> None:
    """Unless that is the only one with a slot."""
    model = throttler(1)
    model.add_replica("a", ADDRESS, 0.0)
    ticket = ask(model, 0.0)
    assert model.failed(ticket, 1.0, eject=False).replica_id == "a"
    model.enqueue(ticket, 1.0)
    model.add_replica("b", ADDRESS, 1.0)
    assert ticket.backend is not None
    assert ticket.backend.replica_id == "b"
    other = ask(model, 1.0)
    model.failed(ticket, 2.0, eject=False)
    model.enqueue(ticket, 2.0)
    assert model.grant(2.0) == [ticket]
    assert ticket.backend.replica_id == "b"
    assert other.backend is not None
    assert other.backend.replica_id == "a"


def test_time_in_a_replica_that_failed_does_not_count_as_waiting() -> None:
    """The hold's budget is one of its own."""
    model = throttler(1, hold_timeout=10.0, hold_timeout_cap=20.0)
    ticket = ask(model, 0.0)
    model.add_replica("a", ADDRESS, 3.0)
    assert ticket.state is State.GRANTED
    model.failed(ticket, 50.0, eject=True)
    model.enqueue(ticket, 50.0)
    assert ticket.held_since == 47.0
    assert model.effective_deadline(ticket) == 57.0


def test_deadlines_move_on_with_progress_up_to_the_cap() -> None:
    """A hold ends after its timeout without progress, after its cap in any case."""
    model = throttler(1, hold_timeout=10.0, hold_timeout_cap=25.0)
    ticket = ask(model, 5.0)
    assert model.effective_deadline(ticket) == 15.0
    model.made_progress("pulling-image", 14.0)
    assert model.effective_deadline(ticket) == 24.0
    model.made_progress("starting", 23.0)
    assert model.effective_deadline(ticket) == 30.0
    ticket.hard_deadline = 20.0
    assert model.effective_deadline(ticket) == 20.0


def test_a_start_that_fails_and_begins_anew_is_no_progress() -> None:
    """Only what is further than before, or new about the furthest phase; once ready, anything."""
    model = throttler(1, hold_timeout=10.0, hold_timeout_cap=100.0)
    model.made_progress("starting", 0.0)
    model.made_progress("pending-node", 1.0)  # nobody waits: whatever
    ticket = ask(model, 2.0)
    steps = [
        ("pulling-image (10 %)", 3.0, 13.0),
        ("pulling-image (10 %)", 4.0, 13.0),
        ("pulling-image (60 %)", 5.0, 15.0),
        ("pending-node", 6.0, 15.0),
        ("starting", 7.0, 17.0),
        ("pulling-image (70 %)", 8.0, 17.0),
        ("starting (loading)", 9.0, 19.0),
    ]
    for phase, now, deadline in steps:
        model.made_progress(phase, now)
        assert model.effective_deadline(ticket) == deadline
    assert model.progress == "starting (loading)"
    model.add_replica("a", ADDRESS, 20.0)
    other = ask(model, 20.0)
    model.remove_replica("a")
    model.made_progress("pending-node", 25.0)
    assert model.effective_deadline(other) == 35.0


def test_a_start_as_long_as_earlier_ones_is_waited_for() -> None:
    """Up to the cap, and no longer than was expected when it last got on."""
    model = throttler(1, hold_timeout=10.0, hold_timeout_cap=60.0)
    ticket = ask(model, 0.0)
    model.made_progress("starting", 1.0, expected=40.0)
    assert model.effective_deadline(ticket) == 40.0
    model.made_progress("starting (slowly)", 35.0, expected=90.0)
    assert model.effective_deadline(ticket) == 60.0
    model.made_progress("starting (nearly)", 36.0)
    assert model.effective_deadline(ticket) == 46.0


def test_a_cap_below_the_timeout_does_not_shorten_it() -> None:
    """The cap bounds how far progress may move it, no more."""
    model = throttler(1, hold_timeout=10.0, hold_timeout_cap=1.0)
    assert model.effective_deadline(ask(model, 0.0)) == 10.0


class TestReplicas:
    def test_each_slot_is_filled_once(self) -> None:
        """A backlog goes slot by slot, not at once."""
        model = throttler(2)
        held = [ask(model, n) for n in range(5)]
        assert model.add_replica("a", ADDRESS, 9.0) == held[:2]
        assert model.add_replica("b", ADDRESS, 9.0) == held[2:4]

    def test_ready_twice_is_ready_once(self) -> None:
        """The second time is neither a replica nor progress, and ends no outage."""
        model = throttler(1, hold_timeout=10.0)
        model.add_replica("a", ADDRESS, 0.0)
        ask(model, 0.0)
        waiting = ask(model, 0.0)
        model.outage = Outage(KEY, "broken", 1.0, 9.0)
        assert model.add_replica("a", ADDRESS, 5.0) == []
        assert model.ready_replicas == 1
        assert model.effective_deadline(waiting) == 10.0
        assert model.outage is not None

    def test_a_new_one_ends_an_outage(self) -> None:
        """The model can start, as everybody sees."""
        model = throttler()
        model.outage = Outage(KEY, "broken", 1.0, 9.0)
        model.add_replica("a", ADDRESS, 5.0)
        assert model.outage is None
        assert model.progress == "ready"

    def test_draining_takes_no_more(self) -> None:
        """What it has it may finish; it is told apart from one that has none left."""
        model = throttler(2)
        model.add_replica("a", ADDRESS, 0.0)
        ticket = ask(model, 0.0)
        assert not model.drain_replica("a")
        assert not model.drain_replica("a")
        assert model.progress == ""
        assert ask(model, 1.0).state is State.HELD
        assert model.finish(ticket, 2.0, answered=True) == []
        assert model.drain_replica("a")
        assert model.drain_replica("unknown")

    def test_phases_of_others_outlive_the_last_ready_one(self) -> None:
        """Only "ready" is not true any more."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        model.made_progress("starting", 1.0)
        model.remove_replica("a")
        assert model.progress == "starting"

    def test_with_others_left_ready_stays_true(self) -> None:
        """One of two goes."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        model.add_replica("b", ADDRESS, 0.0)
        model.remove_replica("a")
        assert (model.ready_replicas, model.progress) == (1, "ready")

    def test_a_removed_ones_requests_end_by_themselves(self) -> None:
        """Their slot is given back to nobody."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        ticket, waiting = ask(model, 0.0), ask(model, 0.0)
        model.remove_replica("a")
        assert model.ready_replicas == 0
        assert model.finish(ticket, 1.0, answered=False) == []
        assert (model.active, model.queued) == (0, 1)
        assert model.add_replica("b", ADDRESS, 2.0) == [waiting]


class TestEjection:
    def test_who_waits_for_the_only_replica_gets_it_back(self) -> None:
        """``resumes_at`` tells when; asking too early is harmless."""
        model = throttler(1)
        model.add_replica("a", ADDRESS, 0.0)
        ticket = ask(model, 0.0)
        model.failed(ticket, 1.0, eject=True)
        model.enqueue(ticket, 1.0)
        assert model.grant(1.5) == []
        assert model.resumes_at == 2.0
        assert model.resume(1.9) == []
        assert model.resumes_at == 2.0
        assert model.resume(2.0) == [ticket]
        assert model.resumes_at == float("inf")

    def test_the_first_of_several_is_waited_for(self) -> None:
        """Then the next."""
        model = throttler(1)
        for name in "ab":
            model.add_replica(name, ADDRESS, 0.0)
        first, second = ask(model, 0.0), ask(model, 0.0)
        for ticket, now in ((first, 1.0), (second, 1.5)):
            model.failed(ticket, now, eject=True)
            model.enqueue(ticket, now)
        assert model.resumes_at == 2.0
        assert len(model.resume(2.0)) == 1
        assert model.resumes_at == 2.5
        assert len(model.resume(2.5)) == 1

    def test_a_failure_that_does_not_eject(self) -> None:
        """A stale connection says nothing about its replica."""
        model = throttler(1)
        model.add_replica("a", ADDRESS, 0.0)
        ticket = ask(model, 0.0)
        model.failed(ticket, 1.0, eject=False)
        model.enqueue(ticket, 1.0)
        assert model.resumes_at <= 1.0
        assert model.resume(1.0) == [ticket]
        assert model.resumes_at == float("inf")

    def test_an_answer_brings_it_back_at_once(self) -> None:
        """One request failed, another was answered: the replica lives."""
        model = throttler(2)
        model.add_replica("a", ADDRESS, 0.0)
        first, second = ask(model, 0.0), ask(model, 0.0)
        model.failed(first, 1.0, eject=True)
        model.enqueue(first, 1.0)
        assert model.grant(1.0) == []
        assert model.finish(second, 1.1, answered=True) == [first]


class TestSlowStart:
    def backlog(self, size: int) -> tuple[Throttler, list[Ticket]]:
        """A model without a limit and with that many requests waiting for it."""
        model = throttler(0)
        return model, [ask(model, 0.0) for _ in range(size)]

    def test_the_window_grows_with_each_answer_and_ends_with_the_backlog(self) -> None:
        """The flow doubles per round trip until nobody waits; then there is no bound."""
        model, held = self.backlog(100)
        running = model.add_replica("a", ADDRESS, 1.0)
        sizes = [len(running)]
        while model.queued:
            running = [t for r in running for t in model.finish(r, 2.0, answered=True)]
            sizes.append(len(running))
        assert sizes == [SLOW_START_WINDOW, 2 * SLOW_START_WINDOW, 100 - 3 * SLOW_START_WINDOW]
        assert [ticket.state for ticket in held].count(State.GRANTED) == sizes[-1]
        more = [ask(model, 3.0) for _ in range(500)]
        assert all(ticket.state is State.GRANTED for ticket in more)

    def test_a_backlog_that_leaves_ends_it_too(self) -> None:
        """Clients that gave up are no reason to hold back those that come."""
        model, held = self.backlog(SLOW_START_WINDOW + 3)
        model.add_replica("a", ADDRESS, 1.0)
        for ticket in held[SLOW_START_WINDOW:]:
            model.withdraw(ticket, 2.0)
        assert ask(model, 3.0).state is State.GRANTED

    def test_answers_that_fail_open_it_no_further(self) -> None:
        """One slot came free, one is given."""
        model, held = self.backlog(100)
        model.add_replica("a", ADDRESS, 1.0)
        assert len(model.finish(held[0], 2.0, answered=False)) == 1

    def test_a_second_replica_starts_slowly_by_itself(self) -> None:
        """Each has a window of its own; without a backlog it needs none."""
        model, _ = self.backlog(2 * SLOW_START_WINDOW)
        assert len(model.add_replica("a", ADDRESS, 1.0)) == SLOW_START_WINDOW
        assert len(model.add_replica("b", ADDRESS, 1.0)) == SLOW_START_WINDOW
        model.add_replica("c", ADDRESS, 1.0)
        assert [b.window for b in model.slots.backends] == [0, 0, 0]

    def test_back_from_ejection_it_is_not_flooded(self) -> None:
        """A replica that is still broken takes a few with it, not all that wait."""
        model = throttler(0)
        model.add_replica("a", ADDRESS, 0.0)
        first = ask(model, 0.0)
        model.failed(first, 1.0, eject=True)
        model.enqueue(first, 1.0)
        rest = [ask(model, 1.5) for _ in range(99)]
        assert model.resume(2.0) == [first, *rest][:SLOW_START_WINDOW]

    def test_a_backlog_served_by_another_does_not_open_the_ejected_ones_window(self) -> None:
        """The queue ran empty while it was away: that says nothing about it."""
        model = throttler(0)
        model.add_replica("a", ADDRESS, 0.0)
        ticket = ask(model, 0.0)
        model.failed(ticket, 1.0, eject=True)
        model.enqueue(ticket, 1.0)
        assert model.add_replica("b", ADDRESS, 1.0) == [ticket]
        assert {b.replica_id: b.window for b in model.slots.backends} == {
            "a": SLOW_START_WINDOW,
            "b": 0,
        }


class TestReconfigure:
    def test_a_higher_limit_lets_more_through(self) -> None:
        """At once, and by the policy that fits."""
        model = throttler(1)
        model.add_replica("a", ADDRESS, 0.0)
        tickets = [ask(model, 0.0) for _ in range(6)]
        granted = model.reconfigure(ServingConfig(container_concurrency=4), 1.0)
        assert granted == tickets[1:4]
        assert isinstance(model.slots, OwnSlots)
        assert model.slots.balancer.policy is Balancing.ROUND_ROBIN

    def test_a_lower_limit_waits_for_what_runs(self) -> None:
        """Nothing is broken off; nothing new starts until there is room again."""
        model = throttler(3)
        model.add_replica("a", ADDRESS, 0.0)
        running = [ask(model, 0.0) for _ in range(3)]
        waiting = ask(model, 0.0)
        assert model.reconfigure(ServingConfig(container_concurrency=1), 1.0) == []
        assert model.finish(running[0], 2.0, answered=True) == []
        assert model.finish(running[1], 2.0, answered=True) == []
        assert model.finish(running[2], 2.0, answered=True) == [waiting]

    def test_losing_the_limit_does_not_let_the_backlog_loose(self) -> None:
        """The window opens as for a replica that is new."""
        model = throttler(1)
        model.add_replica("a", ADDRESS, 0.0)
        tickets = [ask(model, 0.0) for _ in range(100)]
        granted = model.reconfigure(ServingConfig(container_concurrency=0), 1.0)
        assert granted == tickets[1:SLOW_START_WINDOW]

    def test_gaining_a_limit_ends_a_slow_start(self) -> None:
        """And losing it again without a backlog does not bring the window back."""
        model = throttler(0)
        for _ in range(20):
            ask(model, 0.0)
        running = model.add_replica("a", ADDRESS, 0.0)
        assert len(model.reconfigure(ServingConfig(container_concurrency=30), 1.0)) == 4
        assert len(running) == SLOW_START_WINDOW
        model.reconfigure(ServingConfig(container_concurrency=0), 2.0)
        assert all(ask(model, 3.0).state is State.GRANTED for _ in range(100))

    def test_a_new_priority_is_also_that_of_those_who_wait(self) -> None:
        """Else those who came first would be served last."""
        model = throttler()
        old = [ask(model, n, priority=1) for n in (0, 2)]
        other = ask(model, 1, priority=5)
        model.reconfigure(ServingConfig(container_concurrency=1, priority=1), 3.0)
        assert model.held() == [other, *old]
        model.reconfigure(ServingConfig(container_concurrency=1, priority=5), 3.0)
        assert model.held() == [old[0], other, old[1]]
        for ticket in old:
            model.withdraw(ticket, 4.0)
        assert model.held() == [other]

    def test_who_failed_stays_in_front(self) -> None:
        """A new priority does not mix them with those that never were in a replica."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        ticket, waiting = ask(model, 0.0), ask(model, 0.0)
        model.failed(ticket, 8.0, eject=True)
        model.enqueue(ticket, 8.0)
        model.reconfigure(ServingConfig(container_concurrency=1, priority=3), 8.0)
        assert model.held() == [ticket, waiting]


class TestLoad:
    def test_averages_are_weighted_by_time(self) -> None:
        """One request active for half, one queued for a quarter of four seconds."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        first = ask(model, 1.0)
        second = ask(model, 2.0)
        assert model.finish(first, 3.0, answered=True) == [second]
        model.finish(second, 3.5, answered=True)
        assert model.take_load(4.0, 4.0) == (0.25, 0.625, 2, 2)
        assert model.take_load(5.0, 1.0) == (0.0, 0.0, 0, 0)

    def test_an_interval_of_no_length_tells_what_is(self) -> None:
        """An average over nothing is the moment itself."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        ask(model, 1.0)
        ask(model, 1.0)
        model.take_load(1.0, 1.0)
        ask(model, 1.0)
        assert model.take_load(1.0, 0.0) == (2.0, 1.0, 1, 0)

    def test_the_time_of_a_request_is_learned(self) -> None:
        """Whatever the demand: what runs unanswered counts too, and old reports fade."""
        model = throttler(0)
        model.add_replica("a", ADDRESS, 0.0)
        assert model.seconds_each is None
        assert model.seconds_for(3) is None
        for second in range(30):
            for ticket in [ask(model, second) for _ in range(10 if second < 20 else 1)]:
                model.finish(ticket, second + 0.5, answered=True)
            model.take_load(second + 1.0, 1.0)
        assert model.seconds_each == pytest.approx(0.5)
        assert model.seconds_for(3) is None, "nobody is in a replica"
        running = [ask(model, 30.0) for _ in range(5)]
        assert model.seconds_for(20) == pytest.approx(2.0)
        for second in range(30, 50):
            model.take_load(second + 1.0, 1.0)
        assert model.seconds_each is not None
        assert model.seconds_each > 10
        for second in range(50, 100):
            for ticket in running:
                model.finish(ticket, second + 0.5, answered=True)
            running = []
            model.take_load(second + 1.0, 1.0)
            running = [ask(model, second + 1.0) for _ in range(5)]
        assert model.seconds_each == pytest.approx(0.5, rel=0.01)

    def test_completions_are_answers(self) -> None:
        """A request that broke off is none."""
        model = throttler()
        model.add_replica("a", ADDRESS, 0.0)
        model.finish(ask(model, 0.0), 1.0, answered=False)
        assert model.take_load(1.0, 1.0) == (0.0, 1.0, 1, 0)

    @given(
        steps=st.lists(
            st.tuples(st.integers(0, 8), st.sampled_from(["ask", "finish", "leave", "report"])),
            max_size=40,
        )
    )
    def test_the_average_equals_the_integral(self, steps: list[tuple[int, str]]) -> None:
        """Of what each request's own times say, summed over all requests at the end."""
        model = throttler(2)
        model.add_replica("a", ADDRESS, 0.0)
        now, queued, active = 0.0, 0.0, 0.0
        marks: list[float] = [0.0]
        spans: list[tuple[float, float, bool]] = []
        waiting: dict[Ticket, float] = {}
        running: dict[Ticket, float] = {}
        for eighths, step in steps:
            now += eighths / 8
            if step == "ask":
                ticket = ask(model, now)
                (waiting if ticket.state is State.HELD else running)[ticket] = now
            elif step == "finish" and running:
                ticket = next(iter(running))
                spans.append((running.pop(ticket), now, True))
                for other in model.finish(ticket, now, answered=True):
                    spans.append((waiting.pop(other), now, False))
                    running[other] = now
            elif step == "leave" and waiting:
                ticket, since = waiting.popitem()
                spans.append((since, now, False))
                model.withdraw(ticket, now)
            elif step == "report" and now > marks[-1]:
                interval = now - marks[-1]
                load = model.take_load(now, interval)
                queued += load[0] * interval
                active += load[1] * interval
                marks.append(now)
        spans += [(since, now, False) for since in waiting.values()]
        spans += [(since, now, True) for since in running.values()]
        if now > marks[-1]:
            load = model.take_load(now, now - marks[-1])
            queued += load[0] * (now - marks[-1])
            active += load[1] * (now - marks[-1])
        assert active == pytest.approx(sum(end - since for since, end, ran in spans if ran))
        assert queued == pytest.approx(sum(end - since for since, end, ran in spans if not ran))


def test_held_counts_over_all_models() -> None:
    """What models have in common is kept in one place, whoever grants, withdraws or grows."""
    total = Held()
    one, two = (Throttler(KEY, ServingConfig(), 0.0, 1, total) for _ in range(2))
    first, second = ask(one, 0.0, size=5), ask(two, 0.0, size=7)
    assert (total.requests, total.size) == (2, 12)
    one.grow(first, 10)
    assert (one.queued_bytes, total.size) == (15, 22)
    one.add_replica("a", ADDRESS, 1.0)
    assert (total.requests, total.size) == (1, 7)
    one.grow(first, 10)
    assert (first.size, one.queued_bytes, total.size) == (25, 0, 7)
    two.withdraw(second, 1.0)
    assert (total.requests, total.size) == (0, 0)


def test_repr_tells_where_a_ticket_is() -> None:
    """For logs and failed tests."""
    model = throttler()
    ticket = ask(model, 0.0)
    assert repr(ticket) == "<Ticket default/digits held >"
    model.add_replica("a", ADDRESS, 0.0)
    assert repr(ticket) == "<Ticket default/digits granted <Backend a 1/1>>"
