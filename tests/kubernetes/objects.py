"""Objects that tests create."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stoker.errors import ApiError

Obj = dict[str, Any]


def template(name: str, **container: Any) -> Obj:
    """A pod template whose pods are labelled ``app: NAME``."""
    image = {"name": "server", "image": "example.test/server:1", **container}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [image]}}


def deployment(
    name: str,
    replicas: int = 0,
    *,
    managed: bool = True,
    annotations: Obj | None = None,
    **more: Any,
) -> Obj:
    """A Deployment; ``more`` goes into its container."""
    container: Obj = {"ports": [{"name": "http", "containerPort": 8080}], **more}
    return {
        "metadata": {
            "name": name,
            "labels": {"stoker.dev/managed": "true"} if managed else {},
            "annotations": annotations or {},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, **container),
        },
    }


def pod(name: str, **spec: Any) -> Obj:
    """A pod that nobody owns."""
    return {"metadata": {"name": name}, "spec": template(name)["spec"] | spec}


def config_map(name: str, data: Obj | None = None, **metadata: Any) -> Obj:
    return {"metadata": {"name": name, **metadata}, "data": data or {}}


def service(name: str, **spec: Any) -> Obj:
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def endpoint_slice(name: str, *addresses: str) -> Obj:
    return {
        "metadata": {"name": name},
        "addressType": "IPv4",
        "endpoints": [{"addresses": list(addresses)}],
        "ports": [{"name": "http", "port": 8080}],
    }


def refused(error: ApiError) -> tuple[int, str]:
    """What counts of a refusal: its code and Kubernetes' reason."""
    return error.status, error.reason


def kubeconfig(directory: Path, url: str, token: str = "a-token") -> str:
    """A kubeconfig for a server of ours; its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "ours", "cluster": {"server": url}}],
        "users": [{"name": "us", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "ours", "user": "us"}}],
        "current-context": "here",
    }
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return str(file)
