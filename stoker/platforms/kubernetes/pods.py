"""What a Pod object says of a replica: pure.

The phases follow from what kubelets and the scheduler write, in this order: it is being
deleted, it was marked for draining, it ended, no node has been found, an init container works,
a container waits, ended, runs, is ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stoker.platforms.kubernetes.names import DRAINING
from stoker.vocabulary import Phase

Obj = Mapping[str, Any]

# Why a container waits, where waiting alone will not help.
STUCK = (
    *("CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName"),
    *("ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "RunContainerError"),
    *("CreateContainerConfigError", "CreateContainerError"),
)
# The first time that a pull fails may be the registry's bad moment; from the second on it is
# ImagePullBackOff, in turn with this.
_FAILING = (*STUCK, "ErrImagePull")
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class PodView:
    """What is kept of a pod. ``owner`` is the Deployment that its ReplicaSet belongs to.

    ``created`` is seconds since the epoch; ``stuck``: tried again and again without success;
    ``terminating``: the cluster is ending it, ``draining``: Stoker wants it to end.
    """

    namespace: str
    name: str
    uid: str
    owner: str
    phase: Phase
    reason: str
    stuck: bool
    terminating: bool
    draining: bool
    restarts: int
    host: str
    ports: tuple[tuple[str, int], ...]
    node: str
    created: float


def view(pod: Obj) -> PodView | None:
    """None for a pod that belongs to no Deployment."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    owner = owner_of(metadata)
    if owner is None:
        return None
    phase, reason, stuck = _phase(metadata, spec, status)
    containers = status.get("containerStatuses") or ()
    return PodView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        owner=owner,
        phase=phase,
        reason=reason[:_LONGEST_REASON],
        stuck=stuck,
        terminating="deletionTimestamp" in metadata,
        draining=DRAINING in (metadata.get("annotations") or {}),
        restarts=sum(c.get("restartCount", 0) for c in containers),
        host=status.get("podIP", ""),
        ports=ports_of(spec),
        node=spec.get("nodeName", ""),
        created=seconds(metadata["creationTimestamp"]),
    )


def owner_of(metadata: Obj) -> str | None:
    """The Deployment above the pod's ReplicaSet, which is named after it and the template.

    So no ReplicaSet need be watched; it is the name that the Deployment controller gives.
    """
    template = (metadata.get("labels") or {}).get("pod-template-hash")
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == "ReplicaSet" and template:
            name = str(reference["name"])
            if name.endswith(f"-{template}"):
                return name.removesuffix(f"-{template}")
    return None


def ports_of(spec: Obj) -> tuple[tuple[str, int], ...]:
    """Name ("" without one) and number of every port that the containers declare, in order."""
    return tuple(
        (port.get("name", ""), port["containerPort"])
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
    )


def port_among(ports: Sequence[tuple[str, int]], wanted: str) -> int | None:
    """The port that ``wanted`` (a name, a number, or "" for the first) means, if there is one."""
    if wanted.isdecimal():
        return int(wanted)
    for name, number in ports:
        if wanted in ("", name):
            return number
    return None


def seconds(stamp: str) -> float:
    """A time of the API (RFC 3339) in seconds since the epoch."""
    return datetime.fromisoformat(stamp).timestamp()


def _phase(metadata: Obj, spec: Obj, status: Obj) -> tuple[Phase, str, bool]:
    """Phase, reason, and whether it is stuck."""
    if "deletionTimestamp" in metadata:
        return Phase.DRAINING, "the pod is terminating", False
    if status.get("phase") in ("Failed", "Succeeded"):
        why = _joined(status.get("reason") or status["phase"], status.get("message"))
        return Phase.FAILED, why, False
    if DRAINING in (metadata.get("annotations") or {}):
        return Phase.DRAINING, "scaled down", False
    if not spec.get("nodeName"):
        found = _condition(status, "PodScheduled")
        return Phase.PENDING_NODE, _joined(found.get("reason"), found.get("message")), False
    init = _initializing(spec, status)
    if init is not None:
        return init
    if _condition(status, "Ready").get("status") == "True":
        return Phase.READY, "", False
    return _containers(status)


def _initializing(spec: Obj, status: Obj) -> tuple[Phase, str, bool] | None:
    """Where the pod is with its init containers; None once they are done (sidecars: started)."""
    sidecars = {
        c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"
    }
    for container in status.get("initContainerStatuses") or ():
        state = container.get("state") or {}
        if container["name"] in sidecars:
            done = container.get("started", False)
        else:
            done = state.get("terminated", {}).get("exitCode") == 0
        if done:
            continue
        name = f"init container {container['name']}"
        waiting = state.get("waiting") or {}
        if (why := waiting.get("reason")) in _FAILING:
            return Phase.FAILED, f"{name}: {_stuck(container, waiting)}", why in STUCK
        if ended := state.get("terminated"):
            return Phase.FAILED, f"{name}: {_ending(ended)}", False
        if "running" in state:
            return Phase.FETCHING_ARTIFACT, name, False
        return Phase.PULLING_IMAGE, name, False
    return None


def _containers(status: Obj) -> tuple[Phase, str, bool]:
    """Of containers that are not all ready: the worst of them tells."""
    starting = "", False
    found = status.get("containerStatuses") or ()
    for container in found:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if (why := waiting.get("reason")) in _FAILING:
            return Phase.FAILED, _stuck(container, waiting), why in STUCK
    for container in found:
        if ended := (container.get("state") or {}).get("terminated"):
            return Phase.FAILED, _ending(ended), False
    for container in found:
        if "running" in (container.get("state") or {}):
            starting = _restarted(container), True
        elif not container.get("ready"):
            return Phase.PULLING_IMAGE, "", False
    if not starting[1]:
        return Phase.PULLING_IMAGE, "", False  # on its node, which has not said anything yet
    return Phase.STARTING, starting[0], False


def _stuck(container: Obj, waiting: Obj) -> str:
    """``CrashLoopBackOff: back-off ...; last OOMKilled (exit code 137)``."""
    why = _joined(waiting["reason"], waiting.get("message"))
    ended = (container.get("lastState") or {}).get("terminated")
    return f"{why}; last {_ending(ended)}" if ended else why


def _restarted(container: Obj) -> str:
    ended = (container.get("lastState") or {}).get("terminated")
    if not ended:
        return ""
    return f"restarted {container.get('restartCount', 0)} times, last {_ending(ended)}"


def _ending(ended: Obj) -> str:
    text = f"{ended.get('reason') or 'ended'} (exit code {ended.get('exitCode')})"
    return _joined(text, ended.get("message"))


def _condition(status: Obj, kind: str) -> Obj:
    for found in status.get("conditions") or ():
        if found["type"] == kind:
            return dict(found)
    return {}


def _joined(first: str | None, second: str | None) -> str:
    return ": ".join(part for part in (first, second) if part)
