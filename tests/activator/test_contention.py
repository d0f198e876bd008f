"""Tenants, priorities and callers' deadlines, through the whole of admission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from activator.admission import Admission
from activator.tickets import Reason, State, Ticket
from stoker.vocabulary import Address, ModelKey, ModelSpec, Outage, ServingConfig

KEY = ModelKey("default", "digits")
ADDRESS = Address("127.0.0.1", 80)
PLENTY = 10**9


class Bench:
    """An admission with one model whose replicas have one slot unless told otherwise."""

    def __init__(
        self,
        *,
        max_requests: int = PLENTY,
        max_bytes: int = PLENTY,
        eta: Callable[[ModelKey, float], float | None] | None = None,
        **config: Any,
    ) -> None:
        self.admission = Admission(max_requests, max_bytes, eta)
        serving = ServingConfig(**{"container_concurrency": 1, **config})
        self.model, _ = self.admission.set_model(ModelSpec(KEY, serving=serving), 0.0)

    def ready(self, now: float = 0.0) -> list[Ticket]:
        return self.admission.replica_ready(self.model, "r1", ADDRESS, now)

    def offer(
        self,
        tenant: str = "",
        priority: int = 0,
        deadline: float | None = None,
        *,
        size: int = 0,
        now: float = 0.0,
    ) -> Ticket:
        return self.admission.offer(self.model, tenant, priority, deadline, size, now, "owner")

    def learn(self, seconds: float) -> None:
        """Ten requests, one after the other, each of which takes so long."""
        for number in range(10):
            ticket = self.offer(now=number * seconds)
            assert ticket.state is State.GRANTED
            self.admission.finish(ticket, (number + 1) * seconds, answered=True)
        self.model.take_load(10 * seconds, 10 * seconds)


def why(ticket: Ticket) -> Reason | None:
    """Why it was refused, if it was."""
    return None if ticket.refusal is None else ticket.refusal.reason


class TestTenants:
    def test_a_burst_of_one_does_not_delay_the_others(self) -> None:
        """900 requests of one, then one each of two others: these are the next but one or two."""
        bench = Bench()
        bench.ready()
        running = bench.offer("flood")
        flood = [bench.offer("flood") for _ in range(900)]
        others = [bench.offer("one"), bench.offer("two")]
        order = []
        for _ in range(4):
            (running,) = bench.admission.finish(running, 1.0, answered=True)
            order.append(running)
        assert order == [flood[0], *others, flood[1]]

    def test_weights_are_in_force_for_who_begins_to_wait(self) -> None:
        """And change with the settings."""
        bench = Bench()
        bench.admission.set_weights({"gold": 2.0})
        bench.ready()
        running = bench.offer()
        for _ in range(30):
            bench.offer("gold")
            bench.offer("plain")
        bench.admission.set_weights({})
        names = Counter[str]()
        for _ in range(30):
            (running,) = bench.admission.finish(running, 1.0, answered=True)
            names[running.tenant] += 1
        assert names == {"gold": 20, "plain": 10}
        bench.admission.set_weights({"plain": 3.0})
        assert bench.model.line.weights == {"plain": 3.0}

    def test_one_that_has_less_makes_another_give_way(self) -> None:
        """A full queue is no monopoly: the newest of who has most is told to come again."""
        bench = Bench(queue_requests=4)
        mine = [bench.offer("a", size=5) for _ in range(4)]
        newcomer = bench.offer("b", size=3, now=2.0)
        assert newcomer.state is State.HELD
        assert mine[3].state is State.REFUSED
        assert bench.admission.displaced == 1
        assert bench.admission.next_deadline(2.0) == 2.0
        assert bench.admission.expire(2.0) == [mine[3]]
        assert bench.admission.displaced == 0
        assert mine[3].refusal is not None
        assert mine[3].refusal.reason is Reason.DISPLACED
        assert mine[3].refusal.retry_after == 5.0
        assert "held for 2.0 s" in mine[3].refusal.detail
        assert "fewer waiting" in mine[3].refusal.detail
        assert (bench.model.queued, bench.model.queued_bytes) == (4, 18)
        assert (bench.admission.held, bench.admission.held_bytes) == (4, 18)
        assert why(bench.offer("a")) is Reason.QUEUE_FULL
        assert bench.offer("b").state is State.HELD
        assert why(bench.offer("b")) is Reason.QUEUE_FULL

    def test_nobody_gives_way_in_vain(self) -> None:
        """Where the newcomer is refused for another reason all stay."""
        for bench in (
            Bench(queue_requests=4, queue_bytes=45),
            Bench(queue_requests=4, max_bytes=45),
        ):
            held = [bench.offer("a", size=10) for _ in range(4)]
            refused = bench.offer("b", size=20)
            assert why(refused) in (Reason.QUEUE_BYTES_FULL, Reason.TOTAL_BYTES_FULL)
            assert all(ticket.state is State.HELD for ticket in held)
            assert bench.offer("b", size=15).state is State.HELD, "what leaves makes room"
        bench = Bench(queue_requests=4, max_requests=4)
        assert [bench.offer("a").state for _ in range(4)] == [State.HELD] * 4
        assert bench.offer("b").state is State.HELD, "the total stays what it was"

    def test_a_queue_over_its_new_bound_shrinks_first(self) -> None:
        """Nobody joins by pushing somebody out while there are too many anyway."""
        bench = Bench(queue_requests=4)
        for _ in range(4):
            bench.offer("a")
        serving = ServingConfig(container_concurrency=1, queue_requests=2)
        bench.admission.set_model(ModelSpec(KEY, serving=serving), 0.0)
        assert why(bench.offer("b")) is Reason.QUEUE_FULL

    def test_one_that_gave_way_may_leave_before_it_is_told(self) -> None:
        """Then nobody is left to tell; its place is long gone."""
        bench = Bench(queue_requests=2)
        first, second = bench.offer("a"), bench.offer("a")
        bench.offer("b")
        assert bench.admission.give_up(second, 1.0) == []
        assert bench.admission.displaced == 0
        assert bench.admission.expire(1.0) == []
        assert bench.admission.held == 2
        bench.offer("c")
        assert bench.admission.displaced == 0, "all have one"
        assert first.state is State.HELD

    def test_a_share_of_the_queue(self) -> None:
        """By number and bytes; at least one request, however small the share."""
        bench = Bench(queue_requests=10, queue_bytes=100, tenant_queue_share=30.0)
        assert [bench.offer("a").state for _ in range(3)] == [State.HELD] * 3
        refused = bench.offer("a")
        assert why(refused) is Reason.TENANT_QUEUE_FULL
        assert refused.refusal is not None
        assert "(tenant-queue-share = 30)" in refused.refusal.detail
        assert refused.refusal.retry_after == 5.0
        assert bench.offer("b", size=90).state is State.HELD
        assert why(bench.offer("b", size=1)) is Reason.TENANT_QUEUE_FULL
        assert bench.offer("c", size=5).state is State.HELD
        small = Bench(queue_requests=10, tenant_queue_share=1.0)
        assert small.offer("a").state is State.HELD
        assert why(small.offer("a")) is Reason.TENANT_QUEUE_FULL
        assert small.offer("a", priority=3).state is State.REFUSED

    def test_the_same_seed_gives_the_same_order(self) -> None:
        """Nothing depends on hashes or addresses: a simulation repeats itself."""

        def run(seed: int) -> list[tuple[str, int, int]]:
            random, bench, order = Random(seed), Bench(queue_requests=50), []
            bench.ready()
            running = [bench.offer()]
            for now in range(600):
                bench.offer(f"t{random.randrange(9)}", random.randrange(3), now + 40.0, now=now)
                if random.random() < 0.9 and running:
                    running = bench.admission.finish(running[0], now, answered=True)
                    order += [(t.tenant, t.priority, int(t.held_since)) for t in running]
                bench.admission.expire(now)
            return order

        assert run(5) == run(5)
        assert len(run(5)) > 300


class TestPriorities:
    def test_a_higher_one_makes_a_lower_one_give_way(self) -> None:
        """When the queue is full; the refusal says so."""
        bench = Bench(queue_requests=2)
        low, _ = bench.offer(priority=-3), bench.offer(priority=1)
        assert bench.offer(priority=1).state is State.HELD
        assert bench.admission.expire(0.0) == [low]
        assert low.refusal is not None
        assert "one of priority 1; its own was -3" in low.refusal.detail
        assert why(bench.offer(priority=1)) is Reason.QUEUE_FULL

    def test_lower_ones_do_not_starve_where_they_have_a_share(self) -> None:
        """Though higher ones never stop coming."""
        bench = Bench(lower_priority_share=10.0)
        bench.ready()
        running = bench.offer(priority=1)
        low = [bench.offer() for _ in range(5)]
        for _ in range(60):
            bench.offer(priority=1)
            (running,) = bench.admission.finish(running, 1.0, answered=True)
        assert all(ticket.state is State.DONE for ticket in low)


class TestDeadlines:
    def test_one_that_is_before_the_start_is_refused_at_once(self) -> None:
        """While nothing is ready: with the time until something is; without estimate it waits."""
        bench = Bench(eta=lambda key, now: 30.0)
        refused = bench.offer(deadline=29.0)
        assert refused.refusal is not None
        assert refused.refusal.reason is Reason.DEADLINE_UNREACHABLE
        assert refused.refusal.detail == (
            "about 30.0 s until a replica is ready, 29.0 s until its deadline"
        )
        assert 30.0 <= (refused.refusal.retry_after or 0) <= 37.0
        assert bench.offer(deadline=31.0).state is State.HELD
        assert bench.offer().state is State.HELD
        for eta in (None, lambda key, now: None):
            assert Bench(eta=eta).offer(deadline=0.1).state is State.HELD

    def test_an_outage_is_the_better_reason(self) -> None:
        """A model that cannot start is not just late."""
        bench = Bench(eta=lambda key, now: 30.0)
        bench.admission.outage(bench.model, Outage(KEY, "broken", 0.0, 9.0), 0.0)
        assert why(bench.offer(deadline=1.0)) is Reason.OUTAGE

    def test_one_that_is_before_its_turn_is_refused_at_once(self) -> None:
        """By what a request takes and by whom it would stand behind."""
        bench = Bench()
        bench.ready()
        bench.learn(2.0)
        running = bench.offer(now=20.0)
        for _ in range(4):
            bench.offer("other", now=20.0)
        assert why(bench.offer(deadline=21.0, now=20.0)) is Reason.DEADLINE_UNREACHABLE
        refused = bench.offer("other", deadline=21.9, now=20.0)
        assert refused.refusal is not None
        assert refused.refusal.detail == "about 2.0 s until its turn, 1.9 s until its deadline"
        # Its deadline puts it before all of its tenant, and the other tenant takes turns.
        assert bench.offer("other", deadline=22.1, now=20.0).state is State.HELD
        assert bench.offer("third", deadline=23.9, now=20.0).state is State.REFUSED
        assert bench.offer("third", deadline=24.1, now=20.0).state is State.HELD
        assert bench.admission.finish(running, 22.0, answered=True) != []

    def test_a_free_slot_is_taken_whatever_was_estimated(self) -> None:
        """Nobody is refused who need not wait."""
        bench = Bench(eta=lambda key, now: 1000.0)
        bench.ready()
        bench.learn(50.0)
        assert bench.offer(deadline=501.0, now=500.0).state is State.GRANTED

    def test_nobody_in_a_replica_no_estimate(self) -> None:
        """While all are set aside there is no pace: they wait and see."""
        bench = Bench()
        bench.ready()
        bench.learn(2.0)
        failed = bench.offer(now=20.0)
        bench.model.failed(failed, 20.5, eject=True)
        assert bench.offer(deadline=20.6, now=20.5).state is State.HELD

    def test_the_line_counts_behind_a_start_too(self) -> None:
        """Those before it are served first, as many at a time as a replica takes."""
        bench = Bench(eta=lambda key, now: 10.0, container_concurrency=2)
        bench.ready()
        bench.learn(4.0)
        bench.model.remove_replica("r1")
        for _ in range(6):
            bench.offer(now=40.0)
        assert why(bench.offer("b", deadline=51.0, now=40.0)) is Reason.DEADLINE_UNREACHABLE
        assert bench.offer("b", deadline=52.1, now=40.0).state is State.HELD

    def test_whoever_wants_to_know(self) -> None:
        """The expected start of one without a deadline counts everybody before it."""
        bench = Bench()
        bench.ready()
        bench.learn(2.0)
        bench.offer(now=20.0)
        for _ in range(4):
            bench.offer(now=20.0)
        ticket = Ticket(bench.model, "", 0, None, 0, 20.0, None)
        assert bench.admission.forecast.start_in(ticket, 20.0) == pytest.approx(10.0)

    def test_one_that_passes_in_the_queue(self) -> None:
        """Ends the hold, for a reason of its own."""
        bench = Bench()
        hold, own = bench.offer(), bench.offer(deadline=3.0)
        assert bench.admission.next_deadline(0.0) == 3.0
        assert bench.admission.expire(3.0) == [own]
        assert own.refusal is not None
        assert own.refusal.reason is Reason.DEADLINE_PASSED
        assert own.refusal.detail.startswith("held for 3.0 s: no replica is ready")
        assert own.refusal.retry_after == 5.0
        assert bench.admission.expire(300.0) == [hold]
        assert why(hold) is Reason.HOLD_DEADLINE

    def test_earlier_ones_are_served_first(self) -> None:
        """Of one tenant and priority; without one by when the hold would end."""
        bench = Bench(hold_timeout=10.0, hold_timeout_cap=10.0)
        bench.ready()
        running = bench.offer()
        plain, late, soon = bench.offer(), bench.offer(deadline=50.0), bench.offer(deadline=5.0)
        for expected in (soon, plain, late):
            assert bench.admission.finish(running, 1.0, answered=True) == [expected]
            running = expected


class TestProgress:
    def test_a_start_on_time_is_waited_for(self) -> None:
        """Beyond the hold's timeout, as far as earlier starts took, up to the cap."""
        left = {"seconds": 40.0}
        bench = Bench(
            eta=lambda key, now: left["seconds"], hold_timeout=10.0, hold_timeout_cap=60.0
        )
        ticket = bench.offer()
        bench.admission.progressed(bench.model, "starting", 1.0)
        assert bench.admission.expire(11.0) == []
        assert bench.admission.next_deadline(11.0) == 41.0
        left["seconds"] = 500.0
        bench.admission.progressed(bench.model, "starting (slowly)", 30.0)
        assert bench.admission.expire(41.0) == []
        assert bench.admission.next_deadline(41.0) == 60.0
        assert bench.admission.expire(60.0) == [ticket]
        assert why(ticket) is Reason.HOLD_DEADLINE

    def test_a_start_that_is_late_is_not(self) -> None:
        """What was expected has passed, and nothing moved on since."""
        bench = Bench(eta=lambda key, now: 20.0, hold_timeout=10.0, hold_timeout_cap=60.0)
        ticket = bench.offer()
        bench.admission.progressed(bench.model, "starting", 1.0)
        for now in (11.0, 15.0, 20.9):
            assert bench.admission.expire(now) == []
        assert bench.admission.expire(21.0) == [ticket]

    def test_one_that_starts_all_over_is_given_the_time_of_a_start(self) -> None:
        """It is no progress, and yet may come to something; an outage ends it otherwise."""
        bench = Bench(eta=lambda key, now: 20.0, hold_timeout=10.0, hold_timeout_cap=60.0)
        ticket = bench.offer()
        bench.admission.progressed(bench.model, "starting", 1.0)
        for now in (18.0, 30.0):
            bench.admission.progressed(bench.model, "pending-node", now)
            assert bench.admission.expire(now + 5.0) == []
            assert bench.model.last_progress == 1.0
        assert bench.admission.expire(50.0) == [ticket]


@pytest.mark.parametrize("share", [0.0, 20.0])
def test_who_waits_gets_its_turn(share: float) -> None:
    """Within a priority nobody starves, whoever else comes and however often."""
    random = Random(3)
    bench = Bench(lower_priority_share=share, hold_timeout=1e6, hold_timeout_cap=1e6)
    bench.ready()
    running = bench.offer()
    waiting = [bench.offer(f"t{number}") for number in range(20)]
    for now in range(200):
        bench.offer(f"new{random.randrange(1000)}", 0, None, now=now)
        (running,) = bench.admission.finish(running, now, answered=True)
    assert all(ticket.state is not State.HELD for ticket in waiting)
