"""``stoker record`` of a real ``stoker up``: what came in as a trace, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import arrivals
from stoker.arrivals import MOST_RECORDINGS, Arrived, Batch, Ended
from stoker.cli.local import LocalStoker
from stoker.vocabulary import ModelKey
from tests.cli.clients import Client, Load
from tests.cli.running import PATIENCE, ROOT, Running, cli, free_port, wait_until
from tests.cli.test_fleet import config, until
from tests.cli.test_workers import HOST, all_serve, document, echo, pids, running

SECRET = "4242-prompt"


class Recorder:
    """A ``stoker record`` in a process of its own, once it records."""

    def __init__(self, stoker: Running, output: Path, *flags: str) -> None:
        self.output = output
        self.log = output.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "stoker", "record", "-o", str(output)),
                    *("--admin", f"127.0.0.1:{stoker.admin_port}", *flags),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        wait_until(lambda: "recording:" in self.said, why="the recording to begin")

    @property
    def said(self) -> str:
        return self.log.read_text()

    def end(self, number: int | None = signal.SIGINT) -> list[dict[str, str]]:
        """What was recorded, when it has ended as it should."""
        if number is not None:
            self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == 0, self.said
        return read(self.output)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a trace, each checked to be one."""
    data = path.read_bytes()
    text = gzip.decompress(data).decode() if path.suffix == ".gz" else data.decode()
    lines = text.splitlines()
    assert lines[0] == "t,model,service_s"
    rows = list(csv.DictReader(lines))
    times = [float(row["t"]) for row in rows]
    assert times == sorted(times)
    assert all(time >= 0 for time in times)
    assert all(float(row["service_s"] or 0) >= 0 for row in rows)
    return rows


@pytest.fixture(scope="module")
def stoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One process with two models, for tests that leave it as it was."""
    models = {"echo": echo(), "other": echo(namespace="team")}
    with running(tmp_path_factory.mktemp("one"), {"models": models}) as shared:
        for name in ("echo", "other"):
            assert shared.request("/echo", host=f"{name}.localhost", body=b"1")[0] == 200
        yield shared


def test_what_comes_in_is_recorded_until_ctrl_c(stoker: Running, tmp_path: Path) -> None:
    """Answered ones with seconds, refused ones and unfinished ones without; nothing of what
    was asked is in the file.
    """
    recorder = Recorder(stoker, tmp_path / "trace.csv")
    for _ in range(3):
        stoker.request(f"/echo?key={SECRET}", host=HOST, body=SECRET.encode())
    stoker.request("/echo", host="other.localhost", body=b"x", headers={"X-Key": SECRET})
    stoker.request("/echo", host="nobody.localhost", body=b"x")
    with contextlib.closing(socket.create_connection(("127.0.0.1", stoker.port))) as left:
        left.sendall(f"GET /slow?seconds=30 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        stoker.wait_for("echo", lambda m: m["active"] == 1, "active")
        rows = recorder.end()
    assert Counter(row["model"] for row in rows) == {"echo": 4, "team/other": 1}
    assert [bool(row["service_s"]) for row in rows] == [True] * 4 + [False]
    assert SECRET not in recorder.output.read_text()
    assert "trace.csv: 5 arrivals of 2 models in" in recorder.said
    assert "1 arrival without service_s" in recorder.said
    assert "1 of these were still under way" in recorder.said
    stoker.wait_for("echo", lambda m: m["active"] == 0, "idle")
    wait_until(lambda: "5 told, 0 lost" in stoker.log.read_text(), why="the end in the log")


def test_it_ends_by_itself_and_takes_some_models_only(stoker: Running, tmp_path: Path) -> None:
    """--duration and --models; two recorders at once, each with its own."""
    every = Recorder(stoker, tmp_path / "every.csv")
    only = Recorder(stoker, tmp_path / "only.csv.gz", "--models", "other", "--duration", "2s")
    for host in (HOST, "other.localhost"):
        stoker.request("/echo", host=host, body=b"x")
    (row,) = only.end(None)
    assert row["model"] == "team/other"
    assert float(row["t"]) <= 2.0
    assert [row["model"] for row in every.end(signal.SIGTERM)] == ["echo", "team/other"]


def test_nobody_records_any_more(stoker: Running, tmp_path: Path) -> None:
    """A recorder that vanishes is forgotten within seconds, another one goes on."""
    stays = Recorder(stoker, tmp_path / "stays.csv")
    gone = Recorder(stoker, tmp_path / "gone.csv")
    before = stoker.log.read_text().count("any more")
    gone.process.kill()
    gone.process.wait()
    wait_until(lambda: stoker.log.read_text().count("any more") == before + 1, why="forgotten")
    stoker.request("/echo", host=HOST, body=b"x")
    assert len(stays.end()) == 1


def test_what_cannot_be_recorded(stoker: Running, tmp_path: Path) -> None:
    """Nobody there, no such model, odd flags, one recorder too many: each is said."""
    admin = f"127.0.0.1:{stoker.admin_port}"
    file = str(tmp_path / "trace.csv")
    for said, *flags in (
        ("no Stoker answers", "--admin", f"127.0.0.1:{free_port()}", "-o", file),
        ("known: default/echo, team/other", "--admin", admin, "-o", file, "--models", "x"),
        ("ends with .csv", "--admin", admin, "-o", f"{file}.txt"),
    ):
        done = cli("record", *flags)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    for duration, said in (("5", "has no unit"), ("0s", "allowed: above 0s")):
        done = cli("record", "-o", file, "--duration", duration)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_RECORDINGS):
            sock = stack.enter_context(
                contextlib.closing(socket.create_connection(("127.0.0.1", stoker.admin_port)))
            )
            sock.sendall(b"GET /api/arrivals HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        done = cli("record", "--admin", admin, "-o", file)
        assert (done.returncode, "which is the most" in done.stderr) == (1, True)
        before = stoker.log.read_text().count("any more") + MOST_RECORDINGS
    wait_until(lambda: stoker.log.read_text().count("any more") >= before, why="forgotten")


def test_with_workers_each_request_is_there_once(tmp_path: Path) -> None:
    """Also those that one worker passes on to another. A worker that dies is told of."""
    # One worker owns the slots of this model: the other passes on what comes to it.
    with running(tmp_path, document(echo(**{"container-concurrency": 8}))) as stoker:
        assert stoker.request("/echo", host=HOST, body=b"1")[0] == 200
        recorder = Recorder(stoker, tmp_path / "trace.csv")
        with Load([Client(stoker.port, HOST) for _ in range(8)], lambda _: "/echo") as load:
            wait_until(lambda: load.answered > 200, why="load")
        # Only now all that was asked is answered.
        assert (load.errors, set(load.statuses)) == ([], {200})
        assert stoker.metric("stoker_forwarded_requests_total") > 20
        rows = recorder.end()
        assert len(rows) == load.answered
        assert all(row["service_s"] for row in rows)
        assert "note" not in recorder.said
        recorder = Recorder(stoker, tmp_path / "next.csv")
        os.kill(max(pids(stoker).values()), signal.SIGKILL)
        wait_until(lambda: "ended without a last word" in recorder.said, why="it to be told")
        recorder.end()


@pytest.mark.long
def test_replacing_workers_loses_no_arrival(tmp_path: Path) -> None:
    """Those that go tell all they know first; those that come record at once."""
    with running(tmp_path, document(echo(**{"container-concurrency": 8}))) as stoker:
        assert stoker.request("/echo", host=HOST, body=b"1")[0] == 200
        recorder = Recorder(stoker, tmp_path / "trace.csv")
        with Load([Client(stoker.port, HOST) for _ in range(16)], lambda _: "/echo") as load:
            old = set(pids(stoker).values())
            stoker.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: all_serve(stoker, old), why="new workers")
            before = load.answered
            wait_until(lambda: load.answered > before + 500, why="load on the new ones")
        assert (load.errors, set(load.statuses)) == ([], {200})
        rows = recorder.end()
    assert len(rows) == load.answered
    assert all(row["service_s"] for row in rows)
    assert "note" not in recorder.said


def test_stoker_ends_meanwhile(tmp_path: Path) -> None:
    """What was answered by then is in the file, and why it ends is said. The token of the
    admin port is asked for, as everywhere.
    """
    token = tmp_path / "token"
    token.write_text("correct horse battery")
    settings = {"stoker": {"admin-token-file": str(token)}, "models": {"echo": echo()}}
    with Running(tmp_path, settings) as stoker:
        admin = f"127.0.0.1:{stoker.admin_port}"
        done = cli("record", "--admin", admin, "-o", str(tmp_path / "trace.csv"))
        assert (done.returncode, "asks for a token" in done.stderr) == (1, True)
        recorder = Recorder(stoker, tmp_path / "trace.csv", "--token-file", str(token))
        assert stoker.request("/echo", host=HOST, body=b"x")[0] == 200
        stoker.process.send_signal(signal.SIGTERM)
        (row,) = recorder.end(None)
    assert row["service_s"]
    assert "Stoker has stopped; the trace ends there" in recorder.said


def test_stoker_is_killed_meanwhile(tmp_path: Path) -> None:
    """The file is complete up to a moment before, with workers too; and it is said."""
    with running(tmp_path, document()) as stoker:
        recorder = Recorder(stoker, tmp_path / "trace.csv")
        for _ in range(8):
            assert stoker.request("/echo", host=HOST, body=b"x")[0] == 200
        # What is told of these has been behind what is told of those.
        assert stoker.request("/slow?seconds=2", host=HOST, body=b"x")[0] == 200
        stoker.process.kill()
        rows = recorder.end(None)
    assert len(rows) >= 8
    assert all(row["service_s"] for row in rows[:8])
    assert "Stoker ended without a last word; the trace ends there" in recorder.said


async def test_a_slow_recorder_loses_arrivals_and_is_told_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its buffer is bounded; another recorder at the same time misses nothing."""
    monkeypatch.setattr(arrivals, "MOST_EVENTS", 5000)
    async with LocalStoker(config(tmp_path)) as stoker:
        key = ModelKey.parse("echo")
        slow, quick = [await asyncio.open_connection(*stoker.admin.address) for _ in range(2)]
        slow[0]._transport.pause_reading()  # type: ignore[attr-defined]
        for _, writer in (slow, quick):
            writer.write(b"GET /api/arrivals HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await until(lambda: len(stoker.recordings._open) == 2)
            seen: list[int] = []

            async def read_quickly() -> None:
                async for line in documents(quick[0]):
                    seen.extend(number for number, *_ in line.get("arrived", ()))

            reading = asyncio.create_task(read_quickly())
            number = 0
            while not any(recording.total_lost for recording in stoker.recordings._open):
                events = [Arrived(number + n, key, 0.0) for n in range(5000)]
                ends = [Ended(number + n, key, 1.0) for n in range(5000)]
                number += 5000
                stoker.recordings.feed(0, Batch(1.0, events, ends))
                await until(lambda: len(seen) == number)  # noqa: B023 (awaited at once)
            (lost,) = [r.total_lost for r in stoker.recordings._open if r.total_lost]
            slow[0]._transport.resume_reading()  # type: ignore[attr-defined]
            told = lost_said = 0
            async for line in documents(slow[0]):
                told += len(line.get("arrived", ()))
                lost_said += line.get("lost", 0)
                if told + lost_said == number:
                    break
            assert lost_said == lost > 0
            assert seen == list(range(number))
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        for _, writer in (slow, quick):
            writer.close()
            await writer.wait_closed()


async def documents(reader: asyncio.StreamReader) -> Any:
    """The documents of a chunked answer, as they come."""
    await reader.readuntil(b"\r\n\r\n")
    text = b""
    while size := int(await reader.readline(), 16):
        text += (await reader.readexactly(size + 2))[:-2]
        *lines, text = text.split(b"\n")
        for line in lines:
            yield json.loads(line)
