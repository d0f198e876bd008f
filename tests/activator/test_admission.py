"""Bounds, deadlines and refusals over all models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from activator.admission import Admission
from activator.balancer import SLOW_START_WINDOW
from activator.forecast import RETRY_AFTER_CAP, RETRY_AFTER_UNKNOWN
from activator.throttler import Throttler
from activator.tickets import Reason, State, Ticket
from stoker.vocabulary import Address, ModelKey, ModelSpec, Outage, ServingConfig

ADDRESS = Address("127.0.0.1", 80)
PLENTY = 10**9


class Bench:
    """An admission with one model, whose replicas have one slot unless told otherwise."""

    def __init__(
        self,
        *,
        max_requests: int = PLENTY,
        max_bytes: int = PLENTY,
        eta: Callable[[ModelKey, float], float | None] | None = None,
        **config: Any,
    ) -> None:
        self.admission = Admission(max_requests, max_bytes, eta)
        self.model = self.configure(**config)

    def configure(self, name: str = "digits", **config: Any) -> Throttler:
        """Add a model or change it."""
        return self.change(name, **config)[0]

    def change(self, name: str = "digits", **config: Any) -> tuple[Throttler, list[Ticket]]:
        """As ``configure``, with whom it let through."""
        serving = ServingConfig(**{"container_concurrency": 1, **config})
        return self.admission.set_model(ModelSpec(ModelKey("default", name), serving=serving), 0.0)

    def ready(self, name: str = "a", now: float = 0.0) -> list[Ticket]:
        """A replica turns ready."""
        return self.admission.replica_ready(self.model, name, ADDRESS, now)

    def offer(
        self,
        now: float = 0.0,
        *,
        model: Throttler | None = None,
        priority: int = 0,
        deadline: float | None = None,
        size: int = 0,
    ) -> Ticket:
        """A request arrives."""
        asked = model or self.model
        return self.admission.offer(asked, "", priority, deadline, size, now, "owner")

    def fail(
        self, ticket: Ticket, now: float, *, eject: bool = True, size: int | None = None
    ) -> list[Ticket]:
        """A replica fails a request, which is tried again; ``size``: if its body has grown."""
        ticket.throttler.failed(ticket, now, eject=eject)
        return self.admission.retry(ticket, ticket.size if size is None else size, now)


def why(ticket: Ticket) -> tuple[Reason, str, float | None]:
    """What the refused caller is told."""
    assert ticket.state is State.REFUSED
    assert ticket.refusal is not None
    return ticket.refusal.reason, ticket.refusal.detail, ticket.refusal.retry_after


class TestOffer:
    def test_granted_held_finished(self) -> None:
        """The ordinary life of two requests with one slot."""
        bench = Bench()
        bench.ready()
        first, second = bench.offer(1.0), bench.offer(2.0)
        assert (first.state, second.state) == (State.GRANTED, State.HELD)
        assert first.owner == "owner"
        assert bench.admission.held == 1
        assert bench.admission.finish(first, 3.0, answered=True) == [second]
        assert bench.admission.held == 0
        assert bench.admission.finish(second, 4.0, answered=True) == []

    def test_a_client_that_leaves_frees_what_it_had(self) -> None:
        """Its slot goes to the next in line, its place in the line to nobody."""
        bench = Bench()
        bench.ready()
        running, leaving, waiting = bench.offer(), bench.offer(), bench.offer()
        assert bench.admission.give_up(leaving, 1.0) == []
        assert bench.admission.held == 1
        assert bench.admission.give_up(running, 1.0) == [waiting]
        assert bench.admission.give_up(running, 1.0) == []
        assert bench.model.take_load(2.0, 2.0)[3] == 0, "nobody was answered"

    @pytest.mark.parametrize(
        ("bound", "reason", "detail"),
        [
            (
                {"queue_requests": 2},
                Reason.QUEUE_FULL,
                "2 requests wait for this model already (queue-requests = 2)",
            ),
            (
                {"queue_bytes": 25},
                Reason.QUEUE_BYTES_FULL,
                "20 bytes wait for this model already (queue-bytes = 25)",
            ),
            (
                {"max_requests": 2},
                Reason.TOTAL_FULL,
                "2 requests are held for all models already (max-queued-requests = 2)",
            ),
            (
                {"max_bytes": 25},
                Reason.TOTAL_BYTES_FULL,
                "20 bytes are held for all models already (max-queued-bytes = 25)",
            ),
        ],
    )
    def test_bounds(self, bound: dict[str, Any], reason: Reason, detail: str) -> None:
        """Each bound refuses the third request, naming itself; a place that is freed is free."""
        bench = Bench(**bound)
        first, second, third = (bench.offer(size=10) for _ in range(3))
        assert (first.state, second.state) == (State.HELD, State.HELD)
        assert why(third) == (reason, detail, RETRY_AFTER_UNKNOWN)
        assert bench.admission.give_up(third, 0.0) == []
        assert bench.admission.give_up(first, 0.0) == []
        assert bench.offer(size=10).state is State.HELD

    def test_a_bound_that_is_met_exactly_holds(self) -> None:
        """As many bytes as the bound says are not too many."""
        bench = Bench(queue_bytes=20, max_bytes=20)
        assert [bench.offer(size=10).state for _ in range(2)] == [State.HELD, State.HELD]
        assert bench.offer(size=0).state is State.HELD

    def test_other_models_count_for_the_total_only(self) -> None:
        """One model's queue does not fill another's."""
        bench = Bench(queue_requests=1, max_requests=2)
        other = bench.configure("other", queue_requests=1)
        assert bench.offer().state is State.HELD
        assert bench.offer(model=other).state is State.HELD
        assert why(bench.offer(model=other))[0] is Reason.QUEUE_FULL
        third = bench.configure("third")
        assert why(bench.offer(model=third))[0] is Reason.TOTAL_FULL

    def test_no_queue_at_all(self) -> None:
        """queue-requests = 0: who finds no slot is refused at once."""
        bench = Bench(queue_requests=0)
        bench.ready()
        assert bench.offer().state is State.GRANTED
        assert why(bench.offer())[0] is Reason.QUEUE_FULL


class TestGrow:
    def test_a_held_body_is_counted_as_it_grows(self) -> None:
        """Both bounds are watched; what was received is kept all the same."""
        bounds: list[dict[str, Any]] = [{"queue_bytes": 15}, {"max_bytes": 15}]
        for bound in bounds:
            bench = Bench(**bound)
            ticket = bench.offer(size=10)
            assert bench.admission.grow(ticket, 5)
            assert not bench.admission.grow(ticket, 1)
            assert (bench.admission.held_bytes, bench.model.queued_bytes) == (16, 16)
            bench.admission.give_up(ticket, 0.0)
            assert (bench.admission.held_bytes, bench.model.queued_bytes) == (0, 0)

    def test_a_granted_body_is_nobodys_burden(self) -> None:
        """It counts again if it is held again."""
        bench = Bench(queue_bytes=15)
        bench.ready()
        ticket = bench.offer(size=10)
        assert bench.admission.grow(ticket, 90)
        assert bench.admission.held_bytes == 0
        bench.fail(ticket, 1.0)
        assert bench.admission.held_bytes == 100

    def test_what_was_passed_on_counts_when_it_is_held_again(self) -> None:
        """A body that streamed to its replica is kept beside: all of it waits from now on."""
        bench = Bench(queue_bytes=1000)
        bench.ready()
        ticket = bench.offer(size=10)
        bench.fail(ticket, 1.0, size=500)
        assert (bench.admission.held_bytes, bench.model.queued_bytes) == (500, 500)
        bench.admission.give_up(ticket, 2.0)
        assert (bench.admission.held_bytes, bench.model.queued_bytes) == (0, 0)


class TestRetry:
    def test_before_those_that_wait_and_past_the_bounds(self) -> None:
        """A replica's death must not cost a request its place."""
        bench = Bench(queue_requests=1, queue_bytes=10, max_requests=1, max_bytes=10)
        bench.ready()
        first, waiting = bench.offer(size=10), bench.offer(size=10)
        assert bench.fail(first, 1.0) == []
        assert first.state is State.HELD
        assert bench.model.held() == [first, waiting]
        assert (bench.admission.held, bench.admission.held_bytes) == (2, 20)
        assert bench.ready("b", 1.5) == [first]
        assert bench.admission.finish(first, 1.6, answered=True) == [waiting]

    def test_at_once_where_there_is_a_slot(self) -> None:
        """Another replica has room."""
        bench = Bench()
        bench.ready("a")
        ticket = bench.offer()
        bench.ready("b")
        assert bench.fail(ticket, 1.0) == [ticket]
        assert ticket.backend is not None
        assert ticket.backend.replica_id == "b"

    def test_a_model_that_cannot_start_refuses(self) -> None:
        """Its last replica went with the request."""
        bench = Bench()
        bench.ready()
        ticket = bench.offer()
        bench.model.remove_replica("a")
        outage = Outage(bench.model.key, "exit code 3", 1.0, 9.0)
        assert bench.admission.outage(bench.model, outage, 1.0) == []
        assert bench.fail(ticket, 2.0) == [ticket]
        assert why(ticket) == (Reason.OUTAGE, "exit code 3", 7.0)
        assert bench.admission.give_up(ticket, 2.0) == []
        assert (bench.admission.held, bench.model.active) == (0, 0)

    def test_a_removed_model_refuses_even_with_replicas(self) -> None:
        """Nobody tells it of its replicas any more."""
        bench = Bench()
        bench.ready("a")
        ticket = bench.offer()
        bench.ready("b")
        bench.admission.remove_model(bench.model.key, 1.0)
        assert bench.fail(ticket, 2.0) == [ticket]
        assert why(ticket)[0] is Reason.MODEL_REMOVED

    def test_nor_does_its_successor_of_the_same_name_take_it(self) -> None:
        """A model that was removed and added again is another one."""
        bench = Bench()
        bench.ready("a")
        ticket = bench.offer()
        bench.admission.remove_model(bench.model.key, 1.0)
        assert bench.configure() is not bench.model
        assert bench.fail(ticket, 2.0) == [ticket]
        assert why(ticket)[0] is Reason.MODEL_REMOVED

    @pytest.mark.parametrize("eject", [False, True])
    def test_one_that_is_not_tried_again_leaves_its_slot(self, eject: bool) -> None:
        """Who waits gets it as soon as the replica may be used: at once, or after ejection."""
        bench = Bench()
        bench.ready()
        first, waiting = bench.offer(), bench.offer()
        bench.model.failed(first, 1.0, eject=eject)
        due = bench.admission.next_deadline(1.0)
        assert due is not None
        assert max(due, 1.0) == (2.0 if eject else 1.0)
        granted = [bench.admission.expire(now) for now in (1.0, 1.9, 2.0)]
        assert granted == ([[], [], [waiting]] if eject else [[waiting], [], []])
        assert bench.admission.held == 0


class TestOutage:
    def outage(self, bench: Bench, retry_at: float = 9.0) -> Outage:
        """The model cannot start until ``retry_at``."""
        return Outage(bench.model.key, "exit code 3", 1.0, retry_at)

    def test_holds_come_back_refused_and_newcomers_are_refused(self) -> None:
        """With the reason and when to come again, until it may start again."""
        bench = Bench()
        held = [bench.offer(), bench.offer()]
        assert bench.admission.outage(bench.model, self.outage(bench), 2.0) == held
        assert [why(t) for t in held] == [(Reason.OUTAGE, "exit code 3", 7.0)] * 2
        assert why(bench.offer(8.9)) == (Reason.OUTAGE, "exit code 3", 1.0)
        assert bench.admission.held == 0
        assert bench.admission.outage(bench.model, None, 9.0) == []
        assert bench.offer(9.0).state is State.HELD

    def test_a_ready_replica_goes_on_serving(self) -> None:
        """More cannot be started; those there are still work, and are waited for."""
        bench = Bench()
        bench.ready()
        running, waiting = bench.offer(), bench.offer()
        assert bench.admission.outage(bench.model, self.outage(bench), 1.0) == []
        assert bench.offer(1.5).state is State.HELD
        assert bench.admission.finish(running, 2.0, answered=True) == [waiting]

    @pytest.mark.parametrize("gone", [True, False])
    def test_when_the_last_one_goes_too(self, gone: bool) -> None:
        """Nobody is left to wait for: the next look at the clock refuses them."""
        bench = Bench()
        bench.ready()
        bench.offer()
        waiting = bench.offer()
        bench.admission.outage(bench.model, self.outage(bench), 1.0)
        assert bench.admission.next_deadline(2.0) == 300.0
        if gone:
            bench.model.remove_replica("a")
        else:
            bench.model.drain_replica("a")
        assert bench.admission.next_deadline(2.0) == 2.0
        assert bench.admission.expire(2.0) == [waiting]
        assert why(waiting) == (Reason.OUTAGE, "exit code 3", 7.0)
        assert bench.admission.next_deadline(2.0) is None

    def test_a_new_replica_ends_it(self) -> None:
        """It started after all: should it go, others may be waited for."""
        bench = Bench()
        bench.admission.outage(bench.model, self.outage(bench), 1.0)
        bench.ready()
        bench.model.remove_replica("a")
        assert bench.offer(2.0).state is State.HELD


class TestTime:
    def test_nothing_to_wait_for(self) -> None:
        """No hold, no deadline; nor one of those that were granted or left."""
        bench = Bench()
        assert bench.admission.next_deadline(0.0) is None
        left, granted = bench.offer(), bench.offer()
        bench.admission.give_up(left, 1.0)
        assert bench.ready(now=1.0) == [granted]
        assert bench.admission.next_deadline(1.0) is None
        assert bench.admission.expire(1000.0) == []

    def test_a_hold_ends_at_its_deadline(self) -> None:
        """Not before, and told where it was stuck."""
        bench = Bench(hold_timeout=10.0)
        first, second = bench.offer(1.0), bench.offer(2.0)
        assert bench.admission.next_deadline(5.0) == 11.0
        assert bench.admission.expire(10.9) == []
        assert bench.admission.expire(11.0) == [first]
        assert why(first) == (
            Reason.HOLD_DEADLINE,
            "held for 10.0 s: no replica is ready; the furthest is in phase"
            " waiting for the autoscaler to ask for a replica",
            RETRY_AFTER_UNKNOWN,
        )
        assert bench.admission.next_deadline(11.0) == 12.0
        assert second.state is State.HELD

    def test_progress_moves_it_up_to_the_cap(self) -> None:
        """A node that boots is worth waiting for, not forever."""
        bench = Bench(hold_timeout=10.0, hold_timeout_cap=25.0)
        ticket = bench.offer(0.0)
        for now, done in ((9.0, 10), (18.0, 40), (24.0, 90)):
            bench.admission.progressed(bench.model, f"pulling-image ({done} %)", now)
            assert bench.admission.expire(now + 0.5) == []
        assert bench.admission.expire(24.9) == []
        assert bench.admission.expire(25.0) == [ticket]
        assert "phase pulling-image" in why(ticket)[1]

    def test_the_callers_own_deadline_is_never_moved(self) -> None:
        """It may come before the hold's."""
        bench = Bench(hold_timeout=10.0)
        ticket = bench.offer(0.0, deadline=5.0)
        bench.model.made_progress("starting", 4.0)
        assert bench.admission.next_deadline(4.0) == 5.0
        assert bench.admission.expire(5.0) == [ticket]

    @pytest.mark.parametrize(
        ("replicas", "ejected", "detail"),
        [
            (1, 0, "held for 10.0 s: no slot of 1 ready replica came free"),
            (2, 0, "held for 10.0 s: no slot of 2 ready replicas came free"),
            (
                2,
                1,
                "held for 10.0 s: no slot of 2 ready replicas came free; 1 set aside after failing",
            ),
        ],
    )
    def test_stuck_behind_busy_replicas(self, replicas: int, ejected: int, detail: str) -> None:
        """How many there are, and how many of them fail."""
        bench = Bench(hold_timeout=10.0)
        for number in range(replicas):
            bench.ready(f"r{number}")
        for _ in range(replicas):
            bench.offer(0.0)
        ticket = bench.offer(0.0)
        for backend in bench.model.slots.backends[:ejected]:
            backend.failed(9.5)
        assert bench.admission.expire(10.0)[0] is ticket
        assert why(ticket)[1] == detail

    def test_a_new_shorter_timeout_is_kept_by_those_that_wait_already(self) -> None:
        """And a longer one gives them more time."""
        bench = Bench(hold_timeout=100.0)
        ticket = bench.offer(0.0)
        bench.configure(hold_timeout=10.0)
        assert bench.admission.next_deadline(1.0) == 10.0
        bench.configure(hold_timeout=20.0)
        assert bench.admission.expire(10.0) == []
        assert bench.admission.expire(20.0) == [ticket]

    def test_who_waits_for_an_ejected_replica_gets_it_back(self) -> None:
        """The end of the ejection is a time to look at the clock, and lets them through."""
        bench = Bench()
        bench.ready()
        ticket = bench.offer(0.0)
        assert bench.fail(ticket, 1.0) == []
        waiting = bench.offer(1.5)
        assert bench.admission.next_deadline(1.5) == 2.0
        assert bench.admission.expire(1.9) == []
        assert bench.admission.expire(2.0) == [ticket]
        assert bench.admission.next_deadline(2.0) == 301.5
        assert bench.fail(ticket, 2.5) == []
        assert bench.admission.next_deadline(2.5) == 3.5
        assert bench.admission.expire(4.5) == [ticket]
        assert bench.admission.finish(ticket, 5.0, answered=True) == [waiting]

    def test_a_slot_goes_before_a_deadline(self) -> None:
        """Both are due at once: better late than not at all."""
        bench = Bench(hold_timeout=2.0)
        bench.ready()
        ticket = bench.offer(0.0)
        bench.fail(ticket, 0.0)
        assert bench.admission.expire(50.0) == [ticket]
        assert ticket.state is State.GRANTED

    def test_nobody_jumps_the_queue_when_an_ejection_ends(self) -> None:
        """Who comes between its end and the look at the clock finds a slot, and others first."""
        bench = Bench()
        bench.ready()
        ticket = bench.offer(0.0)
        bench.fail(ticket, 1.0)
        late = bench.offer(2.0)
        assert late.state is State.HELD
        assert bench.admission.expire(2.01) == [ticket]

    def test_a_shortened_deadline_outlives_the_clearing_away(self) -> None:
        """Of a ticket's deadlines the one in force is kept."""
        bench = Bench(hold_timeout=100.0)
        ticket = bench.offer(0.0)
        bench.configure(hold_timeout=10.0)
        for _ in range(1000):
            bench.admission.give_up(bench.offer(1.0), 1.0)
        assert bench.admission.expire(10.0) == [ticket]

    def test_deadlines_of_those_that_left_are_cleared_away(self) -> None:
        """Ten thousand short holds leave no ten thousand entries, and nobody is forgotten."""
        bench = Bench(hold_timeout=10.0)
        patient = bench.offer(0.0)
        for _ in range(10_000):
            bench.admission.give_up(bench.offer(1.0), 1.0)
        assert len(bench.admission._deadlines) < 100
        assert bench.admission.expire(10.0) == [patient]

    def test_many_retries_leave_one_deadline(self) -> None:
        """A ticket that was held again and again is still refused just once, at its time."""
        bench = Bench(hold_timeout=500.0)
        bench.ready()
        ticket = bench.offer(0.0)
        for now in range(200):
            assert bench.fail(ticket, float(now), eject=False) == [ticket]
        bench.model.remove_replica("a")
        assert bench.fail(ticket, 200.0) == []
        assert len(bench.admission._deadlines) < 100
        assert bench.admission.expire(699.0) == []
        assert bench.admission.expire(700.0) == [ticket]
        assert bench.admission.next_deadline(700.0) is None

    def test_only_models_with_holds_are_looked_at(self) -> None:
        """What a timer costs does not grow with the models that are merely busy."""
        bench = Bench()
        models = [bench.configure(f"m{n}") for n in range(50)]
        for model in models:
            bench.admission.replica_ready(model, model.key.name, ADDRESS, 0.0)
            assert bench.offer(model=model).state is State.GRANTED
        held = bench.offer()
        assert list(bench.admission._waiting) == [bench.model]
        bench.admission.give_up(held, 1.0)
        bench.admission.expire(1.0)
        assert not bench.admission._waiting


class TestModels:
    def test_new_limits_let_holds_through(self) -> None:
        """The same throttler, changed."""
        bench = Bench()
        bench.ready()
        bench.offer()
        waiting = bench.offer()
        throttler, granted = bench.change(container_concurrency=2)
        assert throttler is bench.model
        assert granted == [waiting]

    def test_removing_a_model_refuses_its_holds(self) -> None:
        """Others are left alone; removing it again does nothing."""
        bench = Bench()
        other = bench.offer(model=bench.configure("other"))
        held = bench.offer()
        assert bench.admission.remove_model(bench.model.key, 1.0) == [held]
        assert why(held) == (
            Reason.MODEL_REMOVED,
            "the model was removed from the configuration",
            None,
        )
        assert bench.admission.remove_model(bench.model.key, 1.0) == []
        assert other.state is State.HELD
        assert bench.admission.held == 1

    def test_a_removed_models_requests_end_in_peace(self) -> None:
        """Counts go back to zero, and nothing remembers the model."""
        bench = Bench()
        bench.ready()
        running = bench.offer()
        bench.admission.remove_model(bench.model.key, 1.0)
        assert bench.admission.finish(running, 2.0, answered=True) == []
        assert bench.model.active == 0
        assert bench.admission.throttlers == {}
        assert not bench.admission.touched


class TestRetryAfter:
    def refused(self, bench: Bench, now: float = 0.0) -> float | None:
        """When a request that finds the queue full is told to come again."""
        return why(bench.offer(now))[2]

    @pytest.mark.parametrize(
        ("eta", "seconds"),
        [
            (None, RETRY_AFTER_UNKNOWN),
            (12.3, 13.0),
            (-4.0, 1.0),
            (0.2, 1.0),
            (4000.0, 240.0),
            (float("inf"), 240.0),
        ],
    )
    def test_without_replicas_it_is_the_time_of_the_first(
        self, eta: float | None, seconds: float
    ) -> None:
        """In whole seconds within bounds, with room for a quarter more, whatever the estimate."""
        asked = []

        def estimate(key: ModelKey, now: float) -> float | None:
            asked.append((key, now))
            return eta

        bench = Bench(eta=estimate, queue_requests=0)
        assert self.refused(bench, 3.0) == seconds
        assert asked == [(bench.model.key, 3.0)]

    def test_nobody_to_estimate(self) -> None:
        """Then it is a guess."""
        assert self.refused(Bench(queue_requests=0)) == RETRY_AFTER_UNKNOWN

    def test_with_replicas_it_is_the_time_the_line_takes(self) -> None:
        """Its length at the pace of requests ending; unknown before one did."""
        bench = Bench(queue_requests=9, eta=lambda key, now: None)
        bench.ready()
        running = bench.offer()
        for _ in range(9):
            bench.offer()
        assert self.refused(bench) == RETRY_AFTER_UNKNOWN
        bench.admission.finish(running, 4.0, answered=True)
        bench.offer(4.0)
        bench.model.take_load(4.0, 4.0)
        assert self.refused(bench, 4.0) == 36.0

    def test_replicas_that_are_gone_are_not_counted_on(self) -> None:
        """What they completed per second says nothing about when there will be others."""
        bench = Bench(queue_requests=0, eta=lambda key, now: 40.0)
        bench.ready()
        bench.admission.finish(bench.offer(), 0.5, answered=True)
        bench.model.take_load(1.0, 1.0)
        bench.model.remove_replica("a")
        assert self.refused(bench, 2.0) == 40.0

    def test_those_that_wait_have_to_be_served_first(self) -> None:
        """Once the first replica is there, with as many at a time as it takes."""
        bench = Bench(queue_requests=6, container_concurrency=2, eta=lambda key, now: 40.0)
        bench.ready()
        bench.admission.finish(bench.offer(), 3.0, answered=True)
        bench.model.take_load(3.0, 3.0)
        bench.model.remove_replica("a")
        for _ in range(6):
            bench.offer(4.0)
        assert self.refused(bench, 4.0) == 49.0

    @staticmethod
    def constant(eta: float, key: ModelKey, now: float) -> float:
        return eta

    def test_not_all_are_told_the_same(self) -> None:
        """Up to a quarter later, or all who were refused at once would be back at once; within
        bounds even then, and the same in every run.
        """
        told = []
        for eta in (100.0, 1e9):
            bench = Bench(queue_requests=0, eta=partial(self.constant, eta))
            told.append([self.refused(bench) or 0.0 for _ in range(300)])
        near, far = told
        assert (min(near), max(near)) == (100.0, 124.0)
        assert len(set(near)) == 25
        assert max(far) <= RETRY_AFTER_CAP
        assert len(set(far)) > 40
        bench = Bench(queue_requests=0, eta=lambda key, now: 100.0)
        assert [self.refused(bench) for _ in range(300)] == near


def test_a_backlog_without_a_limit_starts_slowly() -> None:
    """The whole way through admission: a window's worth first, and all of it in the end."""
    bench = Bench(container_concurrency=0)
    held = [bench.offer() for _ in range(200)]
    running = bench.ready()
    assert running == held[:SLOW_START_WINDOW]
    done = 0
    while running:
        ticket = running.pop(0)
        done += 1
        running += bench.admission.finish(ticket, 1.0, answered=True)
    assert done == 200
    assert (bench.admission.held, bench.model.active) == (0, 0)
