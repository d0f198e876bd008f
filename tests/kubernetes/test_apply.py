"""Server-side apply: who owns which fields, and what happens where two want the same.

These hold for any API server, as those of test_api_writes.py do.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client
from tests.kubernetes.api.applying import APPLY
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import Obj, config_map, deployment, refused, service
from tests.kubernetes.test_kubectl import kubectl


async def apply(
    cluster: Cluster, resource: str, body: Obj, manager: str, *, force: bool = False
) -> Obj:
    """What ``kubectl apply --server-side`` sends, as ``manager``."""
    kind = {"configmaps": ("v1", "ConfigMap"), "services": ("v1", "Service")}
    version, name = kind.get(resource, ("apps/v1", "Deployment"))
    path = cluster.path(resource, body["metadata"]["name"])
    query = {"force": "true"} if force else {}
    config = {"apiVersion": version, "kind": name, **body}
    return await as_manager(cluster.client, manager, path, config, APPLY, query)


async def as_manager(
    client: Client, manager: str, path: str, body: Any, media: str, query: dict[str, str]
) -> Obj:
    """A PATCH with another field manager than Stoker's own."""
    named = f"{path}?fieldManager={manager}"
    for key, value in query.items():
        named += f"&{key}={value}"
    headers, url = await client._prepared(named)
    headers["Content-Type"] = media
    async with client._session.patch(url, data=json.dumps(body), headers=headers) as answer:
        found: Obj = await answer.json()
        if answer.status >= 300:
            raise ApiError(answer.status, found["message"], found["reason"])
        return found


def owners(obj: Obj) -> dict[str, Obj]:
    """Manager, operation and subresource → its fields."""
    return {
        " ".join((entry["manager"], entry["operation"], entry.get("subresource", ""))).strip(): (
            entry["fieldsV1"]
        )
        for entry in obj["metadata"]["managedFields"]
    }


async def test_whoever_applies_owns_what_it_names(cluster: Cluster) -> None:
    """Made by the first apply; the second removes what it names no longer, and nothing else."""
    made = await apply(cluster, "configmaps", config_map("a", {"k": "1", "l": "1"}), "one")
    assert owners(made) == {"one Apply": {"f:data": {"f:k": {}, "f:l": {}}}}
    path = cluster.path("configmaps", "a")
    await cluster.client.patch(path, {"data": {"m": "1"}})
    again = await apply(cluster, "configmaps", config_map("a", {"k": "2"}), "one")
    assert again["data"] == {"k": "2", "m": "1"}
    assert owners(again) == {
        "one Apply": {"f:data": {"f:k": {}}},
        "stoker Update": {"f:data": {"f:m": {}}},
    }
    same = await apply(cluster, "configmaps", config_map("a", {"k": "2"}), "one")
    assert same["metadata"] == again["metadata"]


async def test_two_that_want_the_same_field_conflict(cluster: Cluster) -> None:
    """409 naming owner and field; the same value is shared; force takes it over."""
    await apply(cluster, "configmaps", config_map("a", {"k": "1"}), "one")
    await apply(cluster, "configmaps", config_map("a", {"k": "1", "l": "1"}), "two")
    with pytest.raises(ApiError) as caught:
        await apply(cluster, "configmaps", config_map("a", {"k": "2"}), "two")
    assert refused(caught.value) == (409, "Conflict")
    said = 'Apply failed with 1 conflict: conflict with "one" using v1: .data.k'
    assert said in str(caught.value)
    forced = await apply(cluster, "configmaps", config_map("a", {"k": "2"}), "two", force=True)
    assert forced["data"] == {"k": "2"}
    assert owners(forced) == {"two Apply": {"f:data": {"f:k": {}}}}
    # What both own stays while one of them names it.
    await apply(cluster, "configmaps", config_map("a", {"k": "2"}), "one")
    left = await apply(cluster, "configmaps", config_map("a", {}), "two")
    assert left["data"] == {"k": "2"}


async def test_lists_are_merged_by_their_keys(cluster: Cluster) -> None:
    """Containers by name, their ports by number and protocol; each item may have its own owner."""
    body = deployment("m", managed=False)
    del body["metadata"]["annotations"], body["metadata"]["labels"]
    made = await apply(cluster, "deployments", body, "one")
    ports = owners(made)["one Apply"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    key = 'k:{"containerPort":8080,"protocol":"TCP"}'
    assert set(ports['k:{"name":"server"}']["f:ports"]) == {key}
    sidecar = {"name": "sidecar", "image": "example.test/sidecar:1"}
    more: Obj = {
        "metadata": {"name": "m"},
        "spec": {"template": {"spec": {"containers": [sidecar]}}},
    }
    both = await apply(cluster, "deployments", more, "two")
    containers = both["spec"]["template"]["spec"]["containers"]
    assert {c["name"] for c in containers} == {"server", "sidecar"}
    assert both["spec"]["selector"] == {"matchLabels": {"app": "m"}}
    more["spec"]["template"]["spec"]["containers"] = [
        {"name": "other", "image": "example.test/other:1"}
    ]
    swapped = await apply(cluster, "deployments", more, "two")
    containers = swapped["spec"]["template"]["spec"]["containers"]
    assert {c["name"] for c in containers} == {"server", "other"}


async def test_a_count_that_was_scaled_conflicts_with_a_manifest_that_names_one(
    cluster: Cluster,
) -> None:
    """Why a manifest under server-side apply has to leave replicas out: ``/scale`` owns them."""
    body = deployment("m", 2, managed=False)
    await apply(cluster, "deployments", body, "flux")
    path = cluster.path("deployments", "m", "scale")
    await cluster.client.patch(path, {"spec": {"replicas": 1}})
    with pytest.raises(ApiError) as caught:
        await apply(cluster, "deployments", body, "flux")
    assert 'conflict with "stoker" with subresource "scale" using apps/v1' in str(caught.value)
    assert str(caught.value).endswith(".spec.replicas")
    without = copy.deepcopy(body)
    del without["spec"]["replicas"]
    done = await apply(cluster, "deployments", without, "flux")
    assert done["spec"]["replicas"] == 1


async def test_a_selector_is_one_value(cluster: Cluster) -> None:
    """So whoever applies a Service puts it back as a whole: Stoker's key in it is a conflict."""
    await apply(cluster, "services", service("m"), "argo")
    path = cluster.path("services", "m")
    await cluster.client.patch(path, {"spec": {"selector": {"stoker.dev/direct": "true"}}})
    with pytest.raises(ApiError, match=r'conflict with "stoker" using v1.*: \.spec\.selector'):
        await apply(cluster, "services", service("m"), "argo")
    back = await apply(cluster, "services", service("m"), "argo", force=True)
    assert back["spec"]["selector"] == {"app": "m"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": ""}, "kind must be set in an apply patch"),
        ({"metadata": {"name": "b"}}, "does not match the name on the URL"),
        ({"metadata": {"managedFields": [{"manager": "x"}]}}, "managedFields must be nil"),
        ({"data": {"k": 1}}, "cannot be handled as a ConfigMap"),
        ({"dat": {}}, "unknown field"),
    ],
)
async def test_what_cannot_be_applied_is_refused(cluster: Cluster, change: Obj, said: str) -> None:
    """As a whole, before anything is made."""
    path = cluster.path("configmaps", "a")
    body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("a")} | change
    query = {"fieldValidation": "Strict"}
    with pytest.raises(ApiError) as caught:
        await as_manager(cluster.client, "one", path, body, APPLY, query)
    assert caught.value.status in (400, 422, 500)
    if cluster.server is not None:
        assert said in str(caught.value)
    with pytest.raises(ApiError):
        await cluster.client.get(path)


async def test_an_apply_needs_a_manager(cluster: Cluster) -> None:
    """Nobody else could tell later whose the fields are."""
    client = cluster.client
    headers, url = await client._prepared(cluster.path("configmaps", "a"))
    headers["Content-Type"] = APPLY
    async with client._session.patch(url, data="{}", headers=headers) as answer:
        assert answer.status in (400, 422)
        assert "fieldManager" in await answer.text()


async def test_kubectl_applies_server_side(
    cluster: Cluster, kubectl_environment: dict[str, str]
) -> None:
    """Made, unchanged, conflicting with an edit, forced; then a client-side apply taken over."""

    async def run(*arguments: str, given: object = None) -> tuple[int, str]:
        return await kubectl(cluster, kubectl_environment, *arguments, given=given)

    def manifest(image: str, **labels: str) -> Obj:
        body = deployment("m", managed=False, image=image)
        body["metadata"]["labels"] = labels
        return {"apiVersion": "apps/v1", "kind": "Deployment", **body}

    server_side = ("apply", "--server-side", "-f", "-")
    first, second = manifest("example.test/a:1", a="1"), manifest("example.test/a:1")
    status, out = await run(*server_side, given=first)
    assert (status, out) == (0, "deployment.apps/m serverside-applied\n")
    assert (await run(*server_side, given=first))[0] == 0
    await run(*server_side, given=second)
    made = await cluster.client.get(cluster.path("deployments", "m"))
    assert "labels" not in made["metadata"]
    assert (await run("set", "image", "deploy/m", "server=example.test/b:1"))[0] == 0
    status, out = await run(*server_side, given=first)
    assert status == 1
    assert 'conflict with "kubectl-set" using apps/v1' in out
    assert '.spec.template.spec.containers[name="server"].image' in out
    assert (await run(*server_side, "--force-conflicts", given=first))[0] == 0
    made = await cluster.client.get(cluster.path("deployments", "m"))
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "example.test/a:1"

    other = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("c", {"k": "1", "l": "1"})}
    assert (await run("apply", "-f", "-", given=other))[0] == 0
    other["data"] = {"k": "2"}
    status, out = await run(*server_side, given=other)
    assert status == 0, out
    taken = await cluster.client.get(cluster.path("configmaps", "c"))
    assert taken["data"] == {"k": "2"}
