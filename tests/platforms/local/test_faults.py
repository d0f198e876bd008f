"""Everything that can go wrong with a replica, done to real processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from stoker.platform import ModelOutage
from stoker.platforms.local import LocalPlatform, ports
from stoker.platforms.local.ports import Ports
from stoker.vocabulary import ModelKey, Outage, Phase
from tests.platforms.local.conftest import KEY, World, echo_spec, exists


def last_outage(world: World) -> Outage:
    outage = world.outages[-1]
    assert outage is not None
    return outage


async def test_command_that_does_not_exist(world: World) -> None:
    """Refused with the name at the first try, not after a series of back-offs."""
    spec = echo_spec(command=("no-such-server", "{port}"), restart_backoff_cap=600.0)
    world.platform.apply([spec])
    await world.platform.scale(KEY, 2)
    await world.until(lambda: len(world.gone) == 2)
    assert last_outage(world).reason == "command not found: no-such-server"
    assert world.outages[1:] == []


async def test_file_that_may_not_be_executed(world: World, tmp_path: Path) -> None:
    """A path is taken as it is, and the kernel's refusal told."""
    script = tmp_path / "server"
    script.write_text("#!/no/such/interpreter\n")
    world.platform.apply([echo_spec(command=(str(script),))])
    await world.platform.scale(KEY, 1)
    denied = f"command could not be executed: {script}: Permission denied"
    assert (await world.first_gone()).reason == denied
    script.chmod(0o755)
    missing = f"command not found: {script}, or the interpreter that it names"
    await world.until(lambda: world.gone[-1].reason == missing)


async def test_working_directory_that_does_not_exist(world: World) -> None:
    """Told apart from a missing command."""
    world.platform.apply([echo_spec(directory="/no/such/directory")])
    await world.platform.scale(KEY, 1)
    expected = "working directory /no/such/directory: No such file or directory"
    assert (await world.first_gone()).reason == expected


async def test_command_too_long_for_the_kernel(world: World) -> None:
    """An argument beyond any limit is refused like a command that cannot be executed."""
    world.platform.apply([echo_spec("x" * 300_000)])
    await world.platform.scale(KEY, 1)
    assert "could not be executed" in (await world.first_gone()).reason


async def test_exits_at_once_then_recovers(world: World, tmp_path: Path) -> None:
    """Back-off, outage with exit code and last lines, tried later, over as soon as it works."""
    broken = tmp_path / "broken"
    broken.touch()
    options = ("--exit-while", str(broken), "--say", "loading weights")
    world.platform.apply([echo_spec(*options, failures_before_giving_up=3)])
    await world.platform.scale(KEY, 2)
    await world.until(lambda: bool(world.outages))
    first = last_outage(world)
    assert first.reason == (
        "exited with code 1 before it was ready; last output:\nloading weights\ncannot go on"
    )
    failed = [replica for replica in world.gone if replica.phase is Phase.FAILED]
    assert len(failed) >= 3
    await world.until(lambda: last_outage(world).retry_at > first.retry_at)
    assert last_outage(world).since == first.since
    broken.unlink()
    await world.until(lambda: len(world.ready()) == 2)
    assert world.outages[-1] is None


async def test_never_becomes_ready(world: World) -> None:
    """Killed after start_timeout; the reason has the last probe and the output."""
    spec = echo_spec(
        "--never-ready", "--say", "still loading", start_timeout=0.5, failures_before_giving_up=1
    )
    world.platform.apply([spec])
    await world.platform.scale(KEY, 1)
    await world.until(lambda: bool(world.outages))
    reason = last_outage(world).reason
    assert reason.startswith("not ready within 0.5 s (last probe: ")
    assert reason.endswith("; last output:\nstill loading")


async def test_hangs_on_sigterm(world: World) -> None:
    """SIGKILL after the grace period, and the reason says so."""
    world.platform.apply([echo_spec("--hang-on-sigterm", grace_period=0.2)])
    await world.scale(1)
    (pid,) = world.platform.process_ids().values()
    await world.scale(0)
    reason = world.gone[0].reason
    assert reason == "scaled down; still there 0.2 s after SIGTERM; killed by SIGKILL"
    assert not exists(pid)


async def test_never_drained_is_stopped_all_the_same(world: World) -> None:
    """After drain_timeout a replica goes, whether the activator spoke or not."""
    world.drains = False
    world.platform.apply([echo_spec(drain_timeout=0.1)])
    await world.scale(1)
    await world.scale(0)
    assert world.gone[0].reason == "scaled down; exited with code 0"


async def test_port_taken_in_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody binds the port after it was chosen: the next try has another one."""
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        taken = thief.getsockname()[1]
        monkeypatch.setattr(ports, "_is_free", lambda port: True)
        choice = Ports()
        choice._ports, choice._next = range(taken, taken + 2), 0
        async with LocalPlatform(ports=choice) as platform:
            world = World(platform)
            platform.apply([echo_spec(readiness_path="/pid")])
            await platform.scale(KEY, 1)
            await world.until(lambda: len(world.ready()) == 1)
            address = world.ready()[0].address
            assert address is not None
            assert address.port == taken + 1
            assert "Address already in use" in world.gone[0].reason


async def test_no_port_left(world: World) -> None:
    """Told as the reason of the failed start."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        world.platform._ports = Ports(range(port, port + 1))
        world.platform.apply([echo_spec()])
        await world.platform.scale(KEY, 1)
        assert "no free loopback port" in (await world.first_gone()).reason


async def test_killed_while_idle(world: World) -> None:
    """Gone with the signal's name, and replaced at once."""
    world.platform.apply([echo_spec("--say", "hello")])
    (first,) = await world.scale(1)
    os.kill(world.platform.process_ids()[first.id], signal.SIGKILL)
    gone = await world.first_gone()
    assert (gone.id, gone.phase) == (first.id, Phase.FAILED)
    assert gone.reason == "killed by SIGKILL; last output:\nhello"
    await world.until(lambda: len(world.ready()) == 1)
    assert world.ready()[0].id != first.id
    assert world.outages == []


async def test_crashing_when_ready_backs_off(world: World) -> None:
    """The second crash in a row is not made up for before the pause is over."""
    world.platform.apply([echo_spec(restart_backoff=0.3, restart_backoff_cap=30.0)])
    await world.scale(1)
    for crash in (1, 2):
        (replica,) = world.ready()
        os.kill(world.platform.process_ids()[replica.id], signal.SIGKILL)
        await world.until(lambda crash=crash: len(world.gone) == crash)  # type: ignore[misc]
        await world.until(lambda: len(world.ready()) == 1)
    second, third = world.gone[1], world.ready()[0]
    assert third.created - second.since >= 0.3


async def test_crash_takes_its_group_along(world: World, tmp_path: Path) -> None:
    """What a dead replica leaves behind is killed: its group, and who left the group."""
    for number, options in enumerate(((), ("--setsid",))):
        file = tmp_path / f"grandchild-{number}"
        key = ModelKey.parse(f"crash-{number}")
        world.platform.apply([echo_spec("--spawn-grandchild", str(file), *options, key=key)])
        await world.platform.scale(key, 1)
        await world.until(lambda: len(world.ready()) == 1)
        grandchild = int(file.read_text())
        assert exists(grandchild)
        os.kill(world.platform.process_ids()[world.ready()[0].id], signal.SIGKILL)
        await world.until(lambda pid=grandchild: not exists(pid))  # type: ignore[misc]


async def test_output_is_bounded_under_a_flood(world: World) -> None:
    """A replica that prints without end serves on, is kept within its bound, and stops."""
    world.platform.apply([echo_spec("--flood", output_bytes=10_000)])
    (replica,) = await world.scale(1)
    await world.until(lambda: len(world.platform.output(replica.id)) == 10_000)
    (other,) = {r.id for r in await world.scale(2)} - {replica.id}
    await world.until(lambda: len(world.platform.output(other)) == 10_000)
    await world.scale(0)
    assert world.outages == []
    assert len(world.platform.output(replica.id)) == 10_000, "kept for a while after the end"


async def test_output_that_ends_early(world: World) -> None:
    """A replica that closes its output, as daemons do, is none the worse for it."""
    code = (
        "import os, runpy, sys; os.write(1, b'bye'); os.close(1); os.close(2);"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    echo = echo_spec()
    assert echo.launch is not None
    command = (sys.executable, "-S", "-c", code, *echo.launch.command[3:])
    world.platform.apply([echo_spec(command=command)])
    (replica,) = await world.scale(1)
    assert world.platform.output(replica.id) == "bye"
    await world.scale(0)
    assert world.platform.output(replica.id) == "bye"


async def test_outage_is_over_when_nobody_waits(world: World) -> None:
    """At zero the outage ends by itself at retry_at: the next caller causes a try."""
    world.platform.apply([echo_spec(command=("no-such-server",))])
    await world.platform.scale(KEY, 1)
    await world.until(lambda: bool(world.outages))
    await world.platform.scale(KEY, 0)
    await world.until(lambda: world.outages[-1] is None)
    assert world.events[-1] == ModelOutage(KEY, None)
