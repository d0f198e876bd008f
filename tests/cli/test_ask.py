"""``stoker status`` and ``stoker explain``, and the command's own manners."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from stoker import __version__
from stoker.cli import main
from tests.cli.running import ROOT, Running, cli, free_port, taken_port, wait_until
from tests.cli.test_up import echo


def test_status_and_explain_of_a_running_stoker(tmp_path: Path) -> None:
    """Both say phase, counts and why, for people and as JSON."""
    # It must not go back to zero before it was asked about, however long that takes.
    stays = echo(**{"stable-window": "5m"})
    with Running(tmp_path, {"models": {"echo": stays, "other": echo()}}) as stoker:
        assert stoker.request("/echo", host="echo.localhost", body=b"1")[0] == 200
        admin = f"127.0.0.1:{stoker.admin_port}"
        status = cli("status", "--admin", admin)
        assert status.returncode == 0
        assert [
            w for w in ("echo", "ready", "1/1", "other", "zero") if w not in status.stdout
        ] == []
        raw = json.loads(cli("status", "--admin", admin, "--json").stdout)
        assert {m["model"] for m in raw["models"]} == {"default/echo", "default/other"}

        explain = cli("explain", "echo", "--admin", admin)
        assert explain.returncode == 0
        assert "1 of 1 replicas ready" in explain.stdout
        assert "ago a request waited" in explain.stdout
        assert "ago decided 1" in explain.stdout
        raw = json.loads(cli("explain", "echo", "--admin", admin, "--json").stdout)
        assert raw["requests"]["answered"] == 1
        assert raw["state"]["replicas"][0]["phase"] == "ready"

        stranger = cli("explain", "nobody", "--admin", admin)
        assert stranger.returncode == 1
        assert "no model named 'nobody'; known: default/echo, default/other" in stranger.stderr


def test_asking_nobody_says_so() -> None:
    """No Stoker there, something else there, nonsense as address: each is told apart."""
    gone = cli("status", "--admin", f"127.0.0.1:{free_port()}")
    assert gone.returncode == 1
    assert "no Stoker answers" in gone.stderr
    wrong = cli("status", "--admin", "nonsense")
    assert wrong.returncode == 1
    assert "not HOST:PORT" in wrong.stderr


def test_usage() -> None:
    """The version is printed; a missing command is a usage error."""
    assert cli("--version").stdout.strip() == f"stoker {__version__}"
    assert cli().returncode == 2


def test_the_address_may_be_taken_by_another_server() -> None:
    """A listener that speaks something else is not mistaken for Stoker."""
    with taken_port() as port:
        source = (
            "import socket, sys\n"
            "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
            "print('up', flush=True)\n"
            "c, _ = s.accept(); c.recv(999); c.sendall(b'hello\\r\\n'); c.close()\n"
        )
        del port
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", source, str(port)], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        done = cli("status", "--admin", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert "is no Stoker" in done.stderr


def test_main_returns_codes(tmp_path: Path, capsys: object) -> None:
    """``main`` can be called: the code is its result, errors go to stderr."""
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert main(["status", "--admin", "nonsense"]) == 1


def test_on_a_terminal_there_is_a_live_table(tmp_path: Path) -> None:
    """On a terminal ``stoker up`` draws the table of models and keeps it up to date."""
    file = tmp_path / "stoker.yaml"
    with Running(tmp_path, {"models": {"echo": echo(**{"min-scale": 1})}}):
        pass  # writes the file with free ports
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stoker", "up", str(file)],
        stdin=there,
        stdout=there,
        stderr=there,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"},
    )
    os.close(there)
    os.set_blocking(here, False)
    seen = bytearray()

    def read() -> bool:
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(here, 65536))
        return b"1/1" in seen and b"ready" in seen

    try:
        wait_until(read, why="a table with one replica ready")
    finally:
        process.send_signal(signal.SIGINT)

        def ended() -> bool:
            try:
                seen.extend(os.read(here, 65536))
            except BlockingIOError:
                pass
            except OSError:  # the other end is closed
                return True
            return process.poll() is not None

        wait_until(ended, why="the end")
        assert process.wait(10) == 0
        os.close(here)
    assert "━" in seen.decode(errors="replace") or "─" in seen.decode(errors="replace")
