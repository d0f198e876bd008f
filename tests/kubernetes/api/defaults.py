"""What an API server fills in where an object says nothing."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.api.kinds import Kind, Obj


def fill(kind: Kind, obj: Obj) -> None:
    """Defaults of ``obj``, in place. ``obj`` must belong to the caller alone."""
    spec = obj.get("spec")
    match kind.kind:
        case "Pod":
            _pod(obj.setdefault("spec", {}))
        case "Deployment":
            spec = obj.setdefault("spec", {})
            _unset(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
            strategy = spec.setdefault("strategy", {})
            _unset(strategy, type="RollingUpdate")
            if strategy["type"] == "RollingUpdate":
                rolling = strategy.setdefault("rollingUpdate", {})
                _unset(rolling, maxSurge="25%", maxUnavailable="25%")
            _template(spec)
        case "ReplicaSet" | "StatefulSet":
            spec = obj.setdefault("spec", {})
            _unset(spec, replicas=1)
            _template(spec)
        case "Service":
            _service(obj.setdefault("spec", {}))
        case "EndpointSlice":
            for port in obj.get("ports") or ():
                _unset(port, protocol="TCP", name="")
        case "HorizontalPodAutoscaler" if spec is not None:
            _unset(spec, minReplicas=1)
        case "NetworkPolicy":
            spec = obj.setdefault("spec", {})
            if not spec.get("policyTypes"):
                spec["policyTypes"] = ["Ingress", *(["Egress"] if "egress" in spec else [])]
        case "RoleBinding" | "ClusterRoleBinding":
            group = "rbac.authorization.k8s.io"
            _unset(obj.get("roleRef") or {}, apiGroup=group)
            for subject in obj.get("subjects") or ():
                _unset(subject, apiGroup="" if subject.get("kind") == "ServiceAccount" else group)
                if not subject["apiGroup"]:
                    del subject["apiGroup"]
        case "Namespace":
            obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            obj.setdefault("status", {}).setdefault("phase", "Active")


def _unset(target: Obj, **values: Any) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def _template(spec: Obj) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _pod(template.setdefault("spec", {}))


def _pod(spec: Obj) -> None:
    _unset(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        tagged = ":" in container.get("image", "").rpartition("/")[2]
        latest = container.get("image", "").endswith(":latest")
        _unset(
            container,
            imagePullPolicy="IfNotPresent" if tagged and not latest else "Always",
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            resources={},
        )
        for port in container.get("ports") or ():
            _unset(port, protocol="TCP")
        for name in ("readinessProbe", "livenessProbe", "startupProbe"):
            if probe := container.get(name):
                _probe(probe)


def _probe(probe: Obj) -> None:
    _unset(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "httpGet" in probe:
        _unset(probe["httpGet"], path="/", scheme="HTTP")


def _service(spec: Obj) -> None:
    _unset(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or ():
        _unset(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        _unset(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack")
        _unset(spec, ipFamilies=["IPv4"])
