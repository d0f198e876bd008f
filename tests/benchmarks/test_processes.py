"""Process trees under measurement: found, timed, pinned, and surely ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import (
    accepts,
    cpu_seconds,
    free_ports,
    pin,
    read_stat,
    running,
    tree,
    wait_until,
)

PYTHON = (sys.executable, "-S", "-c")
LISTEN = """
import socket, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
child.wait()
"""
# Burns CPU in a child that ends, then in itself, says so, and stays.
BURN = """
import os, sys, time
def burn(seconds):
    while time.process_time() < seconds: pass
if (child := os.fork()) == 0:
    burn(0.3)
    os._exit(0)
os.waitpid(child, 0)
burn(0.2)
print("done", flush=True)
sys.stdin.read()
"""


def test_a_command_runs_until_the_block_is_left_with_all_it_started() -> None:
    """The port answers inside the block; afterwards parent and child are gone."""
    (port,) = free_ports(1)
    with running([*PYTHON, LISTEN, str(port)], port=port) as process:
        assert accepts(port)
        family = tree(process.pid)
        assert len(family) == 2
    wait_until(lambda: not any(map(_alive, family)), "the processes to be gone")
    assert not accepts(port)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and bool(Path(f"/proc/{pid}/cmdline").read_bytes())


def test_a_subtree_can_be_left_out() -> None:
    """Replicas are Stoker's children but not Stoker's cost."""
    (port,) = free_ports(1)
    with running([*PYTHON, LISTEN, str(port)], port=port) as process:
        (child,) = set(tree(process.pid)) - {process.pid}
        assert set(tree(process.pid, without={child})) == {process.pid}


def test_cpu_time_includes_children_that_have_ended() -> None:
    """0.3 s in the child and 0.2 s in the parent were burnt, and are counted."""
    burner = subprocess.Popen(
        [*PYTHON, BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with burner:
        assert burner.stdout is not None
        assert burner.stdin is not None
        assert burner.stdout.readline() == "done\n"
        assert cpu_seconds(burner.pid) >= 0.48
        burner.stdin.close()
    with pytest.raises(ProcessLookupError, match="is gone"):
        cpu_seconds(burner.pid)


def test_cpu_time_agrees_with_what_the_kernel_tells_the_process_itself() -> None:
    """Our reading of our own process lies between two of its own clock's."""
    before = time.process_time()
    children = os.times().children_user + os.times().children_system
    stat = read_stat(os.getpid())
    assert stat is not None
    between = cpu_seconds(os.getpid(), without=set(tree(os.getpid())) - {os.getpid()})
    assert between >= before + children - 0.03
    assert between <= time.process_time() + children + 0.03


def test_pinned_processes_stay_on_their_core() -> None:
    """From the first instruction, and again after being moved; ours are left alone."""
    ours = os.sched_getaffinity(0)
    first, last = min(ours), max(ours)
    (port,) = free_ports(1)
    with running([*PYTHON, LISTEN, str(port)], port=port, cores={first}) as process:
        family = tree(process.pid)
        assert [os.sched_getaffinity(pid) for pid in family] == [{first}] * 2
        pin(process.pid, {last})
        assert [os.sched_getaffinity(pid) for pid in family] == [{last}] * 2
    assert os.sched_getaffinity(0) == ours


def test_a_command_that_ends_at_once_says_why(tmp_path: Path) -> None:
    """The error has the status and the command's own words."""
    (port,) = free_ports(1)
    command = [*PYTHON, "print('no such thing'); raise SystemExit(3)"]
    with (
        pytest.raises(ChildProcessError, match=r"(?s)status 3.*no such thing"),
        running(command, port=port, log=tmp_path / "log"),
    ):
        pass


def test_a_command_that_never_listens_is_given_up_and_ended(tmp_path: Path) -> None:
    """After the timeout, and nothing of it stays."""
    (port,) = free_ports(1)
    file = tmp_path / "pid"
    command = ["sh", "-c", f'echo $$ > "{file}"; exec sleep 600']
    with pytest.raises(TimeoutError, match="not within"), running(command, port=port, timeout=0.5):
        pass
    assert not _alive(int(file.read_text()))


def test_waiting_has_an_end() -> None:
    """It names what was waited for."""
    with pytest.raises(TimeoutError, match=r"the moon: not within 0\.01 s"):
        wait_until(lambda: False, "the moon", timeout=0.01)


def test_free_ports_differ_and_can_be_bound() -> None:
    """Nobody listens on them, and there are as many as asked for."""
    ports = free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        assert not accepts(port)
        with socket.create_server(("127.0.0.1", port)):
            assert accepts(port)
