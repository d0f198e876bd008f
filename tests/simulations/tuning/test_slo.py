"""What service is good enough: how it is written, and whether it was kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulations.tuning.judged import Judged, together, wilson
from simulations.tuning.slo import Of, Reference, Slo, Term, parse_slo
from stoker.errors import TuningError

NONE: dict[Reference, Judged] = {}


def judged(waits: list[float], failed: int = 0, cold: int = 0, dollars: float = 0.0) -> Judged:
    """What was seen: these waits, each with a second in a replica."""
    result = Judged(requests=len(waits) + failed, failed=failed, cold=cold, dollars=dollars)
    result.waits.add(np.array(waits))
    result.latencies.add(np.array(waits) + 1)
    return result


def test_terms_are_read() -> None:
    """Waits unless latencies are named, percentiles with digits, shares, references."""
    slo = parse_slo("p99<2s, latency p99.9 <= 1m30s,cold<1.5%, wait p50<knative")
    assert slo.terms == (
        Term(Of.WAIT, 99, 2.0),
        Term(Of.LATENCY, 99.9, 90.0),
        Term(Of.COLD, 0, 0.015),
        Term(Of.WAIT, 50, Reference.KNATIVE),
    )
    assert parse_slo(str(slo)) == slo
    assert slo.references == {Reference.KNATIVE}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not understood; allowed: terms joined by commas"),
        ("p99<2s,", "'' is not understood"),
        ("p99", "'p99' is not understood"),
        ("p99>2s", "'p99>2s' is not understood"),
        ("p0<2s", "p0 is no percentile; allowed: p1 to p99.99"),
        ("p100<2s", "'p100<2s' is not understood"),
        ("p99<2", "2 has no unit; seconds are written 2s; allowed: a duration such as 500ms"),
        ("p99<-2s", "-2s is not a duration"),
        ("cold<1", "1 is no share; allowed: 0% to 100%"),
        ("cold<101%", "101% is no share"),
        ("latency cold<1%", "cold starts have no latency; write cold<1%"),
        ("p99<others", "others is not a duration"),
    ],
)
def test_what_is_not_understood_is_told(text: str, said: str) -> None:
    """With the flag, the text, and what is allowed."""
    with pytest.raises(TuningError) as caught:
        parse_slo(text)
    assert str(caught.value).startswith(f"--slo = {text}: ")
    assert said in str(caught.value)


def test_who_was_never_answered_waited_for_ever() -> None:
    """1 of 100 turned away: p99 is of those answered, anything above is without bound."""
    seen = judged([1.0] * 98 + [5.0], failed=1)
    assert seen.percentile(False, 98) == pytest.approx(1.0, rel=0.01)
    assert seen.percentile(False, 99) == pytest.approx(5.0, rel=0.01)
    assert seen.percentile(True, 99) == pytest.approx(6.0, rel=0.01)
    assert math.isinf(seen.percentile(False, 99.5))
    assert seen.failed_share == 0.01
    assert math.isinf(judged([], failed=3).percentile(False, 50))


def test_nothing_seen_is_nothing_wrong() -> None:
    """Without requests every figure is 0, and every SLO is kept."""
    empty = Judged()
    assert (empty.percentile(False, 99), empty.cold_share, empty.failed_share) == (0, 0, 0)
    assert (empty.dollars_per_hour, empty.replicas) == (0, 0)
    assert parse_slo("p99<1ms, cold<0%").met(empty, NONE)


def test_the_worst_term_counts() -> None:
    """An SLO is kept when all its terms are, and missed by what the worst is missed by."""
    seen = judged([3.0] * 10, cold=1)
    assert parse_slo("p99<4s").excess(seen, NONE) == pytest.approx(0.75, rel=0.01)
    assert parse_slo("p99<4s, p50<1s").excess(seen, NONE) == pytest.approx(3.0, rel=0.01)
    assert parse_slo("cold<20%").excess(seen, NONE) == pytest.approx(0.5)
    assert math.isinf(parse_slo("cold<0%").excess(seen, NONE))
    slo = parse_slo("p99<3.2s")
    assert slo.met(seen, NONE)
    assert not slo.met(seen, NONE, margin=0.1)


def test_no_worse_than_others() -> None:
    """Limits may be what other settings come to; as good as nothing is good enough."""
    current, knative = judged([2.0] * 10, cold=2), judged([0.0] * 10)
    references = {Reference.CURRENT: current, Reference.KNATIVE: knative}
    slo = parse_slo("p99<current, cold<current")
    assert slo.met(current, references)
    assert slo.met(judged([1.0] * 10, cold=1), references)
    assert not slo.met(judged([2.5] * 10), references)
    assert parse_slo("p99<knative").met(knative, references, margin=0.1)
    lost = {Reference.CURRENT: judged([1.0], failed=9)}
    assert parse_slo("p99<current").met(judged([1.0], failed=9), lost)


def test_parts_add_up() -> None:
    """Together is as one: counts, spreads and costs."""
    one, other = judged([1.0, 2.0], failed=1, cold=1, dollars=1.0), judged([3.0], dollars=2.0)
    one.seconds, other.seconds, one.replica_seconds = 3600.0, 3600.0, 7200.0
    both = together([one, other])
    assert (both.requests, both.failed, both.cold, both.dollars) == (4, 1, 1, 3.0)
    assert both.percentile(False, 75) == pytest.approx(3.0, rel=0.01)
    assert both.dollars_per_hour == 1.5
    assert both.replicas == 1.0
    assert one.waits.count == 2


def test_wilson() -> None:
    """The interval as tabled: 11 of 12, all, none, and of nothing everything."""
    assert wilson(11, 12) == pytest.approx((0.6461, 0.9851), abs=1e-3)
    assert wilson(12, 12) == pytest.approx((0.7575, 1.0), abs=1e-3)
    assert wilson(0, 12) == pytest.approx((0.0, 0.2425), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_an_slo_of_one_term_reads_as_it_was_written() -> None:
    """For people."""
    assert str(Slo((Term(Of.LATENCY, 95, 0.5), Term(Of.COLD, 0, 0.01)))) == (
        "latency p95<500ms, cold<1%"
    )
