"""The Stoker under demonstration: a ``stoker up`` in its own process, watched and ended.

What the demo starts carries a mark in its environment, which replicas inherit, so that in
the end every process can be accounted for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml

_MARK = "STOKER_DEMO_RUN"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class DemoError(Exception):
    """An expectation of the demo that did not come true."""


class ReplicaView(NamedTuple):
    """One replica as the admin port tells it. ``starting``: seconds its start took so far.

    ``created`` is on the machine's monotonic clock.
    """

    id: str
    phase: str
    address: str
    starting: float
    created: float


class ModelView(NamedTuple):
    """The model as the admin port tells it at one moment."""

    phase: str
    desired: int
    queued: int
    active: int
    panicking: bool
    why: str
    replicas: tuple[ReplicaView, ...]

    @property
    def ready(self) -> int:
        return sum(replica.phase == "ready" for replica in self.replicas)

    @property
    def asleep(self) -> bool:
        return self.phase == "zero" and not self.replicas

    @classmethod
    def parse(cls, model: dict[str, Any]) -> ModelView:
        """From one entry of ``GET /api/models``."""
        replicas = tuple(
            ReplicaView(
                id=replica["id"],
                phase=replica["phase"],
                address=replica["address"] or "",
                starting=replica["phase_seconds"].get("starting", 0.0),
                created=replica["created"],
            )
            for replica in model["replicas"]
        )
        numbers = (model["desired"], model["queued"], model["active"])
        return cls(model["phase"], *numbers, model["panicking"], model["why"], replicas)


@dataclass(slots=True)
class RunningStoker:
    """``url`` takes requests, ``admin`` is asked about models."""

    url: str
    admin: str
    mark: str
    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    log: Path

    async def view(self) -> ModelView:
        """The state of the one model there is."""
        async with self.session.get(f"{self.admin}/api/models") as response:
            response.raise_for_status()
            return ModelView.parse((await response.json())["models"][0])

    async def stop(self) -> int:
        """SIGTERM; returns the exit status. What does not go is killed."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(15):
                    await self.process.wait()
            except TimeoutError:
                os.killpg(self.process.pid, signal.SIGKILL)
        return await self.process.wait()

    def server_processes(self) -> list[int]:
        """The process ids of the replicas that run now."""
        return [pid for pid in marked(self.mark) if b"examples.digits.server" in _command(pid)]


@contextlib.asynccontextmanager
async def running_stoker(directory: Path, model: dict[str, Any]) -> AsyncIterator[RunningStoker]:
    """Start ``stoker up`` with one model, ``digits``; nothing of it outlives the block.

    Raises DemoError, with Stoker's output, when it does not come up.
    """
    port, admin = _free_ports()
    file, log = directory / "stoker.yaml", directory / "stoker.log"
    listen = {"listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}"}
    file.write_text(yaml.safe_dump({"stoker": listen, "models": {"digits": model}}))
    mark = uuid.uuid4().hex
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stoker", "up", str(file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, _MARK: mark},
            # A Ctrl-C is the demo's to handle; if the demo is killed outright, Stoker follows.
            start_new_session=True,
            preexec_fn=_follow_parent,
        )
    try:
        async with aiohttp.ClientSession() as session:
            url, admin_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
            stoker = RunningStoker(url, admin_url, mark, process, session, log)
            await _until_up(stoker)
            yield stoker
            await stoker.stop()
    finally:
        await _end(process, mark)


def marked(mark: str) -> list[int]:
    """The ids of all live processes that carry the mark."""
    wanted = f"{_MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


async def _until_up(stoker: RunningStoker) -> None:
    try:
        async with asyncio.timeout(20):
            while stoker.process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with stoker.session.get(f"{stoker.admin}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    raise DemoError(f"stoker up did not come up:\n{stoker.log.read_text(errors='replace')}")


async def _end(process: asyncio.subprocess.Process, mark: str) -> None:
    """End by force whatever is still there after a failure or a Ctrl-C."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await process.wait()


def _follow_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
