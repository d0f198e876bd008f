"""A real ``stoker up`` in a process of its own, for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

ROOT = Path(__file__).resolve().parents[2]
ECHO = ROOT / "tests" / "servers" / "echo.py"
PATIENCE = 60.0
T = TypeVar("T")


def echo_command(*options: str) -> list[str]:
    """The command of a replica that is a quick stand-in server."""
    return [sys.executable, str(ECHO), "--port", "{port}", *options]


def wait_until(what: Callable[[], T | None], *, why: str, patience: float = PATIENCE) -> T:
    """The first true answer of ``what``; AssertionError when none comes."""
    deadline = time.monotonic() + patience
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {patience} s for {why}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Running:
    """One ``stoker up``. ``document`` is its settings file as data."""

    def __init__(self, directory: Path, document: dict[str, Any]) -> None:
        self.file = directory / "stoker.yaml"
        document.setdefault("stoker", {})
        document["stoker"] = {
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "drain-timeout": "5s",
            **document["stoker"],
        }
        self.write(document)
        self.log = directory / "stoker.log"
        self.process: subprocess.Popen[bytes]
        self.port = self.admin_port = 0

    def write(self, document: dict[str, Any]) -> None:
        self.document = document
        self.file.write_text(yaml.safe_dump(document))

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stoker", "up", str(self.file), "--plain"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        try:
            self.port = self._fixed("listen") or self._announced("listening on")
            self.admin_port = self._fixed("admin") or self._announced("admin on")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _fixed(self, setting: str) -> int:
        """The port the settings ask for, once it is open; 0: they leave it to the system."""
        port = int(self.document["stoker"][setting].rpartition(":")[2])

        def look() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        if port:
            wait_until(look, why=f"{setting} = port {port} to be open")
        return port

    def _announced(self, words: str) -> int:
        def look() -> int | None:
            assert self.process.poll() is None, self.log.read_text()
            for line in self.log.read_text().splitlines():
                if words in line:
                    return int(line.rpartition(":")[2])
            return None

        return wait_until(look, why=f"{words!r} in the log")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    # --- talking to it ---

    def request(
        self,
        path: str,
        *,
        host: str = "any",
        body: bytes | None = None,
        method: str = "",
        headers: dict[str, str] | None = None,
        port: int = 0,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """One request on a connection of its own: status, body, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            method = method or ("GET" if body is None else "POST")
            connection.request(method, path, body, {"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def admin(self, path: str) -> Any:
        status, text, _ = self.request(path, port=self.admin_port)
        assert status == 200, text
        return json.loads(text)

    def model(self, name: str) -> dict[str, Any]:
        models = {m["model"]: m for m in self.admin("/api/models")["models"]}
        found: dict[str, Any] = models[f"default/{name}"]
        return found

    def workers(self) -> list[dict[str, Any]]:
        """The worker processes; none where everything is in one."""
        found: list[dict[str, Any]] = self.admin("/api/workers")["workers"]
        return found

    def wait_for(self, name: str, what: Callable[[dict[str, Any]], bool], why: str) -> Any:
        def look() -> dict[str, Any] | None:
            model = self.model(name)
            return model if what(model) else None

        try:
            return wait_until(look, why=f"{name} to be {why}")
        except AssertionError as caught:
            raise AssertionError(f"{caught}; log:\n{self.log.read_text()}") from None

    def pids(self, name: str) -> list[int]:
        return [replica["pid"] for replica in self.model(name)["replicas"]]

    def metric(self, line_start: str) -> float:
        """The sum of the series whose lines begin so."""
        _, text, _ = self.request("/metrics", port=self.admin_port)
        lines = [ln for ln in text.decode().splitlines() if ln.startswith(line_start)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``stoker`` with ``arguments`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "stoker", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", **environment},
        timeout=PATIENCE,
        check=False,
    )
