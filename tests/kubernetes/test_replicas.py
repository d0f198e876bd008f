"""Pods as replicas, scaled and failing, in a cluster of real processes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import pytest

from stoker.errors import ApiError, NotLeadingError
from stoker.platforms.kubernetes import scaling
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.names import DELETION_COST, DRAINING
from stoker.vocabulary import ModelKey, Phase
from tests.kubernetes.api.faults import Action, Answer, Hang, Reset
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.controllers import Controllers
from tests.kubernetes.cluster.kubelet import Image, Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment
from tests.kubernetes.waiting import until
from tests.kubernetes.watcher import platform_of

IMAGE = "example.test/server:1"


async def create(cluster: Cluster, replicas: int = 0, **more: Any) -> ModelKey:
    await cluster.client.create(cluster.path("deployments"), deployment("m", replicas, **more))
    return ModelKey(cluster.namespace, "m")


async def count(cluster: Cluster) -> int:
    found = await cluster.client.get(cluster.path("deployments", "m", "scale"))
    return int(found["spec"].get("replicas", 0))


SERVER = """
import http.server, sys
host, port = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


async def test_a_server_is_started_probed_and_reached(cluster: Cluster, kubelet: Kubelet) -> None:
    """From zero: at the address that the replica has there is an answer."""
    command = (sys.executable, "-c", SERVER, "{address}", "8080")
    kubelet.images[IMAGE] = Image(command)
    probe = {"httpGet": {"port": 8080, "path": "/"}}
    key = await create(cluster, readinessProbe=probe)
    async with platform_of(cluster) as (platform, seen), aiohttp.ClientSession() as session:
        await platform.scale(key, 1)
        (id,) = await seen.ready(1)
        replica = seen.replicas[id]
        async with session.get(f"http://{replica.address}/") as answer:
            assert await answer.text() == "ok"
        passed = [phase for phase, _ in replica.phase_seconds]
        assert passed[-1] is Phase.STARTING
        assert replica.node == kubelet.node


async def test_a_crash_loop_is_an_outage_until_a_start_succeeds(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """With what kubelets say of it; the image mended, the replica is ready and all is well."""
    image = kubelet.images[IMAGE] = Image(("sh", "-c", "exit 3"))
    # With a probe: without one a container is ready from its start to its crash.
    key = await create(cluster, readinessProbe={"httpGet": {"port": 8080, "path": "/"}})
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        replica = await seen.failed("CrashLoopBackOff")
        assert replica.reason.endswith("last Error (exit code 3)")
        assert seen.outages[key].reason.startswith("CrashLoopBackOff")
        image.command = (sys.executable, "-c", SERVER, "{address}", "8080")
        await seen.ready(1)
        assert seen.outages == {}


async def test_a_crash_while_ready(cluster: Cluster, kubelet: Kubelet) -> None:
    """Killed for its memory: failed with the reason, gone, and back under another id."""
    kubelet.images[IMAGE] = Image(killed_as="OOMKilled")
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        (first,) = await seen.ready(1)
        kubelet.pod(first.partition(".")[0]).kill()
        await until(lambda: first in seen.gone)
        assert seen.gone[first].reason == "OOMKilled (exit code 137)"
        (second,) = await seen.ready(1)
        assert second == f"{first}~2"


async def test_an_image_that_cannot_be_pulled(cluster: Cluster, kubelet: Kubelet) -> None:
    """An outage with the registry's words, over once it can."""
    image = kubelet.images[IMAGE] = Image(missing="no such image")
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        await seen.failed("ImagePullBackOff: no such image")
        assert key in seen.outages
        image.missing = ""
        await seen.ready(1)
        assert seen.outages == {}


async def test_pulling_takes_its_time(cluster: Cluster, kubelet: Kubelet) -> None:
    """The phase says what is waited for."""
    image = kubelet.images[IMAGE] = Image()
    image.pull.clear()
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        await until(lambda: len(seen.ids(Phase.PULLING_IMAGE)) == 1)
        image.pull.set()
        await seen.ready(1)


async def test_no_room_for_a_pod(
    cluster: Cluster, kubelet: Kubelet, controllers: Controllers | None
) -> None:
    """Pending with the scheduler's words; no outage: a node may be on its way."""
    if controllers is None:
        pytest.skip("needs a scheduler of ours")
    controllers.room = 0
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        await until(lambda: [r.reason[:13] for r in seen.replicas.values()] == ["Unschedulable"])
        assert len(seen.ids(Phase.PENDING_NODE)) == 1
        assert seen.outages == {}


async def test_a_rollout_replaces_replicas(cluster: Cluster, kubelet: Kubelet) -> None:
    """The cluster's own doing: all new in the end, and at no time fewer ready than allowed."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 3)
        olds = await seen.ready(3)
        fewest = 3

        def look(_: object) -> None:
            nonlocal fewest
            fewest = min(fewest, len(seen.ids(Phase.READY)))

        platform.watch_replicas(look)
        ports = [{"containerPort": 8080}]
        container = {"name": "server", "image": "example.test/server:2", "ports": ports}
        body = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await cluster.client.patch(cluster.path("deployments", "m"), body)
        await until(lambda: olds <= set(seen.gone) and len(seen.ids(Phase.READY)) == 3)
        await seen.ready(3)
        assert fewest >= 3  # a quarter of three that may be away, rounded down


async def test_a_victim_is_marked_and_counted_until_it_is_empty(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """Every activator sees the mark in the pod; only then is /scale lowered."""
    key = await create(cluster)
    async with platform_of(cluster, drains=False) as (platform, seen):
        await platform.scale(key, 2)
        victim, other = sorted(await seen.ready(2))
        await platform.scale(key, 1, [victim])
        await until(lambda: seen.ids(Phase.DRAINING) == {victim})
        pod = await cluster.client.get(cluster.path("pods", victim.partition(".")[0]))
        assert pod["metadata"]["annotations"][DELETION_COST] == "-1000"
        assert pod["metadata"]["annotations"][DRAINING].endswith("Z")
        assert await count(cluster) == 2
        platform.drained(victim)
        assert await seen.ready(1) == {other}
        assert await count(cluster) == 1


async def test_a_drain_that_takes_too_long_is_ended(cluster: Cluster, kubelet: Kubelet) -> None:
    """After drain-timeout, whether or not anybody says that it is empty."""
    key = await create(cluster, annotations={"stoker.dev/drain-timeout": "50ms"})
    async with platform_of(cluster, drains=False) as (platform, seen):
        await platform.scale(key, 1)
        await seen.ready(1)
        await platform.scale(key, 0)
        await until(lambda: not seen.replicas)
        assert await count(cluster) == 0


async def test_a_new_leader_goes_on_with_a_drain(cluster: Cluster, kubelet: Kubelet) -> None:
    """The mark is in the cluster: whoever leads next need not be told."""
    key = await create(cluster)
    async with platform_of(cluster, drains=False) as (platform, seen):
        await platform.scale(key, 2)
        victim, other = sorted(await seen.ready(2))
        await platform.scale(key, 1, [victim])
        await until(lambda: seen.ids(Phase.DRAINING) == {victim})
    async with platform_of(cluster, drains=False) as (platform, seen):
        assert seen.ids(Phase.DRAINING) == {victim}
        await platform.scale(key, 1)
        assert await count(cluster) == 2
        platform.drained(victim)
        assert await seen.ready(1) == {other}


SCALE_FAULTS: dict[str, Action] = {
    "throttled": Answer(429, "slow down", retry_after=1),
    "a conflict": Answer(409, '{"reason":"Conflict","message":"modified"}'),
    "a proxy's page": Answer(503, "<html>no backend</html>"),
    "reset": Reset(),
    "written, no answer": Reset(after=True),
}


@pytest.mark.parametrize("case", SCALE_FAULTS)
async def test_a_scale_that_fails_says_so_and_can_be_asked_again(
    case: str, cluster: Cluster, server: ApiServer, kubelet: Kubelet
) -> None:
    """Nothing is started twice, whether or not it had been written."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        server.faults.add(SCALE_FAULTS[case], verb="patch", path="/scale", times=1)
        with pytest.raises(ApiError):
            await platform.scale(key, 2)
        await platform.scale(key, 2)
        await seen.ready(2)
        assert seen.gone == {}


async def test_a_count_that_could_not_be_lowered_is_lowered_later(
    cluster: Cluster, server: ApiServer, kubelet: Kubelet
) -> None:
    """What is done in the background is tried again by itself."""
    key = await create(cluster)
    async with platform_of(cluster, drains=False) as (platform, seen):
        await platform.scale(key, 1)
        (victim,) = await seen.ready(1)
        await platform.scale(key, 0)
        await until(lambda: seen.ids(Phase.DRAINING) == {victim})
        fault = server.faults.add(Answer(503, "no"), verb="patch", path="/scale", times=1)
        platform.drained(victim)
        await until(lambda: not seen.replicas)
        assert fault.met == 1


async def test_who_may_not_write_writes_nothing(
    cluster: Cluster, server: ApiServer, kubelet: Kubelet
) -> None:
    """Without the lease: refused before a request is made; with little left of it, the
    request has no more time than that."""
    key = await create(cluster)
    left: list[float] = []

    def budget() -> float:
        if not left:
            raise NotLeadingError("not leading")
        return left[0]

    async with platform_of(cluster, budget=budget) as (platform, _):
        writes = server.count("patch", path="/deployments")
        with pytest.raises(NotLeadingError):
            await platform.scale(key, 1)
        assert server.count("patch", path="/deployments") == writes
        left.append(0.1)
        server.faults.add(Hang(), verb="patch", path="/scale", agent="(tests)")
        with pytest.raises(ApiError, match=r"no answer within 0\.1 s"):
            await platform.scale(key, 1)


async def test_nothing_changes_while_the_api_server_is_away(
    cluster: Cluster, server: ApiServer, kubelet: Kubelet
) -> None:
    """The last known state stays; when it is back, what happened meanwhile is told."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 2)
        ids = await seen.ready(2)
        away = server.faults.add(Answer(503, "no"), agent="(tests)")
        server.end_watches()
        await until(lambda: away.met >= 5)
        assert (set(seen.models), seen.ids(Phase.READY), seen.gone) == ({key}, ids, {})
        victim = min(ids)
        away.lift()
        async with await Client.connect(cluster.access, "somebody") as somebody:
            await somebody.delete(cluster.path("pods", victim.partition(".")[0]))
        await until(lambda: victim in seen.gone)
        await seen.ready(2)


async def test_a_pod_deleted_by_hand_is_replaced(cluster: Cluster, kubelet: Kubelet) -> None:
    """By the cluster; it drains, then it is gone."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 1)
        (first,) = await seen.ready(1)
        path = cluster.path("pods", first.partition(".")[0])
        await asyncio.gather(cluster.client.delete(path), until(lambda: first in seen.gone))
        assert seen.gone[first].reason == "the pod is terminating"
        await until(lambda: len(seen.ids(Phase.READY)) == 1)


async def test_the_victim_goes_also_where_the_cluster_chose_another(
    cluster: Cluster, kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod on its way up goes before any cost: then the marked one is deleted, and what is
    there in the end is what was wanted."""
    monkeypatch.setattr(scaling, "SETTLE", 0.05)
    key = await create(cluster)
    async with platform_of(cluster, drains=False) as (platform, seen):
        await platform.scale(key, 1)
        (victim,) = await seen.ready(1)
        kubelet.images[IMAGE].pull.clear()
        await platform.scale(key, 2)
        await until(lambda: len(seen.ids(Phase.PULLING_IMAGE)) == 1)
        await platform.scale(key, 1, [victim])
        await until(lambda: seen.ids(Phase.DRAINING) == {victim})
        platform.drained(victim)
        await until(lambda: victim in seen.gone)
        kubelet.images[IMAGE].pull.set()
        await seen.ready(1)
        assert await count(cluster) == 1


async def test_a_victim_that_is_gone_already_is_no_error(
    cluster: Cluster, server: ApiServer, kubelet: Kubelet
) -> None:
    """Between the decision and the mark somebody deleted the pod: the count is lowered."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, seen):
        await platform.scale(key, 2)
        await seen.ready(2)
        server.faults.add(Answer(404, "{}"), verb="patch", path="/pods/", agent="(tests)", times=1)
        await platform.scale(key, 1)
        await seen.ready(1)
        assert await count(cluster) == 1
