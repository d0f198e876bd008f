"""CPU per request and per megabyte for bodies of 1 KB, 64 KB and 1 MB, up and down.

The server behind is not nginx here: that answers before it has read a body.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.common import Report, Spread, ratio
from benchmarks.contenders import DIRECT, STOKER, Contender, Scene
from benchmarks.proxying.cpu import Measured, load_once
from benchmarks.proxying.load import HEADERS, PATH, check_answer, inference_answer
from benchmarks.wrk import Request

SIZES = (1 << 10, 64 << 10, 1 << 20)
CONNECTIONS = 16
TITLE = "Bodies"
COLUMNS = (
    *("proxy", "body", "bytes", "CPU µs/request", "low–high", "CPU µs/MB", "× Envoy", "× nginx"),
    *("requests/s", "MB/s"),
)

Case = tuple[str, int]
Results = dict[tuple[str, Case], Measured]


def request_of(direction: str, size: int) -> Request:
    """A POST of ``size`` bytes, or a GET that is answered with as many."""
    if direction == "up":
        return Request(PATH, "POST", HEADERS, "x" * size)
    return Request(f"/v2/models/bench/down/{size}", "GET", HEADERS)


def scene() -> Scene:
    """A server that reads whole bodies, and gives them, behind all proxies."""
    module = (sys.executable, "-m", "benchmarks.proxying.body_server")

    def upstream(directory: Path, port: int) -> peers.Command:
        return [*module, str(port), inference_answer()]

    def replica(directory: Path) -> peers.Command:
        return [*module, "{port}", inference_answer(), str(directory / "pid")]

    return Scene(upstream, replica)


def measure(
    wrk: str, found: Sequence[Contender], sizes: Sequence[int], rounds: int, seconds: float
) -> Results:
    """Every contender with every size, both ways."""
    cases = [(direction, size) for direction in ("up", "down") for size in sizes]
    results: Results = {(c.name, case): Measured() for c in found for case in cases}
    for turn in range(rounds):
        first = turn % len(found)
        for direction, size in cases:
            request = request_of(direction, size)
            expected = inference_answer().encode() if direction == "up" else b"y" * size
            for contender in (*found[first:], *found[:first]):
                check_answer(contender, request, expected)
                measured = load_once(wrk, contender, request, CONNECTIONS, seconds)
                results[contender.name, (direction, size)].add(*measured)
    return results


def tabulate(report: Report, results: Results) -> None:
    """One row per proxy and case; figures against Envoy, without a limit."""
    report.table(TITLE, COLUMNS)
    for (name, case), measured in results.items():
        direction, size = case
        per_second = measured.median(lambda load: load.per_second)
        cpu = Spread.of(measured.cpu_us) if name != DIRECT else None
        report.row(
            *(name, direction, size),
            *((cpu.median, cpu.range) if cpu is not None else (None, None)),
            cpu.median * (1 << 20) / size if cpu is not None else None,
            _against(results, name, "Envoy", case),
            _against(results, name, "nginx", case),
            *(round(per_second), per_second * size / (1 << 20)),
        )
    for name, case in results:
        if name == STOKER:
            direction, size = case
            label = f"CPU with bodies of {size >> 10} KB {direction}, against Envoy's"
            report.figure(label, _against(results, STOKER, "Envoy", case), "×")


def _against(results: Results, name: str, peer: str, case: Case) -> float | None:
    ours, theirs = results.get((name, case)), results.get((peer, case))
    if ours is None or theirs is None or name == DIRECT:
        return None
    pairs = zip(ours.cpu_us, theirs.cpu_us, strict=True)
    return Spread.of([ratio(mine, other) for mine, other in pairs]).median
