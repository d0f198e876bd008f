"""Activator, autoscaler and platform together: a Deployment at zero answers its first caller."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from activator.server import DEFAULT_LISTENER, Activator
from autoscaler.reconciler import Autoscaler
from stoker.clock import SystemClock
from stoker.link import MemoryLink
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.settings import ProcessConfig
from stoker.vocabulary import Address
from tests.kubernetes.cluster.kubelet import Image, Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment
from tests.kubernetes.test_replicas import IMAGE, SERVER

HOST = "m.example.org"


@asynccontextmanager
async def stoker(cluster: Cluster) -> AsyncIterator[str]:
    """All of Stoker in this process, over the cluster; where requests are taken."""
    clock, link = SystemClock(), MemoryLink()
    process = ProcessConfig(listen=Address("127.0.0.1", 0))
    platform = KubernetesPlatform(cluster.client, namespaces=[cluster.namespace])
    autoscaler = Autoscaler(platform, clock)
    activator = Activator(process, platform, link, clock, eta=autoscaler.eta)
    async with platform:
        await activator.start()
        link.attach(autoscaler)
        await autoscaler.start()
        try:
            yield f"http://{activator.addresses[DEFAULT_LISTENER]}"
        finally:
            await autoscaler.close()
            link.attach(None)
            await activator.close()


async def create(cluster: Cluster, kubelet: Kubelet, **annotations: str) -> None:
    kubelet.images[IMAGE] = Image((sys.executable, "-c", SERVER, "{address}", "8080"))
    body = deployment(
        "m",
        readinessProbe={"httpGet": {"port": 8080, "path": "/"}},
        annotations={f"stoker.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
    )
    await cluster.client.create(cluster.path("deployments"), body)


async def ask(url: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Host": HOST}) as answer,
    ):
        return answer.status, await answer.text()


async def replicas(cluster: Cluster) -> Any:
    scale = await cluster.client.get(cluster.path("deployments", "m", "scale"))
    return scale["spec"].get("replicas", 0)


async def test_the_first_caller_wakes_a_deployment(cluster: Cluster, kubelet: Kubelet) -> None:
    """Held while the pod is scheduled, pulled, started and probed; then answered by it."""
    await create(cluster, kubelet, hosts=HOST, initial_scale="0")
    async with stoker(cluster) as url:
        assert await replicas(cluster) == 0
        assert await ask(url) == (200, "ok")
        assert await replicas(cluster) == 1


async def test_callers_of_what_cannot_start_are_told_why(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """503 with the kubelet's reason, not a hold until the deadline."""
    await create(cluster, kubelet, hosts=HOST, initial_scale="0")
    kubelet.images[IMAGE] = Image(missing="no such image")
    async with stoker(cluster) as url:
        status, text = await ask(url)
        assert status == 503
        assert "ImagePullBackOff" in text


@pytest.mark.long
async def test_a_deployment_without_requests_goes_to_sleep_and_wakes_again(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """From zero to one, back to zero when nobody asks, and up again."""
    await create(
        cluster,
        kubelet,
        hosts=HOST,
        initial_scale="0",
        stable_window="6s",
        scale_to_zero_grace_period="100ms",
    )
    async with stoker(cluster) as url:
        assert await ask(url) == (200, "ok")
        while await replicas(cluster):
            pass
        assert await ask(url) == (200, "ok")
