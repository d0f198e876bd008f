"""What an API server refuses with 422, per kind, and which fields never change."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from tests.kubernetes.api.errors import Cause, invalid
from tests.kubernetes.api.kinds import Kind, Obj
from tests.kubernetes.api.selectors import selects

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_IMMUTABLE = "field is immutable"


def check(kind: Kind, obj: Obj, old: Obj | None, *, loopback: bool) -> None:
    """Raises StatusError (422), listing everything wrong. ``loopback``: allow EndpointSlices
    to name loopback addresses, which a real server refuses."""
    causes = [*_metadata(kind, obj, old)]
    spec = obj.get("spec") or {}
    match kind.kind:
        case "Deployment" | "ReplicaSet" | "StatefulSet":
            causes += _workload(kind, spec, (old or {}).get("spec"))
        case "Pod":
            causes += _pod(spec, "spec")
            if old is not None:
                causes += _pod_update(spec, old["spec"])
        case "Service":
            causes += _service(spec, (old or {}).get("spec"))
        case "EndpointSlice":
            causes += _slice(obj, old, loopback)
        case "Role" | "ClusterRole":
            causes += _rules(kind, obj)
        case "RoleBinding" | "ClusterRoleBinding":
            causes += _binding(obj, old)
        case "PodDisruptionBudget" if {"minAvailable", "maxUnavailable"} <= set(spec):
            causes.append(_wrong("spec", "both", "minAvailable and maxUnavailable exclude"))
        case "Lease":
            duration = spec.get("leaseDurationSeconds")
            if duration is not None and duration <= 0:
                causes.append(_wrong("spec.leaseDurationSeconds", duration, "must be positive"))
    if causes:
        raise invalid(kind, obj["metadata"].get("name", ""), causes)


def _wrong(field: str, value: Any, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else value
    return Cause(field, f"Invalid value: {shown}: {why}")


def _required(field: str, why: str = "") -> Cause:
    return Cause(field, f"Required value: {why}" if why else "Required value", "FieldValueRequired")


def _metadata(kind: Kind, obj: Obj, old: Obj | None) -> Iterator[Cause]:
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    rule, limit = (_LABEL, 63) if kind.kind in ("Namespace", "Service") else (_SUBDOMAIN, 253)
    if kind.group == "rbac.authorization.k8s.io":
        rule = r"[^/%]+"  # system:node
    if not name:
        yield _required("metadata.name", "name or generateName is required")
    elif len(name) > limit or not re.fullmatch(rule, name):
        yield _wrong("metadata.name", name, "a lowercase RFC 1123 subdomain must consist of ...")
    for where in ("labels", "annotations"):
        for key, value in (metadata.get(where) or {}).items():
            prefix, slash, part = key.rpartition("/")
            good = re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]", part) and (
                not slash or re.fullmatch(_SUBDOMAIN, prefix)
            )
            if not good:
                yield _wrong(f"metadata.{where}", key, "name part must consist of ...")
            if where == "labels" and (
                len(value) > 63 or not re.fullmatch(_LABEL_VALUE, str(value))
            ):
                yield _wrong("metadata.labels", value, "a valid label must be an empty string or")
    if old is not None:
        for field in ("uid", "creationTimestamp"):
            if metadata.get(field) != old["metadata"].get(field):
                yield _wrong(f"metadata.{field}", metadata.get(field), _IMMUTABLE)


def _workload(kind: Kind, spec: Obj, old: Obj | None) -> Iterator[Cause]:
    if spec.get("replicas", 1) < 0:
        why = "must be greater than or equal to 0"
        yield _wrong("spec.replicas", spec["replicas"], why)
    selector = spec.get("selector")
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield _required("spec.selector")
        return
    labels = spec["template"]["metadata"].get("labels") or {}
    if not selects(selector, labels):
        why = "`selector` does not match template `labels`"
        yield _wrong("spec.template.metadata.labels", labels, why)
    if old is not None and old["selector"] != selector:
        yield _wrong("spec.selector", selector, _IMMUTABLE)
    if kind.kind == "StatefulSet" and old is not None:
        mutable = (
            *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
            *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
        )
        if any(spec.get(k) != old.get(k) for k in {*spec, *old} if k not in mutable):
            yield Cause(
                "spec",
                "Forbidden: updates to statefulset spec for fields other than 'replicas',"
                " 'ordinals', 'template', ... are forbidden",
                "FieldValueForbidden",
            )
    yield from _pod(spec["template"]["spec"], "spec.template.spec")


def _pod(spec: Obj, path: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield _required(f"{path}.containers")
    names = [container.get("name", "") for container in containers]
    for index, container in enumerate(containers):
        where = f"{path}.containers[{index}]"
        if not re.fullmatch(_LABEL, names[index]):
            yield _required(f"{where}.name")
        if names.count(names[index]) > 1:
            yield Cause(
                f"{where}.name", f'Duplicate value: "{names[index]}"', "FieldValueDuplicate"
            )
        if not container.get("image"):
            yield _required(f"{where}.image")
        for port in container.get("ports") or ():
            if not 0 < port.get("containerPort", 0) < 65536:
                yield _wrong(f"{where}.ports.containerPort", port.get("containerPort"), "1-65535")
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            handlers = {"httpGet", "tcpSocket", "exec", "grpc"} & set(container.get(probe) or ())
            if probe in container and len(handlers) != 1:
                yield _required(f"{where}.{probe}", "must specify a handler type")
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        why = "must be greater than or equal to 0"
        field = f"{path}.terminationGracePeriodSeconds"
        yield _wrong(field, spec["terminationGracePeriodSeconds"], why)


def _pod_update(spec: Obj, old: Obj) -> Iterator[Cause]:
    def fixed(spec: Obj) -> Obj:
        free = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations")
        rest = {key: value for key, value in spec.items() if key not in free}
        for kind in ("containers", "initContainers"):
            rest[kind] = [
                {k: v for k, v in c.items() if k not in ("image", "resources")}
                for c in spec.get(kind) or ()
            ]
        return rest

    if fixed(spec) != fixed(old):
        yield Cause(
            "spec",
            "Forbidden: pod updates may not change fields other than"
            " `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing"
            " tolerations),`spec.terminationGracePeriodSeconds`",
            "FieldValueForbidden",
        )


def _service(spec: Obj, old: Obj | None) -> Iterator[Cause]:
    ports = spec.get("ports") or []
    if spec["type"] == "ExternalName":
        if not spec.get("externalName"):
            yield _required("spec.externalName")
        return
    if not ports and spec.get("clusterIP") != "None":
        yield _required("spec.ports")
    for index, port in enumerate(ports):
        if not 0 < port.get("port", 0) < 65536:
            yield _wrong(f"spec.ports[{index}].port", port.get("port"), "must be 1-65535")
        if len(ports) > 1 and not port.get("name"):
            yield _required(f"spec.ports[{index}].name")
    address = (old or {}).get("clusterIP")
    if address and spec.get("clusterIP") != address:
        yield _wrong("spec.clusterIPs[0]", spec.get("clusterIP"), "may not change once set")


def _rules(kind: Kind, obj: Obj) -> Iterator[Cause]:
    for index, rule in enumerate(obj.get("rules") or ()):
        where = f"rules[{index}]"
        if not rule.get("verbs"):
            yield _required(f"{where}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if kind.namespaced:
                yield _wrong(f"{where}.nonResourceURLs", "", "namespaced rules cannot apply to")
        elif not rule.get("apiGroups") or not rule.get("resources"):
            yield _required(f"{where}.resources", "resource rules must supply at least one")


def _binding(obj: Obj, old: Obj | None) -> Iterator[Cause]:
    role = obj.get("roleRef") or {}
    if role.get("kind") not in ("Role", "ClusterRole") or not role.get("name"):
        yield _required("roleRef.name")
    if old is not None and old["roleRef"] != role:
        yield _wrong("roleRef", role, "cannot change roleRef")
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield _required(f"subjects[{index}].namespace")


def _slice(obj: Obj, old: Obj | None, loopback: bool) -> Iterator[Cause]:
    family = obj.get("addressType")
    if family not in ("IPv4", "IPv6", "FQDN"):
        yield _required("addressType")
        return
    if old is not None and old["addressType"] != family:
        yield _wrong("addressType", family, _IMMUTABLE)
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        where = f"endpoints[{index}].addresses"
        addresses = endpoint.get("addresses") or []
        if not 0 < len(addresses) <= 100:
            yield _required(where, "must contain at least 1 address")
        for text in addresses:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                if family != "FQDN":
                    yield _wrong(f"{where}[0]", text, f"must be a valid {family} address")
                continue
            if f"IPv{address.version}" != family:
                yield _wrong(f"{where}[0]", text, f"must be an {family} address")
            elif address.is_loopback and not loopback:
                why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
                yield _wrong(f"{where}[0]", text, why)
    names = [port.get("name", "") for port in obj.get("ports") or ()]
    if len(set(names)) < len(names):
        yield Cause("ports", "Duplicate value", "FieldValueDuplicate")
