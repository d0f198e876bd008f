"""The reaper: parent of all replicas, and their end when Stoker ends, however that happens.

A process of its own, started as a plain file with few imports and one thread. It is told
what to start and whom to signal over a sequenced-packet socket, one JSON object a packet:

    {"do": "spawn", "id", "argv", "env", "directory"}   with the output pipe's fd attached
    {"do": "signal", "id", "signal"}                    to the replica's whole group

and it tells ``{"event": "hello"}`` once, ``{"event": "started", "id", "pid"}``,
``{"event": "refused", "id", "what", "errno"}`` (the command could not be executed) and
``{"event": "exited", "id", "code"}`` (negative: the signal that killed it).

When the other end closes, or Stoker's process ends, it kills everything that descends from
it and exits. Each replica is a process that was forked ahead and only has to execute its command.

It is a child subreaper (prctl(2)), so what loses its parent becomes its child
and cannot escape, not even with setsid(2). Replicas get PR_SET_PDEATHSIG, so that they end
if the reaper itself is killed; that misses grandchildren, which Stoker then looks up by
the marker in their environment.
"""

from __future__ import annotations

import array
import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NamedTuple

MARKER = "STOKER_REPLICA"
PACKET_BYTES = 256 * 1024

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)

# Ignored here, or by Python, or by whoever started Stoker: a replica shall not inherit that.
_RESET_SIGNALS = (
    *(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE),
    *(signal.SIGXFSZ, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTOU),
)


def children_of(pid: int) -> list[int]:
    """Direct children of ``pid``, zombies included; empty if it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def descendants_of(pid: int) -> list[int]:
    """Children, their children and so on, parents first."""
    found = children_of(pid)
    for child in found:  # grows while it is walked
        found += children_of(child)
    return found


def marker_of(pid: int) -> str:
    """Which replica ``pid`` belongs to by its environment; empty if that cannot be told."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return ""
    prefix = MARKER.encode() + b"="
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return ""


def kill(pid: int, number: int) -> bool:
    """Signal one process; False if it is gone or not ours to signal."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def kill_group(leader: int, number: int) -> None:
    """Signal a whole group. Only sound while its leader is unreaped, or has living members."""
    with suppress(OSError):
        os.killpg(leader, number)


def find_program(name: str, path: str) -> str:
    """What execvp would run. Python's own tries to execute along the whole path instead.

    Raises FileNotFoundError or PermissionError.
    """
    if "/" in name:
        return name
    problem = errno.ENOENT
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder, name)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            problem = errno.EACCES
    raise OSError(problem, os.strerror(problem))


class Spare(NamedTuple):
    """A child that waits at the other end of ``socket`` to be told what to execute."""

    pid: int
    socket: socket.socket


class Reaper:
    """The process's state: its socket, and the leader of each living replica."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._leaders: dict[int, str] = {}
        self._pids: dict[str, int] = {}
        self._markers: dict[str, str] = {}
        self._spare: Spare | None = None
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._pid = os.getpid()
        self._ending = False
        if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        # A forked copy of Stoker may hold the socket's other end open: watch Stoker itself too.
        self._parent = os.pidfd_open(parent)
        self._wake, self._wake_writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_writer, False)

    def serve(self) -> None:
        """Until Stoker is gone; then nothing that was started is left."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        poll = select.poll()
        for fd in (self._control.fileno(), self._parent, self._wake):
            poll.register(fd, select.POLLIN)
        try:
            self._tell({"event": "hello"})
            while not self._ending:
                # A fork takes longer than all the rest of a start: done ahead, when idle.
                if self._spare is None and not poll.poll(0):
                    self._prepare_spare()
                for fd, _ in poll.poll():
                    if fd == self._wake:
                        self._drain_wake()
                        self._reap()
                    elif fd == self._parent:
                        self._ending = True
                    else:
                        self._hear()
        finally:
            self._end_all()
            signal.set_wakeup_fd(-1)
            for fd in (self._null, self._parent, self._wake, self._wake_writer):
                os.close(fd)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _drain_wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _hear(self) -> None:
        room = socket.CMSG_SPACE(array.array("i").itemsize)
        try:
            packet, ancillary, _, _ = self._control.recvmsg(
                PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            packet, ancillary = b"", []
        if not packet:
            self._ending = True
            return
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        message = json.loads(packet)
        if message["do"] == "spawn":
            try:
                self._spawn(packet, message, fds[0])
            finally:
                os.close(fds[0])
        elif pid := self._pids.get(message["id"]):
            number = message["signal"]
            if number == signal.SIGKILL:
                for descendant in descendants_of(pid):
                    kill(descendant, number)
            kill_group(pid, number)

    def _spawn(self, packet: bytes, message: dict[str, Any], output: int) -> None:
        replica: str = message["id"]
        refusal = b""
        while True:
            if self._spare is None and (number := self._prepare_spare()):
                self._tell({"event": "refused", "id": replica, "what": "fork", "errno": number})
                return
            spare, self._spare = self._spare, None
            assert spare is not None
            with spare.socket:
                try:
                    socket.send_fds(spare.socket, [packet], [output])
                    # Ends as soon as the command is executed: that closes the other end.
                    refusal = spare.socket.recv(PACKET_BYTES)
                except OSError:  # somebody killed the spare
                    continue
            break
        if refusal:
            os.waitpid(spare.pid, 0)
            self._tell({"event": "refused", "id": replica, **json.loads(refusal)})
            return
        self._leaders[spare.pid] = replica
        self._pids[replica] = spare.pid
        self._markers[replica] = message["env"].get(MARKER, "")
        self._tell({"event": "started", "id": replica, "pid": spare.pid})

    def _prepare_spare(self) -> int:
        """Fork the process that the next replica will be. Returns 0, or the errno."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            return error.errno or errno.EMFILE
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            return error.errno or errno.EAGAIN
        if pid == 0:
            try:
                ours.close()
                self._become(theirs)
            finally:
                os._exit(127)
        theirs.close()
        self._spare = Spare(pid, ours)
        return 0

    def _become(self, control: socket.socket) -> None:
        """In the spare: wait to be told, then turn into the replica or say why not."""
        os.setsid()
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._pid:
            return  # the reaper died before the line above
        os.dup2(self._null, 0)
        packet, fds, _, _ = socket.recv_fds(control, PACKET_BYTES, 1)
        if not packet:
            return
        message = json.loads(packet)
        what = "directory"
        try:
            os.dup2(fds[0], 1)
            os.dup2(fds[0], 2)
            os.close(fds[0])
            if message["directory"]:
                os.chdir(message["directory"])
            what = "command"
            argv: list[str] = message["argv"]
            environ = {**os.environ, **message["env"]}
            os.execve(find_program(argv[0], environ.get("PATH", os.defpath)), argv, environ)
        except OSError as error:
            control.send(json.dumps({"what": what, "errno": error.errno}).encode())

    def _reap(self) -> None:
        """Collect what ended. A dead leader's group is killed while its number is still taken."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            pid = ended.si_pid
            replica = self._leaders.pop(pid, None)
            if replica is not None:
                kill_group(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if self._spare is not None and pid == self._spare.pid:
                self._spare.socket.close()
                self._spare = None
            if replica is not None:
                del self._pids[replica], self._markers[replica]
                self._sweep()
                exited = ended.si_code == os.CLD_EXITED
                code = ended.si_status if exited else -ended.si_status
                self._tell({"event": "exited", "id": replica, "code": code})
            else:
                self._sweep()

    def _sweep(self) -> None:
        """Kill orphans whose replica has ended; an orphan of a living replica may stay."""
        living = {"", marker_of(self._pid), *self._markers.values()}
        spare = self._spare.pid if self._spare else 0
        for pid in children_of(self._pid):
            if pid not in self._leaders and pid != spare and marker_of(pid) not in living:
                for descendant in (pid, *descendants_of(pid)):
                    kill(descendant, signal.SIGKILL)

    def _end_all(self) -> None:
        for leader in self._leaders:
            kill_group(leader, signal.SIGKILL)
        if self._spare is not None:
            self._spare.socket.close()
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            killed = [kill(pid, signal.SIGKILL) for pid in descendants_of(self._pid)]
            if killed and not any(killed):
                return  # what is left belongs to another user and cannot be killed
            poll.poll(20)
            self._drain_wake()

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(event).encode())
        except OSError:
            self._ending = True


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    stoker = int(sys.argv[2])
    with suppress(ProcessLookupError):
        reaper = Reaper(control, stoker)
        if os.getppid() == stoker:  # else it ended while Python started here
            reaper.serve()


if __name__ == "__main__":
    main()
