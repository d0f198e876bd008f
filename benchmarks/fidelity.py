"""The same workload on a real Stoker and in the simulator: do both say the same?

``python -m benchmarks.fidelity [--seed N]``. Live: ``stoker up`` with servers that sleep,
for a known time before they listen and for a given one over each request; requests are
sent at their times, whatever became of those before. Simulated: what was sent, when it was
sent, with the settings of the same file. What the simulator must know of the machine (how
long a start and an end take, what loopback and Stoker add, when reports come) is measured
with models of their own; of the runs that are compared nothing is taken but what was sent.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import Report, Spread, arguments, run
from benchmarks.faithful.calibration import Calibration, calibrate
from benchmarks.faithful.comparing import Outcome, Window, lived, simulated
from benchmarks.faithful.live import Live, Told, live
from benchmarks.faithful.sending import Sent, Stream, send
from benchmarks.faithful.workloads import (
    DEFAULTS,
    LEAD_SECONDS,
    QUIET_SECONDS,
    WORKLOADS,
    Workload,
    model,
)
from stoker.vocabulary import ModelSpec

RUNS, SECONDS, REQUESTS = 5, 60.0, 60
QUICK_RUNS, QUICK_SECONDS, QUICK_REQUESTS = 1, 9.0, 16
CALIBRATION = ("calibration-1", "calibration-2", "calibration-3")
LIMIT = 5.0
"""Percent."""
LATEST_SECONDS = 0.25

_COLUMNS = (
    *("workload", "in a run", "live", "low–high", "simulated", "low–high"),
    *("live ÷ simulated", "low–high"),
)
_NAMES = {
    "requests": "requests",
    "lost": "lost",
    "wakes": "cold starts",
    "cold": "requests that waited for one",
    "starts": "replicas started",
    "peak": "replicas at once",
    "p50": "p50 ms",
    "p95": "p95 ms",
    "p99": "p99 ms",
    "replica_seconds": "replica-seconds",
}
_COMPARED = ("p50", "p95", "p99", "replica_seconds")

Pair = tuple[Outcome, Outcome]
"""Live and simulated."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One run of all workloads, by their names. ``begin``: monotonic seconds."""

    begin: float
    seed: int
    sent: dict[str, list[Sent]]


def span(seconds: float) -> float:
    """How long a run takes whose arrivals are within so many seconds."""
    return LEAD_SECONDS + seconds + QUIET_SECONDS


def ask(running: Live, seconds: float, seed: int) -> Asked:
    """All workloads at the same time, each of a model of its own; then all fall asleep."""
    drawn = [workload.drawn(seconds, seed) for workload in WORKLOADS]
    names = [workload.name for workload in WORKLOADS]
    begin, port = running.next_tick(), running.stoker.port
    sent = send([Stream(port, d.workload.name, d.times, d.service) for d in drawn], begin)
    running.asleep(names)
    # The next run's requests must not come before this one's window has ended.
    time.sleep(max(0.0, begin + span(seconds) - time.monotonic()))
    return Asked(begin, seed, dict(zip(names, sent, strict=True)))


def late(asked: Asked) -> float:
    """How late (s) the latest percent of requests were sent: the sender's doing."""
    return float(
        np.percentile([each.sent - each.due for sent in asked.sent.values() for each in sent], 99)
    )


def ask_again(
    running: Live, runs: int, seconds: float, seed: int, spare: int
) -> tuple[list[Asked], int]:
    """So many runs, and how many, ``spare`` at most, were left out because this machine had stood
    still: that is told by the sender alone, by how late it was.
    """
    found: list[Asked] = []
    left_out = 0
    while len(found) < runs:
        one = ask(running, seconds, seed + len(found))
        if late(one) <= LATEST_SECONDS or left_out >= spare:
            found.append(one)
        else:
            left_out += 1
    return found, left_out


def compare(
    runs: Sequence[Asked],
    told: Mapping[str, Told],
    specs: Mapping[str, ModelSpec],
    known: Calibration,
    seconds: float,
) -> dict[str, list[Pair]]:
    """Each run's two outcomes, by workload."""
    pairs: dict[str, list[Pair]] = {}
    for workload in WORKLOADS:
        name = workload.name
        pairs[name] = []
        for each in runs:
            window = Window(each.begin, workload.warm_up, each.begin + span(seconds))
            sent = each.sent[name]
            other = simulated(window, sent, specs[name], known, each.seed)
            pairs[name].append((lived(window, sent, told[name]), other))
    return pairs


def ratios(pairs: Sequence[Pair], what: str) -> list[float]:
    """Live over simulated, run by run; 1 where both are 0, infinite where only that one is."""
    values = [(float(getattr(a, what)), float(getattr(b, what))) for a, b in pairs]
    return [a / b if b else (float("inf") if a else 1.0) for a, b in values]


def tabulate(report: Report, workload: Workload, pairs: Sequence[Pair]) -> None:
    """A row per quantity; a figure for each that is promised."""
    for what, name in _NAMES.items():
        scale = 1000 if name.endswith(" ms") else 1
        mine, other = (
            Spread.of([scale * getattr(pair[side], what) for pair in pairs]) for side in (0, 1)
        )
        of = Spread.of(ratios(pairs, what))
        report.row(
            *(workload.name, name, mine.median, mine.range, other.median, other.range),
            *(of.median, of.range),
        )
    for what in _COMPARED:
        off = 100 * abs(statistics.median(ratios(pairs, what)) - 1)
        report.figure(f"{workload.name}: {_NAMES[what]}, live from simulated", off, "%", LIMIT)
    apart = max(abs(a.wakes - b.wakes) for a, b in pairs)
    report.figure(f"{workload.name}: cold starts, difference in any run", apart, "", 0)
    lost = max(a.lost + b.lost for a, b in pairs)
    report.figure(f"{workload.name}: lost in any run", lost, "", 0)


def tabulate_known(report: Report, known: Calibration) -> None:
    """What the simulator was told."""
    report.table("Measured beforehand, with models of their own", ("ms", "median", "low–high", "n"))
    for name, seconds in (
        ("from the wish for a replica to its readiness", known.starts),
        ("from the decision for zero to a replica's end", known.drains),
        ("what a request takes more than was slept, without Stoker", known.direct),
        ("the same through Stoker", known.through),
        ("from a whole second of the clock to a report of load", (known.reports,)),
    ):
        spread = Spread.of([1000 * each for each in seconds])
        report.row(name, spread.median, spread.range, len(seconds))


def _seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of what is asked")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], _seed, argv)
    runs, seconds, requests = (
        (QUICK_RUNS, QUICK_SECONDS, QUICK_REQUESTS) if args.quick else (RUNS, SECONDS, REQUESTS)
    )
    report = Report("Fidelity: the same workload live and simulated", _COLUMNS)
    models = {name: model() for name in CALIBRATION}
    models |= {workload.name: model(**workload.settings) for workload in WORKLOADS}
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory,
        live(Path(directory), models, DEFAULTS) as running,
    ):
        calibrated = calibrate(running, CALIBRATION, requests)
        spare = 0 if args.quick else runs  # a second quick run would not end within 50 s
        asked, left_out = ask_again(running, runs, seconds, args.seed, spare)
        running.asleep(CALIBRATION)
        told, specs = running.told(list(models)), running.specs()
    known = calibrated.known(told)
    pairs = compare(asked, told, specs, known, seconds)
    for workload in WORKLOADS:
        tabulate(report, workload, pairs[workload.name])
    tabulate_known(report, known)
    report.note(
        f"Runs of {seconds:g} s: {runs}, seeds from {args.seed} on. live ÷ simulated: of the same"
        " run; the figures are of its median. What is simulated is what was sent, when it was"
        f" sent: the latest percent {1000 * max(map(late, asked)):.0f} ms late or more."
    )
    if left_out:
        report.note(
            f"{left_out} runs were left out and repeated: the machine stood still, the sender"
            f" itself was more than {LATEST_SECONDS:g} s late."
        )
    report.note(
        "cold starts: times the model left zero. Of steady the first 8 s are not counted."
        " Percentiles: of all answered requests, from sending to the answer's end. replica-seconds:"
        " from a start's begin to its process's end."
    )
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
