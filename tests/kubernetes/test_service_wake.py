"""A Deployment behind its Service: its clients go on calling that, and it sleeps and wakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from stoker.platforms.kubernetes.names import DIRECT, MANAGED
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxy import KubeProxy
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import service
from tests.kubernetes.processes import Running, running
from tests.kubernetes.test_traffic import reached
from tests.kubernetes.test_wake import create, replicas

PORTS = [{"port": 80, "targetPort": 8080}]


@asynccontextmanager
async def everything(cluster: Cluster) -> AsyncIterator[tuple[Running, KubeProxy, str]]:
    """``stoker cluster``, the stand-in for kube-proxy, and the activator's address."""
    address = str(cluster.addresses[-2])
    flags = ("--listen", f"{address}:0", "--admin", "127.0.0.1:0", "--advertise", address)
    async with (
        KubeProxy(cluster.access, cluster.namespace) as proxy,
        running(cluster, "cluster", *flags) as stoker,
    ):
        await stoker.listens("listening", "admin")
        yield stoker, proxy, address


async def call(proxy: KubeProxy) -> tuple[int, str]:
    """One request to the Service ``m``, by the name that its clients have for it."""
    url = f"http://{await proxy.address('m')}/"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Host": "m"}) as answer,
    ):
        return answer.status, await answer.text()


async def label(cluster: Cluster, value: str | None) -> None:
    body = {"metadata": {"labels": {MANAGED: value}}}
    await cluster.client.patch(cluster.path("deployments", "m"), body)


async def test_the_label_puts_a_service_behind_stoker(cluster: Cluster, kubelet: Kubelet) -> None:
    """Labelled at zero: its Service names the activator once that accepts, and a call to the
    Service is held, wakes it and is answered."""
    await create(cluster, kubelet, initial_scale="0")
    await label(cluster, None)
    await cluster.client.create(cluster.path("services"), service("m", ports=PORTS))
    async with everything(cluster) as (stoker, proxy, address):
        assert proxy.endpoints("m") == []
        await label(cluster, "true")
        await reached(cluster, "=20000", [address], True, 0)
        while proxy.endpoints("m") != [(address, 20000)]:
            assert await replicas(cluster) == 0
        assert await call(proxy) == (200, "ok")
        assert await replicas(cluster) == 1
        assert proxy.refused == 0
        assert await stoker.metric('stoker_service_ports{state="accepting"}') == 1


@pytest.mark.long
async def test_a_service_sleeps_wakes_and_is_given_back(cluster: Cluster, kubelet: Kubelet) -> None:
    """Down to zero when nobody calls, with the activator still there for the next caller; and
    once the label is gone everything is as it was, with the pod answering by itself."""
    quick = {"stable_window": "6s", "scale_to_zero_grace_period": "100ms"}
    await create(cluster, kubelet, initial_scale="0", **quick)
    await cluster.client.create(cluster.path("services"), service("m", ports=PORTS))
    before = await cluster.client.get(cluster.path("services", "m"))
    async with everything(cluster) as (stoker, proxy, address):
        await reached(cluster, "=20000", [address], True, 0)
        for _ in range(2):
            assert await call(proxy) == (200, "ok")
            while await replicas(cluster):
                assert proxy.endpoints("m") == [(address, 20000)]
        assert await call(proxy) == (200, "ok")
        await label(cluster, None)
        while (await cluster.client.get(cluster.path("services", "m")))["metadata"].get(
            "annotations"
        ):
            assert await call(proxy) == (200, "ok")
        after = await cluster.client.get(cluster.path("services", "m"))
        assert (after["spec"], DIRECT in after["spec"]["selector"]) == (before["spec"], False)
        assert proxy.endpoints("m") == [(pod.address, 8080) for pod in kubelet.pods.values()]
        assert await call(proxy) == (200, "ok")
        assert proxy.refused == 0
        # The activator lets go of the port too.
        while await stoker.metric("stoker_service_ports"):
            pass
