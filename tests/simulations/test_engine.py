"""The engine: what happens to requests, replicas and clients, by hand-computed examples."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import activator.admission
import activator.balancer
import activator.line
import activator.slots
import activator.throttler
import autoscaler.brain
import autoscaler.collector
import autoscaler.planner
import autoscaler.policies.kpa
import autoscaler.scale_to_zero
import autoscaler.window
import stoker.platforms.local.supervision
from simulations.draws import Constant, Exponential
from simulations.engine import Run, simulate
from simulations.loop import Loop
from simulations.result import Result
from simulations.services import Drawn, Tokens
from simulations.shards import simulate_in
from simulations.world import Capacity, Clients, Failures, Prices, Start
from stoker.vocabulary import LaunchConfig, ModelKey, PolicyName
from tests.simulations.runs import M, N, assert_adds_up, fixed, poisson, run, spec, trace, world


def figures(result: Result) -> tuple[Any, ...]:
    """Everything in a result that must be the same in the same run."""
    return (
        result.totals,
        result.models,
        result.waits.counts.tolist(),
        result.waits.total,
        result.latencies.counts.tolist(),
        result.latencies.total,
        result.money,
        result.duration,
        *(getattr(result.series, name).tolist() for name in ("ready", "active", "desired")),
    )


def test_the_first_request_waits_for_a_start() -> None:
    """At zero: decided on at once, ready after 5 s, answered 1 s later."""
    result = run(trace(10.0, duration=20.0))
    totals = result.totals
    assert (totals.answered, totals.cold, totals.activations, totals.starts) == (1, 1, 1, 1)
    assert result.waits.total == pytest.approx(5.0)
    assert result.latencies.total == pytest.approx(6.0)
    assert result.cold_waits.total == pytest.approx(5.0)
    assert totals.slot_seconds == pytest.approx(1.0)
    assert totals.busy_seconds == pytest.approx(1.0)


def test_a_warm_request_does_not_wait() -> None:
    """A replica kept from the beginning is ready after 5 s; at 10 s nothing is cold."""
    result = run(trace(10.0), spec(scaling=fixed(1)))
    assert (result.totals.cold, result.waits.total) == (0, 0.0)
    assert result.latencies.total == pytest.approx(1.0)


def test_requests_in_line_go_one_by_one() -> None:
    """One slot of 1 s, three at once: they wait 0, 1 and 2 s."""
    result = run(trace(10.0, 10.0, 10.0), spec(scaling=fixed(1)))
    assert result.waits.total == pytest.approx(3.0)
    assert result.latencies.total == pytest.approx(6.0)


def test_replica_seconds_and_money() -> None:
    """Two replicas from 0 s to the end at 180 s: a tenth of an hour, two accelerators each."""
    priced = world(prices=Prices(replica_hour=30.0, accelerators=2.0))
    result = run(trace(170.0, duration=180.0), spec(scaling=fixed(2)), in_world=priced)
    assert result.totals.replica_seconds == pytest.approx(360.0)
    assert result.totals.ready_seconds == pytest.approx(350.0)
    assert (result.money.dollars, result.money.gpu_hours) == pytest.approx((3.0, 0.2))
    assert result.totals.peak_replicas == 2


def test_nodes_are_paid_whole() -> None:
    """Three replicas, two a node: two nodes for a twentieth of an hour."""
    priced = world(prices=Prices(node_hour=5.0, replicas_per_node=2))
    result = run(trace(duration=180.0), spec(scaling=fixed(3)), in_world=priced)
    assert result.totals.node_seconds == pytest.approx(360.0)
    assert result.money.dollars == pytest.approx(0.5)


def test_a_full_queue_refuses() -> None:
    """Two may wait; the third of a burst at zero is refused, with its reason."""
    result = run(trace(1.0, 1.0, 1.0), spec(queue_requests=2))
    assert result.totals.refused == {"queue-full": 1}
    assert result.totals.answered == 2
    assert result.series.refused.sum() == 1


def test_a_hold_ends_at_its_deadline() -> None:
    """A start of 500 s, no progress to be seen: refused after 10 s."""
    model = spec(hold_timeout=10.0, hold_timeout_cap=20.0)
    result = run(trace(1.0, duration=60.0), model, in_world=world(start=500.0))
    assert result.totals.refused == {"hold-deadline": 1}


def test_the_total_budget_is_a_deadline() -> None:
    """total-timeout 3 s, a start of 5 s: refused while it waits."""
    result = run(trace(1.0, duration=60.0), spec(total_timeout=3.0))
    assert result.totals.refused == {"deadline-passed": 1}


def test_the_bound_on_all_models_holds() -> None:
    """One may be held in the whole process: the second model's request is refused."""
    source = trace(1.0, 1.0, which=[0, 1], models=(M, N))
    result = run(source, spec(M), spec(N), max_queued_requests=1)
    assert result.totals.refused == {"total-full": 1}


def test_impatient_clients_leave_and_come_back() -> None:
    """They give up after 2 s, and try again 1 s and then 2 s later: at 1, 4, 8 s. The start
    that the first try caused takes 6.5 s, so the third is answered at 9 s, 8 s after the first.
    """
    clients = Clients(timeout=2.0, retries=2, backoff=1.0)
    result = run(trace(1.0, duration=60.0), in_world=world(start=6.5, clients=clients))
    assert (result.totals.tries, result.totals.answered, result.totals.abandoned) == (3, 1, 0)
    assert result.latencies.total == pytest.approx(8.0)


def test_clients_without_another_try_are_gone() -> None:
    """Two seconds of patience, a start of 5 s: nobody is left to answer."""
    result = run(trace(1.0, 1.5, duration=60.0), in_world=world(clients=Clients(timeout=2.0)))
    assert (result.totals.abandoned, result.totals.answered) == (2, 0)


def test_a_client_that_leaves_frees_its_slot() -> None:
    """Services of 10 s, patience of 2 s, one slot: who came 1 s later is served from 2 s on."""
    slow = world(10.0, clients=Clients(timeout=2.0))
    result = run(trace(10.0, 11.0), spec(scaling=fixed(1)), in_world=slow)
    assert result.totals.abandoned == 2
    assert result.totals.slot_seconds == pytest.approx(3.0)


def test_refused_clients_come_back_too() -> None:
    """A queue of one: the second of two is refused at once, and answered at its second try."""
    clients = Clients(retries=1, backoff=10.0)
    result = run(trace(1.0, 1.0), spec(queue_requests=1), in_world=world(clients=clients))
    assert (result.totals.tries, result.totals.answered, result.totals.refusals) == (3, 2, 0)


def test_a_dead_replicas_requests_are_tried_elsewhere() -> None:
    """Replicas die 7 s after they are ready (at 5 s), services take 5 s: who came at 10 s is
    taken over by the successor and answered; the retry is counted.
    """
    deadly = world(5.0, failures=Failures(crash_after=Constant(7.0)))
    result = run(trace(10.0, duration=100.0), spec(scaling=fixed(1)), in_world=deadly)
    assert (result.totals.answered, result.totals.retries) == (1, 1)
    assert result.totals.crashes > 1
    assert result.latencies.total > 5.0 + 5.0


def test_a_request_is_not_tried_for_ever() -> None:
    """Services longer than any replica lives: after three deaths it is refused."""
    deadly = world(50.0, failures=Failures(crash_after=Constant(7.0)))
    result = run(trace(10.0, duration=300.0), spec(scaling=fixed(1)), in_world=deadly)
    assert result.totals.refused == {"replica-failed": 1}
    assert result.totals.retries == 2


def test_what_cannot_start_is_refused_at_once() -> None:
    """Every start fails; after the third in a row callers get the reason instead of waiting."""
    model = spec()
    model = type(model)(
        M, scaling=model.scaling, serving=model.serving, launch=LaunchConfig(("x",))
    )
    broken = world(failures=Failures(failed_starts=1.0))
    result = run(trace(1.0, 30.0, duration=60.0), model, in_world=broken)
    assert result.totals.refused == {"cannot-start": 2}


def test_room_is_shared() -> None:
    """Room for one replica, two models kept at one each: the second never gets there."""
    source = trace(20.0, 21.0, which=[0, 1], models=(M, N), duration=100.0)
    result = run(
        source,
        spec(M, scaling=fixed(1)),
        spec(N, scaling=fixed(1), hold_timeout=5.0, hold_timeout_cap=5.0),
        in_world=world(capacity=Capacity(1)),
    )
    assert result.models[M].answered == 1
    assert result.models[N].refused == {"hold-deadline": 1}


def test_batched_requests_slow_each_other_down() -> None:
    """Two in one replica, each 1 s of tokens alone, 50 % slower together: the first has done
    2/3 when it would have ended; both end at 1.5 s.
    """
    one_second: dict[str, Any] = {
        "prompt_tokens": np.zeros(2, np.int32),
        "output_tokens": np.full(2, 10, np.int32),
    }
    source = trace(10.0, 10.0, **one_second)
    model = spec(scaling=fixed(1), container_concurrency=4)
    result = run(source, model, in_world=world(Tokens(decode=10.0, batch=0.5)))
    assert result.latencies.total == pytest.approx(3.0)


def test_batched_requests_that_leave_speed_up_the_others() -> None:
    """One needs 2 s alone, comes at 9.4 s and leaves after 1.5 s; the other needs 1 s and comes
    at 10 s. Together until 10.9 s, where it has done 0.6; alone it is done at 11.3 s.
    """
    tokens: dict[str, Any] = {
        "prompt_tokens": np.zeros(2, np.int32),
        "output_tokens": np.array([20, 10], np.int32),
    }
    model = spec(scaling=fixed(1), container_concurrency=4)
    shared = world(Tokens(decode=10.0, batch=0.5), clients=Clients(timeout=1.5))
    result = run(trace(9.4, 10.0, **tokens), model, in_world=shared)
    assert (result.totals.answered, result.totals.abandoned) == (1, 1)
    assert result.latencies.total == pytest.approx(1.3)


def test_batched_replicas_may_die() -> None:
    """What was in a shared replica is tried elsewhere as well, by another replica's time."""
    deadly = world(Tokens(decode=10.0, batch=0.1), failures=Failures(crash_after=Constant(7.0)))
    columns: dict[str, Any] = {
        "prompt_tokens": np.zeros(2, np.int32),
        "output_tokens": np.full(2, 50, np.int32),
    }
    model = spec(scaling=fixed(1), container_concurrency=4)
    result = run(trace(10.0, 10.5, duration=100.0, **columns), model, in_world=deadly)
    assert (result.totals.answered, result.totals.retries) == (2, 2)


def test_what_is_under_way_at_the_end_is_finished_or_said() -> None:
    """A request of 50 s, and 10 s behind the trace's end: unfinished, with its time counted."""
    result = run(trace(10.0), spec(scaling=fixed(1)), in_world=world(50.0), after=10.0)
    assert result.totals.unfinished == 1
    assert result.totals.busy_seconds == pytest.approx(10.0)
    assert result.duration == pytest.approx(20.0)


def test_a_warm_up_is_left_out() -> None:
    """Of requests at 10, 30 and 50 s the last two count, and replicas from 20 s on."""
    source = trace(10.0, 30.0, 50.0, duration=60.0)
    result = run(source, spec(scaling=fixed(1)), warm_up=20.0)
    assert result.totals.requests == 2
    assert result.totals.replica_seconds == pytest.approx(40.0)
    assert result.totals.busy_seconds == pytest.approx(2.0)
    assert result.duration == pytest.approx(40.0)
    assert result.series.arrivals.sum() == 2


def test_curves_begin_where_counting_does() -> None:
    """With a warm-up of 20 s the request of 30 s is in the second step of 10 s, and the replica
    that was there all the time in every step.
    """
    source = trace(10.0, 30.0, 50.0, duration=60.0)
    result = run(source, spec(scaling=fixed(1)), warm_up=20.0, step=10.0)
    series = result.series
    assert series.arrivals.tolist() == [0, 1, 0, 1]
    assert series.active.tolist() == pytest.approx([0, 0.1, 0, 0.1])
    assert series.ready.tolist() == pytest.approx([1, 1, 1, 1])
    assert len(series) * series.step == result.duration == 40


def test_a_request_that_straddles_the_warm_up_counts_once() -> None:
    """It came at 10 s and ends at 40 s: from 20 s on it is one of those counted."""
    result = run(
        trace(10.0, duration=60.0), spec(scaling=fixed(1)), in_world=world(30.0), warm_up=20.0
    )
    assert (result.totals.requests, result.totals.answered) == (1, 1)
    assert result.totals.busy_seconds == pytest.approx(20.0)


def test_the_curves_say_what_happened() -> None:
    """By steps of 10 s: arrivals, active, queued, replicas, the longest wait."""
    result = run(trace(10.0, 12.0, duration=30.0), step=10.0)
    series = result.series
    assert series.arrivals.tolist() == [0, 2, 0]
    # Starts at 10 s, ready at 15 s: both are served one after the other, or side by side.
    assert series.starting[1] == pytest.approx(0.5 * result.totals.starts, rel=0.5)
    assert series.queued[1] > 0
    assert series.wait_max.max() == pytest.approx(5.0)
    assert series.cold.sum() == result.totals.cold == 2


def workload() -> tuple[Any, ...]:
    """Two models that sleep, wake and burst, in a world where nearly everything happens."""
    source = poisson(0.2, 200, 7, (M, N))
    source = type(source)(
        source.models,
        np.sort(np.concatenate([source.times, np.full(40, 300.0), np.full(40, 900.0)])),
        np.concatenate([source.which, np.zeros(40, np.int32), np.ones(40, np.int32)]),
        source.duration,
    )
    busy = world(
        Drawn(Exponential(2.0)),
        Start({"image": Exponential(4.0), "start": Constant(3.0)}),
        failures=Failures(Exponential(40.0), failed_starts=0.05, slow_starts=0.1),
        clients=Clients(timeout=40.0, retries=1),
        drain=1.0,
    )
    models = (spec(M, container_concurrency=2), spec(N, container_concurrency=0))
    return source, models, busy


def test_the_same_run_gives_the_same_result() -> None:
    """Down to the last bit; another seed does not."""
    source, models, busy = workload()
    first, second, third = (run(source, *models, in_world=busy, seed=seed) for seed in (1, 1, 2))
    assert figures(first) == figures(second)
    assert min(first.totals.retries, first.totals.crashes, first.totals.tries) > 0
    assert figures(first) != figures(third)


def test_models_alone_fare_as_they_do_together() -> None:
    """``only`` one of them, or a process each: the same requests, services, starts, answers."""
    source, models, busy = workload()
    wanted = Run(source, {each.key: each for each in models}, busy, seed=3)
    together = simulate(wanted)
    apart = simulate_in(2, wanted)
    assert_adds_up(apart)
    assert apart.models == together.models
    assert apart.waits.counts.tolist() == together.waits.counts.tolist()
    assert apart.series.ready.tolist() == pytest.approx(together.series.ready.tolist())


def test_a_shard_that_fails_is_told() -> None:
    """What it raised is raised here."""

    class Broken(Drawn):
        def seconds(self, block: Any, rng: Any) -> Any:
            raise ZeroDivisionError("by design")

    source, models, _ = workload()
    wanted = Run(source, {each.key: each for each in models}, world(Broken(Constant(1.0))))
    with pytest.raises(ZeroDivisionError, match="by design"):
        simulate_in(2, wanted)


@pytest.mark.parametrize("policy", PolicyName)
def test_silence_that_is_skipped_changes_nothing(policy: PolicyName) -> None:
    """Gaps of minutes with everybody asleep, whatever wakes them: gone through tick by tick,
    the result is equal.
    """
    source, _, busy = workload()
    times = np.concatenate([900.0 * part + source.times[:20] for part in range(3)])
    source = type(source)(source.models, times, np.tile(source.which[:20], 3), 2_700.0)
    scaling = {"policy": policy, "season": 900.0, "keep_alive_default": 60.0}
    models = (spec(M, scaling=scaling, container_concurrency=2), spec(N, scaling=scaling))
    wanted = Run(source, {each.key: each for each in models}, busy, seed=5)
    quick, slow = Loop(wanted), Loop(wanted)
    slow.may_skip = False
    left_out, gone_through = quick.run(), slow.run()
    assert left_out.decisions < gone_through.decisions
    assert figures(left_out) == figures(gone_through)


def test_progress_is_told() -> None:
    """With each report, in virtual seconds, up to the end."""
    told: list[float] = []
    simulate(Run(trace(1.0, duration=30.0), {M: spec()}, world()), told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(30.0)


def test_reports_keep_their_distance_from_ticks() -> None:
    """0.75 s behind whole seconds, also after a silence; then a tick knows what was 0.25 s ago.

    Busy from 9.875 s (a start of 5 s, a request of 1 s) until 15.875 s. With reports on whole
    seconds the one at 16 s is the last to tell of it, and the tick at 76 s has 60 without. With
    the others it is the one at 16.75 s; the tick at 76 s knows the 59 after it, the next one all.
    """
    told: list[float] = []
    wanted = Run(trace(9.875, duration=90.0), {M: spec()}, world(), report_phase=0.75)
    late = simulate(wanted, told.append)
    assert told[:4] == [0.75, 9.75, 10.75, 11.75]
    whole = run(trace(9.875, duration=90.0))
    assert whole.totals.replica_seconds == 76 - 9.875
    assert late.totals.replica_seconds == 78 - 9.875


def test_silence_is_skipped_between_reports_of_any_phase() -> None:
    """As above, with reports that are 0.3 s behind whole seconds."""
    source, models, busy = workload()
    wanted = Run(source, {each.key: each for each in models}, busy, seed=5, report_phase=0.3)
    quick, slow = Loop(wanted), Loop(wanted)
    slow.may_skip = False
    left_out, gone_through = quick.run(), slow.run()
    assert left_out.decisions < gone_through.decisions
    assert figures(left_out) == figures(gone_through)


def test_the_worlds_time_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clock of the machine raises, and nobody asks one."""

    def forbidden(*_: object) -> float:
        raise AssertionError("a clock of the machine was asked")

    names = ("time", "monotonic", "perf_counter", "process_time", "sleep", "time_ns")
    source, models, busy = workload()
    wanted = Run(source, {each.key: each for each in models}, busy)
    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(time, name, forbidden)
        result = simulate(wanted)
    assert result.totals.answered


DECISIONS: dict[str, tuple[Any, str]] = {
    "admission": (activator.admission.Admission, "offer"),
    "expiry": (activator.admission.Admission, "expire"),
    "failure": (activator.admission.Admission, "failed"),
    "throttler": (activator.throttler.Throttler, "claim"),
    "grant": (activator.throttler.Throttler, "grant"),
    "order of the line": (activator.line.Line, "join"),
    "slots": (activator.slots.OwnSlots, "take"),
    "balancer": (activator.balancer.Balancer, "pick"),
    "collector": (autoscaler.collector.Collector, "take"),
    "poke": (autoscaler.collector.Collector, "poke"),
    "windows": (autoscaler.window.Windows, "averages"),
    "policy": (autoscaler.policies.kpa.Kpa, "decide"),
    "scale to zero": (autoscaler.scale_to_zero.ScaleToZero, "decide"),
    "planner": (autoscaler.planner.Planner, "decide"),
    "brain": (autoscaler.brain.Brain, "decide"),
    "supervision": (stoker.platforms.local.supervision.Supervision, "scale"),
    "a replica's readiness": (stoker.platforms.local.supervision.Supervision, "ready"),
}


class DecisionBrokenError(Exception):
    """What the patched decision raises."""


@pytest.mark.parametrize("decision", DECISIONS)
def test_each_decision_of_production_is_the_simulators(
    decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no second implementation: with production's broken, nothing is simulated."""

    def broken(*_: object, **__: object) -> None:
        raise DecisionBrokenError(decision)

    source, models, busy = workload()
    wanted = Run(source, {each.key: each for each in models}, busy)
    monkeypatch.setattr(*DECISIONS[decision], broken)
    with pytest.raises(DecisionBrokenError):
        simulate(wanted)


def change(**values: Any) -> Callable[[], Run]:
    return lambda: Run(trace(1.0, duration=10.0), {M: spec()}, world(), **values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (change(step=-1.0), "step = -1"),
        (change(tick_interval=0.0), "tick_interval = 0"),
        (change(max_queued_requests=0), "max_queued_requests = 0"),
        (change(warm_up=10.0), "warm_up = 10 s: must be less than the trace's 10 s"),
        (change(after=float("inf")), "after = inf"),
        (change(report_phase=1.0), "report_phase = 1.0: .* less than report_interval = 1 s"),
        (change(report_phase=-0.1), "report_phase = -0.1"),
        (lambda: Run(trace(1.0), {}, world()), "no settings for default/m"),
    ],
)
def test_what_cannot_be_simulated_is_said(make: Callable[[], Run], message: str) -> None:
    """By name, with the value."""
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_trace_is_simulated_too() -> None:
    """Nothing comes, nothing happens, for as long as it lasts."""
    result = run(trace(duration=100.0))
    assert (result.totals.requests, result.duration) == (0, 100.0)


def test_many_models_mostly_asleep() -> None:
    """Five hundred models, one request each at most: all of them answered."""
    models = tuple(ModelKey("default", f"m{number}") for number in range(500))
    source = poisson(5.0, 300, 11, models)
    result = run(source, *(spec(key) for key in models))
    assert result.totals.answered == 300
    assert result.totals.activations > 100


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_left_as_it_was(collecting: bool) -> None:
    """It is paused while a run goes on, also one that fails, and no longer."""
    seen: list[bool] = []
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        simulate(Run(trace(1.0), {M: spec()}, world()), lambda _: seen.append(gc.isenabled()))
        assert gc.isenabled() is collecting
        with pytest.raises(ZeroDivisionError):
            simulate(Run(trace(1.0), {M: spec()}, world()), lambda _: 1 // 0)  # type: ignore[arg-type]
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
    assert not any(seen)
