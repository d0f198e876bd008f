"""The first answer from zero: through Stoker, against starting the same server by hand.

``python -m benchmarks.wake``. By hand: start the command, try to connect every 5 ms, send
the request; the clock runs from just before the start to the answer's last byte. Through
Stoker: send the same request while the model has no replica; the clock runs from just
before connecting to the answer's last byte. The two take turns at going first. Each wake
of a batch is of another, equal model, so that no replica is stopped while another start is
measured; after a batch everything falls asleep again by itself.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import Report, Spread, arguments, ratio, run
from benchmarks.local import LocalStoker, local_stoker
from benchmarks.processes import free_ports, running
from examples.digits import train

PAIRS = 20
BATCH = 10
LIMIT = 1.05
POLL_SECONDS = 0.005
QUICK_SECONDS = 38.0
GIVE_UP_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[1]

_COLUMNS = (
    *("server", "pairs", "by hand ms", "low–high", "through Stoker ms", "low–high"),
    *("ratio", "low–high", "added ms"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server to start: its command with ``{port}``, and what to send it."""

    name: str
    title: str
    command: tuple[str, ...]
    readiness: str
    path: str
    body: bytes

    def by_hand(self, port: int) -> list[str]:
        """The command as one would type it."""
        return [part.replace("{port}", str(port)) for part in self.command]

    def request(self, host: str) -> bytes:
        """The whole request; the connection is closed after the answer."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + self.body

    def models(self) -> dict[str, dict[str, Any]]:
        """A batch of equal models, by name, as in Stoker's YAML file."""
        model = {
            "command": list(self.command),
            "directory": str(ROOT),
            "readiness": self.readiness,
            "initial-scale": 0,
            "max-scale": 1,
        }
        return {f"{self.name}-{number}": dict(model) for number in range(BATCH)}


@dataclass(slots=True)
class Pairs:
    """Seconds by hand and through Stoker, pair by pair."""

    by_hand: list[float] = field(default_factory=list)
    woken: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        return [ratio(woken, by_hand) for woken, by_hand in self._pairs()]

    def added(self) -> list[float]:
        """Seconds that Stoker adds."""
        return [woken - by_hand for woken, by_hand in self._pairs()]

    def _pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.woken, self.by_hand, strict=True))


def servers() -> list[Server]:
    """The digits classifier, and the hard case."""
    train.ensure_trained()
    digits = (sys.executable, "-m", "examples.digits.server")
    plain = (sys.executable, "-S", str(ROOT / "benchmarks" / "plain_server.py"), "{port}")
    tensor = {"name": "image", "datatype": "FP64", "shape": [1, 64], "data": [0.0] * 64}
    return [
        Server(
            name="digits",
            title="digits (aiohttp, scikit-learn)",
            command=(*digits, "--port", "{port}", "--model", str(train.MODEL_FILE)),
            readiness="/v2/health/ready",
            path="/v2/models/digits/infer",
            body=json.dumps({"inputs": [tensor]}).encode(),
        ),
        Server(
            name="plain",
            title="plain (http.server)",
            command=plain,
            readiness="tcp",
            path="/",
            body=b"{}",
        ),
    ]


def start_by_hand(server: Server) -> float:
    """Seconds to the first answer's last byte."""
    (port,) = free_ports(1)
    request = server.request(f"127.0.0.1:{port}")
    command = server.by_hand(port)
    began = time.perf_counter()
    with running(command, cwd=ROOT):
        connection = None
        while connection is None:
            try:
                connection = socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                if time.perf_counter() - began > GIVE_UP_SECONDS:
                    raise
                time.sleep(POLL_SECONDS)
        with connection:
            answer = exchange(connection, request)
        seconds = time.perf_counter() - began
    check(server, answer)
    return seconds


def wake(server: Server, stoker: LocalStoker, model: str) -> float:
    """Seconds to the first answer's last byte. The model must be asleep."""
    request = server.request(f"{model}.localhost")
    stoker.wait_for(model, lambda state: state.asleep, "to be asleep")
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", stoker.port)) as connection:
        answer = exchange(connection, request)
    seconds = time.perf_counter() - began
    check(server, answer)
    return seconds


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """The whole answer, up to the end of the connection."""
    connection.settimeout(GIVE_UP_SECONDS)
    connection.sendall(request)
    answer = bytearray()
    while piece := connection.recv(65536):
        answer += piece
    return bytes(answer)


def check(server: Server, answer: bytes) -> None:
    """Raises RuntimeError unless it is a 200 with outputs in it."""
    if not answer.startswith(b"HTTP/1.1 200 ") or b'"outputs"' not in answer:
        raise RuntimeError(f"{server.name}: no good answer: {answer[:300]!r}")


def measure(
    stoker: LocalStoker, found: Sequence[Server], pairs: int, until: float = float("inf")
) -> dict[str, Pairs]:
    """``pairs`` pairs for each server, by its name; none begins after ``until`` (monotonic)."""
    results = {server.name: Pairs() for server in found}
    for number in range(pairs):
        if number and time.monotonic() > until:
            break
        if number and number % BATCH == 0:
            fall_asleep(stoker)
        for server in found:
            model = f"{server.name}-{number % BATCH}"
            result = results[server.name]
            if number % 2:
                result.woken.append(wake(server, stoker, model))
                result.by_hand.append(start_by_hand(server))
            else:
                result.by_hand.append(start_by_hand(server))
                result.woken.append(wake(server, stoker, model))
    return results


def fall_asleep(stoker: LocalStoker) -> None:
    """Wait until no model has a replica."""
    for model in stoker.models():
        stoker.wait_for(model, lambda state: state.asleep, "to fall asleep", timeout=300)


def tabulate(report: Report, found: Sequence[Server], results: dict[str, Pairs]) -> None:
    """One row and one figure per server; only the realistic one has a limit."""
    for server in found:
        result = results[server.name]
        by_hand, woken, added = (
            Spread.of([seconds * 1000 for seconds in side])
            for side in (result.by_hand, result.woken, result.added())
        )
        ratios = Spread.of(result.ratios())
        report.row(
            *(server.title, len(result.woken)),
            *(by_hand.median, by_hand.range, woken.median, woken.range),
            *(ratios.median, ratios.range, added.median),
        )
        limit = LIMIT if server.name == "digits" else None
        name = f"first answer through Stoker against by hand, median of pairs, {server.name}"
        report.figure(name, ratios.median, "×", limit)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], argv=argv)
    pairs, until = (
        (BATCH, time.monotonic() + QUICK_SECONDS) if args.quick else (PAIRS, float("inf"))
    )
    report = Report("Waking from zero: the first answer, through Stoker and by hand", _COLUMNS)
    found = servers()
    models = {name: model for server in found for name, model in server.models().items()}
    # Long enough for a batch: what falls asleep meanwhile would disturb the others.
    defaults = {"stable-window": "90s", "scale-to-zero-grace-period": "1s"}
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as name:
        for server in found:  # once unmeasured: the files it reads are in memory from here on
            start_by_hand(server)
        with local_stoker(Path(name), models, defaults) as stoker:
            results = measure(stoker, found, pairs, until)
    tabulate(report, found, results)
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
