"""The local platform's own part: the set of models, closing, and what it tells about itself."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.errors import PlatformClosedError, PlatformError
from stoker.estimate import Estimator
from stoker.exposition import Exposition
from stoker.platform import ModelChanged, ModelEvent, ModelRemoved, ReplicaChanged
from stoker.platforms.local import LocalPlatform, probe
from stoker.platforms.local.pauses import pause_before_next
from stoker.telemetry import Histogram
from stoker.vocabulary import LaunchConfig, ModelKey, ModelSpec, Phase, PlatformEvent, Replica
from tests.platforms.local.conftest import KEY, World, echo_spec, exists, open_fds

OTHER = ModelKey.parse("other/echo")


def get(replica: Replica, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{replica.address}{path}", timeout=10) as answer:
        content: bytes = answer.read()
    return content


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


# --- models -----------------------------------------------------------------------


async def test_models_are_told_as_they_change(world: World) -> None:
    """Added, changed, unchanged and removed, each exactly once, generation counted."""
    events: list[ModelEvent] = []
    world.platform.watch_models(events.append)
    first, second = echo_spec(), echo_spec(key=OTHER)
    world.platform.apply([first, second])
    world.platform.apply([first, second])
    renamed = replace(first, hosts=("digits.example",))
    world.platform.apply([renamed])
    relaunched = echo_spec("--say", "new")
    world.platform.apply([relaunched])
    forced = replace(relaunched, generation=7)
    world.platform.apply([forced])
    world.platform.apply([relaunched])
    assert events == [
        ModelChanged(first),
        ModelChanged(second),
        ModelRemoved(OTHER),
        ModelChanged(renamed),
        ModelChanged(replace(relaunched, generation=2)),
        ModelChanged(forced),
    ]


async def test_bad_sets_of_models_change_nothing(world: World) -> None:
    """A model twice, or without a command, is refused by name."""
    events: list[ModelEvent] = []
    world.platform.watch_models(events.append)
    for specs, words in (
        ([echo_spec(), echo_spec()], "default/echo; a model has one spec"),
        ([ModelSpec(KEY)], "default/echo has no command"),
        ([ModelSpec(KEY, launch=LaunchConfig(()))], "default/echo has no command"),
    ):
        with pytest.raises(PlatformError, match=words):
            world.platform.apply(specs)
    assert events == []


async def test_changed_launch_replaces_new_ones_first(world: World) -> None:
    """While replicas are replaced, never fewer than wished for are ready."""
    world.platform.apply([echo_spec()])
    old = {replica.id for replica in await world.scale(2)}
    begun = len(world.events)
    world.platform.apply([echo_spec("--say", "version 2")])
    await world.until(lambda: len(world.gone) == 2)
    await world.until(lambda: len(world.ready()) == len(world.living) == 2)
    assert {replica.generation for replica in world.ready()} == {2}
    ready = set(old)
    for event in world.events[begun:]:
        if isinstance(event, ReplicaChanged):
            (ready.add if event.replica.phase is Phase.READY else ready.discard)(event.replica.id)
        assert len(ready) >= 2


async def test_repaired_launch_ends_the_outage(world: World) -> None:
    """What was an outage starts as soon as its settings are right, without waiting."""
    world.platform.apply([echo_spec(command=("no-such-server",), restart_backoff_cap=3600.0)])
    await world.platform.scale(KEY, 1)
    await world.until(lambda: bool(world.outages))
    world.platform.apply([echo_spec(restart_backoff_cap=3600.0)])
    await world.until(lambda: len(world.ready()) == 1)
    assert world.outages[1:] == [None]


async def test_removed_model_drains_and_may_come_back(world: World) -> None:
    """Its replicas end; its series end with them; ids go on where they were."""
    world.platform.apply([echo_spec(), echo_spec(key=OTHER)])
    (first,) = await world.scale(1)
    world.platform.apply([echo_spec(key=OTHER)])
    await world.until(lambda: not world.living)
    assert "model removed" in world.gone[0].reason
    assert list(world.platform.readings()) == []
    world.platform.apply([echo_spec(), echo_spec(key=OTHER)])
    (second,) = await world.scale(1)
    assert second.id != first.id


async def test_model_removed_and_back_while_it_drains(world: World) -> None:
    """The draining replica goes its way; the model is there again at once."""
    world.drains = False
    world.platform.apply([echo_spec()])
    (first,) = await world.scale(1)
    world.platform.apply([])
    world.platform.apply([echo_spec()])
    await world.platform.scale(KEY, 1)
    await world.until(lambda: len(world.ready()) == 1)
    assert world.living[first.id].phase is Phase.DRAINING
    world.platform.drained(first.id)
    await world.until(lambda: first.id not in world.living)


# --- a replica's surroundings -------------------------------------------------------


async def test_replica_is_given_its_port_and_environment(world: World, tmp_path: Path) -> None:
    """{port} in command and env, PORT and STOKER_PORT, directory, own session, no stdin."""
    script = (
        'echo "$PORT $STOKER_PORT $MINE $0 $(pwd)"; read line || echo "no stdin";exec sleep 3600'
    )
    world.platform.apply(
        [
            echo_spec(
                command=("sh", "-c", script, "arg-{port}"),
                env=(("MINE", "mine-{port}"),),
                directory=str(tmp_path),
                readiness_path="",
            )
        ]
    )
    await world.platform.scale(KEY, 1)
    await world.until(lambda: bool(world.living))
    (replica,) = world.living.values()
    await world.until(lambda: "no stdin" in world.platform.output(replica.id))
    assert replica.address is not None
    port = replica.address.port
    expected = f"{port} {port} mine-{port} arg-{port} {tmp_path}\nno stdin\n"
    assert world.platform.output(replica.id) == expected
    pid = world.platform.process_ids()[replica.id]
    assert os.getsid(pid) == pid != os.getsid(0)
    status = proc(pid, "status")
    assert "SigBlk:\t0000000000000000\n" in status
    ignored = int(status.partition("SigIgn:\t")[2].split()[0], 16)
    # 32 and 33 are glibc's own: nobody can reset them, and make hands them on ignored.
    assert ignored & ~(1 << 31 | 1 << 32) == 0
    # The dynamic loader may still have its files open; a leaked one would stay.
    await world.until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 3)


async def test_many_replicas_have_ports_of_their_own(world: World) -> None:
    """Each serves on its own, and answers for itself."""
    world.platform.apply([echo_spec()])
    replicas = await world.scale(4)
    pids = world.platform.process_ids()
    for replica in replicas:
        assert int(await asyncio.to_thread(get, replica, "/pid")) == pids[replica.id]


async def test_tcp_readiness(world: World) -> None:
    """Without a readiness path an open port is enough."""
    world.platform.apply([echo_spec("--silent", readiness_path="")])
    (replica,) = await world.scale(1)
    assert replica.phase_seconds[0][0] is Phase.STARTING


# --- telling --------------------------------------------------------------------------


async def test_readings_become_an_exposition(world: World) -> None:
    """Cold starts by phase, exits by cause."""
    world.platform.apply([echo_spec()])
    (first, _) = await world.scale(2)
    os.kill(world.platform.process_ids()[first.id], signal.SIGKILL)
    await world.first_gone()
    await world.scale(1)
    readings = {(r.spec.name, *r.labels): r.value for r in world.platform.readings()}
    starts = readings["stoker_cold_start_seconds", "default/echo", "starting"]
    assert isinstance(starts, Histogram)
    assert starts.count == sum(
        isinstance(event, ReplicaChanged) and event.replica.phase is Phase.READY
        for event in world.events
    )
    assert readings["stoker_replica_exits", "default/echo", "crashed"] == 1
    text = Exposition([world.platform.readings]).render().decode()
    assert 'stoker_replica_exits_total{cause="crashed",model="default/echo"} 1.0' in text


async def test_this_machine_is_the_only_node(world: World) -> None:
    """With its cores and memory, in no pool that could grow."""
    (node,) = world.platform.nodes()
    assert node.capacity.cpu_millis == 1000 * len(os.sched_getaffinity(0))
    assert node.capacity.memory_bytes > 2**20
    assert world.platform.node_pools() == ()


async def test_events_are_kept_within_a_bound(world: World) -> None:
    """The last thousand, oldest first."""
    for number in range(1100):
        world.platform.record_event(PlatformEvent(KEY, "Test", str(number), float(number)))
    events = world.platform.events()
    assert [events[0].message, events[-1].message, len(events)] == ["100", "1099", 1000]


async def test_output_of_replicas_that_are_gone_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last few are kept; what nobody knows is empty."""
    monkeypatch.setattr("stoker.platforms.local.platform.OUTPUTS_KEPT", 2)
    world.platform.apply([echo_spec("--say", "x")])
    await world.scale(3)
    await world.scale(0)
    outputs = [world.platform.output(replica.id) for replica in world.gone]
    assert outputs == ["", "x\n", "x\n"]
    assert world.platform.output("nobody") == ""


async def test_failures_are_noted_for_people(world: World) -> None:
    """What failed, the outage, and its end can be read in the events."""
    world.platform.apply([echo_spec(command=("no-such-server",))])
    await world.platform.scale(KEY, 1)
    await world.until(lambda: bool(world.outages))
    world.platform.apply([echo_spec()])
    await world.until(lambda: len(world.ready()) == 1)
    noted = [(event.kind, event.message) for event in world.platform.events()]
    first = world.gone[0].id
    assert noted == [
        ("ReplicaFailed", f"{first} command not found: no-such-server"),
        ("Outage", "command not found: no-such-server"),
        ("Recovered", "may be started again"),
    ]


# --- closing ----------------------------------------------------------------------------


@pytest.mark.parametrize("used", [True, False])
async def test_close_leaves_nothing(used: bool, tmp_path: Path) -> None:
    """No process, no file descriptor, no task; a grandchild in its own session included."""
    before = open_fds()
    tasks = asyncio.all_tasks()
    async with LocalPlatform() as platform:
        world = World(platform)
        processes = [platform.reaper_pid]
        if used:
            file = tmp_path / "grandchild"
            stubborn = echo_spec(
                "--hang-on-sigterm", "--spawn-grandchild", str(file), "--setsid", grace_period=0.1
            )
            slow = echo_spec("--start-delay", "3600", key=OTHER)
            platform.apply([stubborn, slow])
            await platform.scale(OTHER, 2)
            await platform.scale(KEY, 1)
            await world.until(lambda: len(world.ready()) == 1 and len(platform.process_ids()) == 3)
            processes += [*platform.process_ids().values(), int(file.read_text())]
        assert all(map(exists, processes))
    assert not any(map(exists, processes))
    assert world.living == {}
    await asyncio.sleep(0)
    gc.collect()
    assert open_fds() == before
    assert asyncio.all_tasks() == tasks


async def test_replicas_that_come_and_go_leak_nothing(world: World) -> None:
    """After a while of starting, failing and stopping, as many descriptors as before."""
    world.platform.apply([echo_spec(), echo_spec("--exit-code", "1", key=OTHER)])
    await world.scale(1)
    await world.scale(0)
    before = len(open_fds())
    await world.platform.scale(OTHER, 1)
    for _ in range(3):
        await world.platform.scale(KEY, 2)
        await world.until(lambda: len(world.ready()) == 2)
        await world.platform.scale(KEY, 0)
    await world.platform.scale(OTHER, 0)
    await world.until(lambda: not world.living)
    await world.until(lambda: len(open_fds()) <= before)


async def test_cancelled_close_goes_on(world: World) -> None:
    """Whoever waits for close() may be cancelled; what runs is stopped all the same."""
    world.platform.apply([echo_spec()])
    await world.scale(1)
    pids = [world.platform.reaper_pid, *world.platform.process_ids().values()]
    waiting = asyncio.ensure_future(world.platform.close())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await world.platform.close()
    assert not any(map(exists, pids))


async def test_closed_is_closed(world: World) -> None:
    """Nothing can be started again; what was never started can be closed."""
    await world.platform.close()
    with pytest.raises(PlatformClosedError):
        world.platform.apply([])
    with pytest.raises(PlatformClosedError):
        await world.platform.start()
    await LocalPlatform().close()


async def test_reaper_that_hangs_is_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """close() does not wait for ever for a reaper that answers nothing, and leaves nothing."""
    monkeypatch.setattr("stoker.platforms.local.reaper_client.END_TIMEOUT", 0.05)
    monkeypatch.setattr("stoker.platforms.local.platform.KILL_TIMEOUT", 0.05)
    file = tmp_path / "grandchild"
    world.platform.apply(
        [echo_spec("--spawn-grandchild", str(file), "--setsid", grace_period=0.05)]
    )
    await world.scale(1)
    processes = [world.platform.reaper_pid, *world.platform.process_ids().values()]
    processes.append(int(file.read_text()))
    os.kill(world.platform.reaper_pid, signal.SIGSTOP)
    await world.platform.close()
    await world.until(lambda: not any(map(exists, processes)))
    assert world.gone[0].reason.endswith("killed with Stoker's reaper process")


async def test_stand_in_server_tells_what_it_was_asked(world: World) -> None:
    """The echo server that all these tests rely on does answer."""
    world.platform.apply([echo_spec()])
    (replica,) = await world.scale(1)
    told = json.loads(await asyncio.to_thread(get, replica, "/any?x=1"))
    assert (told["method"], told["path"]) == ("GET", "/any?x=1")
    streamed = await asyncio.to_thread(get, replica, "/stream?chunks=3&size=10")
    assert streamed == b"chunk 0 ..chunk 1 ..chunk 2 .."


async def test_probed_by_what_earlier_starts_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimator's times of starting reach the pauses between probes."""
    told: list[tuple[tuple[float, float] | None, int]] = []

    def pause(
        elapsed: float, expected: tuple[float, float] | None, took: float, probing: int
    ) -> float:
        told.append((expected, probing))
        return pause_before_next(elapsed, expected, took, probing)

    monkeypatch.setattr(probe, "pause_before_next", pause)
    estimator = Estimator()
    async with LocalPlatform(estimator=estimator) as platform:
        world = World(platform)
        for seconds in (2.0, 3.0):
            estimator.observe(KEY, "", [(Phase.STARTING, seconds)])
        platform.apply([echo_spec()])
        await platform.scale(KEY, 1)
        await world.until(lambda: bool(told))
    assert told[0] == ((2.0, 3.0), 1)
