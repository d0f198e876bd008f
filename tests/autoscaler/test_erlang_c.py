"""Erlang's formulas against fractions and logarithms, and what sizes a model by them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import exp, lgamma, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.collector import Collector
from autoscaler.planner import Planner
from autoscaler.policies import erlang_c
from autoscaler.policies.erlang_c import ErlangC, replicas, servers
from autoscaler.window import Averages
from stoker.columns import ColumnEncoder
from stoker.vocabulary import ModelKey, Poke, PolicyName, ScalingConfig, Stat, StatReport
from tests.autoscaler.driving import A, B, say

CONFIG = ScalingConfig(
    policy=PolicyName.ERLANG_C, target=0.7, capacity=1.0, initial_scale=0, slo_wait=1.0
)


def waiting(c: int, load: Fraction) -> Fraction:
    """Erlang's C exactly, by the textbook's sum: the share of requests that wait at all."""
    terms = [Fraction(1)]
    for k in range(1, c + 1):
        terms.append(terms[-1] * load / k)
    last = terms[-1] * c / (c - load)
    return last / (sum(terms[:-1]) + last)


def one(load: float, patience: float, late: float) -> int:
    return int(servers(*(np.array([value]) for value in (load, patience, late)))[0])


@pytest.mark.parametrize(
    ("c", "load", "known"),
    [(1, "1/2", "1/2"), (2, "1", "1/3"), (3, "2", "4/9"), (4, "3", "27/53")],
)
def test_known_values(c: int, load: str, known: str) -> None:
    """Table values of C: c servers do where exactly that share may wait, and not for less."""
    a, share = Fraction(load), Fraction(known)
    assert waiting(c, a) == share
    assert one(float(a), 0.0, float(share) * (1 + 1e-12)) == c
    assert one(float(a), 0.0, float(share) * (1 - 1e-12)) == c + 1


def test_worked_example() -> None:
    """The one of the module's docstring: 10 replicas for 8 in service, where KPA has 12."""
    assert round(float(waiting(10, Fraction(8))), 3) == 0.409
    assert one(8.0, 1.0 / 0.5, 0.01) == 10
    assert one(8.0, 1.0 / 0.5, 0.0884) == 10
    assert one(8.0, 1.0 / 0.5, 0.0885) == 9
    assert replicas(CONFIG, 8.0, 0.5) == 10


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.001, 60.0), st.sampled_from([0.0, 0.1, 3.0]), st.floats(1e-5, 0.9)),
        min_size=1,
        max_size=5,
    )
)
def test_fewest_that_keep_the_promise(cases: list[tuple[float, float, float]]) -> None:
    """By exact fractions: so many keep it, one less does not; all at once are each alone."""
    found = servers(*(np.array(column) for column in zip(*cases, strict=True)))
    for (load, patience, late), c in zip(cases, found.astype(int).tolist(), strict=True):
        assert c == one(load, patience, late)
        exact = Fraction(load)
        assert float(waiting(c, exact)) * exp((load - c) * patience) <= late * (1 + 1e-9)
        if c - 1 > load:
            assert float(waiting(c - 1, exact)) * exp((load - c + 1) * patience) > late * (1 - 1e-9)


def test_large_loads() -> None:
    """100,000 in service: against C by logarithms of factorials; beyond a million by a rule."""

    def by_logarithms(c: int, a: float) -> float:
        """C through log B(c): the sum of a^k / k! up to c is taken relative to its last term."""
        tail, term, k = 1.0, 1.0, c
        while term > 1e-18 and k:
            term *= k / a
            tail += term
            k -= 1
        blocking = exp(-log(tail))
        assert lgamma(c + 1) > 0
        return c * blocking / (c - a * (1 - blocking))

    c = one(1e5, 0.0, 0.01)
    assert by_logarithms(c, 1e5) <= 0.01 < by_logarithms(c - 1, 1e5)
    assert one(4e6, 0.0, 1e-5) == 4e6 + 4.5 * 2000
    beyond = int(1e6 + 4.5 * sqrt(1e6))
    assert one(1e6, 0.0, 1e-5) <= beyond


def test_no_load_no_servers() -> None:
    """Nothing is asked for without load, or without data."""
    loads = np.array([0.0, -1.0, 0.5])
    assert servers(loads, np.ones(3), np.full(3, 0.01)).tolist() == [0, 0, 3]


def part(config: ScalingConfig = CONFIG) -> ErlangC:
    result = ErlangC()
    result.reserve(1)
    result.configure(0, config, 0.0)
    return result


SLOT = np.array([0])


def size(target: ErlangC, load: float) -> int:
    averages = Averages(np.array([load]), np.array([load / 2]), np.array([True]))
    sizes = target.sizes(SLOT, averages)
    return int(sizes.stable[0])


def test_service_times_are_learned() -> None:
    """Little's law over what was served; the target sizes until ten requests have completed."""
    target = part()
    assert size(target, 8.0) == 12
    target.serve(SLOT, np.array([4.5]), np.array([9.0]))
    assert size(target, 8.0) == 12
    target.serve(SLOT, np.array([0.5]), np.array([1.0]))
    assert size(target, 8.0) == 10
    target.serve(SLOT, np.array([990.0]), np.array([990.0]))
    assert target.take(0) == {"busy": 995.0, "completions": 1000.0}
    target.serve(SLOT, np.array([5.0]), np.array([1000.0]))
    assert target.take(0) == {"busy": 500.0, "completions": 1000.0}


def test_slots_of_a_replica() -> None:
    """Servers are slots: a replica has container-concurrency of them, at least one."""
    assert replicas(ScalingConfig(capacity=4.0, slo_wait=0.5), 12.5, 0.2) == 4
    assert replicas(ScalingConfig(capacity=0.5), 8.0, 0.5) == 10
    assert erlang_c._slots(ScalingConfig(capacity=4.9)) == 4


def test_those_that_wait_weigh_by_the_promise() -> None:
    """Waiting 2 s at most for a service of 0.5 s: four that wait need one more slot."""
    target = part(ScalingConfig(slo_wait=2.0))
    assert target.weight_of_queued(SLOT).tolist() == [1.0]
    target.serve(SLOT, np.array([5.0]), np.array([10.0]))
    assert target.weight_of_queued(SLOT).tolist() == [0.25]
    target.configure(0, ScalingConfig(slo_wait=0.1), 1.0)
    assert target.weight_of_queued(SLOT).tolist() == [1.0]


def collected(columns: bool) -> Planner:
    """Two models, A by Erlang's formula: eleven requests of half a second, then a queue."""
    planner = Planner()
    collector, encoder = Collector(planner), ColumnEncoder()
    planner.set_model(A, CONFIG, 0.0)
    planner.set_model(B, ScalingConfig(initial_scale=0), 0.0)
    nobody = ModelKey("default", "nobody")
    for second, queued in ((1, 0.0), (2, 4.0)):
        stats = (
            Stat(nobody, 1.0, 1.0, 5, 5),
            Stat(A, queued, 5.5, 11, 11),
            Stat(B, queued, 5.5, 11, 11),
        )
        report = StatReport("r", 1, second, float(second), 1.0, stats)
        assert collector.take(encoder.encode(report) if columns else report, float(second))
    planner.decide(2.5)
    assert collector.dropped == {"unknown-model": 2}
    return planner


@pytest.mark.parametrize("columns", [False, True])
def test_service_comes_with_reports(columns: bool) -> None:
    """What a report says was active, and completed, is learned; what waits weighs half in A
    (service 0.5 s, promise 1 s) and whole in B."""
    planner = collected(columns)
    a, b = planner.decision(A), planner.decision(B)
    assert a is not None
    assert b is not None
    assert (a.stable, b.stable) == (6.5, 7.5)
    # The first report is weighed before anything is known, the second with 0.5 / 1.
    assert a.reason == (
        "panic: 6.5 concurrent over 6 s, 0.5 s each, 99 % to wait at most 1s: 9 wanted, 0 ready"
    )


@pytest.mark.parametrize(
    "stat",
    [
        Stat(A, 2.0, -1.0, 1, 1),
        Stat(A, -1.0, 2.0, 1, 1),
        Stat(A, 0.0, 1.0, 1, -1),
        Stat(A, 0.0, 1.0, 1, float("inf")),  # type: ignore[arg-type]
        Stat(A, float("inf"), float("inf"), 1, 1),
    ],
)
def test_nonsense_is_dropped(stat: Stat) -> None:
    """A report whose parts cannot be is refused whole, where the parts are looked at."""
    planner = Planner()
    collector = Collector(planner)
    planner.set_model(A, CONFIG, 0.0)
    with np.errstate(invalid="ignore"):
        assert not collector.take(StatReport("r", 1, 1, 1.0, 1.0, (stat,)), 1.0)
    assert collector.dropped == {"bad-value": 1}


def test_ragged_columns_are_dropped() -> None:
    """Columns of different lengths are refused before they are used."""
    planner = Planner()
    collector = Collector(planner)
    planner.set_model(A, CONFIG, 0.0)
    report = StatReport("r", 1, 1, 1.0, 1.0, (Stat(A, 0.0, 1.0, 1, 1),))
    columns = ColumnEncoder().encode(report)
    assert not collector.take(columns._replace(completions=[1, 2]), 1.0)
    assert collector.dropped == {"bad-value": 1}


def test_a_poke_wakes_it() -> None:
    """One that waits at zero is load, however little it weighs."""
    planner = Planner()
    collector = Collector(planner)
    planner.set_model(A, CONFIG, 0.0)
    planner.add_service(SLOT, np.array([1.0]), np.array([100.0]))
    assert collector.poke(Poke("r", 1, A, 1, 0, 5.0), 5.0) == A
    planner.decide(5.0)
    decision = planner.decision(A)
    assert decision is not None
    assert (decision.panic, decision.desired) == (0.01, 1)


def test_kpa_s_rules_stay() -> None:
    """Rates, panic and its reasons are KPA's; only the size is Erlang's."""
    planner = Planner()
    planner.set_model(A, replace(CONFIG, max_scale_up_rate=3.0), 0.0)
    planner.set_counts(A, 1, 0, 0.0)
    planner.add_service(SLOT, np.array([50.0]), np.array([100.0]))
    say(planner, 0, {A: 8.0})
    planner.decide(0.5)
    decision = planner.decision(A)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (3, True)
    assert decision.reason == (
        "panic: 8 concurrent over 6 s, 0.5 s each, 99 % to wait at most 1s: 10 wanted, 1 ready; "
        "max-scale-up-rate allows 3"
    )
