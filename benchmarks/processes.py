"""Processes under measurement: their trees, CPU time, cores, ports, and a sure end.

Reads Linux's /proc. Trees are given by the process id of their root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessStat(NamedTuple):
    """What /proc says of one process: its parent and the CPU seconds it has used.

    ``reaped`` are the CPU seconds of its children that have ended and were waited for.
    """

    parent: int
    cpu: float
    reaped: float


def read_stat(pid: int) -> ProcessStat | None:
    """None when there is no such process (any more)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may contain spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) for field in fields[11:15])
    return ProcessStat(
        parent=int(fields[1]),
        cpu=(user + system) / _TICKS_PER_SECOND,
        reaped=(child_user + child_system) / _TICKS_PER_SECOND,
    )


def tree(root: int, without: Collection[int] = ()) -> dict[int, ProcessStat]:
    """The live processes of a tree; ``without`` are roots of subtrees to leave out."""
    everything = {
        pid: stat
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())
        if (stat := read_stat(pid)) is not None
    }
    children: dict[int, list[int]] = {}
    for pid, stat in everything.items():
        children.setdefault(stat.parent, []).append(pid)
    found: dict[int, ProcessStat] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        if pid in without or pid not in everything:
            continue
        found[pid] = everything[pid]
        pending.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int, without: Collection[int] = ()) -> float:
    """User and system CPU seconds a tree has used, children that ended included.

    Exact to nanoseconds for what lives, to a clock tick (10 ms) for what has ended. Raises
    ProcessLookupError when ``root`` is gone.
    """
    found = tree(root, without)
    if root not in found:
        raise ProcessLookupError(f"process {root} is gone")
    return sum(_own_cpu(pid, stat) + stat.reaped for pid, stat in found.items())


def _own_cpu(pid: int, stat: ProcessStat) -> float:
    # The id of another process's CPU clock, as clock_getcpuclockid(3) builds it. It counts
    # the same time as utime + stime, without their rounding to ticks.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return stat.cpu


def pin(root: int, cores: Collection[int]) -> None:
    """Keep every thread of a tree on these cores; what it starts later inherits them.

    Raises OSError when a core is not there or not allowed.
    """
    for pid in tree(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cores)


def free_ports(count: int) -> list[int]:
    """Loopback TCP ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports.append(int(taken.getsockname()[1]))
        return ports


def accepts(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    condition: Callable[[], bool],
    what: str,
    timeout: float = 30.0,
    interval: float = 0.005,
    process: subprocess.Popen[bytes] | None = None,
) -> None:
    """Poll until the condition holds.

    Raises TimeoutError naming ``what`` after ``timeout`` seconds, and ChildProcessError at
    once when ``process`` ends before that.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if process is not None and (status := process.poll()) is not None:
            raise ChildProcessError(f"{what}: the process ended with status {status}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    *,
    port: int | None = None,
    cores: Collection[int] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    timeout: float = 30.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block is left, then end it and whatever it left behind.

    It runs in a process group of its own (a Ctrl-C reaches only the benchmark), on
    ``cores`` from its first instruction. With ``port`` the block starts once that accepts.
    Output goes to ``log``; its end is part of the error when the command fails to start.
    """
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("wb")) if log is not None else subprocess.DEVNULL
        before = os.sched_getaffinity(0)
        try:
            if cores is not None:
                os.sched_setaffinity(0, cores)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, before)
        stack.callback(end, process)
        if port is not None:
            try:
                wait_until(lambda: accepts(port), str(command[0]), timeout, process=process)
            except (TimeoutError, ChildProcessError) as error:
                said = log.read_text(errors="replace")[-2000:] if log is not None else ""
                raise type(error)(f"{error}\n{said}".rstrip()) from None
        yield process


def end(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """SIGTERM, then after ``patience`` seconds SIGKILL for its whole process group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
