"""How fast the simulator is: ``python -m benchmarks.simulate [--json FILE] [--quick]``.

- One model through the full brain: admission, slots, windows, panic, decisions every 2 s.
- M/M/16, the same queue through all of Stoker's decisions and in SimPy, in turn.
- The fluid pass of ``stoker tune``: configuration-ticks per second on one core.
- 1,000 models over 14 days, 100 million requests in windows of ServeGen's shape, on all cores.
  With ``--quick`` a stretch of it, and what the whole would take at that pace. The shapes come
  from the real trace; where that is not there, this part is named as missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median

from benchmarks.common import Report, arguments, ratio, run
from benchmarks.simulating.engine import full_brain, queue, simpy_queue
from benchmarks.simulating.many import ARRIVALS, DAYS, SERVEGEN, Long, fortnight, windows
from benchmarks.simulating.rough import fluid

__all__ = ["Long", "main"]

BRAIN_LIMIT, SIMPY_LIMIT, FLUID_LIMIT, LONG_LIMIT = 150_000.0, 4.0, 5_000_000.0, 15.0
QUICK_SHARE = 0.0005
"""Of the fourteen days: ten minutes of them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], add_share, argv)
    report = Report(
        "Simulator: requests per second of wall time",
        ["what", "requests", "seconds", "requests/s", "× SimPy", "decisions", "mean wait ms"],
    )
    brains(report, *((200_000, 2) if args.quick else (1_000_000, 3)))
    queues(report, *((40_000, 3) if args.quick else (200_000, 5)))
    rough(report, *((1024, 8, 1200) if args.quick else (1024, 8, 14_400)))
    long(report, args.share or (QUICK_SHARE if args.quick else 1.0))
    return report.finish(args)


def add_share(parser: argparse.ArgumentParser) -> None:
    """How much of the long part to run."""
    parser.add_argument(
        "--share", metavar="S", type=float, help="of the fourteen days, for the long part (1)"
    )


def brains(report: Report, requests: int, rounds: int) -> None:
    """One model with bursts, from zero; the median of some rounds."""
    speeds = sorted((full_brain(requests) for _ in range(rounds)), key=lambda s: s.per_second)
    middle = speeds[len(speeds) // 2]
    report.row(
        *("one model, full brain", middle.requests, middle.seconds, middle.per_second, None),
        *(middle.decisions, middle.wait * 1000),
    )
    name = "requests/s through the full brain, one model"
    report.figure(name, middle.per_second, "requests/s", BRAIN_LIMIT, at_most=False)


def queues(report: Report, requests: int, rounds: int) -> None:
    """The same queue in both, in turn; the ratio is taken in each round."""
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(queue(requests, number))
        try:
            theirs.append(simpy_queue(requests, number))
        except ImportError:
            report.note("SimPy is not installed: missing here; make peers installs it.")
            break
    for name, speeds in (("M/M/16, Stoker", ours), ("M/M/16, SimPy", theirs)):
        if not speeds:
            continue
        pace = median(speed.per_second for speed in speeds)
        against = ratio(pace, median(s.per_second for s in theirs)) if theirs else None
        report.row(
            *(name, requests, median(s.seconds for s in speeds), pace, against),
            *(speeds[0].decisions, 1000 * median(s.wait for s in speeds)),
        )
    ratios = [a.per_second / b.per_second for a, b in zip(ours, theirs, strict=False)]
    value = median(ratios) if ratios else None
    report.figure("M/M/16 against SimPy", value, "×", SIMPY_LIMIT, at_most=False)


def rough(report: Report, configurations: int, parts: int, seconds: int) -> None:
    """The fluid pass, on one core."""
    flowed = fluid(configurations, parts, seconds)
    report.table("The fluid pass", ["configurations", "lanes", "ticks", "seconds", "ticks/s"])
    report.row(
        *(flowed.configurations, flowed.lanes, flowed.ticks, flowed.seconds, flowed.per_second)
    )
    name = "configuration-ticks per second in the fluid pass"
    report.figure(name, flowed.per_second, "ticks/s", FLUID_LIMIT, at_most=False)


def long(report: Report, share: float) -> None:
    """A fortnight of a thousand models, or a part of it."""
    name = f"{DAYS} days of 1,000 models, {ARRIVALS:,} requests"
    source = windows(share)
    if source is None:
        report.note(f"{SERVEGEN} is missing: the long run was not measured; set STOKER_TRACES.")
        return
    ran = fortnight(source)
    report.table(
        "Many models, long",
        ["models", "days", "requests", "jobs", "minutes", "requests/s", "decisions", "cold %"],
    )
    report.row(
        *(ran.models, ran.days, ran.requests, ran.jobs, ran.seconds / 60),
        *(ran.requests / ran.seconds, ran.decisions, 100 * ran.cold_share),
    )
    whole = ran.seconds / 60 * DAYS / ran.days
    if share < 1:
        name += ", at the pace of the part"
    report.figure(name, whole, "min", LONG_LIMIT)


if __name__ == "__main__":
    sys.exit(run(main))
