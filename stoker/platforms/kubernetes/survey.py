"""What Stoker has in a cluster, from the cluster's own objects. No I/O.

For people who look, and for ``stoker uninstall``, when no Stoker runs that could be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stoker.platforms.kubernetes import adoption, models, services
from stoker.platforms.kubernetes.names import COMPONENT, DELETION_COST, DRAINING
from stoker.platforms.kubernetes.pods import seconds
from stoker.platforms.kubernetes.traffic import ServiceView, SliceView, selects

Obj = Mapping[str, Any]


class Seen(NamedTuple):
    """One model, as the cluster has it. ``traffic`` and ``note`` are for people."""

    model: str
    replicas: int
    ready: int
    traffic: str
    note: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the Lease of a running Stoker, and where it is."""

    namespace: str
    identity: str


def seen(
    deployments: Iterable[Obj], all_services: Iterable[Obj], events: Iterable[Obj]
) -> list[Seen]:
    """Every labelled Deployment, by namespace and name."""
    found_services = [s for obj in all_services if (s := services.view(obj)) is not None]
    warned: dict[tuple[str, str], tuple[float, str]] = {}
    for event in events:
        about, source = event["involvedObject"], event.get("source") or {}
        ours = COMPONENT in (source.get("component"), event.get("reportingComponent"))
        if ours and event.get("type") == "Warning":
            key = about.get("namespace", ""), about["name"]
            stamp = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            latest = seconds(stamp), f"{event['reason']}: {event.get('message', '')}"
            warned[key] = max(warned.get(key, (0.0, "")), latest)
    found = []
    for obj in deployments:
        if not adoption.is_managed(obj):
            continue
        view = models.view(obj)
        key = (view.key.namespace, view.key.name)
        ready = (obj.get("status") or {}).get("readyReplicas", 0)
        traffic = ", ".join(
            f"{s.name} {_led(s)}"
            for s in sorted(found_services, key=lambda s: s.name)
            if s.namespace == view.key.namespace and selects(s, dict(view.labels))
        )
        note = warned.get(key, (0.0, ""))[1]
        found.append(Seen(str(view.key), view.replicas, ready, traffic or "no Service", note))
    return sorted(found)


def _led(service: ServiceView) -> str:
    if service.taken:
        return "through activators"
    return "changing over" if service.allocated else "direct"


def holder(leases: Iterable[Obj], name: str, wall: float) -> Holder | None:
    """Whose Lease of this name has not run out at ``wall``, if anybody's."""
    for lease in leases:
        spec = lease.get("spec") or {}
        renewed, identity = spec.get("renewTime"), spec.get("holderIdentity")
        if lease["metadata"]["name"] != name or not (renewed and identity):
            continue
        if wall < seconds(renewed) + spec.get("leaseDurationSeconds", 0):
            return Holder(lease["metadata"]["namespace"], identity)
    return None


def left_over(service: ServiceView, slices: Iterable[SliceView]) -> bool:
    """Whether anything of Stoker's is on a Service."""
    return service.taken or bool(service.allocated) or any(s.ours for s in slices)


def unmarked(pod: Obj) -> dict[str, Any] | None:
    """The patch that takes Stoker's marks off a pod; None: it has none."""
    metadata = pod["metadata"]
    if DRAINING not in (metadata.get("annotations") or {}) or "deletionTimestamp" in metadata:
        return None
    marks = {DRAINING: None, DELETION_COST: None}
    return {"metadata": {"uid": metadata["uid"], "annotations": marks}}
