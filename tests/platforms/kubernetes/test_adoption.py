"""What ``stoker adopt`` says of a Deployment before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.platforms.kubernetes.adoption import Adoption, adoption, is_managed, release
from stoker.platforms.kubernetes.models import Rival
from stoker.vocabulary import ModelKey

Obj = dict[str, Any]


def deployment(name: str = "m", *, managed: bool = False, **spec: Any) -> Obj:
    container = {
        "name": "server",
        "image": "example.test/server:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}},
    }
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"stoker.dev/managed": "true"} if managed else None,
        },
        "spec": {
            "replicas": 2,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container]},
            },
            **spec,
        },
        "status": {"readyReplicas": 1},
    }


def service(name: str, selector: Obj | None, **spec: Any) -> Obj:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": "s", "resourceVersion": "1"},
        "spec": {"selector": selector, "ports": [{"port": 80}], "clusterIP": "10.0.0.1", **spec},
    }


def said(found: Adoption) -> str:
    return "\n".join(found.happens)


def test_a_plain_deployment() -> None:
    """What it is, what it becomes, when it sleeps; the patch holds for this version only."""
    found = adoption(deployment(), [service("m", {"app": "m"})], [], [], {"max-scale": "3"})
    assert found.happens == (
        "now: 2 replicas, 1 ready, of example.test/server:1",
        "it becomes the model shop/m; requests go to port http of its pods",
        "it sleeps after about 90 s without a request (stable-window,"
        " scale-to-zero-grace-period) and wakes with the next one; at most 3",
        "a replica gets any number of requests at once (container-concurrency: 0)",
        "Service m keeps its name and address; its requests go through the activators",
    )
    assert (found.warnings, found.obstacles) == ((), ())
    assert found.patch["metadata"] == {
        "resourceVersion": "7",
        "labels": {"stoker.dev/managed": "true"},
        "annotations": {"stoker.dev/max-scale": "3"},
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min-scale": "1"}, "it keeps 1 replica at least, no upper bound (max-scale)"),
        ({"enable-scale-to-zero": "false"}, "it never sleeps (enable-scale-to-zero: false)"),
        ({"container-concurrency": "1"}, "a replica gets 1 request at once at most"),
        ({"port": "9000"}, "requests go to port 9000 of its pods"),
    ],
)
def test_settings_are_taken_along(settings: dict[str, str], expected: str) -> None:
    """Those that would be written count, as they will."""
    assert expected in said(adoption(deployment(), [], [], [], settings))


def test_what_knative_said_and_means_nothing_here() -> None:
    """Its annotations are read; the rest is noted."""
    obj = deployment()
    obj["metadata"]["annotations"] = {
        "autoscaling.knative.dev/minScale": "2",
        "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
    }
    found = said(adoption(obj, [], [], [], {}))
    assert "it keeps 2 replicas at least" in found
    assert "note: autoscaling.knative.dev/class has no effect" in found


def test_services_that_are_left_alone() -> None:
    """Each with its reason; without one that is led, how to send requests is said."""
    services = [
        service("other", {"app": "other"}),
        service("none", None),
        service("shared", {"tier": "models"}),
        service("headless", {"app": "m"}, clusterIP="None"),
    ]
    mine, other = deployment(), deployment("n", managed=True)
    for obj in (mine, other):
        obj["spec"]["template"]["metadata"]["labels"]["tier"] = "models"
    unmanaged = deployment("o")
    found = said(adoption(mine, services, [mine, other, unmanaged], [], {}))
    assert "Service other" not in found
    assert "Service headless is left alone: it is headless" in found
    assert "Service shared is left alone: it picks pods of n too" in found
    assert "no Service is led through the activators" in found
    assert "m.localhost" in found


def test_obstacles() -> None:
    """Another autoscaler, a wrong setting, a deletion: all of them are told."""
    rival = Rival("HorizontalPodAutoscaler", "m", ModelKey("shop", "m"))
    obj = deployment()
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = adoption(obj, [], [], [rival], {"max-scale": "many", "port": "nope"})
    rivals, deleted, *settings = found.obstacles
    assert "HorizontalPodAutoscaler m scales it too" in rivals
    assert deleted == "it is being deleted"
    assert any("stoker.dev/max-scale = many" in each for each in settings)
    assert any("stoker.dev/port = nope: is no port of its containers" in each for each in settings)


def test_warnings() -> None:
    """What may surprise: no probe, a gap in roll-outs, somebody who applies a count."""
    obj = deployment(strategy={"type": "Recreate"})
    (container,) = obj["spec"]["template"]["spec"]["containers"]
    del container["readinessProbe"]
    obj["metadata"]["managedFields"] = [
        {"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "x", "operation": "Apply"},
    ]
    probe, recreate, writer = adoption(obj, [], [], [], {}).warnings
    assert "container server has no readinessProbe" in probe
    assert "strategy Recreate" in recreate
    assert "written by argocd" in writer
    quiet = deployment(strategy={"type": "RollingUpdate"})
    quiet["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "i"})
    assert adoption(quiet, [], [], [], {}).warnings == ()


def test_release() -> None:
    """The label goes, and nothing else."""
    obj = deployment(managed=True)
    assert is_managed(obj)
    assert not is_managed(deployment())
    patch = {"resourceVersion": "7", "labels": {"stoker.dev/managed": None}}
    assert release(obj) == {"metadata": patch}
