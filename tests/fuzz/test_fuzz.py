"""Clients and replicas that do anything: nothing breaks, nothing leaks, nothing is mixed up."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activator.body import Body
from activator.exchange import Exchange
from activator.http1 import ClientConnection
from activator.spool import SpoolFile
from activator.tunnel import Tunnel
from activator.upstream import ReplicaConnection
from tests.fuzz.choices import Choices
from tests.fuzz.guided import TARGETS, target_named
from tests.fuzz.lives import Life
from tests.fuzz.seeds import seeds
from tests.properties import costly

DATA = st.binary(min_size=20, max_size=500)
# So many seeds; the mistakes below are noticed by the first 80 of them.
COUNTS = {"requests": 175, "answers": 175, "lives": 375}
# The same examples each time: what a machine finds by chance is for test-all.
steady = settings(costly(100), derandomize=True, database=None)


@given(data=DATA)
@steady
def test_lives(data: bytes) -> None:
    """Several clients, replicas that come and go, time: see ``lives`` and ``judge``."""
    target_named("lives")(data)


@given(data=DATA)
@steady
def test_requests_of_any_bytes(data: bytes) -> None:
    """What a client sends is understood as h11 does, or refused, and leaves nothing behind."""
    target_named("requests")(data)


@given(data=DATA)
@steady
def test_answers_of_any_bytes(data: bytes) -> None:
    """What a replica sends is passed on as h11 reads it, or not at all."""
    target_named("answers")(data)


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    """What a search by coverage begins with is clean, and goes deeper than small examples."""
    run = target_named(target)
    for data in seeds(target, COUNTS[target]):
        run(data)


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_more_seeds(target: str) -> None:
    """The same with four times as many."""
    run = target_named(target)
    for data in seeds(target, 4 * COUNTS[target]):
        run(data)


def test_the_same_bytes_are_the_same_run() -> None:
    """What is found can be looked at again: nothing depends on time, threads or addresses."""
    for data in seeds("lives", 40):
        lives = [Life(Choices(data)) for _ in range(2)]
        for life in lives:
            life.live()
        first, again = ([w.written for w in life.stage.wires.values()] for life in lives)
        assert first == again


def skipped(*_: Any, **__: Any) -> None:
    """Stands in for something that is forgotten."""


def leaks_slot(self: Exchange) -> None:
    self.ticket, self.upstream = None, None
    self._end()


def mixes_up(self: ReplicaConnection, data: bytes) -> None:
    if not self.lost:
        self.transport.write(data + data[:1])


serve_next = ClientConnection._serve_next


def last_first(self: ClientConnection) -> None:
    if self._next and not self._serving:
        self._next.reverse()
    serve_next(self)


# Mistakes, and a target that notices each.
MISTAKES: dict[str, tuple[str, Any, str, Callable[..., Any]]] = {
    "a slot is not given back": ("lives", Exchange, "_release", leaks_slot),
    "a client that left is not noticed": ("lives", ClientConnection, "departed", skipped),
    "a spool file is not closed": ("lives", SpoolFile, "close", skipped),
    "a body is passed on with a byte too much": ("lives", ReplicaConnection, "send_body", mixes_up),
    "a broken answer ends like a whole one": ("answers", ClientConnection, "break_off", skipped),
    "answers are given out of order": ("lives", ClientConnection, "_serve_next", last_first),
    "a tunnel does not end": ("lives", Tunnel, "lost", skipped),
    "a part of a body is lost": ("lives", Body, "keep", skipped),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_noticed(mistake: str) -> None:
    """The runs would tell: each of these mistakes is found by as many seeds as are tried."""
    name, owner, method, wrong = MISTAKES[mistake]

    def all_of_them() -> None:
        for data in seeds(name, COUNTS[name]):
            target_named(name)(data)

    with mock.patch.object(owner, method, wrong), pytest.raises(AssertionError):
        all_of_them()


@pytest.mark.long
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no atheris for this machine"
)
@pytest.mark.parametrize("target", TARGETS)
def test_guided_by_coverage(target: str) -> None:
    """Half a minute of search finds nothing; what it would find is printed and saved."""
    command = [sys.executable, "-m", "tests.fuzz.guided", target, "-max_total_time=30"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Done " in done.stdout, done.stdout[-6000:]
