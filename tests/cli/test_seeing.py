"""What operators see of a real Stoker: logs, access log, explain, the admin token."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Running, cli, echo_command, free_port, wait_until

TOKEN = "a-long-random-text"


def echo(*options: str, **settings: Any) -> dict[str, Any]:
    """One quick model's block."""
    return {
        "command": echo_command(*options),
        "stable-window": "6s",
        "readiness": "/ready",
        "initial-scale": 0,
        "scale-to-zero-grace-period": "1s",
        **settings,
    }


def test_logs_as_json_and_an_access_log_that_is_rotated(tmp_path: Path) -> None:
    """Every line of the log is an object; the access log follows its name, also at SIGHUP."""
    process = {
        # Known beforehand: what the log says of them is JSON.
        **{name: f"127.0.0.1:{free_port()}" for name in ("listen", "admin")},
        "log-format": "json",
        "log-sample": "1",
        "access-log": "logs/access.log",
        "access-log-format": "json",
    }
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    with Running(tmp_path, {"stoker": process, "models": {"echo": echo()}}) as stoker:

        def ask(target: str) -> None:
            assert stoker.request(target, host="echo.localhost", body=b"x")[0] == 200

        def targets(file: Path) -> list[str]:
            text = file.read_text() if file.exists() else ""
            return [json.loads(line)["target"] for line in text.splitlines()]

        ask("/one")
        wait_until(lambda: targets(path) == ["/one"], why="the first line")
        old = path.with_suffix(".1")
        path.rename(old)
        stoker.process.send_signal(signal.SIGHUP)
        ask("/two")
        wait_until(lambda: targets(path) == ["/two"], why="a line in the new file")
        assert targets(old) == ["/one"]
        assert stoker.request("/", host="nobody.localhost")[0] == 404
        assert stoker.stop() == 0
    lines = [json.loads(line) for line in stoker.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    served = [line for line in lines if line["message"] == "served"]
    assert [line["model"] for line in served[:2]] == ["default/echo"] * 2
    (unknown,) = [line for line in lines if line["message"] == "no such model"]
    assert unknown["client"] == "127.0.0.1"
    assert targets(path) == ["/two", "/"]


def test_the_admin_token_in_use(tmp_path: Path) -> None:
    """Without it status is refused and says how to send it; by file or variable it is let in."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    process = {"admin-token-file": "token", "admin-open-paths": "/healthz, /readyz, /metrics"}
    with Running(tmp_path, {"stoker": process, "models": {"echo": echo()}}) as stoker:
        admin = f"127.0.0.1:{stoker.admin_port}"
        refused = cli("status", "--admin", admin)
        assert refused.returncode == 1
        assert "name its file with --token-file, or set STOKER_ADMIN_TOKEN" in refused.stderr
        assert "echo" in cli("status", "--admin", admin, "--token-file", str(file)).stdout
        told = cli("explain", "echo", "--admin", admin, STOKER_ADMIN_TOKEN=TOKEN)
        assert "echo: zero" in told.stdout
        wrong = cli("status", "--admin", admin, STOKER_ADMIN_TOKEN="some-other-text")
        assert "that is not the admin token" in wrong.stderr
        gone = cli("status", "--admin", admin, "--token-file", str(tmp_path / "none"))
        assert "--token-file = " in gone.stderr
        assert "No such file" in gone.stderr
        odd = cli("status", "--admin", admin, STOKER_ADMIN_TOKEN="a\u20acb-long-text")
        assert "no header can carry" in odd.stderr
        for path in ("/healthz", "/readyz", "/metrics"):
            assert stoker.request(path, port=stoker.admin_port)[0] == 200
        assert stoker.request("/api/models", port=stoker.admin_port)[0] == 401
        file.write_text("another-random-text")
        assert cli("status", "--admin", admin, "--token-file", str(file)).returncode == 0


def test_why_the_last_requests_waited(tmp_path: Path) -> None:
    """A cold start phase by phase, a full replica, an ended replica: in sentences."""
    model = echo("--start-delay", "0.3", **{"container-concurrency": 1, "max-scale": 1})
    with Running(tmp_path, {"models": {"echo": model}}) as stoker:
        assert stoker.request("/echo", host="echo.localhost", body=b"x")[0] == 200
        document = stoker.admin("/api/explain/echo")
        (wait,) = document["requests"]["recent_waits"]
        assert set(wait["phases"]) <= {"deciding", "starting", "its-turn"}
        assert wait["phases"]["starting"] > 0.2
        assert sum(wait["phases"].values()) == pytest.approx(wait["waited"], abs=1e-4)
        assert document["state"]["hosts"] == ["echo.localhost", "echo.default.localhost"]
        metric = 'stoker_activation_seconds_count{model="default/echo",phase="total"}'
        assert stoker.metric(metric) == 1
        admin = f"127.0.0.1:{stoker.admin_port}"
        told = cli("explain", "echo", "--admin", admin).stdout
        assert "s: no replica was ready:" in told
        assert " s starting, then " in told
        stoker.wait_for("echo", lambda m: not m["replicas"], "at zero")
        told = cli("explain", "echo", "--admin", admin).stdout
        assert "replica echo-1 ended " in told
        assert "scaled down" in told


def test_an_outage_that_ends_with_stoker_is_no_recovery(tmp_path: Path) -> None:
    """Stopping says nothing of a model's recovery."""
    model = echo("--exit-code", "3", **{"failures-before-giving-up": 1, "min-scale": 1})
    with Running(tmp_path, {"models": {"echo": model}}) as stoker:
        wait_until(lambda: "Outage" in stoker.log.read_text(), why="the outage")
        assert stoker.stop() == 0
    assert "Recovered" not in stoker.log.read_text()


def test_what_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """A token file that is not there, an access log nowhere: named, and nothing is left behind."""
    for setting, value, words in (
        ("admin-token-file", "none", "cannot be read: No such file"),
        ("access-log", "nowhere/access.log", "cannot be opened for writing"),
    ):
        stoker = Running(tmp_path, {"stoker": {setting: value}, "models": {"echo": echo()}})
        done = cli("up", str(stoker.file), "--plain")
        assert done.returncode == 1
        assert f"stoker.{setting} = {os.path.join(tmp_path, value)}: {words}" in done.stderr
        assert "Traceback" not in done.stderr
