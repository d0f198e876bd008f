"""20,000 models of which 2,000 get requests: what Stoker adds to the latency of each.

ModelMesh claims single-digit milliseconds for as many. Requests go round all hot models in
turn, at a fixed rate, against the same requests asked of the backend directly.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.common import Report, Spread
from benchmarks.contenders import DIRECT, LOAD_CORE, PROXY_CORE, STOKER
from benchmarks.h2load import Rated, run_h2load
from benchmarks.peers import ROOT
from benchmarks.processes import end
from benchmarks.proxying.load import inference_request

MODELS, HOT = 20_000, 2_000
CLIENTS, PER_CLIENT = 32, 60
LIMIT_MS = 9.99
TITLE = f"{MODELS:,} models, {HOT:,} of them hot"
COLUMNS = ("way", "models", "hot", "requests/s", "p50 µs", "p99 µs", "low–high", "RSS MB")


@dataclass(frozen=True, slots=True)
class Measured:
    direct: list[Rated]
    stoker: list[Rated]
    rss_mb: float


@contextlib.contextmanager
def fleet(backend: int) -> Iterator[tuple[int, int]]:
    """A Stoker with all the models; yields its port and its process id."""
    command = [
        *("taskset", "-c", str(PROXY_CORE), sys.executable, "-m"),
        *("benchmarks.proxying.fleet_server", str(MODELS), str(HOT), str(backend)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"the fleet did not start: status {process.wait(10)}")
        yield int(line), process.pid
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def measure(h2load: str, backend: int, rounds: int, seconds: float) -> Measured:
    """Rounds of both ways in turn. Raises RuntimeError when a request fails."""
    results: dict[str, list[Rated]] = {DIRECT: [], STOKER: []}
    with fleet(backend) as (port, pid):
        for name, target in [(DIRECT, backend), (STOKER, port)] * rounds:
            results[name].append(ask_all(h2load, target, name, seconds))
        rss = _rss_mb(pid)
    return Measured(results[DIRECT], results[STOKER], rss)


def ask_all(h2load: str, port: int, name: str, seconds: float) -> Rated:
    """Every client goes round all hot models, each from another one on.

    A process for each: the clients of one h2load would all ask for the same model at once.
    """
    paths = [f"/v2/models/m{number}/infer" for number in range(HOT)]

    def one(client: int) -> Rated:
        first = client * HOT // CLIENTS
        return run_h2load(
            *(h2load, port, inference_request()),
            clients=1,
            per_client=PER_CLIENT,
            seconds=seconds,
            core=LOAD_CORE,
            paths=paths[first:] + paths[:first],
        )

    with ThreadPoolExecutor(CLIENTS) as threads:
        every = list(threads.map(one, range(CLIENTS)))
    failed = sum(rated.failed for rated in every)
    if failed:
        raise RuntimeError(f"{name}: {failed} requests failed")
    return Rated(sorted(us for rated in every for us in rated.latencies_us), 0, seconds)


def _rss_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def tabulate(report: Report, measured: Measured) -> None:
    """Both ways, and what p99 grows by."""
    report.table(TITLE, COLUMNS)
    for name, rounds in ((DIRECT, measured.direct), (STOKER, measured.stoker)):
        p99 = Spread.of([rated.percentile(0.99) for rated in rounds])
        ours = name == STOKER
        report.row(
            *(name, MODELS if ours else None, HOT if ours else None),
            round(Spread.of([rated.per_second for rated in rounds]).median),
            Spread.of([rated.percentile(0.5) for rated in rounds]).median,
            *(p99.median, p99.range, measured.rss_mb if ours else None),
        )
    pairs = zip(measured.stoker, measured.direct, strict=True)
    added = [(a.percentile(0.99) - b.percentile(0.99)) / 1000 for a, b in pairs]
    report.figure(f"p99 added with {MODELS:,} models", Spread.of(added).median, "ms", LIMIT_MS)
