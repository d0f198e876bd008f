"""Every kind of traffic while everything breaks: what is lost, and whether it was counted.

``python -m benchmarks.chaos [--seed N] [--seconds N]``. Short requests, streams, WebSockets
and large bodies go through two workers for ten minutes. Meanwhile replicas are killed with -9 at
random, the parent with its autoscaler is stopped for seconds and goes on, and the workers
are rolled. Nothing may be lost whose body could be sent again and whose answer had not
begun; everything else that fails must stand in a counter of Stoker's.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.chaotic.havoc import Havoc
from benchmarks.chaotic.traffic import Account, Traffic
from benchmarks.common import Report, arguments, run
from benchmarks.local import LocalStoker, get_text, local_stoker

ROOT = Path(__file__).resolve().parents[1]
SECONDS, QUICK_SECONDS = 600.0, 30.0
COLUMNS = (
    *("traffic", "sent", "whole", "lost", "broken", "wrong", "again", "counted"),
    *("p50 ms", "p99 ms", "max ms"),
)


# Requests that met the orderly end of a quiet connection.
LATE = "stoker_late_requests_total"


def counted_failures(text: str) -> Counter[str]:
    """Refusals, broken answers, tunnels not ended by a client, by model, from /metrics; and
    late requests of all models.
    """
    counts: Counter[str] = Counter()
    late = re.search(rf"^{LATE} (\S+)$", text, re.MULTILINE)
    counts[LATE] = int(float(late[1])) if late else 0
    for name, labels, value in re.findall(r"^(stoker_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        model = re.search(r'model="[^"/]*/([^"]*)"', labels)
        if model is None:
            continue
        if name == "stoker_refusals_total" or (
            name == "stoker_tunnels_total" and 'ending="done"' not in labels
        ):
            counts[model[1]] += int(float(value))
    return counts


async def wreak(stoker: LocalStoker, seconds: float, seed: int) -> tuple[Traffic, Havoc]:
    """Traffic and havoc together; havoc ends a little earlier, so that all can finish."""
    traffic = Traffic(stoker.port)
    havoc = Havoc(stoker, tuple(Traffic.CLIENTS), seed)
    await asyncio.gather(traffic.run(seconds), havoc.run(seconds - 5))
    return traffic, havoc


def settings() -> dict[str, dict[str, object]]:
    """A model for each kind of traffic, with two replicas, that never sleeps."""
    command = [sys.executable, "-m", "benchmarks.chaotic.server", "{port}"]
    return {
        kind: {
            "command": command,
            "directory": str(ROOT),
            "readiness": "/ready",
            "min-scale": 2,
            "max-scale": 3,
            "container-concurrency": 8,
            "retry-attempts": 5,
        }
        for kind in Traffic.CLIENTS
    }


def tabulate(report: Report, traffic: Traffic, counted: Counter[str]) -> None:
    """One row per kind; nothing replayable lost, nothing failed that was not counted."""
    for kind, account in traffic.accounts.items():
        ordered = sorted(account.latencies) or [0.0]
        report.row(
            *(kind, account.sent, account.whole, account.lost, account.broken, account.wrong),
            *(account.again, counted[kind]),
            ordered[len(ordered) // 2] * 1000,
            ordered[int(0.99 * (len(ordered) - 1))] * 1000,
            ordered[-1] * 1000,
        )
    # All are: of 2 MB a copy is kept beside, within replay-bytes, until the answer begins.
    lost = sum(account.lost for account in traffic.accounts.values())
    report.figure("lost although it could have been sent again", float(lost), "", 0.0)
    unexplained = sum(
        max(0, account.failed - counted[kind]) for kind, account in traffic.accounts.items()
    )
    report.figure("failures that no counter explains", float(unexplained), "", 0.0)
    again = sum(account.again for account in traffic.accounts.values())
    late = max(0, again - counted[LATE])
    report.figure("asked again, and no counter explains why", float(late), "", 0.0)
    wrong = sum(account.wrong for account in traffic.accounts.values())
    report.figure("answers with wrong content", float(wrong), "", 0.0)


def _how(account: Account) -> str:
    return "; ".join(f"{count} × {how}" for how, count in account.how.most_common(5))


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of what is broken when")
    parser.add_argument(
        "--seconds", type=float, help=f"how long; {SECONDS:g}, quickly {QUICK_SECONDS:g}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], _flags, argv)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    report = Report("Chaos", COLUMNS)
    with (
        tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory,
        local_stoker(Path(directory), settings(), settings={"workers": 2}) as stoker,
    ):
        for kind in Traffic.CLIENTS:
            stoker.wait_for(kind, lambda state: state.ready >= 2, "two replicas to be ready")
        traffic, havoc = uvloop.run(wreak(stoker, seconds, args.seed))
        counted = counted_failures(get_text(stoker.admin, "/metrics"))
        tabulate(report, traffic, counted)
    did = ", ".join(f"{count} {what}" for what, count in sorted(havoc.done.items()))
    report.note(f"In {seconds:g} s, seed {args.seed}: {did}.")
    report.note(
        "lost: nothing of an answer had begun; broken: an answer did not come whole; again: a kept"
        " connection was closed as it was used, and the client asked once more; counted: what"
        " stoker_refusals and stoker_tunnels say of the model."
    )
    for kind, account in traffic.accounts.items():
        if account.how:
            report.note(f"{kind}: {_how(account)}")
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
