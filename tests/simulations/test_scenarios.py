"""Scenarios: platforms that are fitted and asked, functions and containers, many that sleep."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulations.engine import simulate
from simulations.scenarios import asleep, functions, talk
from simulations.scenarios.__main__ import SCENARIOS, main
from simulations.scenarios.outcome import Figures, Outcome, Simulate, deviation
from simulations.scenarios.platforms import (
    BERT,
    DISTILBERT,
    VERTA,
    Platform,
    Standby,
    first_answer,
    fitted,
    measured,
)

QUICK = Platform("quick", 0.3, 0.3, 1e9, fixed=2.0, most=40, decides=1.0)
"""Requests of 0.3 s: 30 instances are busy with 100 of them a second."""


def test_a_platform_is_what_its_numbers_say() -> None:
    """The first answer takes start, bytes and service; twice the standby's lead is 2 s later;
    without enough instances it never keeps up.
    """
    start = QUICK.fixed + DISTILBERT.bytes / QUICK.bandwidth
    assert first_answer(QUICK, DISTILBERT) == pytest.approx(start + 0.3, abs=0.01)
    heavier = QUICK.fixed + BERT.bytes / QUICK.bandwidth + 0.3 * BERT.work
    assert first_answer(QUICK, BERT) == pytest.approx(heavier, abs=0.01)
    found = measured(QUICK, DISTILBERT, 30.0)
    assert found.first < found.steady < 30
    assert found.result.totals.peak_replicas == 40
    assert measured(replace(QUICK, most=25), DISTILBERT, 30.0).steady == math.inf


def test_what_was_fitted_is_found_again() -> None:
    """From the figures of a platform that is known: its start, and its instances."""
    known = measured(QUICK, DISTILBERT, 30.0)
    unknown = replace(QUICK, fixed=0.0, most=500)
    found = fitted(unknown, known.first, known.steady, 30.0, "most")
    assert found.fixed == pytest.approx(QUICK.fixed, abs=0.01)
    assert abs(found.most - QUICK.most) <= 1


def test_the_rest_of_the_instances_may_take_longer() -> None:
    """Verta's: the first from a standby; the lead is fitted, and a node's boot comes on top."""
    small = replace(VERTA, most=60)
    found = fitted(small, 0.7, 15.0, 30.0, "behind")
    told = measured(found, DISTILBERT, 30.0)
    assert told.first == pytest.approx(0.7, abs=0.01)
    assert told.steady == pytest.approx(15.0, abs=1.0)
    later = measured(replace(found, node=10.0), DISTILBERT, 60.0)
    assert later.first == pytest.approx(0.7, abs=0.01)
    assert later.steady > told.steady + 10


def test_a_standby_is_there_once() -> None:
    """The first draw of all is nothing, whatever their number."""
    rng = np.random.default_rng(0)
    draw = Standby(5.0)
    assert draw.sample(rng, 2).tolist() == [0.0, 5.0]
    assert draw.sample(rng, 1).tolist() == [5.0]
    assert (draw.mean, str(draw)) == (5.0, "5s, for the first one 0s")


@pytest.mark.long
def test_the_talk_s_table() -> None:
    """Cloud Run's: DistilBERT's figures are met within a second or two; of BERT's it is said how
    far off they are.
    """
    told = talk.run(lambda run, progress: simulate(run, progress), small=True)
    platforms, fitted_rows, bert = told.tables
    assert [row[0] for row in platforms.rows] == ["Cloud-Run-like"]
    for row, published in zip(fitted_rows.rows, talk.TALK[1:2], strict=True):
        assert float(row[1]) == pytest.approx(published.first, abs=0.01)
        assert float(row[4]) == pytest.approx(published.steady, abs=2.0)
    for row, published in zip(bert.rows, talk.TALK[1:2], strict=True):
        assert row[3] == deviation(float(row[1]), published.bert)
        low, _, high = row[4].partition(" … ")
        assert float(low) < float(row[1]) < float(high)
    assert all(len(row) == len(table.headings) for table in told.tables for row in table.rows)


def test_what_functions_cost() -> None:
    """A bill of a million requests by hand; where two costs cross, between rates or nowhere."""
    assert functions.invoiced(0.0999) == pytest.approx(0.2 + 1e6 * 0.1004 * 2 * 1.66667e-5)
    assert functions.invoiced(0.0001) == pytest.approx(0.2 + 1e6 * 0.001 * 2 * 1.66667e-5)
    between = functions._even(1.0, (1.0, 4.0), [(1.0, 2.0), (1.0, 0.5)])
    assert between == "requests of 1000 ms: a container is cheaper from 2/s on"
    always = functions._even(1.0, (1.0, 2.0), [(1.0, 0.5), (1.0, 0.4)])
    assert always == "requests of 1000 ms: a container is cheaper at all these rates"
    assert "a function is cheaper at all" in functions._even(1.0, (1.0, 2.0), [(1, 3), (1, 2)])


@pytest.mark.long
def test_functions_are_cheaper_until_they_are_busy() -> None:
    """And never as fast to take in the next request: each has a place of its own there."""
    told = functions.run(lambda run, progress: simulate(run, progress), small=True)
    for table in told.tables:
        winners = [row[-1] for row in table.rows]
        assert (winners[0], winners[-1]) == ("function", "container")
        dollars = [float(row[8]) for row in table.rows]
        assert dollars == sorted(dollars, reverse=True)
    assert "requests of 26 ms: a container is cheaper from " in told.notes[0]
    assert "requests of 1.6 ms: a container is cheaper from " in told.notes[1]


@pytest.mark.long
def test_many_that_sleep(tmp_path: Path) -> None:
    """As a user runs it, smaller: kept longer there are more replicas and fewer cold starts, and
    always fewer than one each; the runs are in the files.
    """
    out = io.StringIO()
    page, runs = tmp_path / "page.html", tmp_path / "runs.json"
    words = ["asleep", "--small", "--jobs", "2", "--html", str(page), "--json", str(runs)]
    assert main(words, out) == 0
    said = out.getvalue()
    assert "500 models, mostly asleep" in said
    assert "\x1b" not in said
    results = json.loads(runs.read_text())["runs"]
    gone, kept = (run["totals"] for run in results)
    assert gone["replica_seconds"] < kept["replica_seconds"] < 500 * results[1]["duration"]
    assert gone["cold"] > kept["cold"] > 0
    assert "500 models, mostly asleep" in page.read_text()


def test_a_few_that_sleep() -> None:
    """The first model is asked most often; replicas and dollars are those of the run."""
    source = asleep.arrivals(20, 1.0, 300.0)
    counts = np.bincount(source.which, minlength=20)
    assert counts[0] == counts.max()
    result = simulate(asleep.run_of(source, 0.0))
    row = asleep._row(result, 20)
    assert row[1] == f"{result.totals.replica_seconds / result.duration:,.0f}"
    nodes = result.totals.node_seconds / result.duration
    assert float(row[4]) == pytest.approx(8 * nodes, abs=0.5)
    assert asleep._always_on(20)[:5] == ("always-on", "20", "20", "2", "20")


@pytest.fixture
def a_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more: a few models that sleep."""

    def few(simulate: Simulate, *, small: bool = False) -> Outcome:
        found = simulate(asleep.run_of(asleep.arrivals(4, 1.0, 60.0), 0.0), None)
        table = Figures("Small" if small else "Large", ("run", "cold"), (("[one]", "1 %"),))
        return Outcome("A few models", (table,), ("a note",), [found])

    monkeypatch.setitem(SCENARIOS, "few", (few, "a few models"))


@pytest.mark.usefixtures("a_scenario")
def test_the_command_prints_tables_and_writes_files(tmp_path: Path) -> None:
    """Plain text in a pipe, with what looks like markup as it is; the runs in both files."""
    out = io.StringIO()
    page, runs = tmp_path / "page.html", tmp_path / "runs.json"
    words = ["few", "--small", "--html", str(page), "--json", str(runs)]
    assert main(words, out) == 0
    lines = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert lines == [
        *(["A", "few", "models"], ["Small"], ["run", "cold"], ["[one]", "1", "%"]),
        ["-", "a", "note"],
    ]
    assert json.loads(runs.read_text())["runs"][0]["label"] == "kept 0 s"
    assert "<h1>A few models</h1>" in page.read_text()


@pytest.mark.usefixtures("a_scenario")
def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another name, a wrong number of processes: usage; a file that cannot be written: 1."""
    for words, why in (
        (["nothing"], "invalid choice: 'nothing'"),
        (["talk", "--jobs", "0"], "--jobs = 0: allowed: 1 to 256"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert why in capsys.readouterr().err
    to = str(tmp_path / "missing" / "page.html")
    assert main(["few", "--html", to], io.StringIO()) == 1
    assert f"scenarios: {to}:" in capsys.readouterr().err
