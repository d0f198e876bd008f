"""The subresource ``/scale`` of workloads."""

from __future__ import annotations

from dataclasses import replace

from tests.kubernetes.api import errors
from tests.kubernetes.api.kinds import Kind, Obj
from tests.kubernetes.api.selectors import selector_text


def scale_of(kind: Kind, obj: Obj) -> Obj:
    """The Scale of a workload. At zero its spec is empty, as Go's omitempty has it."""
    spec, status = obj["spec"], obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = spec.get("replicas", 0)
    selector = selector_text(spec.get("selector") or {}) if kind.scale_selector else ""
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in kept if key in obj["metadata"]},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": status.get("replicas", 0),
            **({"selector": selector} if selector else {}),
        },
    }


def replicas_of(kind: Kind, name: str, scale: Obj, old: Obj) -> int:
    """What a Scale asks for. Raises StatusError: 400, 422, and 409 where it is over another
    version of ``old``."""
    for key in scale:
        if key not in ("apiVersion", "kind", "metadata", "spec", "status"):
            raise errors.bad_request(f'strict decoding error: unknown field "{key}"')
    spec = scale.get("spec") or {}
    if set(spec) - {"replicas"}:
        raise errors.bad_request(f'strict decoding error: unknown field "spec.{min(spec)}"')
    replicas = spec.get("replicas", 0) or 0
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise errors.bad_request(f"spec.replicas is {type(replicas).__name__}")
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        scale_kind = replace(kind, group="autoscaling", kind="Scale")
        raise errors.invalid(scale_kind, name, [errors.Cause("spec.replicas", why)])
    metadata = scale.get("metadata") or {}
    if metadata.get("resourceVersion") not in (
        *(None, ""),
        old["metadata"]["resourceVersion"],
    ):
        raise errors.conflict(kind, name)
    return replicas
