"""kubectl against the API server: if it finds its way, what it asks for is served right."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import yaml

from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment

KUBECTL = str(Path(sys.executable).parent / "kubectl")


async def kubectl(
    cluster: Cluster,
    environment: dict[str, str],
    *arguments: str,
    given: object = None,
    here: bool = True,
) -> tuple[int, str]:
    """Exit status, and what was printed; ``here``: in the test's namespace."""
    process = await asyncio.create_subprocess_exec(
        *(KUBECTL, *(("-n", cluster.namespace) if here else ()), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    out, _ = await process.communicate(yaml.safe_dump(given).encode() if given else None)
    assert process.returncode is not None
    return process.returncode, out.decode()


def manifest(replicas: int, image: str) -> object:
    body = deployment("m", replicas, managed=False, image=image)
    return {"apiVersion": "apps/v1", "kind": "Deployment", **body}


async def test_a_deployment_s_life(cluster: Cluster, kubectl_environment: dict[str, str]) -> None:
    """apply twice, scale, label, annotate, set image, get, delete: the server did it all."""
    client, path = cluster.client, cluster.path("deployments", "m")

    async def run(*arguments: str, given: object = None) -> str:
        status, out = await kubectl(cluster, kubectl_environment, *arguments, given=given)
        assert status == 0, out
        return out

    assert "created" in await run("apply", "-f", "-", given=manifest(2, "example.test/a:1"))
    assert "configured" in await run("apply", "-f", "-", given=manifest(3, "example.test/a:2"))
    made = await client.get(path)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert (made["spec"]["replicas"], container["image"]) == (3, "example.test/a:2")
    assert "unchanged" in await run("apply", "-f", "-", given=manifest(3, "example.test/a:2"))
    await run("scale", "deploy/m", "--replicas=0")
    scale = json.loads(await run("get", "deploy/m", "--subresource=scale", "-o", "json"))
    assert scale["spec"] == {}
    await run("label", "deploy/m", "stoker.dev/managed=true")
    await run("annotate", "deploy/m", "stoker.dev/max-scale=3")
    await run("set", "image", "deploy/m", "server=example.test/b:1")
    found = await run("get", "deploy", "-l", "stoker.dev/managed=true", "-o", "name")
    assert found == "deployment.apps/m\n"
    made = await client.get(path)
    assert made["metadata"]["annotations"]["stoker.dev/max-scale"] == "3"
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert (made["spec"]["replicas"], container["image"]) == (0, "example.test/b:1")
    assert "deleted" in await run("delete", "deploy", "m", "--wait")


async def test_refusals_reach_the_user(
    cluster: Cluster, kubectl_environment: dict[str, str]
) -> None:
    """What kubectl makes of 404, 422 and an unknown field."""
    missing, out = await kubectl(cluster, kubectl_environment, "get", "deploy", "m")
    assert missing == 1
    assert out == 'Error from server (NotFound): deployments.apps "m" not found\n'
    bad = manifest(-1, "example.test/a:1")
    status, out = await kubectl(cluster, kubectl_environment, "create", "-f", "-", given=bad)
    assert status == 1
    assert 'The Deployment "m" is invalid: spec.replicas: Invalid value: -1' in out
    assert isinstance(bad, dict)
    bad["spec"]["replcas"] = 1
    status, out = await kubectl(cluster, kubectl_environment, "create", "-f", "-", given=bad)
    assert status == 1
    assert 'unknown field "spec.replcas"' in out
