"""Live against simulated: what is read from a real Stoker, and how the two are compared."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import fidelity
from benchmarks.common import Report
from benchmarks.faithful import lives
from benchmarks.faithful.calibration import Calibration, over, reported_at
from benchmarks.faithful.comparing import Outcome, Window, lived, simulated
from benchmarks.faithful.live import Told
from benchmarks.faithful.lives import Counts, Life
from benchmarks.faithful.sending import Sent, Stream, send
from benchmarks.faithful.workloads import DEFAULTS, WORKLOADS, model
from benchmarks.processes import free_ports, running, wait_until
from stoker.settings.local import load

SLEEPER = fidelity.__file__.replace("fidelity.py", "faithful/sleeper.py")
KNOWN = Calibration(
    starts=(3.0,), direct=(0.01,), through=(0.015, 0.015), drains=(0.5,), reports=0.0
)
JOURNAL = [
    {"kind": "tick", "t": 98.0, "rows": None},
    {"kind": "counts", "t": 100.0, "model": ["default", "m"], "ready": 0, "starting": 0},
    {"kind": "counts", "t": 101.0, "model": ["default", "m"], "ready": 0, "starting": 1},
    {"kind": "counts", "t": 101.0, "model": ["default", "m"], "ready": 0, "starting": 1},
    {"kind": "counts", "t": 101.5, "model": ["default", "other"], "ready": 0, "starting": 4},
    {"kind": "tick", "t": 101.7, "rows": [0]},
    {"kind": "counts", "t": 102.0, "model": ["default", "m"], "ready": 0, "starting": 3},
    {"kind": "counts", "t": 104.0, "model": ["default", "m"], "ready": 1, "starting": 2},
    {"kind": "counts", "t": 109.0, "model": ["default", "m"], "ready": 0, "starting": 0},
]


def ended(number: int, wall: str) -> dict[str, str]:
    """The platform's line about a replica of m that was scaled away."""
    return {
        "time": f"1970-01-01T{wall}Z",
        "logger": "stoker.platforms.local.platform",
        "message": f"default/m: replica m-{number}: scaled down; exited with code 0",
    }


def test_lives_are_joined_from_journal_and_log() -> None:
    """Three starts by the journal's monotonic clock, three ends by the log's, 3,500 s ahead."""
    counts = lives.counts_of("m", JOURNAL)
    assert lives.ticks(JOURNAL) == [98.0]
    assert lives.wakes(counts) == [101.0]
    assert lives.start_seconds(counts) == [3.0]
    assert lives.sleeps(counts) == [109.0]
    log = [ended(12, "01:00:11.000"), ended(9, "01:00:09.250"), ended(11, "01:00:10.500")]
    log.append({**log[0], "logger": "stoker", "message": "m: draining"})
    told = lives.joined(counts, lives.ends(log, 3500.0)["m"])
    assert told == [Life(101.0, 109.25), Life(102.0, 110.5), Life(102.0, 111.0)]
    assert lives.peak(told) == 3
    assert [life.within(103.0, 110.0) for life in told] == [6.25, 7.0, 7.0]
    with pytest.raises(ValueError, match="shorter"):
        lives.joined(counts, lives.ends(log[1:], 3500.0)["m"])


def test_ticks_that_are_late_do_not_move_their_grid() -> None:
    """Of five ticks each 2 s two are late by 5 ms and by 0.9 s, and one is the first."""
    assert lives.grid([100.005, 102.0, 104.9, 106.0, 108.0], 2.0) == pytest.approx(100.0)


def test_loads_are_summed_by_second() -> None:
    """What a poke lifted and what the report added; of the model alone."""
    journal = [
        {"kind": "config", "row": 3, "model": ["default", "m"]},
        {"kind": "config", "row": 0, "model": ["default", "other"]},
        {"kind": "load", "s": 7, "rows": [0, 3], "values": [5.0, 1.0]},
        {"kind": "load", "s": 7, "rows": [3], "values": [0.5]},
        {"kind": "load", "s": 8, "rows": [0], "values": [9.0]},
    ]
    assert lives.loads_of("m", journal) == {7: 1.5}


@pytest.mark.parametrize("fraction", [0.0, 0.37, 0.98])
def test_when_reports_end_follows_from_what_they_say(fraction: float) -> None:
    """Requests of 0.25 s, and the loads that a reporter at this fraction would tell of them."""
    requests = [sent(4.1 + 0.37 * number, 0.25) for number in range(16)]
    loads = {}
    for second in range(100, 120):
        until = second + fraction
        loads[second] = sum(
            max(0.0, min(each.sent + 0.25, until) - max(each.sent, until - 1)) for each in requests
        )
    assert reported_at(requests, loads) == fraction


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    """And so is what is no JSON."""
    assert lives.lines('Traceback\n{"a": 1}\n{"a": 2}\n{"a": ') == [{"a": 1}, {"a": 2}]


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A server that sleeps, by its port."""
    (port,) = free_ports(1)
    with running([sys.executable, "-S", SLEEPER, str(port), "0.1", "0"], port=port):
        yield port


def test_requests_are_sent_at_their_times_whatever_became_of_others(sleeper: int) -> None:
    """The second is sent and answered while the first sleeps; one that finds nobody is lost."""
    (nobody,) = free_ports(1)
    times, slept = np.array([0.0, 0.05]), np.array([0.6, 0.01])
    streams = [Stream(sleeper, "m", times, slept), Stream(nobody, "m", times[:1], slept[:1])]
    begin = time.monotonic()
    (long, short), (lost,) = send(streams, begin)
    assert long.answered is not None
    assert short.answered is not None
    assert long.sent < short.sent < short.answered < long.answered
    assert [sent.due for sent in (long, short)] == [begin, begin + 0.05]
    assert all(extra >= 0 for extra in over([long, short]))
    assert lost.answered is None
    with pytest.raises(RuntimeError, match="lost while calibrating"):
        over([lost])


def test_a_sleeper_listens_and_ends_when_it_is_told() -> None:
    """SIGTERM ends it with status 0, although a connection is open."""
    (port,) = free_ports(1)
    command = [sys.executable, "-S", SLEEPER, str(port), "0", "0.01"]
    with running(command, port=port) as process:
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "its end")
        assert process.returncode == 0


def sent(at: float, took: float | None, cold: bool = False, service: float = 0.5) -> Sent:
    """A request sent so many seconds after 100."""
    return Sent(100 + at, 100 + at, None if took is None else 100 + at + took, cold, service)


def test_what_was_lived_is_counted_within_the_window() -> None:
    """What ended before the warm-up's end is left out; lives are cut at both ends."""
    requests = [
        sent(1.0, 3.5, cold=True),
        sent(4.9, 0.5),
        sent(6.0, 0.75),
        sent(7.0, 3.0, cold=True),
        sent(8.0, None),
    ]
    there = [Life(101.0, 108.0), Life(106.5, 125.0)]
    counts = [Counts(100.0, 0, 0), Counts(101.0, 0, 1), Counts(108.0, 0, 0), Counts(109.0, 0, 1)]
    outcome = lived(Window(100.0, 5.0, 120.0), requests, Told(counts, there, {}))
    assert outcome == Outcome(
        requests=4,
        lost=1,
        wakes=1,
        cold=1,
        starts=1,
        peak=2,
        p50=0.75,
        p95=3.0,
        p99=3.0,
        replica_seconds=3.0 + 13.5,
    )


def test_the_simulator_gets_what_was_sent_and_what_was_measured() -> None:
    """A request at zero: a start of 3 s, 0.5 s slept, 10 ms more directly, 5 ms by Stoker.

    The replica is there from the request, at 2.5 s, until the window of 7 s is empty: it was
    busy until 6.01 s, in the second that ends at 7 s, so that is at the tick at 14 s, and 0.5 s
    later it is gone.
    """
    text = yaml.safe_dump({"defaults": dict(DEFAULTS), "models": {"m": model()}})
    (spec,) = load(text, "here").models
    outcome = simulated(Window(100.0, 0.0, 130.0), [sent(2.5, 99.0)], spec, KNOWN, 1)
    assert (outcome.requests, outcome.lost, outcome.wakes, outcome.cold) == (1, 0, 1, 1)
    assert (outcome.starts, outcome.peak) == (1, 1)
    assert outcome.p50 == outcome.p99 == pytest.approx(3.515, rel=0.003)
    assert outcome.replica_seconds == pytest.approx(14.5 - 2.5)


SAME = Outcome(100, 0, 2, 10, 4, 4, 0.2, 0.4, 0.5, 100.0)


def figures(pairs: list[fidelity.Pair]) -> dict[str, bool | None]:
    """Which of the steady workload's figures are met."""
    report = Report("T", fidelity._COLUMNS)
    fidelity.tabulate(report, WORKLOADS[0], pairs)
    fidelity.tabulate_known(report, KNOWN)
    return {
        figure.name.partition(": ")[2].partition(",")[0]: figure.met for figure in report.figures
    }


def test_what_is_the_same_is_met() -> None:
    """Nothing differs: all figures are 0."""
    assert set(figures([(SAME, SAME)]).values()) == {True}


def test_each_difference_misses_its_figure() -> None:
    """6 % in the median of runs; one cold start or one lost request in any run."""
    off = replace(SAME, p95=0.424, replica_seconds=94.0)
    told = figures([(off, SAME), (SAME, SAME), (off, SAME)])
    assert [name for name, met in told.items() if not met] == ["p95 ms", "replica-seconds"]
    told = figures([(SAME, SAME), (SAME, SAME), (replace(SAME, wakes=3, lost=1), SAME)])
    assert [name for name, met in told.items() if not met] == ["cold starts", "lost in any run"]


def test_the_sender_tells_when_the_machine_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose latest percent was sent 2 s late is repeated, where there is time for it."""
    runs: list[float] = []

    def ask(_: object, __: float, seed: int) -> fidelity.Asked:
        lateness = [2.0, 0.01, 0.02][len(runs) % 3]
        runs.append(seed)
        requests = [sent(1.0 + number, 0.5) for number in range(100)]
        return fidelity.Asked(
            100.0, seed, {"m": [replace(each, sent=each.due + lateness) for each in requests]}
        )

    monkeypatch.setattr(fidelity, "ask", ask)
    found, left_out = fidelity.ask_again(None, 2, 60.0, 7, 2)  # type: ignore[arg-type]
    assert runs == [7, 7, 8]
    assert [round(fidelity.late(each), 3) for each in found] == [0.01, 0.02]
    assert left_out == 1
    runs.clear()
    (late,), left_out = fidelity.ask_again(None, 1, 60.0, 7, 0)  # type: ignore[arg-type]
    assert (runs, left_out, round(fidelity.late(late), 3)) == ([7], 0, 2.0)


def test_nothing_against_something_is_no_ratio_of_one() -> None:
    """0 on both sides is the same; on one side alone it is not."""
    none = replace(SAME, cold=0)
    assert fidelity.ratios([(none, none), (SAME, none)], "cold") == [1.0, float("inf")]


def test_the_same_seed_asks_the_same() -> None:
    """And another seed something else; arrivals ascend, and nothing comes before the lead."""
    for workload in WORKLOADS:
        first, again, other = (workload.drawn(60.0, seed) for seed in (1, 1, 2))
        assert (first.times == again.times).all()
        assert (first.service == again.service).all()
        assert len(first.times) != len(other.times) or (first.times != other.times).any()
        assert (np.diff(first.times) >= 0).all()
        assert first.times[0] >= 2.0
        assert first.times[-1] <= 62.0


@pytest.mark.long
def test_live_and_simulated_end_to_end(tmp_path: Path) -> None:
    """A quick run: every workload has its rows, nothing is lost, each model left zero once."""
    file = tmp_path / "figures.json"
    assert fidelity.main(["--quick", "--json", str(file)]) in (0, 1)
    rows = json.loads(file.read_text())["rows"]
    told = {(row[0], row[1]): (row[2], row[4]) for row in rows}
    for workload in WORKLOADS:
        assert told[workload.name, "lost"] == (0, 0)
        assert told[workload.name, "cold starts"] == ((0, 0) if workload.warm_up else (1, 1))
