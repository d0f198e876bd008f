"""Invocations: who waits for an instance, and what is paid, in worked figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from simulations.advising.breakeven import asleep, rate_of_a_replica, rate_worth_sleeping
from simulations.advising.functions import Needs, invoked
from simulations.advising.offers import GIB, OFFERS, Offer
from simulations.advising.pricing import read_offers
from stoker.errors import SettingsError
from tests.simulations.streams import poisson, trace

OFFER = Offer(
    "f",
    gib_second=0.5,
    request=0.25,
    granularity=1.0,
    concurrency=1.0,
    cold_start=10.0,
    kept_warm=60.0,
)
NEEDS = Needs(memory=2.0 * GIB)


def test_one_at_a_time() -> None:
    """Two at once need two instances; a third comes to one that is warm; after a minute none is."""
    source = trace([0.0, 1.0, 30.0, 200.0], 300.0)
    run = invoked(source, np.full(4, 2.5), OFFER, NEEDS)
    assert (run.cold, run.instances, run.requests) == (3, 3, 4)
    assert run.waits.longest == 10.0
    assert run.latencies.longest == 12.5
    # 2.5 s are paid as 3, at 2 GiB for 1 $ a second, and a quarter for each request.
    assert run.paid_seconds == 12.0
    assert run.dollars == 12.0 + 1.0
    assert run.dollars_per_hour == pytest.approx(13 * 12)
    assert run.per_request == 13 / 4
    assert run.cold_share == 0.75
    assert run.against == ()


def test_several_at_once_share_an_instance_and_its_time() -> None:
    """Three within its two slots and start: the third needs an instance of its own; what is
    paid is the time with any request, the start too where it is."""
    offer = Offer(
        "r",
        vcpu_second=1.0,
        vcpus=1.0,
        granularity=0.1,
        concurrency=0.0,
        cold_start=4.0,
        kept_warm=100.0,
        start_paid=1.0,
    )
    source = trace([0.0, 1.0, 2.0, 20.0], 100.0)
    run = invoked(source, np.full(4, 3.0), offer, Needs(slots=2))
    assert run.instances == 2
    assert run.cold == 3
    # The first: 0 to 7 s, with the second request until 7 s; the other 2 to 9 s; then 20 to 23.
    assert run.paid_seconds == pytest.approx(7 + 7 + 3)
    unpaid = invoked(
        source,
        np.full(4, 3.0),
        Offer(**{**{name: getattr(offer, name) for name in offer.__slots__}, "start_paid": 0.0}),
        Needs(slots=2),
    )
    assert unpaid.paid_seconds == pytest.approx(3 + 3 + 3)


def test_it_agrees_with_counting_who_overlaps() -> None:
    """Kept for ever, as many instances as there ever were requests at once."""
    source = poisson(2.0, 500.0)
    offer = Offer("f", cold_start=0.0, kept_warm=1e6, concurrency=1.0)
    service = np.random.default_rng(5).exponential(3.0, len(source))
    run = invoked(source, service, offer, Needs())
    ends = np.sort(source.times + service)
    most = max(
        place + 1 - int(np.searchsorted(ends, time, side="right"))
        for place, time in enumerate(source.times.tolist())
    )
    assert run.instances == most
    assert run.cold == 0
    assert run.paid_seconds == pytest.approx(float(service.sum()), abs=0.001 * len(source))


def test_nothing_came() -> None:
    """An empty trace costs nothing."""
    run = invoked(trace([], 10.0), np.zeros(0), OFFER, NEEDS)
    assert (run.dollars, run.per_request, run.cold_share) == (0, 0, 0)
    assert invoked(trace([], 0.0), np.zeros(0), OFFER, NEEDS).dollars_per_hour == 0


def test_what_does_not_fit_is_told() -> None:
    """Memory, image, time and accelerators, each with its limit."""
    offer = OFFERS[0]
    needs = Needs(memory=16.0 * GIB, package=12.0 * GIB, accelerators=1.0, slowdown=2.0)
    run = invoked(trace([0.0, 1.0], 10.0), np.array([600.0, 1.0]), offer, needs)
    assert run.against == (
        "it has no accelerators",
        "memory of 16 GiB where 10 are the limit",
        "an image of 12 GiB where 9.31 are the limit",
        "1 requests of more than 900 s, the limit",
    )


def test_published_prices() -> None:
    """A request of a second with 4 GiB on Lambda: 4 × $0.0000166667 and $0.0000002."""
    run = invoked(trace([0.0], 1.0), np.array([1.0]), OFFERS[0], Needs())
    assert run.dollars == pytest.approx(4 * 0.0000166667 + 0.0000002)
    run = invoked(trace([0.0], 1.0), np.array([1.0]), OFFERS[1], Needs())
    each = 4 * 0.0000025 + 4 * 0.000024
    assert run.dollars == pytest.approx((1 + 8.2) * each + 0.0000004)


def test_prices_can_be_changed(tmp_path: Path) -> None:
    """By a file, then by single values; new offers begin with plain ones."""
    file = tmp_path / "prices.yaml"
    file.write_text(
        "lambda: {gib-second: 0.00002, most-memory: 20Gi}\n"
        "gpu-run:\n  title: GPU Run\n  accelerators: 1\n  cold-start: 30s\n"
    )
    offers = {o.name: o for o in read_offers(str(file), ["lambda.cold-start=5s", "x.request=1"])}
    assert list(offers) == ["lambda", "cloud-run", "gpu-run", "x"]
    assert offers["lambda"].gib_second == 0.00002
    assert offers["lambda"].most_memory == 20 * GIB
    assert offers["lambda"].cold_start == 5.0
    assert offers["gpu-run"].title == "GPU Run"
    assert offers["gpu-run"].accelerators == 1
    assert read_offers(None, []) == OFFERS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lambda: {gb-second: 1}", "lambda.gb-second = 1: is no part of an offer"),
        ("lambda: {gib-second: cheap}", "lambda.gib-second = cheap: is not a number"),
        ("lambda: {gib-second: -1}", "lambda.gib-second = -1: is out of range; allowed: [0, 1]"),
        ("lambda: {request: nan}", "is out of range"),
        ("lambda: {cold-start: 5}", "cold-start = 5: has no unit"),
        ("lambda: {cold-start: 2h}", "is out of range; allowed: [0, 1h]"),
        ("lambda: {most-memory: 4GB}", "has an unknown suffix GB"),
        ("lambda: {title: [a]}", "lambda.title: is not one value"),
        ("lambda: 3", "lambda: is not a mapping of keys to values"),
        ("- 3", "file: holds no offers"),
        ("a: [", "is not YAML"),
        ("", "file: holds no offers"),
    ],
)
def test_wrong_prices_are_told(text: str, said: str, tmp_path: Path) -> None:
    """With the offer, the key, the value and what is allowed."""
    file = tmp_path / "prices.yaml"
    file.write_text(text + "\n")
    with pytest.raises(SettingsError) as caught:
        read_offers(str(file), [])
    assert said in str(caught.value)


def test_wrong_assumptions_are_told(tmp_path: Path) -> None:
    """What is no assumption at all, and a file that is not there."""
    with pytest.raises(SettingsError, match=r"cold: is not NAME\.KEY=VALUE; as in lambda"):
        read_offers(None, ["cold=3s", "cold"])
    with pytest.raises(SettingsError, match=r"lambda\.cold-start = 3"):
        read_offers(None, ["lambda.cold-start=3"])
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_offers(str(tmp_path / "none"), [])
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_offers(str(tmp_path / "bytes"), [])


def test_how_long_a_model_sleeps() -> None:
    """The worked example, and a drawn life: up for 61 s after each request, 30 s to start."""
    assert asleep(0.01, 1.0, 60.0, 30.0) == pytest.approx(0.467, abs=0.001)
    assert asleep(100.0, 1.0, 60.0, 30.0) == 0.0
    gaps = np.random.default_rng(6).exponential(100.0, 200_000)
    slept = np.maximum(gaps - 61.0, 0.0)
    starts = 30.0 * (gaps > 61.0).sum()
    assert asleep(0.01, 1.0, 60.0, 30.0) == pytest.approx(
        slept.sum() / (gaps.sum() + starts), abs=0.005
    )


def test_rates_at_which_the_answer_turns() -> None:
    """At that rate exactly so much is saved, or both cost the same."""
    rate = rate_worth_sleeping(1.0, 60.0, 30.0, 0.25)
    assert asleep(rate, 1.0, 60.0, 30.0) == pytest.approx(0.25)
    assert rate_worth_sleeping(0.0, 0.0, 0.1) == pytest.approx(23.03 / 1, rel=4)
    assert rate_of_a_replica(3.6, 0.001) == pytest.approx(1.0)
    assert rate_of_a_replica(3.6, 0.0) == float("inf")


def test_the_documented_table_is_the_built_in_one() -> None:
    """docs/advise.md tells each price and limit as it is."""
    text = (Path(__file__).parents[3] / "docs" / "advise.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\S+).*? \| (\S+)", text, re.MULTILINE)
    told = {key: values for key, *values in rows if key != "title"}
    for place, name in enumerate(("lambda", "cloud-run")):
        assignments = [f"{name}.{key}={values[place].rstrip(':')}" for key, values in told.items()]
        assert read_offers(None, assignments) == OFFERS
    assert len(told) == 13
