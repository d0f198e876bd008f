"""The resources that the API server serves; any other path is unknown to it, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]
"""An object as JSON has it. What is in the store is never changed, only replaced."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource. ``model`` is its class in kubernetes_asyncio, made from Kubernetes' own
    OpenAPI document: the source of what fields there are; empty for custom resources.

    ``unconditional``: PUT without a resourceVersion is allowed. ``generation``: counts changes
    of anything but metadata and status.
    """

    group: str
    version: str
    kind: str
    plural: str
    model: str = ""
    short: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    unconditional: bool = True
    generation: bool = False
    scale_selector: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As error messages have it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        return not self.model


_STATUS = ("status",)
_SCALED = ("status", "scale")
_RBAC = ("rbac.authorization.k8s.io", "v1")

KINDS: tuple[Kind, ...] = (
    Kind("", "v1", "Namespace", "namespaces", "V1Namespace", ("ns",), False, _STATUS),
    Kind("", "v1", "Node", "nodes", "V1Node", ("no",), False, _STATUS),
    Kind("", "v1", "Pod", "pods", "V1Pod", ("po",), True, ("status", "binding"), generation=True),
    Kind("", "v1", "Service", "services", "V1Service", ("svc",), True, _STATUS),
    Kind("", "v1", "ConfigMap", "configmaps", "V1ConfigMap", ("cm",)),
    Kind("", "v1", "Secret", "secrets", "V1Secret"),
    Kind("", "v1", "Event", "events", "CoreV1Event", ("ev",)),
    Kind(
        *("apps", "v1", "Deployment", "deployments", "V1Deployment", ("deploy",), True, _SCALED),
        generation=True,
    ),
    Kind(
        *("apps", "v1", "ReplicaSet", "replicasets", "V1ReplicaSet", ("rs",), True, _SCALED),
        generation=True,
    ),
    Kind(
        *("apps", "v1", "StatefulSet", "statefulsets", "V1StatefulSet", ("sts",), True, _SCALED),
        generation=True,
    ),
    Kind(
        *("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "V1EndpointSlice"),
        generation=True,
    ),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", "V1ServiceAccount", ("sa",)),
    Kind(*_RBAC, "Role", "roles", "V1Role"),
    Kind(*_RBAC, "RoleBinding", "rolebindings", "V1RoleBinding"),
    Kind(*_RBAC, "ClusterRole", "clusterroles", "V1ClusterRole", namespaced=False),
    Kind(
        *(*_RBAC, "ClusterRoleBinding", "clusterrolebindings", "V1ClusterRoleBinding"),
        namespaced=False,
    ),
    Kind(
        *("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "V1PodDisruptionBudget"),
        *(("pdb",), True, _STATUS),
        generation=True,
    ),
    Kind(
        *("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "V1NetworkPolicy"),
        *(("netpol",), True),
        generation=True,
    ),
    Kind("coordination.k8s.io", "v1", "Lease", "leases", "V1Lease", unconditional=False),
    Kind(
        *("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        *("V2HorizontalPodAutoscaler", ("hpa",), True, _STATUS),
    ),
    Kind(
        *("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", "", ("so",), True, _STATUS),
        *(False, True),
    ),
)

_BY_KIND = {kind.kind: kind for kind in KINDS}


def named(kind: str) -> Kind:
    """The resource of a kind: ``named("Pod")``. Raises KeyError."""
    return _BY_KIND[kind]


def at(group: str, version: str, plural: str) -> Kind | None:
    """The resource of a path, if there is one."""
    for kind in KINDS:
        if (kind.group, kind.version, kind.plural) == (group, version, plural):
            return kind
    return None
