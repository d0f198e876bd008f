"""Which models there are: labelled Deployments, their annotations, and who else scales them;
on which nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import Problem, SettingsError
from stoker.platforms.kubernetes.names import KNATIVE_PREFIX, PORT, PREFIX
from stoker.platforms.kubernetes.pods import port_among, ports_of
from stoker.settings.annotations import Annotated, read_annotations
from stoker.vocabulary import ModelKey, Node

Obj = Mapping[str, Any]

OTHERS = frozenset({PORT.removeprefix(PREFIX)})


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """What is kept of a Deployment: nothing that its status changes. ``labels`` are its
    pods'."""

    key: ModelKey
    uid: str
    replicas: int
    annotations: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, str], ...]
    deleting: bool


@dataclass(frozen=True, slots=True)
class Rival:
    """Another that scales a Deployment: an HPA, a ScaledObject."""

    kind: str
    name: str
    target: ModelKey


def view(deployment: Obj) -> DeploymentView:
    metadata, spec = deployment["metadata"], deployment["spec"]
    annotations = (metadata.get("annotations") or {}).items()
    return DeploymentView(
        key=ModelKey(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        replicas=spec.get("replicas", 1),
        annotations=tuple(
            sorted((k, v) for k, v in annotations if k.startswith((PREFIX, KNATIVE_PREFIX)))
        ),
        ports=ports_of(spec["template"]["spec"]),
        labels=tuple(sorted((spec["template"]["metadata"].get("labels") or {}).items())),
        deleting="deletionTimestamp" in metadata,
    )


def settings_of(
    deployment: DeploymentView, defaults: Mapping[str, Any] | None = None
) -> tuple[Annotated, str]:
    """The model's settings over ``defaults``, and its port as ``pods.port_among`` takes it.

    Raises SettingsError with every problem.
    """
    annotations = dict(deployment.annotations)
    problems: list[Problem] = []
    port = annotations.get(PORT, "")
    if port_among(deployment.ports, port) is None or (
        port.isdecimal() and not 0 < int(port) < 65536
    ):
        declared = ", ".join(name or str(number) for name, number in deployment.ports)
        problems.append(
            Problem(
                PORT,
                port,
                "is no port of its containers" if port else "is missing",
                f"1 to 65535, or one of {declared}" if declared else "1 to 65535",
                "the containers declare no port" if not declared else "",
            )
        )
    try:
        annotated = read_annotations(deployment.key, annotations, others=OTHERS, defaults=defaults)
    except SettingsError as error:
        raise SettingsError(str(deployment.key), [*problems, *error.problems]) from None
    if problems:
        raise SettingsError(str(deployment.key), problems)
    return annotated, port


RIVALS = (
    ("/apis/autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("/apis/keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
)
"""What may scale a Deployment too: where it is, and its kind. KEDA's need not be served."""


def rival(obj: Obj, kind: str) -> Rival | None:
    """What an HPA or a ScaledObject scales; None where that is no Deployment."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    target = spec.get("scaleTargetRef") or {}
    # KEDA's kind is Deployment unless it says otherwise.
    if target.get("kind", "Deployment") != "Deployment" or "name" not in target:
        return None
    return Rival(kind, metadata["name"], ModelKey(metadata["namespace"], target["name"]))


def rival_of(kind: str) -> Callable[[Obj], Rival | None]:
    """``rival`` of objects of this kind."""
    return lambda obj: rival(obj, kind)


# Who made a node puts its pool's name into one of these.
_POOL_LABELS = (
    *("karpenter.sh/nodepool", "cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup"),
    *("kubernetes.azure.com/agentpool", "agentpool"),
)


def node(obj: Obj) -> Node:
    """A machine of the cluster."""
    labels = obj["metadata"].get("labels") or {}
    pool = next((labels[name] for name in _POOL_LABELS if name in labels), "")
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return Node(obj["metadata"]["name"], pool, ready=ready)


def refusal(rivals: Iterable[Rival]) -> str:
    """Why a Deployment with ``rivals`` is no model; "" without any."""
    named = " and ".join(f"{rival.kind} {rival.name}" for rival in rivals)
    if not named:
        return ""
    return (
        f"{named} scales it too, and two would only undo each other's work: delete that, or the"
        " label stoker.dev/managed"
    )
