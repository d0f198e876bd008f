"""Replicas killed at the worst moments of a request, in a real ``stoker up``."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import PATIENCE, Running, alive, echo_command, wait_until

QUICK: dict[str, Any] = {"stable-window": "6s", "readiness": "/ready", "initial-scale": 0}


def echo(*options: str, **settings: Any) -> dict[str, Any]:
    """One quick model's block."""
    return {**QUICK, "command": echo_command(*options), **settings}


class Asker(threading.Thread):
    """One request in a thread of its own; ``answer`` is its status and body."""

    def __init__(self, stoker: Running, path: str, body: bytes | None = None) -> None:
        super().__init__()
        self._stoker, self._path, self._body = stoker, path, body
        self._answer: tuple[int, bytes] | None = None
        self.start()

    def run(self) -> None:
        status, text, _ = self._stoker.request(self._path, host="echo.localhost", body=self._body)
        self._answer = status, text

    @property
    def answer(self) -> tuple[int, bytes]:
        self.join(PATIENCE)
        assert self._answer is not None, self._stoker.log.read_text()
        return self._answer


def kill(pid: int) -> None:
    """SIGKILL a replica, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), why=f"{pid} to end")


def starting_pid(stoker: Running) -> int | None:
    """The process of the one replica, while it is starting."""
    for replica in stoker.model("echo")["replicas"]:
        if replica["pid"] and replica["phase"] not in ("ready", "draining"):
            return int(replica["pid"])
    return None


def test_a_replica_killed_while_starting(tmp_path: Path) -> None:
    """The request held for it is answered by its successor."""
    model = echo("--start-delay", "2", **{"restart-backoff": "100ms"})
    with Running(tmp_path, {"models": {"echo": model}}) as stoker:
        asker = Asker(stoker, "/pid")
        victim = wait_until(lambda: starting_pid(stoker), why="a replica to be starting")
        assert stoker.model("echo")["queued"] == 1
        kill(victim)
        status, body = asker.answer
        assert status == 200
        assert int(body) != victim
        assert stoker.metric("stoker_replica_exits_total") == 1


def test_a_replica_killed_before_the_first_byte(tmp_path: Path) -> None:
    """Of two replicas with a request each one dies: both requests are answered, by others."""
    settings = {"min-scale": 2, "container-concurrency": 1, "restart-backoff": "100ms"}
    with Running(tmp_path, {"models": {"echo": echo(**settings)}}) as stoker:
        stoker.wait_for(
            "echo",
            lambda m: [replica["phase"] for replica in m["replicas"]] == ["ready"] * 2,
            "ready twice",
        )
        victim, _ = stoker.pids("echo")
        askers = [Asker(stoker, "/slow?seconds=5", b"whole body") for _ in range(2)]
        stoker.wait_for("echo", lambda m: m["active"] == 2, "active in both")
        kill(victim)
        for asker in askers:
            status, body = asker.answer
            told = json.loads(body)
            assert (status, told["body_bytes"]) == (200, len(b"whole body"))
            assert told["pid"] != victim
        assert stoker.metric('stoker_retries_total{model="default/echo"}') >= 1


def test_a_replica_killed_mid_stream(tmp_path: Path) -> None:
    """What was sent cannot be taken back: the client sees that its answer is not complete."""
    refused = 'stoker_refusals_total{model="default/echo",reason="replica-died-mid-response"}'
    with Running(tmp_path, {"models": {"echo": echo()}}) as stoker:
        client = http.client.HTTPConnection("127.0.0.1", stoker.port, timeout=PATIENCE)
        with contextlib.closing(client):
            client.request(
                "GET", "/stream?chunks=600&seconds=0.1", headers={"Host": "echo.localhost"}
            )
            answer = client.getresponse()
            assert answer.status == 200
            assert answer.read(8) == b"chunk 0 "
            (victim,) = stoker.pids("echo")
            kill(victim)
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
        wait_until(lambda: stoker.metric(refused), why="the broken answer to be counted")
        assert stoker.metric(refused) == 1
        assert stoker.metric('stoker_retries_total{model="default/echo"}') == 0
        assert stoker.request("/echo", host="echo.localhost", body=b"next")[:2] == (200, b"next")
