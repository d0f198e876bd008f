"""Running h2load at a fixed rate over HTTP/1.1, and reading its log of every request."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wrk import Request


@dataclass(frozen=True, slots=True)
class Rated:
    """One run. Latencies in µs, sorted; ``failed``: not answered 2xx, or not at all."""

    latencies_us: Sequence[int]
    failed: int
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies_us) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that ``share`` (0 to 1) of all requests did not exceed, in µs."""
        ordered = self.latencies_us
        return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def find_h2load() -> str | None:
    """Where h2load is, or None when it is not installed."""
    return shutil.which("h2load")


def run_h2load(
    h2load: str,
    port: int,
    request: Request,
    *,
    clients: int,
    per_client: float,
    seconds: float,
    core: int,
    paths: Sequence[str] = (),
) -> Rated:
    """``clients`` connections, each sending ``per_client`` requests per second, open loop.

    With ``paths`` they are asked for in turn, instead of the request's own. Raises
    RuntimeError when h2load fails or nothing was answered.
    """
    with tempfile.TemporaryDirectory(prefix="stoker-h2load-") as directory:
        log, body, uris = (Path(directory, name) for name in ("log", "body", "uris"))
        body.write_text(request.body, encoding="utf-8")
        urls = [f"http://127.0.0.1:{port}{path}" for path in paths or (request.path,)]
        uris.write_text("\n".join(urls) + "\n", encoding="utf-8")
        headers = [f"{name.lower()}: {value}" for name, value in (request.headers or {}).items()]
        command = [
            *(h2load, "--h1", "-t1", f"-c{clients}", f"--rps={per_client:g}"),
            *(f"-D{seconds:g}", "-m1", f"--log-file={log}", f"-i{uris}"),
            *(
                part
                for header in headers
                if not header.startswith("host:")
                for part in ("-H", header)
            ),
            *((f"-d{body}",) if request.body else ()),
        ]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        finally:
            os.sched_setaffinity(0, before)
        lines = log.read_text().splitlines() if log.exists() else []
    return parse(lines, done.stdout + done.stderr, seconds)


def parse(lines: Sequence[str], said: str, seconds: float) -> Rated:
    """The log's lines (start, status, µs) and h2load's own summary."""
    latencies, failed = [], 0
    for line in lines:
        _, status, duration = line.split("\t")[:3]
        if 200 <= int(status) < 300:
            latencies.append(int(duration))
        else:
            failed += 1
    if not latencies:
        raise RuntimeError(f"h2load measured nothing:\n{said}".rstrip())
    errors = re.search(r"(\d+) errored, (\d+) timeout", said)
    if errors is not None:
        failed += sum(int(count) for count in errors.groups())
    return Rated(sorted(latencies), failed, seconds)
