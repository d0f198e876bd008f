"""Streams of tokens: 500 at once, 100 tokens per second each, every token passed on at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.common import Report, Spread, ratio
from benchmarks.contenders import DIRECT, LOAD_CORE, STOKER, Contender, Scene

STREAMS = 500
PER_SECOND = 100
TITLE = f"{STREAMS} streams of {PER_SECOND} tokens/s"
COLUMNS = (
    *("proxy", "streams", "tokens", "lost", "CPU µs/token", "low–high", "× Envoy", "cores"),
    *("p50 ms", "p99 ms"),
)


@dataclass(frozen=True, slots=True)
class Streamed:
    """One run: ``lost`` tokens never came; delays are a sorted sample in µs."""

    tokens: int
    lost: int
    delays_us: Sequence[int]
    cpu_us: float
    seconds: float

    def percentile(self, share: float) -> float:
        """How long ``share`` of the tokens were on their way at most, in ms."""
        delays = self.delays_us
        return delays[min(len(delays) - 1, int(share * len(delays)))] / 1000


Results = dict[str, list[Streamed]]


def scene() -> Scene:
    """The token server behind all proxies."""
    module = (sys.executable, "-m", "benchmarks.proxying.token_server")

    def upstream(directory: Path, port: int) -> peers.Command:
        return [*module, str(port)]

    def replica(directory: Path) -> peers.Command:
        return [*module, "{port}", str(directory / "pid")]

    return Scene(upstream, replica)


def measure(found: Sequence[Contender], rounds: int, seconds: float) -> Results:
    """All streams through every contender, one contender after the other."""
    results: Results = {contender.name: [] for contender in found}
    for turn in range(rounds):
        first = turn % len(found)
        for contender in (*found[first:], *found[:first]):
            results[contender.name].append(stream(contender, STREAMS, int(seconds * PER_SECOND)))
    return results


def stream(contender: Contender, streams: int, tokens: int) -> Streamed:
    """One run. Raises RuntimeError when the client fails."""
    before = contender.cpu_seconds()
    command = [
        *("taskset", "-c", str(LOAD_CORE), sys.executable, "-m"),
        *("benchmarks.proxying.token_client", str(contender.port), str(streams), str(tokens)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=peers.ROOT, timeout=120)
    used = contender.cpu_seconds() - before
    if done.returncode:
        raise RuntimeError(f"{contender.name}: the streams' client failed:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    return Streamed(
        tokens=told["tokens"],
        lost=streams * tokens - told["tokens"],
        delays_us=told["delays_us"],
        cpu_us=used * 1e6 / max(1, told["tokens"]),
        seconds=tokens / PER_SECOND,
    )


def tabulate(report: Report, results: Results) -> None:
    """One row per proxy; lost tokens have the limit 0."""
    report.table(TITLE, COLUMNS)
    for name, rounds in results.items():
        cpu = Spread.of([run.cpu_us for run in rounds]) if name != DIRECT else None
        report.row(
            *(name, STREAMS, sum(run.tokens for run in rounds), sum(run.lost for run in rounds)),
            *((cpu.median, cpu.range) if cpu is not None else (None, None)),
            _against(results, name, "Envoy"),
            cpu.median * STREAMS * PER_SECOND / 1e6 if cpu is not None else None,
            Spread.of([run.percentile(0.5) for run in rounds]).median,
            Spread.of([run.percentile(0.99) for run in rounds]).median,
        )
    report.figure("CPU per token, against Envoy's", _against(results, STOKER, "Envoy"), "×")
    lost = [float(sum(run.lost for run in results[name])) for name in results if name == STOKER]
    report.figure("tokens lost through Stoker", lost[0] if lost else None, "", 0.0)


def _against(results: Results, name: str, peer: str) -> float | None:
    if name not in results or peer not in results or name == DIRECT:
        return None
    pairs = zip(results[name], results[peer], strict=True)
    return Spread.of([ratio(ours.cpu_us, theirs.cpu_us) for ours, theirs in pairs]).median
