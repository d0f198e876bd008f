"""container-concurrency over several workers: held through deaths and replacements."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clients import Client, Load
from tests.cli.running import Running, wait_until
from tests.cli.test_workers import HOST, all_serve, document, echo, pids, running

# The server answers 500 as soon as more requests are in it than its limit.
LIMITED = {"container-concurrency": 2, "max-scale": 2, "min-scale": 2, "queue-requests": 1000}


def limited_document(**process: Any) -> dict[str, Any]:
    model = echo("--concurrency-limit", "2", **LIMITED)
    return document(model, slot_expiry="2s", **process)


def path(count: int) -> str:
    return "/slow?seconds=0.05" if count % 3 == 0 else "/echo"


def served(load: Load, more: int = 60) -> None:
    """Wait for ``more`` answers from now on."""
    now = load.statuses[200]
    wait_until(lambda: load.statuses[200] > now + more, why="answers")


def killed(stoker: Running) -> None:
    """kill -9 of one worker, and wait for the next."""
    victim = stoker.workers()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: all_serve(stoker, {victim}), why="another worker")


def rolled(stoker: Running) -> None:
    old = set(pids(stoker).values())
    stoker.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: all_serve(stoker, old), why="all workers to be new")


def test_the_limit_holds_while_workers_die_and_are_replaced(tmp_path: Path) -> None:
    """12 clients on slots for 4: not one request too many in a replica, ever."""
    with running(tmp_path, limited_document()) as stoker:
        clients = [Client(stoker.port, HOST) for _ in range(12)]
        with Load(clients, path) as load:
            served(load)
            rolled(stoker)
            served(load)
            killed(stoker)
            served(load)
        assert load.statuses[500] == 0, load.statuses
        assert load.wrong == []
        # Only those whose worker was killed may have got nothing, one each at most.
        assert set(load.statuses) == {200}
        assert len(load.errors) <= 12
        assert stoker.metric('stoker_worker_exits_total{cause="died"}') == 1


@pytest.mark.long
def test_the_limit_holds_for_long(tmp_path: Path) -> None:
    """The same over many deaths and replacements, also both at once."""
    with running(tmp_path, limited_document()) as stoker:
        clients = [Client(stoker.port, HOST) for _ in range(16)]
        with Load(clients, path) as load:
            for _ in range(5):
                served(load, 200)
                killed(stoker)
                served(load, 100)
                rolled(stoker)
                stoker.process.send_signal(signal.SIGUSR2)
                killed(stoker)
        assert load.statuses[500] == 0, load.statuses
        assert set(load.statuses) == {200}
        assert load.wrong == []
        assert len(load.errors) <= 16 * 10
