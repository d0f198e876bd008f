"""``stoker cluster`` in a process of its own, and what is asked of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.clustered.world import NAMESPACE, World
from benchmarks.processes import end, free_ports, running

PATIENCE = 120.0


class Stoker:
    """One process. ``port`` takes requests, ``admin`` questions."""

    def __init__(self, pid: int, port: int, admin: int, log: Path) -> None:
        self.pid = pid
        self.port = port
        self.admin = admin
        self.log = log

    async def text(self, path: str) -> tuple[int, str]:
        """What the admin port says: status and text; 0 while it cannot be reached."""
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{self.admin}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, ""

    async def until_ready(self, word: str) -> float:
        """Wait until ``/readyz`` says so; when that was. Raises TimeoutError with its log's end."""
        deadline = time.monotonic() + PATIENCE
        while (said := await self.text("/readyz"))[0] != 200 or word not in said[1]:
            if time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")[-2000:]
                raise TimeoutError(f"not {word} within {PATIENCE:g} s: {said}\n{log}")
            await asyncio.sleep(0.02)
        return time.monotonic()

    async def metric(self, name: str) -> float:
        """The value of this series, labels and all. Raises RuntimeError where there is none."""
        _, text = await self.text("/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no {name} in /metrics")
        return float(found[1])

    def rss(self) -> int:
        """Bytes of memory that it has now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(f"process {self.pid} is gone")


@asynccontextmanager
async def stoker(world: World, directory: Path, name: str) -> AsyncIterator[Stoker]:
    """Run one over the world's namespace until the block is left."""
    port, admin = free_ports(2)
    command = [
        *(sys.executable, "-m", "stoker", "cluster", "--namespace", NAMESPACE),
        *("--kubeconfig", world.kubeconfig),
        *("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"),
    ]
    log = directory / f"{name}.log"
    with running(command, log=log) as process:
        try:
            yield Stoker(process.pid, port, admin, log)
        finally:
            # Not in this thread: it says goodbye to the API server, which is in this process.
            await asyncio.to_thread(end, process)
