"""The simulator's benchmarks measure what they say they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import simulate, tuned
from benchmarks.common import Report
from benchmarks.simulating.engine import Speed, full_brain, queue
from benchmarks.simulating.many import windows
from benchmarks.simulating.rough import fluid
from tests.simulations.runs import poisson


def test_every_request_goes_through_the_brain() -> None:
    """From zero and with bursts: decisions are made, requests wait, all of them are answered."""
    speed = full_brain(3_000)
    assert (speed.requests, speed.per_second) == (3_000, 3_000 / speed.seconds)
    assert speed.decisions > 10
    assert speed.wait > 0


def test_the_queue_is_the_one_that_theory_knows() -> None:
    """M/M/16 at 70 %: 0.27 ms of wait on average, to what so few requests can say."""
    assert queue(20_000).wait == pytest.approx(0.00027, rel=0.5)


def test_the_fluid_pass_decides_for_every_configuration() -> None:
    """Each of them in each lane, at each tick at least where somebody comes."""
    flowed = fluid(8, 2, 120)
    assert flowed.ticks >= 8 * 2 * 30


def test_it_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure for each promise; what is not there is named."""
    file = tmp_path / "figures.json"
    monkeypatch.setattr(
        simulate,
        "arguments",
        lambda *_, **__: argparse.Namespace(json=file, quick=True, share=None),
    )
    monkeypatch.setattr(simulate, "full_brain", lambda n: Speed(n, 1.0, 5, 0.1))
    monkeypatch.setattr(simulate, "queue", lambda n, seed: Speed(n, 1.0, 5, 0.1))
    monkeypatch.setattr(simulate, "simpy_queue", missing)
    monkeypatch.setattr(simulate, "windows", lambda _: None)
    assert simulate.main() == 1
    told = json.loads(file.read_text())
    limits = {figure["name"]: (figure["value"], figure["limit"]) for figure in told["figures"]}
    assert limits["requests/s through the full brain, one model"] == (200_000.0, 150_000.0)
    assert limits["M/M/16 against SimPy"] == (None, 4.0)
    assert any("SimPy is not installed" in note for note in told["notes"])
    assert any("servegen" in note for note in told["notes"])


def missing(requests: int, seed: int) -> Speed:
    raise ImportError("simpy")


def test_the_long_run_is_told_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the fortnight in six seconds is ten minutes."""
    long = simulate.Long(1000, 0.14, 1_000_000, 10, 0.01, 6.0, 2)
    monkeypatch.setattr(simulate, "windows", lambda _: object())
    monkeypatch.setattr(simulate, "fortnight", lambda _: long)
    report = Report("", [])
    simulate.long(report, 0.01)
    assert report.figures[0].value == pytest.approx(10.0)


def test_without_traces_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a long run nor tuned settings."""
    monkeypatch.setenv("STOKER_TRACES", str(tmp_path / "nowhere"))
    assert windows(1.0) is None
    assert list(tuned.workloads(quick=False)) == []


def test_tuned_settings_are_judged_where_they_were_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One made-up trace: a row with both costs and both waits, and the figure that counts it."""
    file = tmp_path / "figures.json"
    monkeypatch.setattr(
        tuned, "arguments", lambda *_, **__: argparse.Namespace(json=file, quick=True)
    )
    monkeypatch.setattr(tuned, "workloads", one)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert tuned.main() in (0, 1)
    told = json.loads(file.read_text())
    name, requests, ours, theirs, ratio, *_ = told["rows"][0]
    assert (name, requests) == ("made up", 120)
    assert ratio == pytest.approx(ours / theirs)
    assert told["figures"][0]["limit"] == 1.0


def one(quick: bool) -> Iterator[tuned.Workload]:
    source = poisson(0.2, 120, 3)
    yield tuned.Workload("made up", source)
    assert np.diff(source.times).min() >= 0
