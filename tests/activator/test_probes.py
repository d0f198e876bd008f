"""Probes and scrapes: answered by Stoker, without waking a model and without counting as load."""

from __future__ import annotations

import json

import pytest

from stoker.testing import FakePlatform
from stoker.vocabulary import Phase
from tests.activator.world import DIGITS, Gate, World, get, request, spec, until

HOST = "digits.localhost"
PROBES = {
    "agent": get("/", HOST, "User-Agent: kube-probe/1.31"),
    "path": get("/healthz?full=1", HOST),
    "kubelet": get("/", HOST, "K-Kubelet-Probe: queue"),
    "header": get("/", HOST, "stoker-probe: 1"),
    "head": request("HEAD", "/metrics", HOST),
}


async def start(world: World) -> None:
    """A model with probe paths; our own peers may use control headers."""
    await world.start(spec(probe_paths=("/healthz", "/metrics")), trusted_peers=("127.0.0.1",))


@pytest.mark.parametrize("kind", PROBES)
async def test_a_sleeping_model_sleeps_on(world: World, kind: str) -> None:
    """Nobody is asked for a replica, nothing is reported as load, and each probe is counted."""
    await start(world)
    client = await world.client()
    for _ in range(3):
        answer = await client.ask(PROBES[kind])
        assert answer.status == 200
        if kind != "head":
            told = json.loads(answer.body)
            assert told == {"model": "digits", "ready_replicas": 0, "state": "asleep"}
    world.activator._report()
    assert world.load.pokes == []
    assert [report.stats for report in world.load.reports if report.stats] == []
    assert world.model.probes == 3
    (count,) = [r.value for r in world.model.readings() if r.spec.name == "stoker_probes"]
    assert count == 3


@pytest.mark.parametrize("kind", PROBES)
async def test_an_idle_model_is_not_kept_awake(world: World, kind: str) -> None:
    """With a ready replica too no replica is asked: there is no load that would be reported."""
    await start(world)
    replica = await world.replica()
    client = await world.client()
    answer = await client.ask(PROBES[kind])
    assert answer.status == 200
    if kind != "head":
        told = json.loads(answer.body)
        assert told == {"model": "digits", "ready_replicas": 1, "state": "ready"}
    world.activator._report()
    assert [report.stats for report in world.load.reports if report.stats] == []
    assert replica.seen == []


async def test_a_probe_tells_what_state_the_model_is_in(world: World) -> None:
    """Starting is well; a model that cannot start is not, and the reason is told."""
    await start(world)
    client = await world.client()
    platform: FakePlatform = world.platform
    platform.add_replica(DIGITS, phase=Phase.STARTING)
    assert json.loads((await client.ask(PROBES["agent"])).body)["state"] == "starting"
    platform.set_outage(DIGITS, "no such file")
    answer = await client.ask(PROBES["agent"])
    assert answer.status == 503
    told = json.loads(answer.body)
    assert (told["state"], told["why"]) == ("cannot start", "no such file")


async def test_a_probe_does_not_wait_behind_a_full_queue(world: World) -> None:
    """Stoker's own answer needs no slot."""
    await world.start(spec(container_concurrency=1, probe_paths=("/healthz",)))
    gate = Gate()
    await world.replica(gate)
    busy = await world.client()
    await busy.send(get())
    await until(lambda: gate.inside == 1)
    client = await world.client()
    assert (await client.ask(PROBES["path"])).status == 200
    gate.let()
    assert (await busy.answer()).status == 200


async def test_other_paths_and_strangers_headers_are_requests(world: World) -> None:
    """A path that only begins so is no probe; stoker-probe is believed of trusted peers only."""
    await world.start(spec(probe_paths=("/healthz",)), trusted_peers=())
    replica = await world.replica()
    client = await world.client()
    for data in (get("/healthz/deep", HOST), get("/", HOST, "stoker-probe: 1")):
        assert (await client.ask(data)).status == 200
    assert len(replica.seen) == 2
    assert world.model.probes == 0
