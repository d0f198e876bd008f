"""Stoker's commands as a person or a pod would start them, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp

from tests.kubernetes.conftest import Cluster

ADDRESS = re.compile(r"(listening|admin|stats|peers) on (\S+)")


class Running:
    """One process. ``found`` is what it said it listens on, by what for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.found: dict[str, str] = {}
        self._stir = asyncio.Event()
        self.read = asyncio.get_running_loop().create_task(self._lines())

    @property
    def url(self) -> str:
        """Where requests are taken."""
        return f"http://{self.found['listening']}"

    @property
    def admin(self) -> str:
        return f"http://{self.found['admin']}"

    @property
    def log(self) -> str:
        return "".join(self.lines)

    async def says(self, text: str) -> None:
        """Wait until the log has it. Raises AssertionError if the process ends before."""
        while text not in self.log:
            assert not self.read.done(), self.log
            self._stir.clear()
            await self._stir.wait()

    async def listens(self, *what: str) -> None:
        while not self.found.keys() >= set(what):
            assert not self.read.done(), self.log
            self._stir.clear()
            await self._stir.wait()

    async def metric(self, name: str) -> float:
        """The sum over all series of this name, up to its labels."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin}/metrics") as answer,
        ):
            text = await answer.text()
        values = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith((f"{name} ", f"{name}{{"))
        ]
        return sum(values)

    async def kill(self) -> None:
        """Killed, as by a machine that goes away: it says nothing to anybody."""
        self.process.kill()
        await self.process.wait()

    async def end(self) -> None:
        """SIGTERM, and what follows; it has to end well."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()
            await self.read
            assert self.process.returncode == 0, self.log
        await self.read
        assert "Traceback" not in self.log, self.log

    async def _lines(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            if match := ADDRESS.search(line):
                self.found.setdefault(match[1], match[2])
            self._stir.set()
        self._stir.set()


@asynccontextmanager
async def running(
    cluster: Cluster, command: str, *flags: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """``stoker COMMAND`` over the test's namespace, ended with SIGTERM."""
    names = ("POD_IP", "POD_IPS", "POD_NAME", "POD_NAMESPACE")
    surroundings = {k: v for k, v in os.environ.items() if k not in names}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stoker", command, "--namespace", cluster.namespace),
        *("--kubeconfig", cluster.access.kubeconfig, *flags),
        stderr=asyncio.subprocess.PIPE,
        env={**surroundings, **(env or {})},
    )
    ran = Running(process)
    try:
        yield ran
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await ran.read
        print(f"--- {command} {' '.join(flags)}\n{ran.log}")
        raise
    else:
        await ran.end()
