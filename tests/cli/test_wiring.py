"""What the settings of the process say reaches the part that it is meant for."""

from __future__ import annotations

import ipaddress
import itertools
import json
import signal
import threading
from pathlib import Path
from typing import Any

from stoker.settings import ProcessConfig
from tests.cli.running import PATIENCE, Running, echo_command, free_port, wait_until

QUICK: dict[str, Any] = {"stable-window": "6s", "readiness": "/ready", "initial-scale": 0}


def echo(*options: str, **settings: Any) -> dict[str, Any]:
    """One quick model's block."""
    return {**QUICK, "command": echo_command(*options), **settings}


def journal_lines(file: Path) -> list[dict[str, Any]]:
    """The complete lines written so far."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(True) if line.endswith("\n")]


def test_journal_and_ticks(tmp_path: Path) -> None:
    """journal-file is written, and tick-interval kept."""
    process = {"journal-file": "kept/decisions.jsonl", "tick-interval": "100ms"}
    file = tmp_path / "kept" / "decisions.jsonl"
    with Running(tmp_path, {"stoker": process, "models": {"echo": echo()}}) as stoker:
        assert stoker.request("/echo", host="echo.localhost", body=b"1")[0] == 200

        def decided() -> bool:
            lines = [line for line in journal_lines(file) if line["kind"] == "decision"]
            return any(line["desired"] == 1 and "echo" in line["model"] for line in lines)

        wait_until(decided, why="the decision for one replica in the journal")

        def close_ticks() -> bool:
            lines = [line for line in journal_lines(file) if line["kind"] == "tick"]
            times = [line["t"] for line in lines if line["rows"] is None]
            return any(after - before < 1.0 for before, after in itertools.pairwise(times))

        # By default they are two seconds apart.
        wait_until(close_ticks, why="two ticks of all models within a second")


def test_log_level(tmp_path: Path) -> None:
    """At warning a refused reload is logged, and what info says is not."""
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("listen", "admin")}
    document = {"stoker": {**ports, "log-level": "warning"}, "models": {"echo": echo()}}
    applied = 'stoker_config_reloads_total{outcome="applied"}'
    with Running(tmp_path, document) as stoker:
        assert stoker.request("/echo", host="nobody.localhost", body=b"1")[0] == 404
        stoker.file.write_text("models: {echo: {comm")
        wait_until(lambda: "settings refused" in stoker.log.read_text(), why="a refusal")
        before = stoker.metric(applied)
        stoker.write({**document, "models": {"echo": echo(), "second": echo()}})
        wait_until(lambda: stoker.metric(applied) > before, why="a reload")
        assert stoker.stop() == 0
    text = stoker.log.read_text()
    assert " ERROR stoker " in text
    assert " INFO " not in text


def test_reloaded_limits_and_health(tmp_path: Path) -> None:
    """A lowered max-body-bytes holds while running; while draining only /readyz says no."""
    process = {"max-body-bytes": "1Mi", "drain-timeout": "50s"}
    with Running(tmp_path, {"stoker": process, "models": {"echo": echo()}}) as stoker:
        body = b"x" * 2000
        assert stoker.request("/echo", host="echo.localhost", body=body)[:2] == (200, body)
        lowered = {**stoker.document["stoker"], "max-body-bytes": "1Ki"}
        stoker.write({**stoker.document, "stoker": lowered})
        wait_until(lambda: "settings reloaded" in stoker.log.read_text(), why="reload")
        assert stoker.request("/echo", host="echo.localhost", body=body)[0] == 413
        assert stoker.request("/echo", host="echo.localhost", body=b"x")[:2] == (200, b"x")

        def health(path: str) -> tuple[int, bytes]:
            return stoker.request(path, port=stoker.admin_port)[:2]

        assert health("/healthz") == (200, b"ok\n")
        assert health("/readyz") == (200, b"ready\n")
        answers: list[int] = []
        asker = threading.Thread(
            target=lambda: answers.append(
                stoker.request("/slow?seconds=5", host="echo.localhost")[0]
            )
        )
        asker.start()
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        stoker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "letting requests finish" in stoker.log.read_text(), why="draining")
        wait_until(lambda: health("/readyz") == (503, b"stopping\n"), why="/readyz to say no")
        assert health("/healthz")[0] == 200
        asker.join(PATIENCE)
        assert answers == [200]
        assert stoker.process.wait(PATIENCE) == 0


def test_defaults_are_for_this_machine_only() -> None:
    """Nobody else can reach what nobody opened to others."""
    for address in (ProcessConfig().listen, ProcessConfig().admin):
        assert ipaddress.ip_address(address.host).is_loopback
