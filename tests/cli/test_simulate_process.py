"""``stoker simulate`` as a process: pipes, a terminal, Ctrl-C, processes of its own."""

from __future__ import annotations

import csv
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import alive, wait_until

COMMAND = ("env", "--default-signal=INT", sys.executable, "-m", "stoker", "simulate")
"""SIGINT as from a terminal, also where tests run in the background of a shell."""
PATIENCE = 100.0


def trace(folder: Path, seconds: int, models: int = 2, step: int = 1) -> str:
    """A request per ``step`` seconds and model."""
    path = folder / "trace.csv"
    names = [f"m{number}" for number in range(models)]
    lines = (f"{second},{name}\n" for second in range(0, seconds, step) for name in names)
    path.write_text("t,model\n" + "".join(lines))
    return str(path)


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def on_a_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with a terminal of its own for stderr, and the end of it that reads."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            os.close(ours)
            process.kill()


def read_until(terminal: int, pattern: bytes) -> bytes:
    """What comes until this is there."""
    said = b""
    while re.search(pattern, said) is None:
        said += os.read(terminal, 65_536)
    return said


def rest_of(terminal: int) -> bytes:
    """What comes until the other end is closed."""
    said = b""
    while True:
        try:
            more = os.read(terminal, 65_536)
        except OSError:  # how Linux tells that
            return said
        said += more


def test_in_a_pipe(tmp_path: Path) -> None:
    """Plain text on stdout, also from two processes, with CSV to what is no file of its own."""
    ended = subprocess.run(
        [*COMMAND, trace(tmp_path, 30), "--jobs", "2", "--csv", "/dev/stderr"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "\x1b" not in ended.stdout
    assert "settings as given" in ended.stdout
    rows = list(csv.DictReader(ended.stderr.splitlines()[:4]))
    assert [row["model"] for row in rows] == ["", "default/m0", "default/m1"]
    assert [row["requests"] for row in rows] == ["60", "30", "30"]


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """``| head -0``: exit code 1 and not a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        ended = subprocess.run(
            [*COMMAND, trace(tmp_path, 3)], stdout=out, stderr=subprocess.PIPE, timeout=PATIENCE
        )
    assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False)


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    """Each run has one while it goes on, whatever it is called; behind it nothing of it is left."""
    words = ("--jobs", "1", "--versus", "always-on:1")
    with on_a_terminal(trace(tmp_path, 600), *words) as (process, terminal):
        said = rest_of(terminal).decode()
        assert process.wait(PATIENCE) == 0
    assert "settings as given" in said
    assert "always-on:1" in said
    assert "━" in said
    assert said.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in said


def test_ctrl_c(tmp_path: Path) -> None:
    """At any time, from a terminal, which tells all processes: exit code 130, no traceback,
    nobody left.
    """
    path = trace(tmp_path, 100_000, 2, step=20)
    with on_a_terminal(path, "--jobs", "2") as (process, terminal):
        simulating = wait_until(
            lambda: kids if len(kids := children(process.pid)) == 2 else None,
            why="two processes that simulate",
        )
        read_until(terminal, rb"\d:\d\d:\d\d")  # how long it will take is known
        os.killpg(process.pid, signal.SIGINT)
        said = rest_of(terminal).decode()
        assert process.wait(PATIENCE) == 130
    assert "stoker: interrupted" in said
    assert "Traceback" not in said
    assert [pid for pid in simulating if alive(pid)] == []


@pytest.mark.long
def test_who_is_killed_leaves_nobody(tmp_path: Path) -> None:
    """A command that cannot say goodbye: its processes notice and end."""
    path = trace(tmp_path, 100_000, 2, step=20)
    with on_a_terminal(path, "--jobs", "2") as (process, terminal):
        simulating = wait_until(
            lambda: kids if len(kids := children(process.pid)) == 2 else None,
            why="two processes that simulate",
        )
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: not any(map(alive, simulating)), why="them to notice", patience=PATIENCE)
        assert b"Traceback" not in rest_of(terminal)


@pytest.mark.long
def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    """As for want of memory: exit code 1, and what to try."""
    path = trace(tmp_path, 100_000, 2, step=20)
    with on_a_terminal(path, "--jobs", "2") as (process, terminal):
        simulating = wait_until(
            lambda: kids if len(kids := children(process.pid)) == 2 else None,
            why="two processes that simulate",
        )
        os.kill(simulating[0], signal.SIGKILL)
        said = rest_of(terminal).decode()
        assert process.wait(PATIENCE) == 1
    assert "a process that simulated was killed, perhaps for want of memory" in said
    assert not alive(simulating[1])
