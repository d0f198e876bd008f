"""Waking by hand and through Stoker: both really start a server and get its answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import wake
from benchmarks.local import local_stoker
from benchmarks.processes import wait_until

PLAIN = wake.Server(
    name="plain",
    title="plain",
    command=(sys.executable, "-S", str(wake.ROOT / "benchmarks" / "plain_server.py"), "{port}"),
    readiness="tcp",
    path="/",
    body=b"{}",
)


def test_by_hand_starts_asks_and_ends_the_server() -> None:
    """An answer with outputs came, in a time that is more than nothing."""
    assert wake.start_by_hand(PLAIN) > 0


def test_a_server_that_answers_nonsense_is_no_measurement() -> None:
    """Only a 200 with outputs counts."""
    with pytest.raises(RuntimeError, match="no good answer"):
        wake.check(PLAIN, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    with pytest.raises(RuntimeError, match="no good answer"):
        wake.check(PLAIN, b"HTTP/1.1 200 OK\r\n\r\n{}")


def test_through_stoker_wakes_each_model_once_and_all_is_over_afterwards(tmp_path: Path) -> None:
    """Two pairs: two models were asleep, answered, and are awake; then nothing runs."""
    models = PLAIN.models()
    with local_stoker(tmp_path, models, {"stable-window": "1m"}) as stoker:
        assert all(state.asleep for state in stoker.models().values())
        pairs = wake.measure(stoker, [PLAIN], 2)["plain"]
        awake = [name for name, state in stoker.models().items() if state.replicas]
        pid = stoker.pid
    assert awake == ["plain-0", "plain-1"]
    assert len(pairs.ratios()) == len(pairs.added()) == 2
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "Stoker to be gone")
