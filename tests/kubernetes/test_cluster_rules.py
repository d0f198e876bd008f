"""The controllers beside our API server keep the rules of the real ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.cluster.controllers import Controllers
from tests.kubernetes.cluster.kubelet import Image, Kubelet
from tests.kubernetes.cluster.rules import DELETION_COST, deletion_rank, rollout, share
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment, service
from tests.kubernetes.test_kubectl import kubectl

Obj = dict[str, Any]
EARLY, LATE = "2026-11-28T00:00:00Z", "2026-11-28T00:01:00Z"


def pod(
    *,
    node: str = "n",
    phase: str = "Running",
    ready: str = EARLY,
    created: str = EARLY,
    **more: Any,
) -> Obj:
    """``ready`` "": it is not."""
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    condition["lastTransitionTime"] = ready or EARLY
    cost = {DELETION_COST: str(more["cost"])} if "cost" in more else {}
    containers = [{"restartCount": more.get("restarts", 0)}]
    return {
        "metadata": {"creationTimestamp": created, "annotations": cost},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": [condition], "containerStatuses": containers},
    }


FIRST_TO_GO: dict[str, tuple[Obj, Obj]] = {
    "without a node": (pod(node=""), pod(cost=-9)),
    "pending": (pod(phase="Pending"), pod(ready="", cost=-9)),
    "not ready": (pod(ready=""), pod(cost=-9)),
    "cheaper": (pod(cost=-1000), pod(ready=LATE)),
    "ready for a shorter time": (pod(ready=LATE), pod(restarts=9)),
    "restarted more often": (pod(restarts=2), pod(created=LATE)),
    "younger": (pod(created=LATE), pod()),
}


@pytest.mark.parametrize("case", FIRST_TO_GO)
def test_who_goes_first(case: str) -> None:
    """Each rule counts more than all that follow."""
    goes, stays = FIRST_TO_GO[case]
    assert sorted([stays, goes], key=deletion_rank) == [goes, stays]


def replica_set(name: str, replicas: int, ready: int) -> Obj:
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "readyReplicas": ready},
    }


def deployed(replicas: int, kind: str = "RollingUpdate") -> Obj:
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    strategy = {"type": kind, "rollingUpdate": rolling}
    return {"spec": {"replicas": replicas, "strategy": strategy}}


ROLLOUTS: dict[str, tuple[Obj, tuple[int, int], tuple[int, int], tuple[int, dict[str, int]]]] = {
    "nothing to replace": (deployed(4), (0, 0), (0, 0), (4, {})),
    "begins": (deployed(4), (0, 0), (4, 4), (1, {"old": 3})),
    "waits for what is new": (deployed(4), (2, 0), (3, 3), (2, {"old": 3})),
    "goes on": (deployed(4), (2, 1), (3, 3), (2, {"old": 2})),
    "what is not ready goes first": (deployed(4), (0, 0), (4, 1), (1, {"old": 3})),
    "ends": (deployed(4), (4, 4), (1, 1), (4, {"old": 0})),
    "all at once, old first": (deployed(4, "Recreate"), (0, 0), (4, 4), (0, {"old": 0})),
}


@pytest.mark.parametrize("case", ROLLOUTS)
def test_one_step_of_a_rollout(case: str) -> None:
    """A quarter of four more, a quarter fewer, never beyond."""
    wanted, new, old, then = ROLLOUTS[case]
    assert rollout(wanted, replica_set("new", *new), [replica_set("old", *old)]) == then


def test_shares() -> None:
    """maxSurge is rounded up, maxUnavailable down."""
    assert (share("25%", 3, up=True), share("25%", 3, up=False), share(2, 9, up=True)) == (1, 0, 2)


async def test_kubectl_sees_a_rollout_end(
    cluster: Cluster, kubelet: Kubelet, kubectl_environment: dict[str, str]
) -> None:
    """``rollout status`` trusts counts and generations of the status: it must be right."""
    await cluster.client.create(cluster.path("deployments"), deployment("m", 3))
    follow = ("rollout", "status", "deploy/m", "--timeout=30s")
    status, out = await kubectl(cluster, kubectl_environment, *follow)
    assert status == 0, out
    change = ("set", "image", "deploy/m", "server=example.test/server:2")
    assert (await kubectl(cluster, kubectl_environment, *change))[0] == 0
    status, out = await kubectl(cluster, kubectl_environment, *follow)
    assert status == 0, out
    pods, _ = await cluster.client.list(cluster.path("pods"), {"labelSelector": "app=m"})
    living = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    assert {p["spec"]["containers"][0]["image"] for p in living} == {"example.test/server:2"}
    assert len(living) == 3


async def test_slices_follow_pods(
    cluster: Cluster, kubelet: Kubelet, controllers: Controllers | None
) -> None:
    """Addresses of pods with their readiness, the port by its name; a key in the selector that
    no pod has empties the slice, without it all are back."""
    await cluster.client.create(cluster.path("deployments"), deployment("m", 2))
    ports = [{"port": 80, "targetPort": "http"}]
    await cluster.client.create(cluster.path("services"), service("m", ports=ports))

    async def addresses(count: int) -> Obj:
        while True:
            query = {"labelSelector": "kubernetes.io/service-name=m"}
            slices, _ = await cluster.client.list(cluster.path("endpointslices"), query)
            ready = [
                e for s in slices for e in s.get("endpoints") or () if e["conditions"]["ready"]
            ]
            if slices and len(ready) == count:
                (found,) = slices
                return dict(found)

    found = await addresses(2)
    assert [port["port"] for port in found["ports"]] == [8080]
    path = cluster.path("services", "m")
    key = {"spec": {"selector": {"stoker.dev/direct": "true"}}}
    await cluster.client.patch(path, key)
    assert (await addresses(0))["endpoints"] == []
    await cluster.client.patch(path, {"spec": {"selector": {"stoker.dev/direct": None}}})
    await addresses(2)


async def test_what_is_owned_goes_with_its_owner(cluster: Cluster, kubelet: Kubelet) -> None:
    """Deployment, ReplicaSet, pods, and the processes."""
    kubelet.images["example.test/server:1"] = Image()
    await cluster.client.create(cluster.path("deployments"), deployment("m", 1))

    async def pods() -> list[Obj]:
        return (await cluster.client.list(cluster.path("pods")))[0]

    while not kubelet.pods:
        await pods()
    await cluster.client.delete(cluster.path("deployments", "m"))
    while await pods() or kubelet.pods:
        pass
    sets, _ = await cluster.client.list(cluster.path("replicasets"))
    assert sets == []
