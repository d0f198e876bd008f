"""The demo as people run it: from beginning to end, and interrupted in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import tree, wait_until

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "examples.digits.demo"]


@pytest.mark.long
def test_the_whole_demo_comes_true() -> None:
    """Exit status 0 through a plain pipe; the story has all its parts, and nothing was lost."""
    ended = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout
    for part in ("no replica, no model server process", "predicted:", "PANIC", "asleep again"):
        assert part in told
    for table in ("Cold start by phase", "Warm", "Replicas over time", "Requests through Stoker"):
        assert table in told
    (row,) = re.findall(r"^ *all +(\d+) +(\d+) +(\d+) +\d+ *$", told, re.MULTILINE)
    sent, answered, lost = map(int, row)
    assert (answered, lost) == (sent, 0)
    assert sent > 64
    assert "\x1b" not in told


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing_running(number: signal.Signals) -> None:
    """Interrupted while the first replica starts: every process it had started ends."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "1 starting" in line:
                break
        family = tree(demo.pid)
        assert len(family) >= 3, "the demo, Stoker and a replica"
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == (-number if number == signal.SIGKILL else 130), rest
    wait_until(lambda: not any(map(_alive, family)), "all its processes to be gone", timeout=60)


def _alive(pid: int) -> bool:
    """Running, not just waiting for its parent to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
