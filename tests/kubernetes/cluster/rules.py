"""The rules of Kubernetes' controllers that matter to who scales, as pure functions."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

Obj = dict[str, Any]

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def condition(obj: Obj, kind: str) -> Obj:
    """A condition of an object's status; {} if it has none of that type."""
    for found in obj.get("status", {}).get("conditions") or ():
        if found["type"] == kind:
            return dict(found)
    return {}


def is_ready(pod: Obj) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_active(pod: Obj) -> bool:
    """Counts as one of its ReplicaSet's."""
    ended = pod["status"].get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def deletion_rank(pod: Obj) -> tuple[Any, ...]:
    """Who goes first when a ReplicaSet shrinks: smaller first.

    The order of ``ActivePodsWithRanks`` in kubernetes ``pkg/controller/controller_utils.go``:
    without a node, not running, not ready, cheaper, ready for a shorter time, more restarts,
    younger.
    """
    metadata, status = pod["metadata"], pod["status"]
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    cost = int((metadata.get("annotations") or {}).get(DELETION_COST, "0"))
    since = condition(pod, "Ready").get("lastTransitionTime", "") if is_ready(pod) else ""
    restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ())
    return (
        bool(pod["spec"].get("nodeName")),
        phases.get(status.get("phase", "Pending"), 0),
        is_ready(pod),
        cost,
        _younger_first(since),
        -restarts,
        _younger_first(metadata["creationTimestamp"]),
    )


def _younger_first(stamp: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in stamp)


def template_hash(template: Obj) -> str:
    """What a ReplicaSet's name ends with."""
    text = json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def share(value: Any, of: int, *, up: bool) -> int:
    """``25%`` or a number, of ``of``."""
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * of / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def rollout(deployment: Obj, new: Obj, olds: list[Obj]) -> tuple[int, dict[str, int]]:
    """Replicas of the new ReplicaSet and of each old one, one step on.

    As ``pkg/controller/deployment/rolling.go``: the new one grows within maxSurge, old ones
    shrink by what is ready beyond the minimum, those that are not ready first.
    """
    spec = deployment["spec"]
    desired = spec["replicas"]
    if not any(old["spec"]["replicas"] for old in olds):
        return desired, {}
    if spec["strategy"]["type"] == "Recreate":
        going = sum(old.get("status", {}).get("replicas", 0) for old in olds)
        return (0 if going else desired), {old["metadata"]["name"]: 0 for old in olds}
    rolling = spec["strategy"]["rollingUpdate"]
    surge = share(rolling["maxSurge"], desired, up=True)
    unavailable = share(rolling["maxUnavailable"], desired, up=False)
    if not surge and not unavailable:
        unavailable = 1
    size = new["spec"]["replicas"]
    total = size + sum(old["spec"]["replicas"] for old in olds)
    new_ready = new.get("status", {}).get("readyReplicas", 0)
    ready = new_ready + sum(old.get("status", {}).get("readyReplicas", 0) for old in olds)
    least = desired - unavailable
    # Counted by what the specs say, so that a status that is behind lets nobody go twice.
    room = max(0, total - least - (size - new_ready))
    spare = max(0, ready - least)
    sizes = {}
    for old in olds:
        replicas = old["spec"]["replicas"]
        old_ready = old.get("status", {}).get("readyReplicas", 0)
        sick = min(max(0, replicas - old_ready), room)
        room -= sick
        less = min(old_ready, spare, room)
        spare, room = spare - less, room - less
        sizes[old["metadata"]["name"]] = replicas - sick - less
    return min(desired, size + max(0, desired + surge - total)), sizes
