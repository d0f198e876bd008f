"""What is seen of Stoker in a cluster's objects."""

from __future__ import annotations

from typing import Any

from stoker.platforms.kubernetes.services import slice_view
from stoker.platforms.kubernetes.services import view as service_view
from stoker.platforms.kubernetes.survey import Holder, Seen, holder, left_over, seen, unmarked
from tests.platforms.kubernetes.test_adoption import deployment, service

Obj = dict[str, Any]
DIRECT = {"app": "m", "stoker.dev/direct": "true"}


def event(name: str, kind: str, reason: str, stamp: str, component: str = "stoker") -> Obj:
    return {
        "metadata": {"creationTimestamp": stamp},
        "involvedObject": {"namespace": "shop", "name": name},
        "source": {"component": component},
        "type": kind,
        "reason": reason,
        "message": "why",
        "lastTimestamp": stamp,
    }


def test_models_with_their_services_and_the_last_warning() -> None:
    """Where the traffic goes now; others' events and the good news are left out."""
    half = service("half", {"app": "m"})
    half["metadata"]["annotations"] = {"stoker.dev/activator-ports": "=20000"}
    services = [
        service("led", DIRECT),
        half,
        service("plain", {"app": "m"}),
        service("other", {"app": "other"}),
        service("none", None),
    ]
    events = [
        event("m", "Warning", "ModelRefused", "2026-01-01T00:00:00Z"),
        event("m", "Warning", "SettingsRefused", "2026-01-02T00:00:00Z"),
        event("m", "Warning", "TrafficRefused", "2026-01-01T12:00:00Z"),
        event("m", "Normal", "Scaled", "2026-01-03T00:00:00Z"),
        event("m", "Warning", "Failed", "2026-01-04T00:00:00Z", "kubelet"),
    ]
    asleep = deployment("z", managed=True)
    asleep["spec"]["replicas"] = 0
    del asleep["status"]
    found = seen([asleep, deployment("m", managed=True), deployment("o")], services, events)
    traffic = "half changing over, led through activators, plain direct"
    assert found == [
        Seen("shop/m", 2, 1, traffic, "SettingsRefused: why"),
        Seen("shop/z", 0, 0, "no Service", ""),
    ]


def test_who_leads() -> None:
    """Whoever holds the Lease, as long as it lasts by its own words."""

    def lease(name: str, **spec: Any) -> Obj:
        return {"metadata": {"namespace": "stoker", "name": name}, "spec": spec}

    renewed = {"renewTime": "1970-01-01T00:01:40.000000Z", "leaseDurationSeconds": 15}
    held = lease("stoker", holderIdentity="a", **renewed)
    assert holder([lease("x", holderIdentity="b", **renewed), held], "stoker", 114.9) == Holder(
        "stoker", "a"
    )
    assert holder([held], "stoker", 115.0) is None
    assert holder([lease("stoker", holderIdentity="", **renewed)], "stoker", 100.0) is None
    assert holder([lease("stoker")], "stoker", 100.0) is None


def test_what_is_left() -> None:
    """The key, the annotation or a slice of ours on a Service; the mark on a pod."""
    plain, taken = service_view(service("m", {"app": "m"})), service_view(service("m", DIRECT))
    assert plain is not None
    assert taken is not None
    assert not left_over(plain, [])
    assert left_over(taken, [])
    part = slice_view(
        {
            "metadata": {
                "name": "m-stoker-ipv4",
                "labels": {
                    "kubernetes.io/service-name": "m",
                    "endpointslice.kubernetes.io/managed-by": "stoker.dev",
                },
                "uid": "x",
                "resourceVersion": "1",
            },
            "addressType": "IPv4",
        }
    )
    assert part is not None
    assert left_over(plain, [part])
    pod: Obj = {"metadata": {"uid": "p", "annotations": {"stoker.dev/draining": "now"}}}
    patch = unmarked(pod)
    assert patch is not None
    assert patch["metadata"]["annotations"] == {
        "stoker.dev/draining": None,
        "controller.kubernetes.io/pod-deletion-cost": None,
    }
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert unmarked(pod) is None
    assert unmarked({"metadata": {}}) is None
