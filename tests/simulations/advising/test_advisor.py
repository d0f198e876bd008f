"""Should it be serverless? Traces for which the answer is plain."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from simulations.advising.advisor import Advice, advise, always_on
from simulations.advising.functions import Needs
from simulations.advising.offers import OFFERS
from simulations.advising.texts import document, print_advice, verdict
from simulations.draws import Constant
from simulations.services import Drawn
from simulations.trace import Trace
from simulations.tuning.segments import segments
from simulations.tuning.slo import parse_slo
from simulations.tuning.space import Base
from simulations.tuning.task import Task
from simulations.world import Prices, World, parse_start
from tests.simulations.streams import trace

NO_ACCELERATOR = Needs(slots=2)


def asked(source: Trace, slo: str, start: str, needs: Needs, price: float = 3.0) -> Advice:
    """Advice on a model whose requests take 1 s, two at once in a replica."""
    world = World(Drawn(Constant(1.0)), parse_start(start), prices=Prices(price))
    base = Base({"container_concurrency": 2, "stable_window": 6.0, "initial_scale": 0})
    task = Task(source, world, base, segments(source, 3, start=world.start.mean))
    return advise(task, parse_slo(slo), OFFERS, needs, budget=8)


@pytest.fixture(scope="module")
def seldom() -> Advice:
    """A request every 50 s, and a start that nobody minds."""
    source = trace(np.arange(20.0, 240.0, 50.0), 240.0)
    return asked(source, "p99<10s", "3s", Needs(slots=2, accelerators=1.0))


@pytest.fixture(scope="module")
def steady() -> Advice:
    """Three requests at all times, and no patience for a start."""
    source = trace(np.arange(0.0, 100.0, 1 / 3), 100.0)
    return asked(source, "p99<500ms", "30s", NO_ACCELERATOR, price=0.05)


def test_who_is_seldom_asked_should_sleep(seldom: Advice) -> None:
    """A request every 50 s, kept for 6 s: most of the cost of always-on goes."""
    best, always = seldom.best, seldom.best_always_on
    assert best is not None
    assert always is not None
    assert best.serverless
    assert best.dollars_per_hour < 0.5 * always.dollars_per_hour
    assert verdict(seldom).startswith("Yes: ")
    assert all("it has no accelerators" in way.against for way in seldom.ways[-2:])


def test_who_is_always_asked_should_not(steady: Advice) -> None:
    """A load that never ends: sleeping saves nothing, and functions cost more."""
    assert steady.best is not None
    assert not steady.best.serverless
    assert verdict(steady).startswith("No: always on")
    assert steady.load.mean == pytest.approx(1.5, rel=0.05)
    rate = len(steady.task.trace) / steady.task.trace.duration
    assert steady.replica_pays["lambda"] < rate


def test_always_on_is_settings_like_any_others(steady: Advice) -> None:
    """So many replicas, no more and no fewer, for which it is paid all of the time."""
    config = steady.task.base.scaling(always_on(3))
    assert (config.min_scale, config.max_scale, config.initial_scale) == (3, 3, 3)
    ways = [way for way in steady.ways if way.name.startswith("always on")]
    assert ways
    for way in ways:
        size = int(way.name.split(":")[1].split("(")[0])
        assert way.replicas == pytest.approx(size, rel=0.02)


def test_when_nothing_will_do() -> None:
    """No answer is better than a wrong one."""
    source = trace(np.arange(20.0, 140.0, 50.0), 140.0)
    advice = asked(source, "latency p50<10ms", "3s", NO_ACCELERATOR)
    assert advice.best is None
    assert verdict(advice).startswith("No answer: no way of running it keeps latency p50<10ms")
    assert document(advice)["best"] is None


def test_it_is_told_in_words_and_as_json(seldom: Advice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict first, every way, the rates, and all that was assumed."""
    monkeypatch.setenv("COLUMNS", "200")  # or words would be broken off wherever lines end
    out = io.StringIO()
    print_advice(seldom, out)
    text = out.getvalue()
    assert text.splitlines()[0] == verdict(seldom)
    words = " ".join(text.split())  # wherever a cell breaks its line
    for said in (
        "requests per minute",
        "AWS Lambda: $",
        "no: it has no accelerators",
        "Assumed:",
        "$0.20 per million requests",
        "a month has 730 hours",
    ):
        assert said in words
    figures = json.loads(json.dumps(document(seldom), allow_nan=False))
    assert figures["serverless"] is True
    assert [way["name"] for way in figures["ways"]] == [way.name for way in seldom.ways]


def test_the_same_again(seldom: Advice) -> None:
    """Deterministic."""
    source = trace(np.arange(20.0, 240.0, 50.0), 240.0)
    again = asked(source, "p99<10s", "3s", Needs(slots=2, accelerators=1.0))
    assert document(again) == document(seldom)
