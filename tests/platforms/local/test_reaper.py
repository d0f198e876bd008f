"""The reaper's own process, spoken to directly over its socket."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from stoker.platforms.local import reaper
from tests.platforms.local.conftest import exists, wait_readable

SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(3600)"]


def serve(control: socket.socket, ours: socket.socket) -> None:
    """In a child, so that what it executes is measured, too."""
    ours.close()
    reaper.Reaper(control, os.getppid()).serve()


class Wire:
    """Stoker's end of the socket."""

    def __init__(self, process: BaseProcess, ours: socket.socket) -> None:
        self.process = process
        self.socket = ours
        self.outputs: dict[str, int] = {}

    def spawn(self, id: str, argv: list[str], directory: str = "", **env: str) -> None:
        read_end, write_end = os.pipe()
        self.outputs[id] = read_end
        environ = {reaper.MARKER: f"token/{id}", **env}
        message = {"do": "spawn", "id": id, "argv": argv, "env": environ, "directory": directory}
        socket.send_fds(self.socket, [json.dumps(message).encode()], [write_end])
        os.close(write_end)

    def signal(self, id: str, number: int) -> None:
        self.socket.send(json.dumps({"do": "signal", "id": id, "signal": number}).encode())

    def hear(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.socket.recv(reaper.PACKET_BYTES))
        return event

    def line(self, id: str) -> str:
        """The next line that a replica prints."""
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self.outputs[id], 1)
            assert byte, "the output ended"
            line += byte
        return line.decode().strip()

    def end(self) -> None:
        self.socket.close()
        self.process.join()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A reaper that has said hello; ended afterwards, and it must end well."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=serve, args=(theirs, ours))
    process.start()
    theirs.close()
    ours.settimeout(30)
    wire = Wire(process, ours)
    assert wire.hear() == {"event": "hello"}
    yield wire
    wire.end()
    assert process.exitcode == 0
    for fd in wire.outputs.values():
        os.close(fd)


def test_start_signal_exit(wire: Wire) -> None:
    """A replica is started, runs under its own session, and its end is told with the signal."""
    wire.spawn("a", SLEEP)
    started = wire.hear()
    assert started == {"event": "started", "id": "a", "pid": started["pid"]}
    assert wire.line("a") == "up"
    assert os.getsid(started["pid"]) == started["pid"]
    assert started["pid"] in reaper.children_of(wire.process.pid or 0)
    assert reaper.marker_of(started["pid"]) == "token/a"
    wire.signal("nobody", signal.SIGKILL)
    wire.signal("a", signal.SIGTERM)
    assert wire.hear() == {"event": "exited", "id": "a", "code": -signal.SIGTERM}
    assert not exists(started["pid"])


def test_exit_code_is_told(wire: Wire) -> None:
    """As the replica gave it."""
    wire.spawn("a", ["sh", "-c", "exit 7"])
    assert wire.hear()["event"] == "started"
    assert wire.hear() == {"event": "exited", "id": "a", "code": 7}


@pytest.mark.parametrize(
    ("argv", "directory", "what", "number"),
    [
        (["no-such-command"], "", "command", 2),
        (["./no-such-command"], "/", "command", 2),
        (["sh"], "/no/such/directory", "directory", 2),
        (["/"], "", "command", 13),
    ],
)
def test_refusals(wire: Wire, argv: list[str], directory: str, what: str, number: int) -> None:
    """What cannot be executed is told with the errno, before and after the fork."""
    wire.spawn("a", argv, directory)
    assert wire.hear() == {"event": "refused", "id": "a", "what": what, "errno": number}


def test_killing_takes_descendants_without_marker(wire: Wire) -> None:
    """SIGKILL goes to the whole tree, even to who has a new session and no environment."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(3600)'],"
        " start_new_session=True, env={})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    wire.spawn("a", [sys.executable, "-S", "-c", code])
    leader = wire.hear()["pid"]
    child = int(wire.line("a"))
    assert reaper.descendants_of(leader) == [child]
    wire.signal("a", signal.SIGKILL)
    assert wire.hear() == {"event": "exited", "id": "a", "code": -signal.SIGKILL}
    wait_gone(child)


ORPHAN = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        print(os.getpid(), flush=True)\n"
    "        time.sleep(3600)\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "time.sleep(3600)\n"
)


def test_orphans_live_as_long_as_their_replica(wire: Wire) -> None:
    """A daemon's double fork makes the reaper its parent: kept, until its replica ends."""
    for id in ("a", "b"):
        wire.spawn(id, [sys.executable, "-S", "-c", ORPHAN])
        assert wire.hear()["event"] == "started"
    orphans = {id: int(wire.line(id)) for id in ("a", "b")}
    wire.signal("a", signal.SIGTERM)
    assert wire.hear() == {"event": "exited", "id": "a", "code": -signal.SIGTERM}
    wait_gone(orphans["a"])
    assert exists(orphans["b"])
    wire.end()
    assert not exists(orphans["b"])


def test_sigterm_ends_it_and_everything(wire: Wire) -> None:
    """As when the socket closes; replicas that ignore everything are no exception."""
    wire.spawn("a", ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"])
    pid = wire.hear()["pid"]
    assert wire.line("a") == "up"
    os.kill(wire.process.pid or 0, signal.SIGTERM)
    wire.process.join()
    assert not exists(pid)


def test_end_of_the_parent_ends_it(tmp_path: Path) -> None:
    """With the socket still open elsewhere, the end of its parent is enough."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        parent = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=lambda: reaper.Reaper(theirs, parent.pid).serve())
        process.start()
        assert json.loads(ours.recv(reaper.PACKET_BYTES)) == {"event": "hello"}
        assert process.is_alive()
        parent.communicate(b"\n")
        process.join()
        assert process.exitcode == 0


def test_finding_programs(tmp_path: Path) -> None:
    """As execvp does: a path as it is, a name along PATH, the unfit only if nothing fits."""
    unfit, fit = tmp_path / "unfit", tmp_path / "fit"
    for folder in (unfit, fit):
        folder.mkdir()
        (folder / "serve").touch()
    (fit / "serve").chmod(0o755)
    assert reaper.find_program("./serve", "") == "./serve"
    assert reaper.find_program("serve", f"{unfit}:{fit}") == str(fit / "serve")
    with pytest.raises(PermissionError):
        reaper.find_program("serve", str(unfit))
    with pytest.raises(FileNotFoundError):
        reaper.find_program("serve", str(tmp_path))


def test_killed_spare_is_made_up_for(wire: Wire) -> None:
    """The process forked ahead may be killed, seen by the reaper or not, at no cost."""
    for id in ("a", "b", "c"):
        spares = [pid for pid in reaper.children_of(wire.process.pid or 0) if exists(pid)]
        for pid in spares:
            os.kill(pid, signal.SIGKILL)
        wire.spawn(id, ["sh", "-c", "exit 0"])
        assert wire.hear()["event"] == "started"
        assert wire.hear()["event"] == "exited"


def test_looking_at_processes_that_are_gone() -> None:
    """Nothing is known of them, and nothing raised."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    assert reaper.children_of(process.pid) == []
    assert reaper.marker_of(process.pid) == ""
    assert not reaper.kill(process.pid, signal.SIGKILL)
    reaper.kill_group(process.pid, signal.SIGKILL)


def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    wait_readable(fd)
    os.close(fd)
