"""Which phase a pod is in, and why, from what kubelets and the scheduler write."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.platforms.kubernetes.names import DRAINING
from stoker.platforms.kubernetes.pods import PodView, owner_of, port_among, seconds, view
from stoker.vocabulary import Phase

Obj = dict[str, Any]


def pod(status: Obj | None = None, *, node: str = "n1", **metadata: Any) -> Obj:
    """A pod of Deployment ``m``."""
    return {
        "metadata": {
            "namespace": "ns",
            "name": "m-abc-xyz",
            "uid": "u1",
            "creationTimestamp": "2026-11-28T00:00:10Z",
            "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "m-abc", "controller": True}],
            **metadata,
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "initContainers": [{"name": "fetch"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [
                {"name": "server", "ports": [{"name": "http", "containerPort": 8080}]},
                {"name": "side", "ports": [{"containerPort": 9090}]},
                {"name": "none"},
            ],
        },
        **({"status": status} if status is not None else {}),
    }


def seen(obj: Obj) -> PodView:
    found = view(obj)
    assert found is not None
    return found


def waiting(reason: str, message: str = "", last: Obj | None = None, restarts: int = 0) -> Obj:
    state: Obj = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return container(state, last=last, restarts=restarts)


def container(
    state: Obj, name: str = "server", last: Obj | None = None, restarts: int = 0, **more: Any
) -> Obj:
    return {
        "name": name,
        "state": state,
        "lastState": {"terminated": last} if last else {},
        "restartCount": restarts,
        **more,
    }


RUNNING: Obj = {"running": {"startedAt": "2026-11-28T00:00:11Z"}}
OOM: Obj = {"reason": "OOMKilled", "exitCode": 137}
DONE: Obj = {"terminated": {"exitCode": 0, "reason": "Completed"}}

CASES: dict[str, tuple[Obj, Phase, str]] = {
    "nothing known": (pod(None, node=""), Phase.PENDING_NODE, ""),
    "no node found": (
        pod(
            {
                "conditions": [
                    {"type": "Other", "status": "True"},
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    },
                ]
            },
            node="",
        ),
        Phase.PENDING_NODE,
        "Unschedulable: 0/3 nodes are available",
    ),
    "on its node, silent": (pod({}), Phase.PULLING_IMAGE, ""),
    "creating": (
        pod({"containerStatuses": [waiting("ContainerCreating")]}),
        Phase.PULLING_IMAGE,
        "",
    ),
    "one of two runs": (
        pod({"containerStatuses": [container(RUNNING), waiting("ContainerCreating")]}),
        Phase.PULLING_IMAGE,
        "",
    ),
    "all ready but the pod": (
        pod({"containerStatuses": [container({}, ready=True)]}),
        Phase.PULLING_IMAGE,
        "",
    ),
    "init pulls": (
        pod({"initContainerStatuses": [container({"waiting": {}}, "fetch")]}),
        Phase.PULLING_IMAGE,
        "init container fetch",
    ),
    "init runs": (
        pod({"initContainerStatuses": [container(RUNNING, "fetch")]}),
        Phase.FETCHING_ARTIFACT,
        "init container fetch",
    ),
    "init failed": (
        pod(
            {
                "initContainerStatuses": [
                    container({"terminated": {"exitCode": 2, "reason": "Error"}}, "fetch")
                ]
            }
        ),
        Phase.FAILED,
        "init container fetch: Error (exit code 2)",
    ),
    "init stuck": (
        pod(
            {
                "initContainerStatuses": [
                    container({"waiting": {"reason": "CrashLoopBackOff"}}, "fetch")
                ]
            }
        ),
        Phase.FAILED,
        "init container fetch: CrashLoopBackOff",
    ),
    "init done, its sidecar runs, not started": (
        pod(
            {
                "initContainerStatuses": [
                    container(DONE, "fetch"),
                    container(RUNNING, "proxy", started=False),
                ]
            }
        ),
        Phase.FETCHING_ARTIFACT,
        "init container proxy",
    ),
    "running": (
        pod(
            {
                "initContainerStatuses": [
                    container(DONE, "fetch"),
                    container(RUNNING, "proxy", started=True),
                ],
                "containerStatuses": [container(RUNNING)],
                "conditions": [{"type": "Ready", "status": "False"}],
            }
        ),
        Phase.STARTING,
        "",
    ),
    "running again": (
        pod({"containerStatuses": [container(RUNNING, last=OOM, restarts=3)]}),
        Phase.STARTING,
        "restarted 3 times, last OOMKilled (exit code 137)",
    ),
    "ready": (
        pod(
            {
                "containerStatuses": [container(RUNNING)],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
        ),
        Phase.READY,
        "",
    ),
    "out of memory": (
        pod({"containerStatuses": [container({"terminated": OOM | {"message": "too big"}})]}),
        Phase.FAILED,
        "OOMKilled (exit code 137): too big",
    ),
    "crash loop": (
        pod(
            {
                "containerStatuses": [
                    waiting("CrashLoopBackOff", "back-off 40s", last=OOM, restarts=4)
                ]
            }
        ),
        Phase.FAILED,
        "CrashLoopBackOff: back-off 40s; last OOMKilled (exit code 137)",
    ),
    "image cannot be pulled": (
        pod({"containerStatuses": [waiting("ImagePullBackOff", "no such image")]}),
        Phase.FAILED,
        "ImagePullBackOff: no such image",
    ),
    "image was not pulled once": (
        pod({"containerStatuses": [waiting("ErrImagePull", "timeout")]}),
        Phase.FAILED,
        "ErrImagePull: timeout",
    ),
    "evicted": (
        pod({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}),
        Phase.FAILED,
        "Evicted: disk pressure",
    ),
    "ended well": (pod({"phase": "Succeeded"}), Phase.FAILED, "Succeeded"),
    "marked": (
        pod(
            {"conditions": [{"type": "Ready", "status": "True"}]},
            annotations={DRAINING: "2026-11-28T00:01:00Z"},
        ),
        Phase.DRAINING,
        "scaled down",
    ),
    "terminating": (
        pod({"phase": "Failed"}, deletionTimestamp="2026-11-28T00:01:00Z"),
        Phase.DRAINING,
        "the pod is terminating",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_phases_and_reasons(case: str) -> None:
    """What is furthest along, or worst, tells."""
    obj, phase, reason = CASES[case]
    found = seen(obj)
    assert (found.phase, found.reason) == (phase, reason)
    assert found.stuck == ("BackOff" in reason)
    assert found.terminating == (case == "terminating")
    assert found.draining == (case == "marked")


def test_what_is_kept() -> None:
    """Ports in order, restarts of all containers, when and where."""
    status = {"podIP": "10.0.0.7", "containerStatuses": [container(RUNNING, restarts=2)] * 2}
    found = seen(pod(status))
    assert (found.host, found.node, found.restarts, found.owner) == ("10.0.0.7", "n1", 4, "m")
    assert found.ports == (("http", 8080), ("", 9090))
    assert found.created == seconds("2026-11-28T00:00:10Z") == 1795824010.0


def test_long_reasons_are_cut() -> None:
    """Some errors of runtimes are pages."""
    found = seen(pod({"phase": "Failed", "reason": "x" * 1000}))
    assert found.reason == "x" * 300


@pytest.mark.parametrize(
    "metadata",
    [
        {"ownerReferences": None},
        {"labels": None},
        {"ownerReferences": [{"kind": "ReplicaSet", "name": "m-abc"}]},
        {"ownerReferences": [{"kind": "Job", "name": "m-abc", "controller": True}]},
        {"ownerReferences": [{"kind": "ReplicaSet", "name": "other", "controller": True}]},
    ],
    ids=["nobody's", "no hash", "not controlled", "a Job's", "a ReplicaSet made by hand"],
)
def test_pods_of_no_deployment_are_left_aside(metadata: Obj) -> None:
    """They are nobody's replicas."""
    obj = pod({}, **metadata)
    assert view(obj) is None
    assert owner_of(obj["metadata"]) is None


def test_ports_by_name_and_number() -> None:
    """Any number is taken: containers need not declare what they listen on."""
    ports = (("", 1), ("http", 8080))
    assert [port_among(ports, wanted) for wanted in ("", "http", "9", "grpc")] == [1, 8080, 9, None]
    assert port_among((), "") is None
