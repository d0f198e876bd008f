"""Stoker's end of the reaper: starts it, tells it what to do, hears what became of it."""

from __future__ import annotations

import array
import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stoker.platforms.local import reaper

END_TIMEOUT = 10.0
# A killed process shows its environment until it is torn down, and may fork before it is.
LEFT_OVER_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Started:
    """The replica's command runs as process ``pid``, leader of its own session."""

    id: str
    pid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The command could not be executed. ``what``: command, directory or fork."""

    id: str
    what: str
    errno: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The replica's leader ended and its group with it. ``code`` < 0: killed by a signal."""

    id: str
    code: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The reaper itself ended unasked; ``ids`` are the replicas that were running.

    Their processes have been sent SIGKILL. ``worked`` is False if it never got to run.
    """

    ids: tuple[str, ...]
    worked: bool


ReaperEvent = Started | Refused | Exited | Lost


class ReaperClient:
    """One reaper process at a time; ``ensure()`` starts it, and another if it was lost."""

    def __init__(self, on_event: Callable[[ReaperEvent], None]) -> None:
        self._on_event = on_event
        self._token = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._outbox: deque[tuple[bytes, int]] = deque()
        self._pids: dict[str, int] = {}
        self._said_hello = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int:
        """The reaper's process id; 0 if there is none."""
        return self._process.pid if self._process else 0

    def ensure(self) -> None:
        """Have a reaper process. Costs a vfork, a few ms; does not wait until it runs.

        Raises OSError if it cannot be started.
        """
        if self._process is not None:
            return
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                command = (reaper.__file__, str(theirs.fileno()), str(os.getpid()))
                self._process = subprocess.Popen(
                    # Isolated and without site: nothing of the user's can slow or break it.
                    (sys.executable, "-I", "-S", *command),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,  # out of reach of the terminal's Ctrl-C
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._said_hello = False
        self._socket = ours
        self._loop.add_reader(ours, self._hear)

    def spawn(
        self, id: str, argv: Sequence[str], env: Mapping[str, str], directory: str, output: int
    ) -> None:
        """Start a replica. ``output``, its stdout and stderr, is handed over: closed here.

        Raises OSError if there is no reaper and none can be started; outcomes come as events.
        """
        try:
            self.ensure()
        except OSError:
            os.close(output)
            raise
        environ = {**env, reaper.MARKER: f"{self._token}/{id}"}
        self._pids[id] = 0
        self._say(
            {
                "do": "spawn",
                "id": id,
                "argv": list(argv),
                "env": environ,
                "directory": directory,
            },
            output,
        )

    def send_signal(self, id: str, number: int) -> None:
        """Signal a replica's whole process group. Nothing if it has ended already."""
        if id in self._pids and self._process is not None:
            self._say({"do": "signal", "id": id, "signal": int(number)})

    async def close(self) -> None:
        """End the reaper, which kills whatever still runs. Returns when it is gone."""
        process = self._process
        if process is None:
            return
        self._disconnect()
        self._process = None
        try:
            await _ended(process.pid)
        finally:
            if process.poll() is None:  # wedged, or nobody has the time to wait
                process.kill()
                process.wait()
                self._kill_left_over()
            self._pids.clear()

    def _say(self, message: dict[str, object], fd: int = -1) -> None:
        self._outbox.append((json.dumps(message).encode(), fd))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send what waits. The socket is written directly: a wake shall not wait for a turn."""
        while self._outbox and self._socket is not None and self._loop is not None:
            packet, fd = self._outbox[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            try:
                self._socket.sendmsg([packet], rights if fd >= 0 else [])
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError as error:
                self._fail(packet, error)
            self._outbox.popleft()
            if fd >= 0:
                os.close(fd)
        if self._socket is not None and self._loop is not None:
            self._loop.remove_writer(self._socket)

    def _fail(self, packet: bytes, error: OSError) -> None:
        """A packet that cannot be sent: too long; or no reader, which _hear will notice."""
        message = json.loads(packet)
        if message["do"] == "spawn" and not isinstance(error, ConnectionError):
            self._pids.pop(message["id"], None)
            assert self._loop is not None
            refused = Refused(message["id"], "command", error.errno or 0)
            self._loop.call_soon(self._on_event, refused)

    def _hear(self) -> None:
        for _ in range(64):  # then let others have a turn
            if self._socket is None:
                return
            try:
                packet = self._socket.recv(reaper.PACKET_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:  # told once; then comes what it still had sent
                continue
            except OSError:
                packet = b""
            if not packet:
                self._lose()
                return
            self._understand(json.loads(packet))

    def _understand(self, message: dict[str, object]) -> None:
        match message:
            case {"event": "hello"}:
                self._said_hello = True
            case {"event": "started", "id": str(id), "pid": int(pid)}:
                self._pids[id] = pid
                self._on_event(Started(id, pid))
            case {"event": "refused", "id": str(id), "what": str(what), "errno": int(number)}:
                self._pids.pop(id, None)
                self._on_event(Refused(id, what, number))
            case {"event": "exited", "id": str(id), "code": int(code)}:
                self._pids.pop(id, None)
                self._on_event(Exited(id, code))

    def _lose(self) -> None:
        process = self._process
        assert process is not None
        self._disconnect()
        self._process = None
        process.kill()
        process.wait()
        ids = tuple(self._pids)
        self._kill_left_over()
        self._pids.clear()
        self._on_event(Lost(ids, self._said_hello))

    def _kill_left_over(self) -> None:
        """The leaders died with the reaper; their groups, and who left those, did not."""
        for pid in filter(None, self._pids.values()):
            reaper.kill_group(pid, signal.SIGKILL)
        marker = self._token + "/"
        for _ in range(LEFT_OVER_ROUNDS):
            marked = [
                pid
                for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if reaper.marker_of(pid).startswith(marker)
            ]
            if not marked:
                return
            for pid in marked:
                reaper.kill(pid, signal.SIGKILL)

    def _disconnect(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        while self._outbox:
            _, fd = self._outbox.popleft()
            if fd >= 0:
                os.close(fd)


async def _ended(pid: int) -> None:
    """Wait for a child of ours to end, at most END_TIMEOUT seconds; does not reap it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop.add_reader(fd, ended.set)
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait([waiting], timeout=END_TIMEOUT)
    finally:
        waiting.cancel()
        loop.remove_reader(fd)
        os.close(fd)
