"""The benchmark of holds, in small."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from benchmarks import holds
from benchmarks.common import Report
from benchmarks.holders import allow_descriptors, request_bytes
from benchmarks.peers import ROOT
from benchmarks.processes import accepts, free_ports, running, wait_until


def test_holds_are_measured_then_all_answered_within_the_slots() -> None:
    """80 holds of 100 KB for a replica with 64 slots: some wait in the spool, none is lost."""
    held = holds.measure_holds(80, 100 << 10)
    assert (held.answered, held.most) == (80, holds.LIMIT)
    assert held.spool > 0
    assert held.rss_kb > 0


def test_a_wake_is_timed_from_the_replicas_listening() -> None:
    """Each wake has a model of its own; the time is positive."""
    times = holds.measure_wakes(2)
    assert len(times) == 2
    assert min(times) > 0


def test_a_lost_hold_misses_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """One of 100 not answered, or one too many at once: told, and not met."""
    report = Report("T", holds.COLUMNS)
    holds.tabulate(report, holds.Held(100, holds.SMALL, 5.0, 0.0, 0, 99, holds.LIMIT + 1, 1.0))
    told = {figure.name.partition(": ")[2]: figure.met for figure in report.figures}
    assert told == {"RSS each": True, "lost": False, "most at once in the replica": False}


def test_too_few_descriptors_are_told() -> None:
    """The hard limit is named, not run into."""
    with pytest.raises(RuntimeError, match=r"the hard limit is \d+"):
        allow_descriptors(1 << 40)


async def test_the_gate_server_fails_when_its_limit_is_passed(tmp_path: Path) -> None:
    """The proof rests on it: two at once in a server for one, and it fails from then on."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (port,) = free_ports(1)
    server = str(ROOT / "benchmarks" / "gate_server.py")
    with running([sys.executable, server, str(port), "1", str(gate)], log=tmp_path / "log"):
        assert not accepts(port)
        await asyncio.to_thread(holds.open_gate, gate)
        await asyncio.to_thread(wait_until, lambda: accepts(port), "the server behind the gate")
        request = request_bytes("any", 10)
        head, _, body = request.partition(b"\r\n\r\n")
        for together, statuses in ((1, {200}), (2, {500}), (1, {500})):
            streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(together)]
            # All heads are there before the first body: none is answered before all are inside.
            for part in (head + b"\r\n\r\n", body):
                for _, writer in streams:
                    writer.write(part)
                    await writer.drain()
            lines = [await reader.readline() for reader, _ in streams]
            for _, writer in streams:
                writer.close()
            assert {int(line.split()[1]) for line in lines} == statuses
