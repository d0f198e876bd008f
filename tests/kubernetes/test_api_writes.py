"""The API server's writes: what is taken, what is refused, what changes by it.

These hold for any API server: with ``--kubeconfig`` they check our own against a real one.
"""

from __future__ import annotations

from typing import Any

import pytest

from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import (
    Obj,
    config_map,
    deployment,
    endpoint_slice,
    pod,
    refused,
    service,
)

JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


async def patched(client: Client, path: str, body: Any, media_type: str) -> Obj:
    return await client.send("patch", "PATCH", path, body, media_type)


async def test_an_object_is_created_once(cluster: Cluster, client: Client) -> None:
    """The server names, numbers and dates it; the same name again is refused."""
    path = cluster.path("configmaps")
    made = await client.create(path, config_map("a", {"k": "v"}))
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(made["metadata"]["resourceVersion"]) > 0
    with pytest.raises(ApiError) as twice:
        await client.create(path, config_map("a"))
    assert refused(twice.value) == (409, "AlreadyExists")
    assert 'configmaps "a" already exists' in str(twice.value)


async def test_names_can_be_left_to_the_server(cluster: Cluster, client: Client) -> None:
    """generateName gets five characters."""
    body: Obj = {"metadata": {"generateName": "a-"}, "data": {}}
    made = [await client.create(cluster.path("configmaps"), body) for _ in range(2)]
    names = {m["metadata"]["name"] for m in made}
    assert len(names) == 2
    assert all(name.startswith("a-") and len(name) == 7 for name in names)


BAD: dict[str, tuple[str, Obj, int, str]] = {
    "negative replicas": ("deployments", deployment("m", -1), 422, "spec.replicas"),
    "no selector": (
        *("deployments", {"metadata": {"name": "m"}, "spec": {"template": {}}}, 422),
        "spec.selector",
    ),
    "a name in capitals": ("configmaps", config_map("A"), 422, "metadata.name"),
    "a label that is none": (
        *("configmaps", config_map("a", labels={"a": "b c"}), 422, "metadata.labels"),
    ),
    "no containers": ("pods", pod("a", containers=[]), 422, "spec.containers"),
    "a probe without a handler": (
        *("deployments", deployment("m", readinessProbe={"periodSeconds": 1}), 422),
        "readinessProbe",
    ),
    "no ports": ("services", service("a", ports=[]), 422, "spec.ports"),
    "ports without names": (
        *("services", service("a", ports=[{"port": 1}, {"port": 2}]), 422),
        "spec.ports[0].name",
    ),
    "a word for a number": (
        *("deployments", deployment("m") | {"spec": {"replicas": "two"}}, 400),
        "cannot be handled as a Deployment",
    ),
    "an address of the other family": (
        *("endpointslices", endpoint_slice("a", "fd00::1"), 422, "addresses"),
    ),
    "another kind": (
        *("configmaps", config_map("a") | {"kind": "Secret", "apiVersion": "v1"}, 400),
        "ConfigMap",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_wrong_is_refused(case: str, cluster: Cluster, client: Client) -> None:
    """With the field at fault, and nothing is written."""
    resource, body, code, named = BAD[case]
    with pytest.raises(ApiError) as raised:
        await client.create(cluster.path(resource), body)
    assert raised.value.status == code
    assert named in str(raised.value)
    items, _ = await client.list(cluster.path(resource))
    assert [i for i in items if i["metadata"]["name"] in ("a", "m")] == []


async def test_unknown_fields_are_refused(cluster: Cluster, client: Client) -> None:
    """A field that Kubernetes does not know is a mistake of whoever wrote it."""
    body = deployment("m")
    body["spec"]["replcas"] = 2
    with pytest.raises(ApiError) as raised:
        await client.send(
            *("create", "POST", cluster.path("deployments"), body),
            query={"fieldValidation": "Strict"},
        )
    assert refused(raised.value) == (400, "BadRequest")
    assert 'unknown field "spec.replcas"' in str(raised.value)


async def test_unknown_namespaces_and_objects_are_not_found(
    cluster: Cluster, client: Client
) -> None:
    """404, and the message names what was not there."""
    with pytest.raises(ApiError) as nowhere:
        await client.create("/api/v1/namespaces/nowhere-to-go/configmaps", config_map("a"))
    assert refused(nowhere.value) == (404, "NotFound")
    assert 'namespaces "nowhere-to-go" not found' in str(nowhere.value)
    for call in (client.get, client.delete):
        with pytest.raises(ApiError) as missing:
            await call(cluster.path("deployments", "m"))
        assert 'deployments.apps "m" not found' in str(missing.value)


async def test_an_outdated_write_is_refused(cluster: Cluster, client: Client) -> None:
    """PUT with an older resourceVersion: 409; with the current one, or a patch, it is taken."""
    path = cluster.path("configmaps", "a")
    first = await client.create(cluster.path("configmaps"), config_map("a"))
    second = await client.patch(path, {"data": {"k": "1"}})
    with pytest.raises(ApiError) as raised:
        await client.replace(path, first)
    assert refused(raised.value) == (409, "Conflict")
    assert "the object has been modified" in str(raised.value)
    third = await client.replace(path, second | {"data": {"k": "2"}})
    assert third["data"] == {"k": "2"}


async def test_a_lease_is_written_over_a_known_version_only(
    cluster: Cluster, client: Client
) -> None:
    """PUT without a resourceVersion is refused: nobody takes a lease by accident."""
    lease: Obj = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}}
    made = await client.create(cluster.path("leases"), lease)
    with pytest.raises(ApiError) as blind:
        await client.replace(cluster.path("leases", "a"), lease)
    assert refused(blind.value) == (422, "Invalid")
    await client.replace(cluster.path("leases", "a"), made | {"spec": {"holderIdentity": "y"}})
    with pytest.raises(ApiError) as stale:
        await client.replace(cluster.path("leases", "a"), made)
    assert refused(stale.value) == (409, "Conflict")


async def test_a_write_that_changes_nothing_is_none(cluster: Cluster, client: Client) -> None:
    """No new revision: whoever patches on and on wakes nobody up."""
    made = await client.create(cluster.path("configmaps"), config_map("a", {"k": "v"}))
    same = await client.patch(cluster.path("configmaps", "a"), {"data": {"k": "v"}})
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_dry_runs_change_nothing(cluster: Cluster, client: Client) -> None:
    """They answer as if."""
    path = cluster.path("configmaps")
    dry = {"dryRun": "All"}
    await client.send("create", "POST", path, config_map("a"), query=dry)
    with pytest.raises(ApiError):
        await client.get(f"{path}/a")
    await client.create(path, config_map("a"))
    await client.send("delete", "DELETE", f"{path}/a", query=dry)
    assert (await client.get(f"{path}/a"))["metadata"]["name"] == "a"


async def test_status_and_spec_are_apart(cluster: Cluster, client: Client) -> None:
    """Each is written by its own path only; generation counts changes of the spec."""
    path = cluster.path("deployments", "m")
    made = await client.create(
        cluster.path("deployments"), deployment("m") | {"status": {"replicas": 7}}
    )
    assert made["status"].get("replicas") in (None, 0) if "status" in made else True
    assert made["metadata"]["generation"] == 1
    ours = await client.patch(path, {"status": {"replicas": 7}, "spec": {"minReadySeconds": 1}})
    assert ours.get("status", {}).get("replicas") in (None, 0)
    assert ours["metadata"]["generation"] == 2
    theirs = await client.patch(
        f"{path}/status", {"status": {"observedGeneration": 2}, "spec": {"minReadySeconds": 9}}
    )
    assert theirs["spec"]["minReadySeconds"] == 1
    assert theirs["metadata"]["generation"] == 2


async def test_scale_is_a_view_of_its_own(cluster: Cluster, client: Client) -> None:
    """At zero its spec is empty; writing it changes replicas and nothing else."""
    path = cluster.path("deployments", "m")
    made = await client.create(cluster.path("deployments"), deployment("m", 0))
    scale = await client.get(f"{path}/scale")
    assert (scale["kind"], scale["spec"]) == ("Scale", {})
    assert scale["status"]["selector"] == "app=m"
    scale = await client.patch(f"{path}/scale", {"spec": {"replicas": 3}})
    assert scale["spec"] == {"replicas": 3}
    now = await client.get(path)
    assert now["spec"] == made["spec"] | {"replicas": 3}
    assert now["metadata"]["generation"] > made["metadata"]["generation"]
    with pytest.raises(ApiError) as negative:
        await client.patch(f"{path}/scale", {"spec": {"replicas": -1}})
    assert refused(negative.value) == (422, "Invalid")
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(ApiError) as outdated:
        await client.patch(f"{path}/scale", stale | {"spec": {"replicas": 1}})
    assert refused(outdated.value) == (409, "Conflict")


async def test_the_three_kinds_of_patch(cluster: Cluster, client: Client) -> None:
    """JSON patch edits by path, merge patch replaces lists, strategic merges them by key."""
    path = cluster.path("deployments", "m")
    await client.create(cluster.path("deployments"), deployment("m"))
    two = {"name": "other", "image": "example.test/other:1"}
    template = {"spec": {"template": {"spec": {"containers": [two]}}}}
    made = await patched(client, path, template, STRATEGIC)
    containers = made["spec"]["template"]["spec"]["containers"]
    assert {c["name"] for c in containers} == {"server", "other"}
    made = await client.patch(path, template)
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["other"]
    gone = {"$patch": "delete", "name": "other"}
    new = {"name": "new", "image": "example.test/new:1"}
    made = await patched(
        client, path, {"spec": {"template": {"spec": {"containers": [gone, new]}}}}, STRATEGIC
    )
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["new"]
    edits = [
        {"op": "test", "path": "/metadata/name", "value": "m"},
        {"op": "add", "path": "/metadata/annotations", "value": {"stoker.dev/a": "1"}},
        {"op": "replace", "path": "/metadata/annotations/stoker.dev~1a", "value": "2"},
    ]
    made = await patched(client, path, edits, JSON_PATCH)
    assert made["metadata"]["annotations"] == {"stoker.dev/a": "2"}
    with pytest.raises(ApiError) as no_patch:
        await patched(client, path, {"spec": {}}, JSON_PATCH)
    assert refused(no_patch.value) == (400, "BadRequest")
    with pytest.raises(ApiError) as failed:
        await patched(client, path, [{"op": "test", "path": "/kind", "value": "x"}], JSON_PATCH)
    assert failed.value.status == 422
    with pytest.raises(ApiError) as unknown:
        await patched(client, path, {}, "application/json")
    assert refused(unknown.value) == (415, "UnsupportedMediaType")


async def test_some_fields_never_change(cluster: Cluster, client: Client) -> None:
    """A Deployment's selector, a Service's address, most of a pod."""
    await client.create(cluster.path("deployments"), deployment("m"))
    await client.create(cluster.path("services"), service("s"))
    await client.create(cluster.path("pods"), pod("p", nodeName="nowhere"))
    relabelled = {"matchLabels": {"app": None, "is": "m"}}
    labels = {"metadata": {"labels": {"app": "m", "is": "m"}}}
    for path, patch in (
        (cluster.path("deployments", "m"), {"selector": relabelled, "template": labels}),
        (cluster.path("services", "s"), {"clusterIP": "10.96.200.200"}),
        (cluster.path("pods", "p"), {"restartPolicy": "Never"}),
    ):
        with pytest.raises(ApiError) as raised:
            await client.patch(path, {"spec": patch})
        assert refused(raised.value) == (422, "Invalid")


async def test_finalizers_hold_an_object(cluster: Cluster, client: Client) -> None:
    """It is terminating until the last finalizer is taken out."""
    path = cluster.path("configmaps", "a")
    body = config_map("a", finalizers=["stoker.dev/test"])
    made = await client.create(cluster.path("configmaps"), body)
    await client.delete(path)
    terminating = await client.get(path)
    assert terminating["metadata"]["deletionTimestamp"]
    assert terminating["metadata"]["uid"] == made["metadata"]["uid"]
    await client.patch(path, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiError) as gone:
        await client.get(path)
    assert gone.value.status == 404


async def test_deleting_the_wrong_one_is_refused(cluster: Cluster, client: Client) -> None:
    """A name may mean another object by now: its uid says which was meant."""
    path = cluster.path("configmaps", "a")
    made = await client.create(cluster.path("configmaps"), config_map("a"))
    with pytest.raises(ApiError) as raised:
        await client.delete(path, uid="11111111-1111-1111-1111-111111111111")
    assert refused(raised.value) == (409, "Conflict")
    await client.delete(path, uid=made["metadata"]["uid"])


async def test_a_pod_on_a_node_terminates_first(cluster: Cluster, client: Client) -> None:
    """Its kubelet takes it away within the grace period; one without a node is gone at once."""
    await client.create(cluster.path("pods"), pod("waiting", schedulerName="nobody"))
    await client.create(cluster.path("pods"), pod("placed", nodeName="nowhere"))
    await client.delete(cluster.path("pods", "waiting"))
    with pytest.raises(ApiError):
        await client.get(cluster.path("pods", "waiting"))
    await client.delete(cluster.path("pods", "placed"))
    terminating = await client.get(cluster.path("pods", "placed"))
    assert terminating["metadata"]["deletionGracePeriodSeconds"] == 30
    await client.send("delete", "DELETE", cluster.path("pods", "placed"), {"gracePeriodSeconds": 0})
    with pytest.raises(ApiError):
        await client.get(cluster.path("pods", "placed"))


async def test_custom_resources_know_no_strategic_merge(cluster: Cluster, client: Client) -> None:
    """415 for it, 422 for a PUT without a resourceVersion: as for any CRD."""
    if cluster.server is None:
        pytest.skip("needs KEDA's definitions")
    body: Obj = {"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"name": "m"}}}
    await client.create(cluster.path("scaledobjects"), body)
    path = cluster.path("scaledobjects", "a")
    with pytest.raises(ApiError) as merge:
        await patched(client, path, {"spec": {}}, STRATEGIC)
    assert refused(merge.value) == (415, "UnsupportedMediaType")
    with pytest.raises(ApiError) as blind:
        await client.replace(path, body)
    assert refused(blind.value) == (422, "Invalid")
