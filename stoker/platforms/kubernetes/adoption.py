"""What putting a Deployment behind Stoker would change, and taking it out again. No I/O.

Both are one patch of metadata: the label, and annotations for settings. Everything else follows
from that in whoever leads; here it is said beforehand, with all that speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoker.errors import SettingsError
from stoker.platforms.kubernetes.models import (
    DeploymentView,
    Rival,
    refusal,
    settings_of,
    view,
)
from stoker.platforms.kubernetes.names import MANAGED, PREFIX
from stoker.platforms.kubernetes.services import view as service_view
from stoker.platforms.kubernetes.traffic import selects, unfit
from stoker.vocabulary import ModelSpec

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Adoption:
    """``happens`` is what follows, ``warnings`` what may surprise, ``obstacles`` why it would
    not become a model; ``patch`` does it, if and only if the Deployment has not changed since.
    """

    happens: tuple[str, ...]
    warnings: tuple[str, ...]
    obstacles: tuple[str, ...]
    patch: dict[str, Any]


def adoption(
    deployment: Obj,
    services: Iterable[Obj],
    deployments: Iterable[Obj],
    rivals: Iterable[Rival],
    settings: Mapping[str, str],
) -> Adoption:
    """``services`` and ``deployments`` are all of its namespace, ``settings`` annotations
    without their prefix that are to be written too.
    """
    metadata = deployment["metadata"]
    annotations = {PREFIX + name: value for name, value in settings.items()}
    before = view(deployment)
    written = dict(before.annotations) | annotations
    wanted = replace(before, annotations=tuple(sorted(written.items())))
    obstacles = [why for why in (refusal(rivals),) if why]
    happens = [_as_it_is(deployment)]
    if before.deleting:
        obstacles.append("it is being deleted")
    try:
        annotated, port = settings_of(wanted)
    except SettingsError as error:
        obstacles += [str(problem) for problem in error.problems]
    else:
        first = port or (wanted.ports[0][0] or wanted.ports[0][1])
        happens.append(
            f"it becomes the model {wanted.key}; requests go to port {first} of its pods"
        )
        happens += _scale(annotated.spec)
        happens += [f"note: {notice}" for notice in annotated.notices]
    happens += _traffic(wanted, services, deployments)
    return Adoption(
        tuple(happens),
        tuple(_warnings(deployment)),
        tuple(obstacles),
        {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "labels": {MANAGED: "true"},
                "annotations": annotations,
            }
        },
    )


def is_managed(deployment: Obj) -> bool:
    """Whether it carries the label."""
    return (deployment["metadata"].get("labels") or {}).get(MANAGED) == "true"


def release(deployment: Obj) -> dict[str, Any]:
    """The patch that takes the label away. Annotations stay, for the next time."""
    metadata = deployment["metadata"]
    return {"metadata": {"resourceVersion": metadata["resourceVersion"], "labels": {MANAGED: None}}}


def _as_it_is(deployment: Obj) -> str:
    spec, status = deployment["spec"], deployment.get("status") or {}
    count, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    images = ", ".join(c["image"] for c in spec["template"]["spec"]["containers"])
    return f"now: {_counted(count, 'replica')}, {ready} ready, of {images}"


def _scale(spec: ModelSpec) -> Iterable[str]:
    scaling, serving = spec.scaling, spec.serving
    most = f"at most {scaling.max_scale}" if scaling.max_scale else "no upper bound (max-scale)"
    if scaling.min_scale:
        yield f"it keeps {_counted(scaling.min_scale, 'replica')} at least, {most}"
    elif scaling.enable_scale_to_zero:
        quiet = scaling.stable_window + scaling.scale_to_zero_grace_period
        yield (
            f"it sleeps after about {quiet:g} s without a request (stable-window,"
            f" scale-to-zero-grace-period) and wakes with the next one; {most}"
        )
    else:
        yield f"it never sleeps (enable-scale-to-zero: false); {most}"
    limit = serving.container_concurrency
    if limit:
        yield f"a replica gets {_counted(limit, 'request')} at once at most (container-concurrency)"
    else:
        yield "a replica gets any number of requests at once (container-concurrency: 0)"


def _traffic(
    model: DeploymentView, services: Iterable[Obj], deployments: Iterable[Obj]
) -> Iterable[str]:
    """What becomes of each Service whose selector picks the model's pods."""
    others = [
        (d["metadata"]["name"], (d["spec"]["template"].get("metadata") or {}).get("labels") or {})
        for d in deployments
        if d["metadata"]["name"] != model.key.name and is_managed(d)
    ]
    led = False
    for obj in services:
        service = service_view(obj)
        if service is None or not selects(service, dict(model.labels)):
            continue
        also = [name for name, labels in others if selects(service, labels)]
        if why := unfit(service):
            yield f"Service {service.name} is left alone: it {why}"
        elif also:
            yield f"Service {service.name} is left alone: it picks pods of {', '.join(also)} too"
        else:
            led = True
            yield (
                f"Service {service.name} keeps its name and address; its requests go through the"
                " activators"
            )
    if not led:
        yield (
            f"no Service is led through the activators: send requests to them, with the Host"
            f" {model.key.name}.localhost or one of stoker.dev/hosts"
        )


def _warnings(deployment: Obj) -> Iterable[str]:
    spec = deployment["spec"]
    for container in spec["template"]["spec"]["containers"]:
        if container.get("ports") and not container.get("readinessProbe"):
            yield (
                f"container {container['name']} has no readinessProbe: a pod gets requests as soon"
                " as it runs, and the first may fail"
            )
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        yield "strategy Recreate: no replica is there while an image rolls out, and requests wait"
    for manager in _count_writers(deployment["metadata"].get("managedFields") or ()):
        yield (
            f"spec.replicas is written by {manager}, which may put its own count back: leave"
            " replicas out of what it applies"
        )


def _count_writers(entries: Sequence[Obj]) -> Iterable[str]:
    """Who applies the whole object with a count in it; the others wrote it once."""
    for entry in entries:
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("operation") == "Apply" and "f:replicas" in fields:
            yield str(entry.get("manager", "somebody"))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
