"""No replica outlives Stoker, and none outlives the reaper, whoever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.errors import PlatformError
from stoker.platforms.local import LocalPlatform
from stoker.platforms.local.effects import Cause
from stoker.testing import FakePlatform, poll_until
from stoker.vocabulary import Phase
from tests.platforms.local.conftest import KEY, World, echo_spec, exists, open_fds, wait_readable

ROOT = Path(__file__).parents[3]


class Victim:
    """A Stoker in a process of its own, with two replicas and their grandchildren."""

    def __init__(self, tmp_path: Path, *options: str) -> None:
        grandchild = tmp_path / "grandchild-{n}"
        script = "tests.platforms.local.stoker_to_kill"
        self.process = subprocess.Popen(
            [sys.executable, "-m", script, "2", "--spawn-grandchild", str(grandchild), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.reaper: int = told["reaper"]
        self.replicas: list[int] = told["replicas"]
        self.grandchildren = [int((tmp_path / f"grandchild-{n}").read_text()) for n in (0, 1)]

    def everyone(self) -> list[int]:
        return [self.reaper, *self.replicas, *self.grandchildren]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize("options", [(), ("--setsid",), ("--hang-on-sigterm", "--setsid")])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_outlives_stoker(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    """Stoker killed with -9: reaper, replicas, and grandchildren in sessions of their own go."""
    victim = Victim(tmp_path, *options)
    try:
        everyone = victim.everyone()
        assert len(set(everyone)) == 5
        assert all(map(exists, everyone))
        victim.process.send_signal(number)
        await poll_until(FakePlatform(), lambda: not any(map(exists, everyone)))
    finally:
        victim.close()


FORKS = """
import asyncio, os, time
from stoker.platforms.local import LocalPlatform

async def main():
    platform = LocalPlatform()
    await platform.start()
    copy = os.fork()
    if copy:
        print(platform.reaper_pid, copy, flush=True)
    time.sleep(3600)

asyncio.run(main())
"""


def test_nothing_outlives_stoker_that_left_a_copy() -> None:
    """A forked copy keeps the socket to the reaper open; Stoker's own end counts all the same."""
    stoker = subprocess.Popen([sys.executable, "-c", FORKS], cwd=ROOT, stdout=subprocess.PIPE)
    assert stoker.stdout is not None
    with stoker.stdout:
        reaper, copy = map(int, stoker.stdout.readline().split())
    try:
        reaper_fd = os.pidfd_open(reaper)
        stoker.kill()
        wait_readable(reaper_fd)
        os.close(reaper_fd)
        assert exists(copy)
    finally:
        os.kill(copy, signal.SIGKILL)
        stoker.kill()
        stoker.wait()


@pytest.mark.parametrize("options", [(), ("--setsid",)])
async def test_reaper_killed(world: World, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Its replicas die with it, grandchildren too; a new reaper starts new ones at once."""
    file = tmp_path / "grandchild"
    world.platform.apply(
        [echo_spec("--spawn-grandchild", str(file), *options, restart_backoff=30.0)]
    )
    (replica,) = await world.scale(1)
    old_reaper = world.platform.reaper_pid
    processes = [world.platform.process_ids()[replica.id], int(file.read_text())]
    os.kill(old_reaper, signal.SIGKILL)
    gone = await world.first_gone()
    assert gone.reason == "killed because Stoker's reaper process ended"
    await world.until(lambda: not any(map(exists, [old_reaper, *processes])))
    await world.until(lambda: len(world.ready()) == 1)
    assert world.platform.reaper_pid not in (0, old_reaper)
    exits = {r.labels[1]: r.value for r in world.platform.readings() if r.spec.labels[1] == "cause"}
    assert exits == {Cause.LOST: 1}


async def test_reaper_told_to_end(world: World) -> None:
    """SIGTERM ends it in order, which is as good a reason for a new one."""
    world.platform.apply([echo_spec()])
    await world.scale(1)
    old_reaper = world.platform.reaper_pid
    os.kill(old_reaper, signal.SIGTERM)
    await world.first_gone()
    assert not exists(old_reaper)
    await world.until(lambda: len(world.ready()) == 1)


async def test_reaper_ignores_the_terminal(world: World) -> None:
    """Ctrl-C and a closed terminal are Stoker's business, not the reaper's."""
    world.platform.apply([echo_spec()])
    (replica,) = await world.scale(1)
    reaper = world.platform.reaper_pid
    os.kill(reaper, signal.SIGINT)
    os.kill(reaper, signal.SIGHUP)
    await world.scale(2)
    assert world.platform.reaper_pid == reaper
    assert replica.id in world.living
    assert os.getsid(reaper) == reaper


async def test_reaper_that_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends before it got to work makes starts fail, with back-off, not a busy loop."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with LocalPlatform() as platform:
        world = World(platform)
        platform.apply([echo_spec(failures_before_giving_up=2)])
        await platform.scale(KEY, 1)
        await world.until(lambda: bool(world.outages))
        assert "reaper process ended" in world.gone[0].reason
        assert len(world.gone) == 2


async def test_reaper_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """start() says so; a replica that needs one later fails to start for that reason."""
    platform = LocalPlatform()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(PlatformError, match="reaper process cannot be started"):
        await platform.start()
    world = World(platform)
    platform.apply([echo_spec(failures_before_giving_up=1)])
    await platform.scale(KEY, 1)
    gone = await world.first_gone()
    assert "the reaper process failed" in gone.reason
    assert gone.phase is Phase.FAILED
    await platform.close()


async def test_reaper_lost_when_no_other_can_be_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is survived; the next wish is what fails."""
    world.platform.apply([echo_spec(failures_before_giving_up=1)])
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    await asyncio.sleep(0)
    os.kill(world.platform.reaper_pid, signal.SIGTERM)
    await world.until(lambda: world.platform.reaper_pid == 0)
    await world.platform.scale(KEY, 1)
    assert "the reaper process failed" in (await world.first_gone()).reason


BULKY = (("BULK", "x" * 60_000),)  # three such messages fill the socket to the reaper


async def test_reaper_that_is_slow_to_listen(world: World) -> None:
    """What does not fit into the socket waits its turn, and nothing is lost."""
    world.platform.apply([echo_spec(env=BULKY)])
    os.kill(world.platform.reaper_pid, signal.SIGSTOP)
    await world.platform.scale(KEY, 6)
    assert len(world.living) == 6
    os.kill(world.platform.reaper_pid, signal.SIGCONT)
    await world.until(lambda: len(world.ready()) == 6)
    assert world.gone == []


async def test_reaper_killed_with_messages_waiting(world: World) -> None:
    """What it never heard of is started by the next one, and no descriptor is left behind."""
    world.platform.apply([echo_spec(env=BULKY)])
    await world.scale(6)
    before = len(open_fds())
    await world.scale(0)
    os.kill(world.platform.reaper_pid, signal.SIGSTOP)
    await world.platform.scale(KEY, 6)
    os.kill(world.platform.reaper_pid, signal.SIGKILL)
    await world.until(lambda: len(world.ready()) == 6)
    lost = [replica for replica in world.gone if replica.phase is Phase.FAILED]
    assert len(lost) == 6
    await world.until(lambda: len(open_fds()) <= before)  # before, probes may have been open


async def test_reaper_killed_unnoticed(world: World) -> None:
    """A start in the moment between its end and the news of it is made up for, too."""
    world.platform.apply([echo_spec()])
    reaper = world.platform.reaper_pid
    reaper_fd = os.pidfd_open(reaper)
    os.kill(reaper, signal.SIGKILL)
    wait_readable(reaper_fd)
    os.close(reaper_fd)
    await world.platform.scale(KEY, 1)
    await world.until(lambda: len(world.ready()) == 1)
    (gone,) = world.gone
    assert gone.reason.startswith("killed because Stoker's reaper process ended")
