"""A cluster of our own: ``python -m benchmarks.kubernetes [--json FILE] [--quick]``.

``stoker cluster`` in a process of its own over the API server of the tests, whose pods are
ready as soon as they have a node and answer at once: what is left is Stoker's part, and the
API server's. Measured are a wake's two halves, a start over thousands of Deployments, the time
without a leader after it was killed, and what is lost while the API server is away.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clustered.measures import failover, outage, thousands, wakes
from benchmarks.common import Report, Spread, arguments, run
from stoker.platforms.kubernetes.leadership import Election

MODELS, QUICK_MODELS, PODS = 5_000, 1_500, 4


async def measure(report: Report, directory: Path, *, quick: bool) -> None:
    """Everything, one after the other, into the report."""
    found = await wakes(directory, 15 if quick else 50)
    for what, values in (
        ("a request's first byte to /scale", [wake.scaled for wake in found]),
        ("a pod ready to its first byte", [wake.answered for wake in found]),
    ):
        spread, ordered = Spread.of([value * 1000 for value in values]), sorted(values)
        slowest = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1000
        report.row(what, len(values), spread.median, slowest, f"{spread.range} ms")
        report.figure(f"{what}, p99 of {len(values)}", slowest, "ms", 20.0)

    report.table(
        "Many models at rest",
        ("Deployments", "pods", "ready s", "RSS MB", "tick ms", "API requests/s"),
    )
    models, rest = (QUICK_MODELS, 5.0) if quick else (MODELS, 60.0)
    many = await thousands(directory, models, PODS, rest)
    report.row(
        *(models, models * PODS, many.ready, many.rss / 1e6, many.tick * 1000, many.requests)
    )
    whole = f"{models:,} Deployments, {models * PODS:,} pods"
    report.figure(f"{whole}: start-up to ready", many.ready, "s", 30.0)
    report.figure(f"{whole}: RSS", many.rss / 1e6, "MB", 600.0)
    report.figure(f"{whole}: tick", many.tick * 1000, "ms", 100.0)
    report.figure(f"{whole}: API requests at rest", many.requests, "1/s", 1.0)

    report.table("The leader killed with -9", ("rounds", "median s", "longest s", "counts lowered"))
    times = await failover(directory, 1 if quick else 5)
    seconds, lease = Spread.of([each.seconds for each in times]), Election("x").duration
    lowered = sum(each.lowered for each in times)
    report.row(len(times), seconds.median, seconds.high, lowered)
    report.figure("failover, the longest", seconds.high / lease, "lease durations", 1.5)
    report.figure("counts lowered meanwhile", float(lowered), "", 0.0)

    report.table("The API server away, under load", ("seconds", "sent", "lost"))
    away = 6.0 if quick else 300.0
    lost = await outage(directory, away, 4)
    report.row(away, lost.sent, lost.lost)
    report.figure(f"{away:g} s without an API server: lost", float(lost.lost), "", 0.0)
    if lost.why:
        report.note(f"The last that was lost: {lost.why}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], argv=argv)
    report = Report("Kubernetes", ("from, to", "wakes", "median ms", "p99 ms", "low-high"))
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory:
        asyncio.run(measure(report, Path(directory), quick=args.quick))
    report.note(
        "API server, controllers, pods and clients share one process with each other, not with"
        " Stoker; a lease lasts 15 s."
    )
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
