"""``stoker cluster`` as a person would start it, in a process of its own."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import pytest

from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import config_map, deployment
from tests.kubernetes.processes import running
from tests.kubernetes.test_wake import HOST, ask, create, replicas

FLAGS = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


async def test_the_command_wakes_a_deployment_and_leaves_it_running(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """Held, woken, answered; status and metrics tell of it; its end ends no pod."""
    await create(cluster, kubelet, hosts=HOST, initial_scale="0")
    async with running(cluster, "cluster", *FLAGS) as stoker, aiohttp.ClientSession() as session:
        await stoker.listens("listening", "admin")
        admin = stoker.admin
        assert await ask(stoker.url) == (200, "ok")
        async with session.get(f"{admin}/readyz") as answer:
            assert (answer.status, (await answer.text()).strip()) == (200, "leading")
        async with session.get(f"{admin}/api/models") as answer:
            (model,) = (await answer.json())["models"]
            assert (model["model"], model["phase"]) == (f"{cluster.namespace}/m", "ready")
        async with session.get(f"{admin}/api/explain/{cluster.namespace}/m") as answer:
            assert (await answer.json())["state"]["replicas"][0]["node"] == kubelet.node
        async with session.get(f"{admin}/metrics") as answer:
            text = await answer.text()
        assert "stoker_leading 1.0" in text or "stoker_leading 1" in text
        assert 'stoker_kubernetes_objects{resource="pods"} 1' in text
    assert await replicas(cluster) == 1
    lease = await cluster.client.get(cluster.path("leases", "stoker"))
    assert lease["spec"]["holderIdentity"] == ""


async def test_a_second_one_decides_nothing(cluster: Cluster, kubelet: Kubelet) -> None:
    """It knows what the first does, passes requests on, and neither decides nor writes."""
    await create(cluster, kubelet, hosts=HOST, initial_scale="0")
    async with running(cluster, "cluster", *FLAGS) as first:
        await first.says("leading: decisions are made here")
        async with running(cluster, "cluster", *FLAGS) as second:
            await second.listens("listening", "admin")
            assert await ask(first.url) == (200, "ok")
            assert await ask(second.url) == (200, "ok")
            assert await second.metric("stoker_leading") == 0
            assert await second.metric("stoker_tick_seconds_count") == 0
            for verb in ("patch", "create"):
                series = f'stoker_kubernetes_requests_total{{code="200",verb="{verb}"}}'
                assert await second.metric(series) == 0
        assert "scal" not in second.log


async def test_the_configmap_is_under_variables_and_over_defaults(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting of the process, changed while it runs; one of its variables wins."""
    settings = config_map("tuned", {"max-body-bytes": "10", "body-timeout": "7s"})
    await cluster.client.create(cluster.path("configmaps"), settings)
    monkeypatch.setenv("STOKER_BODY_TIMEOUT", "8s")
    monkeypatch.setenv("STOKER_MAX_HEADERS", "4")
    await cluster.client.create(cluster.path("deployments"), deployment("m"))
    async with running(cluster, "cluster", *FLAGS, "--config-map", "tuned") as stoker:
        await stoker.listens("listening", "admin")

        async def post(size: int, **more: str) -> int:
            headers = {"Host": "m.localhost", **more}
            async with (
                aiohttp.ClientSession() as session,
                session.post(stoker.url, data=b"x" * size, headers=headers) as answer,
            ):
                return answer.status

        assert await post(11) == 413
        assert await post(1, **{f"x-{number}": "1" for number in range(5)}) == 431
        body = {"data": {"max-body-bytes": "5", "max-headers": "100"}}
        await cluster.client.patch(cluster.path("configmaps", "tuned"), body)
        while await post(8) != 413:
            pass
        assert await post(1, **{f"x-{number}": "1" for number in range(5)}) == 431
    assert any("ConfigMap" in line and "2 settings in force" in line for line in stoker.lines)


async def test_a_cluster_that_is_not_there_is_said(tmp_path: object) -> None:
    """On one line, with exit code 1."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stoker", "cluster", "--kubeconfig", f"{tmp_path}/none"),
        stderr=asyncio.subprocess.PIPE,
    )
    said = (await process.communicate())[1].decode()
    assert said.startswith(f"stoker: kubeconfig {tmp_path}/none: there is no such file")
    assert (process.returncode, said.count("\n")) == (1, 1)
