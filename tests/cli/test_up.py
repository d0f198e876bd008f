"""``stoker up`` as a user meets it: real processes, real requests, real deaths."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
from pathlib import Path
from typing import Any

from tests.cli.running import (
    Running,
    alive,
    cli,
    echo_command,
    taken_port,
    wait_until,
)

QUICK: dict[str, Any] = {"stable-window": "6s", "readiness": "/ready", "initial-scale": 0}


def echo(*options: str, **settings: Any) -> dict[str, Any]:
    """One quick model's block."""
    return {**QUICK, "command": echo_command(*options), **settings}


def test_wakes_from_zero_scales_out_and_goes_back(tmp_path: Path) -> None:
    """The whole loop: held at zero, answered, panic, several replicas, zero again."""
    model = echo("--concurrency-limit", "2", **{"container-concurrency": 2, "max-scale": 3})
    with Running(tmp_path, {"models": {"echo": model}}) as stoker:
        assert stoker.model("echo")["phase"] == "zero"
        assert stoker.pids("echo") == []
        status, body, _ = stoker.request("/echo", host="echo.localhost", body=b"hello")
        assert (status, body) == (200, b"hello")
        assert stoker.metric('stoker_hold_seconds_count{model="default/echo"}') == 1
        assert stoker.metric("stoker_cold_start_seconds_count") >= 1

        answers: list[int] = []

        def ask() -> None:
            answers.append(stoker.request("/slow?seconds=0.5", host="echo.localhost")[0])

        askers = [threading.Thread(target=ask) for _ in range(24)]
        for asker in askers:
            asker.start()
        seen = stoker.wait_for(
            "echo", lambda m: m["panicking"] and m["desired"] > 1, "panicking with more desired"
        )
        assert "panic" in seen["why"]
        for asker in askers:
            asker.join()
        # The server answers 500 when more than its limit come at once.
        assert answers == [200] * 24
        stoker.wait_for("echo", lambda m: m["phase"] == "zero" and not m["replicas"], "at zero")


def test_nothing_survives_kill_nine(tmp_path: Path) -> None:
    """Killed with -9, Stoker leaves no replica, no grandchild and no reaper behind."""
    noted = tmp_path / "grandchild"
    model = echo("--spawn-grandchild", str(noted), "--setsid", **{"min-scale": 1})
    with Running(tmp_path, {"models": {"echo": model}}) as stoker:
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready")
        pids = stoker.pids("echo")
        wait_until(lambda: noted.exists() and noted.read_text(), why="the grandchild's pid")
        grandchild = int(noted.read_text())
        assert all(alive(pid) for pid in [*pids, grandchild])
        stoker.process.kill()
        stoker.process.wait()
        for pid in [*pids, grandchild]:
            wait_until(lambda pid=pid: not alive(pid), why=f"{pid} to end")  # type: ignore[misc]


def test_a_termination_lets_requests_finish(tmp_path: Path) -> None:
    """SIGTERM while an answer is under way: it is completed, then everything ends with 0."""
    with Running(tmp_path, {"models": {"echo": echo()}}) as stoker:
        answers: list[tuple[int, bytes]] = []
        asker = threading.Thread(
            target=lambda: answers.append(
                stoker.request("/slow?seconds=1", host="echo.localhost", body=b"x")[:2]
            )
        )
        asker.start()
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        pids = stoker.pids("echo")
        assert stoker.stop(signal.SIGTERM) == 0
        asker.join()
        assert answers[0][0] == 200
        assert not any(alive(pid) for pid in pids)


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    """The first Ctrl-C waits for requests, the second does not."""
    document = {"stoker": {"drain-timeout": "50s"}, "models": {"echo": echo()}}
    with Running(tmp_path, document) as stoker:
        asker = threading.Thread(target=_ask_in_vain, args=(stoker,))
        asker.start()
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        stoker.process.send_signal(signal.SIGINT)
        wait_until(lambda: "letting requests finish" in stoker.log.read_text(), why="draining")
        assert stoker.process.poll() is None
        assert stoker.stop(signal.SIGINT) == 0
        asker.join()


def _ask_in_vain(stoker: Running) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        stoker.request("/slow?seconds=55", host="echo.localhost")


def test_settings_are_reloaded_and_bad_ones_refused(tmp_path: Path) -> None:
    """A change takes effect while running; a wrong or lost file changes nothing."""
    with Running(tmp_path, {"models": {"echo": echo()}}) as stoker:
        good = stoker.document
        stoker.file.write_text("models: {echo: {comm")
        wait_until(lambda: "settings refused" in stoker.log.read_text(), why="a refusal")
        assert stoker.request("/echo", host="echo.localhost", body=b"1")[0] == 200

        wrong = {**good, "models": {"echo": {**good["models"]["echo"], "stable-window": "2s"}}}
        stoker.write(wrong)
        wait_until(
            lambda: "stable-window" in stoker.log.read_text() and "6s" in stoker.log.read_text(),
            why="the key and its range",
        )
        stoker.file.unlink()
        wait_until(lambda: "No such file" in stoker.log.read_text(), why="the lost file")
        assert stoker.metric('stoker_config_reloads_total{outcome="refused"}') >= 3
        status, text, _ = stoker.request("/readyz", port=stoker.admin_port)
        assert (status, b"refused" in text) == (200, True)

        stoker.write({**good, "models": {**good["models"], "second": echo()}})
        wait_until(lambda: "settings reloaded: 2 models" in stoker.log.read_text(), why="reload")
        assert stoker.request("/echo", host="second.localhost", body=b"2")[:2] == (200, b"2")

        stoker.write(good)
        wait_until(lambda: "settings reloaded: 1 models" in stoker.log.read_text(), why="reload")
        assert stoker.request("/echo", host="second.localhost")[0] == 404


def test_a_model_that_cannot_start_is_refused_with_the_reason(tmp_path: Path) -> None:
    """503 with exit code and last output; a repaired command serves again."""
    broken = {
        **QUICK,
        "command": "sh -c 'echo no weights for {port} >&2; exit 3'",
        "restart-backoff": "100ms",
    }
    with Running(tmp_path, {"models": {"bad": broken}}) as stoker:
        status, body, headers = stoker.request("/v2/models/bad/infer", body=b"{}")
        assert status == 503
        assert b"code 3" in body
        assert b"no weights" in body
        assert int(headers["Retry-After"]) >= 1
        assert stoker.model("bad")["phase"] == "failed"
        stoker.write({**stoker.document, "models": {"bad": echo()}})

        def repaired() -> bool:
            return stoker.request("/echo", host="bad.localhost", body=b"ok")[0] == 200

        wait_until(repaired, why="the repaired model to answer")


def test_a_replica_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    """kill -9 of a replica: the next request is answered all the same."""
    with Running(tmp_path, {"models": {"echo": echo(**{"min-scale": 1})}}) as stoker:
        assert stoker.request("/echo", host="echo.localhost", body=b"1")[0] == 200
        (pid,) = stoker.pids("echo")
        os.kill(pid, signal.SIGKILL)
        assert stoker.request("/echo", host="echo.localhost", body=b"2")[:2] == (200, b"2")
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready again")
        assert pid not in stoker.pids("echo")
        assert stoker.metric("stoker_replica_exits_total") >= 1


def test_a_taken_address_is_named(tmp_path: Path) -> None:
    """A port in use: which setting, which address, what to do; exit code 1, no replica."""
    for setting in ("listen", "admin"):
        with taken_port() as port:
            file = tmp_path / "stoker.yaml"
            file.write_text("models: {}\n")
            other = {"listen": "admin", "admin": "listen"}[setting]
            done = cli(
                *("up", str(file), "--plain"),
                *(f"--{setting}", f"127.0.0.1:{port}", f"--{other}", "127.0.0.1:0"),
            )
            assert done.returncode == 1
            assert f"{setting} = 127.0.0.1:{port}: Address already in use" in done.stderr


def test_a_bad_file_does_not_start(tmp_path: Path) -> None:
    """``stoker up`` refuses what ``stoker check`` refuses, with the same words."""
    file = tmp_path / "stoker.yaml"
    file.write_text("models:\n  echo:\n    command: run {port}\n    stable-windw: 9s\n")
    up, check = cli("up", str(file)), cli("check", str(file))
    assert (up.returncode, check.returncode) == (1, 1)
    for done in (up.stderr, check.stdout):
        assert "stable-windw" in done
        assert "stable-window" in done
    file.write_text("models:\n  echo:\n    command: run {port}\n")
    assert cli("check", str(file)).returncode == 0
    assert cli("check", str(tmp_path / "missing.yaml")).returncode == 2
