"""The parent of several workers, in this process: what is hard to see from outside."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.cli import crew, fleet
from stoker.cli.fleet import Fleet, worker_count
from stoker.cli.local import LocalStoker
from stoker.cli.roster import Cause
from stoker.config_file import ConfigFile
from stoker.settings import ProcessConfig
from tests.cli.running import PATIENCE
from tests.cli.test_workers import echo


async def until(condition: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"not within {PATIENCE:g} s")
        await asyncio.sleep(0.01)


def config(folder: Path, **process: Any) -> ConfigFile:
    file = folder / "stoker.yaml"
    anywhere = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "report-interval": "100ms"}
    settings = {name.replace("_", "-"): value for name, value in process.items()}
    models = {"echo": echo()}
    file.write_text(yaml.safe_dump({"stoker": {**anywhere, **settings}, "models": models}))
    read = ConfigFile(file)
    read.load()
    return read


@asynccontextmanager
async def started(stoker: Fleet) -> AsyncIterator[Fleet]:
    async with stoker:
        await until(lambda: stoker.crew.roster.complete)
        yield stoker


async def answer(stoker: Fleet, path: str = "/echo", body: bytes = b"x") -> bytes:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*stoker.addresses[""])
    head = f"POST {path} HTTP/1.1\r\nHost: echo.localhost\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_worker_that_hangs_is_ended_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that says nothing any more holds connections that nobody serves."""
    monkeypatch.setattr(crew, "LAST_GASP_SECONDS", 0.1)
    stoker = Fleet(config(tmp_path), 2)
    async with started(stoker):
        stoker.crew.roster._patience = 1.5
        stoker.crew._perform([])  # the timer was set for what it was before
        victim = min(stoker.crew.processes)
        pid = stoker.crew.processes[victim].popen.pid
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: victim not in stoker.crew.processes)
        stoker.crew.roster._patience = PATIENCE
        await until(lambda: stoker.crew.roster.complete)
        assert (await answer(stoker)).startswith(b"HTTP/1.1 200")
        assert stoker.crew.exits[Cause.DIED] == 1
    assert "has not been heard of" in caplog.text
    assert f"pid {pid}" in caplog.text


async def test_workers_log_where_the_table_is_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a table on the terminal the parent shows their lines, with their names."""
    caplog.set_level(logging.INFO)
    stoker = Fleet(config(tmp_path), 2, relay_logs=True)
    async with started(stoker):
        reader, writer = await asyncio.open_connection(*stoker.addresses[""])
        writer.write(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()
        await writer.wait_closed()

        def told() -> list[logging.LogRecord]:
            return [r for r in caplog.records if "no such model" in r.getMessage()]

        await until(told)
        assert getattr(told()[0], "fields", {})["worker"].startswith("worker-000")


async def test_what_a_killed_worker_had_counted_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched now and then without any scrape; its load does not outlive it."""
    monkeypatch.setattr(fleet, "COLLECT_SECONDS", 0.05)
    stoker = Fleet(config(tmp_path), 2)
    async with started(stoker):
        for _ in range(12):
            assert (await answer(stoker)).startswith(b"HTTP/1.1 200")

        def counted() -> float:
            return sum(
                reading.value
                for reading in stoker._totals.readings()
                if reading.spec.name == "stoker_requests" and isinstance(reading.value, int)
            )

        await until(lambda: counted() == 12)
        # Looks tell what is new; where one was lost on its way, the next tells everything.
        for worker in stoker._looks:
            stoker._looks[worker] -= 1
            stoker._seen[worker].clear()
        await stoker.refresh()
        assert stoker.documents()[0]["answered"] == 12
        for process in list(stoker.crew.processes.values()):
            process.popen.kill()
        await until(lambda: stoker.crew.exits[Cause.DIED] == 2)
        assert counted() == 12
        assert stoker._ready() in ((False, "no worker is up"), (True, "ready"))
        await until(lambda: stoker.crew.roster.complete)
        assert (await answer(stoker)).startswith(b"HTTP/1.1 200")
        await until(lambda: counted() == 13)
        # Those that died say nothing any more: not even what they said last.
        reporters = stoker.autoscaler.collector._reporters
        await until(
            lambda: all(
                not len(reporter.held.rows)
                for name, reporter in reporters.items()
                if name in ("worker-0001", "worker-0002")
            )
        )


def test_how_many_workers() -> None:
    """As told, or as many as this process may use cores."""
    assert worker_count(ProcessConfig(workers=3)) == 3
    assert worker_count(ProcessConfig(workers=0)) == len(os.sched_getaffinity(0))


async def test_one_process_has_no_workers_to_replace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The signal is answered in the log, and does no harm."""
    async with LocalStoker(config(tmp_path)) as stoker:
        stoker.roll()
        assert "cannot be replaced" in caplog.text
