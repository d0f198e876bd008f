"""Running wrk, the HTTP load generator, and reading what it measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# wrk reports latencies in microseconds; what is not asked for in `request` is built once.
_SCRIPT = """\
wrk.method = %(method)s
wrk.body = %(body)s
%(headers)s
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "seconds": %%.6f, "p50_us": %%.1f, "p99_us": %%.1f, ' ..
    '"failed": %%d, "refused": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent again and again. ``body`` must be text."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    body: str = ""

    def script(self) -> str:
        """The Lua script that makes wrk send this and report figures as JSON."""
        headers = "\n".join(
            f"wrk.headers[{_lua(name)}] = {_lua(value)}"
            for name, value in (self.headers or {}).items()
        )
        return _SCRIPT % {"method": _lua(self.method), "body": self._body(), "headers": headers}

    def _body(self) -> str:
        # A megabyte of the same letter need not be written out.
        if len(self.body) > 4096 and self.body == self.body[0] * len(self.body):
            return f"string.rep({_lua(self.body[0])}, {len(self.body)})"
        return _lua(self.body)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk measured. ``failed``: broken or timed out; ``refused``: 4xx, 5xx."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    failed: int
    refused: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def find_wrk() -> str | None:
    """Where wrk is, or None when it is not installed."""
    return shutil.which("wrk")


def run_wrk(
    wrk: str, port: int, request: Request, *, connections: int, seconds: float, core: int
) -> Load:
    """One run with one thread on one core, connections kept alive.

    ``seconds`` is rounded up to whole ones (wrk knows no others). Raises RuntimeError when wrk
    fails or when not a single request is answered.
    """
    with tempfile.TemporaryDirectory(prefix="stoker-wrk-") as directory:
        script = Path(directory, "request.lua")
        script.write_text(request.script(), encoding="utf-8")
        url = f"http://127.0.0.1:{port}{request.path}"
        whole = max(1, -(-seconds // 1))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            done = subprocess.run(
                [wrk, "-t1", f"-c{connections}", f"-d{whole:.0f}s", "-s", script, url],
                capture_output=True,
                text=True,
                timeout=whole + 30,
            )
        finally:
            os.sched_setaffinity(0, before)
    return parse(done.stdout, done.stderr)


def parse(stdout: str, stderr: str = "") -> Load:
    """The figures in wrk's output. Raises RuntimeError when there are none."""
    for line in stdout.splitlines():
        if line.startswith("RESULT "):
            load = Load(**json.loads(line.removeprefix("RESULT ")))
            if load.requests:
                return load
            break
    raise RuntimeError(f"wrk measured nothing:\n{stdout}{stderr}".rstrip())


def _lua(text: str) -> str:
    """A Lua string literal."""
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\{ord(char):03d}" for char in text
    )
    return f'"{escaped}"'
