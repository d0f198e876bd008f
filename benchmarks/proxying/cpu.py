"""CPU per proxied request, and throughput at saturation.

wrk keeps connections alive and sends POSTs with 8 headers and 300 bytes of JSON, in rounds
that start with another proxy each time. CPU is what the proxy's processes used, user and
system, divided by the requests answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.common import Report, Spread, ratio
from benchmarks.contenders import DIRECT, LOAD_CORE, STOKER, Contender
from benchmarks.proxying.load import check_answer, inference_answer, inference_request
from benchmarks.wrk import Load, Request, run_wrk

CONNECTIONS = (1, 64)
LIMITS = {"Envoy": 0.5, "Go": 0.4}
RELATIVE_TO = ("Envoy", "Go", "nginx")
COLUMNS = (
    *("proxy", "connections", "CPU µs/request", "low–high"),
    *(f"× {peer}" for peer in RELATIVE_TO),
    *("p50 µs", "p99 µs", "requests/s"),
)


@dataclass(slots=True)
class Measured:
    """All rounds of one contender under one load."""

    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add(self, load: Load, cpu: float) -> None:
        self.loads.append(load)
        self.cpu_us.append(cpu * 1e6 / load.requests)

    def median(self, of: Callable[[Load], float]) -> float:
        return Spread.of([of(load) for load in self.loads]).median


Results = dict[tuple[str, int], Measured]


def load_once(
    wrk: str, contender: Contender, request: Request, connections: int, seconds: float
) -> tuple[Load, float]:
    """One run and the CPU seconds of the proxy meanwhile.

    Raises RuntimeError when a request fails: figures with errors in them say nothing.
    """
    before = contender.cpu_seconds()
    load = run_wrk(
        *(wrk, contender.port, request), connections=connections, seconds=seconds, core=LOAD_CORE
    )
    used = contender.cpu_seconds() - before
    if load.failed or load.refused:
        raise RuntimeError(f"{contender.name}: not all requests were answered: {load}")
    return load, used


def measure(
    wrk: str, found: Sequence[Contender], rounds: int, seconds: float, warm_up: float
) -> Results:
    """Every contender at every number of connections, ``rounds`` times."""
    request = inference_request()
    results: Results = {(c.name, n): Measured() for c in found for n in CONNECTIONS}
    for contender in found:
        check_answer(contender, request, inference_answer().encode())
        load_once(wrk, contender, request, max(CONNECTIONS), warm_up)
    for turn in range(rounds):
        first = turn % len(found)
        for connections in CONNECTIONS:
            for contender in (*found[first:], *found[:first]):
                measured = load_once(wrk, contender, request, connections, seconds)
                results[contender.name, connections].add(*measured)
    return results


def tabulate(report: Report, found: Sequence[Contender], results: Results) -> None:
    """One row per proxy and number of connections; a figure per limit."""
    for connections in CONNECTIONS:
        for contender in found:
            measured = results[contender.name, connections]
            spread = Spread.of(measured.cpu_us) if contender.name != DIRECT else None
            report.row(
                *(contender.name, connections),
                *((spread.median, spread.range) if spread is not None else (None, None)),
                *(against(results, contender.name, peer, connections) for peer in RELATIVE_TO),
                measured.median(lambda load: load.p50_us),
                measured.median(lambda load: load.p99_us),
                round(measured.median(lambda load: load.per_second)),
            )
    for peer, limit in LIMITS.items():
        for connections in reversed(CONNECTIONS):
            plural = "s" if connections > 1 else ""
            name = f"CPU per request, {connections} connection{plural}, against {peer}'s"
            report.figure(name, against(results, STOKER, peer, connections), "×", limit)


def against(results: Results, name: str, peer: str, connections: int) -> float | None:
    """The median over rounds of CPU per request, relative to a peer's in the same round."""
    ours, theirs = results.get((name, connections)), results.get((peer, connections))
    if ours is None or theirs is None or name == DIRECT:
        return None
    pairs = zip(ours.cpu_us, theirs.cpu_us, strict=True)
    return Spread.of([ratio(mine, other) for mine, other in pairs]).median
