"""``stoker activator`` and ``stoker autoscaler``, two of each, as processes of their own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.kubernetes.api.faults import Answer
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.kubelet import Image, Kubelet
from tests.kubernetes.cluster.proxy import KubeProxy
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.fleet import Fleet, fleet
from tests.kubernetes.objects import service
from tests.kubernetes.processes import running
from tests.kubernetes.test_replicas import IMAGE
from tests.kubernetes.test_service_wake import PORTS, call
from tests.kubernetes.test_traffic import reached
from tests.kubernetes.test_wake import create, replicas
from tests.kubernetes.waiting import until

# Answers with the most requests that activators ever had in it at once; probes are others'.
COUNTING = """
import http.server, sys, threading, time
host, port = sys.argv[1:]
inside, most, lock = 0, 0, threading.Lock()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global inside, most
        if "X-Forwarded-For" in self.headers:
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1
        body = str(most).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server((host, int(port)), Handler).serve_forever()
"""


async def set_up(cluster: Cluster, kubelet: Kubelet, **annotations: str) -> None:
    """The model ``m``, asleep, behind its Service."""
    await create(cluster, kubelet, initial_scale="0", **annotations)
    kubelet.images[IMAGE] = Image((sys.executable, "-c", COUNTING, "{address}", "8080"))
    await cluster.client.create(cluster.path("services"), service("m", ports=PORTS))


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def two_of_each(made: Fleet, cluster: Cluster, **settings: str) -> list[str]:
    """Linked with each other, and the Service led through both activators: their addresses."""
    for _ in range(2):
        await made.autoscaler()
    for name in ("a0", "a1"):
        await made.activator(name, **settings)
    addresses = sorted(made.addresses.values())
    await reached(cluster, "=20000", addresses, True, 0)
    return addresses


async def test_either_activator_wakes_a_model_and_its_limit_holds_across_them(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer, tmp_path: Path
) -> None:
    """The first call at each; 40 at once over both never are two in the replica; and the
    autoscaler that does not take requests tells of them."""
    await set_up(cluster, kubelet, container_concurrency="1", max_scale="1")
    async with fleet(cluster, server, tmp_path) as made:
        addresses = await two_of_each(made, cluster)
        urls = [f"http://{address}:20000/" for address in addresses]
        assert await get(urls[1]) == (200, "1")
        assert await replicas(cluster) == 1
        answers = await asyncio.gather(*(get(urls[number % 2]) for number in range(40)))
        assert set(answers) == {(200, "1")}
        for activator in made.activators.values():
            assert await activator.metric("stoker_stats_links") == 2
            assert await activator.metric("stoker_peer_up") == 1
        (model,) = (await made.document("/api/models"))["models"]
        assert (model["phase"], model["refused"]) == ("ready", {})
        assert model["answered"] >= 41  # what was passed on to the other counts at both
        told = await made.document(f"/api/explain/{cluster.namespace}/m")
        assert told["requests"]["recent_waits"]
        assert sum([await s.metric("stoker_leading") for s in made.autoscalers]) == 1


@pytest.mark.long
async def test_a_model_goes_to_sleep_once_no_activator_has_requests_in_it(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer, tmp_path: Path
) -> None:
    """Down to zero and up again, by either; the replica is marked, said to be empty by both,
    and only then ended."""
    quick = {"stable_window": "6s", "scale_to_zero_grace_period": "100ms"}
    await set_up(cluster, kubelet, drain_timeout="1h", **quick)
    async with fleet(cluster, server, tmp_path) as made:
        addresses = await two_of_each(made, cluster)
        for address in addresses:
            assert await get(f"http://{address}:20000/") == (200, "1")
            while await replicas(cluster):
                pass


@pytest.mark.long
async def test_a_leader_that_is_killed_is_followed_by_one_that_knows_the_load(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer, tmp_path: Path
) -> None:
    """Under load: the other leads once the lease is over, asks for no fewer replicas in between
    or afterwards, and nobody who calls notices. Then a third comes and is told everything."""
    await set_up(cluster, kubelet, container_concurrency="1", target_burst_capacity="0")
    async with (
        fleet(cluster, server, tmp_path) as made,
        KubeProxy(cluster.access, cluster.namespace) as proxy,
    ):
        await two_of_each(made, cluster)
        counts: list[int] = []
        answers: set[int] = set()
        going = True

        async def load() -> None:
            while going:
                answers.add((await call(proxy))[0])

        loads = [asyncio.create_task(load()) for _ in range(4)]
        while await replicas(cluster) < 2:
            pass
        leader = await made.leader()
        await leader.kill()
        successor = next(s for s in made.autoscalers if s is not leader)
        await successor.says("leading: decisions are made here")
        assert await successor.metric("stoker_stats_activators") == 2
        ticks = await successor.metric("stoker_tick_seconds_count")
        while await successor.metric("stoker_tick_seconds_count") < ticks + 3:
            counts.append(await replicas(cluster))
        going = False
        await asyncio.gather(*loads)
        assert min(counts) >= 2
        assert answers == {200}
        assert proxy.refused == 0


@pytest.mark.long
async def test_an_activator_that_stops_loses_nothing(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer, tmp_path: Path
) -> None:
    """It says that it leaves, no slice names it any more, it goes on accepting until that has
    spread; and one that is killed is led past within moments."""
    await set_up(cluster, kubelet)
    async with (
        fleet(cluster, server, tmp_path) as made,
        KubeProxy(cluster.access, cluster.namespace) as proxy,
    ):
        await two_of_each(made, cluster, STOKER_DRAIN_DELAY="2s")
        answers: set[int] = set()
        going = True

        async def load() -> None:
            while going:
                answers.add((await call(proxy))[0])

        loads = [asyncio.create_task(load()) for _ in range(4)]
        ended = made.activators["a0"]
        await ended.end()
        assert proxy.endpoints("m") == [(made.addresses["a1"], 20000)]
        await made.gone("a0")
        going = False
        await asyncio.gather(*loads)
        assert answers == {200}
        assert proxy.refused == 0
        address = made.addresses["a1"]
        await made.activator("a2")
        await until(lambda: len(proxy.endpoints("m")) == 2)
        await made.activators["a1"].kill()
        await until(lambda: (address, 20000) not in proxy.endpoints("m"))
        assert (await call(proxy))[0] == 200


@pytest.mark.long
async def test_requests_go_on_while_the_api_server_and_the_autoscalers_are_away(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer, tmp_path: Path
) -> None:
    """First the one, then both: what is known goes on being served. Afterwards the links are
    up again by themselves."""
    await set_up(cluster, kubelet)
    async with (
        fleet(cluster, server, tmp_path) as made,
        KubeProxy(cluster.access, cluster.namespace) as proxy,
    ):
        await two_of_each(made, cluster)
        assert (await call(proxy))[0] == 200
        server.faults.add(Answer(503, "away"))
        server.reset_watches()
        failures = "stoker_kubernetes_watch_failures_total"
        for activator in made.activators.values():
            while await activator.metric(failures) < 10:
                assert (await call(proxy))[0] == 200
        for autoscaler in made.autoscalers:
            await autoscaler.kill()
        for activator in made.activators.values():
            while await activator.metric("stoker_stats_links"):
                assert (await call(proxy))[0] == 200
        answers = await asyncio.gather(*(call(proxy) for _ in range(100)))
        assert {status for status, _ in answers} == {200}
        server.faults.lift()
        assert (await call(proxy))[0] == 200


async def test_what_keeps_an_activator_from_starting_is_said(
    cluster: Cluster, server: ApiServer
) -> None:
    """Rights that are missing end it, with what to grant; a start that waits can be stopped."""
    text = '{"kind":"Status","reason":"Forbidden","message":"no"}'
    fault = server.faults.add(Answer(403, text), verb="list", path="/services")
    flags = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    env = {"STOKER_PEER_LISTEN": "127.0.0.1:0"}
    async with running(cluster, "activator", *flags, env=env) as refused:
        assert await refused.process.wait() == 1
        await refused.read
        assert "services may not be listed (API server: 403: no); grant" in refused.log
        fault.lift()
    server.faults.add(Answer(503, "away"))
    async with running(cluster, "activator", *flags, env=env) as waiting:
        await waiting.listens("admin")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{waiting.admin}/readyz") as answer:
                assert answer.status == 503
            async with session.get(f"{waiting.admin}/healthz") as answer:
                assert answer.status == 200
