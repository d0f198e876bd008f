"""What proxying costs: Stoker, with everything on, against nginx, HAProxy, Envoy and Go.

``python -m benchmarks.proxy [--only PART ...]``. The same load goes through each proxy to
the same kind of backend, in rounds that start with another proxy each time. A proxy has
core 0 to itself, with one worker; backend and load share core 1. Parts: cpu (CPU per
request at saturation), latency (at a fixed rate), bodies (1 KB to 1 MB), streams (tokens),
fleet (20,000 models).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.common import Report, arguments, run
from benchmarks.contenders import (
    ALL_ON_MODEL,
    ALL_ON_PROCESS,
    DIRECT,
    STOKER,
    STOKER_ALL,
    contenders,
    enough_cores,
    nginx_scene,
)
from benchmarks.h2load import find_h2load
from benchmarks.proxying import bodies, cpu, fleet, latency, streams
from benchmarks.proxying.load import inference_answer
from benchmarks.wrk import find_wrk

# Without a limit per replica, a replica's slots would not be counted: that is not what
# Stoker is for. 1,000 is never reached here.
MODEL = {"container-concurrency": 1000}


@dataclass(frozen=True, slots=True)
class Tools:
    """What generates the load and what answers it."""

    wrk: str
    h2load: str
    nginx: str


Part = Callable[[Report, Tools, Path, bool], None]


def at_saturation(report: Report, tools: Tools, directory: Path, quick: bool) -> None:
    """CPU per request, then latency at a share of the slowest one's throughput."""
    rounds, seconds = (1, 1.0) if quick else (5, 2.0)
    scene = nginx_scene(tools.nginx, inference_answer(), MODEL)
    names = {*(peer.name for peer in peers.PEERS), STOKER, STOKER_ALL}
    with contenders(directory, report, scene, names) as found:
        results = cpu.measure(tools.wrk, found, rounds, seconds, 0.5 if quick else 1.0)
        cpu.tabulate(report, found, results)
        slowest = min(
            results[c.name, max(cpu.CONNECTIONS)].median(lambda load: load.per_second)
            for c in found
        )
        rounds, seconds = (1, 1.0) if quick else (3, 2.0)
        some = [c for c in found if c.name != STOKER_ALL]
        rated = latency.measure(tools.h2load, some, slowest, rounds, seconds)
        latency.tabulate(report, rated)


def with_bodies(report: Report, tools: Tools, directory: Path, quick: bool) -> None:
    """CPU per request and megabyte."""
    rounds, seconds = (1, 1.0) if quick else (3, 1.0)
    sizes = bodies.SIZES[1:] if quick else bodies.SIZES
    names = ("Envoy", STOKER) if quick else None
    with contenders(directory, report, bodies.scene(), names) as found:
        some = [c for c in found if c.name != DIRECT or not quick]
        bodies.tabulate(report, bodies.measure(tools.wrk, some, sizes, rounds, seconds))


def with_streams(report: Report, tools: Tools, directory: Path, quick: bool) -> None:
    """CPU per token and how long a token is on its way."""
    rounds, seconds = (1, 2.0) if quick else (2, 3.0)
    names = ("Envoy", STOKER) if quick else None
    with contenders(directory, report, streams.scene(), names) as found:
        streams.tabulate(report, streams.measure(found, rounds, seconds))


def with_a_fleet(report: Report, tools: Tools, directory: Path, quick: bool) -> None:
    """Latency added with many models."""
    rounds, seconds = (1, 2.0) if quick else (3, 4.0)
    scene = nginx_scene(tools.nginx, inference_answer(), MODEL)
    with contenders(directory, report, scene, ()) as found:
        fleet.tabulate(report, fleet.measure(tools.h2load, found[0].port, rounds, seconds))


PARTS: dict[str, Part] = {
    "cpu": at_saturation,
    "bodies": with_bodies,
    "streams": with_streams,
    "fleet": with_a_fleet,
}


def _only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", nargs="+", choices=tuple(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], _only, argv)
    report = Report("Proxying: CPU and latency per request", cpu.COLUMNS)
    wrk, h2load, nginx = find_wrk(), find_h2load(), peers.find_nginx()
    if wrk is None or h2load is None or nginx is None or not enough_cores():
        report.note(
            "wrk, h2load or nginx is missing (make peers installs them), or there are fewer than"
            " two cores: no figures."
        )
        report.figure("CPU per request, 64 connections, against Envoy's", None, "×", 0.5)
        return report.finish(args)
    tools = Tools(wrk, h2load, nginx)
    for name in args.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory:
            try:
                PARTS[name](report, tools, Path(directory), args.quick)
            except (OSError, RuntimeError) as error:
                # The other parts still say what they say.
                report.note(f"{name} could not be measured: {error}")
                report.figure(f"{name}: measured to its end", 0.0, "", 1.0, at_most=False)
    for peer in peers.PEERS:
        binary = peer.find()
        if binary is not None:
            report.note(f"{peer.name} {peer.version(binary)}.")
    told = ", ".join(f"{k}: {v}" for k, v in (ALL_ON_PROCESS | ALL_ON_MODEL).items())
    report.note(f"{STOKER}: as it comes. {STOKER_ALL}: {told}.")
    report.note("Medians of rounds; ratios are taken per round. The backend is nginx.")
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
