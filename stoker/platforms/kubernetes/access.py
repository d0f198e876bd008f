"""How the API server is reached: a kubeconfig, or what every pod is given.

Credentials (tokens that rotate, exec plugins, client certificates) and TLS are left to
kubernetes_asyncio; nothing else of it is used, see ``client``.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import dataclass
from typing import Any

from stoker.errors import PlatformError

_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_USUAL = os.path.expanduser("~/.kube/config")


@dataclass(frozen=True, slots=True)
class Access:
    """``kubeconfig`` a path; empty: the pod's service account, or outside of a cluster the
    usual kubeconfig. ``context`` empty: its current one. ``timeout`` in seconds bounds every
    request but watches."""

    kubeconfig: str = ""
    context: str = ""
    timeout: float = 10.0


async def configured(access: Access) -> Any:
    """A ``kubernetes_asyncio.client.ApiClient`` with credentials. Raises PlatformError."""
    try:
        # Half a second: in a thread, so that whatever else runs here goes on.
        client = await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.client")
        config = await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.config")
    except ModuleNotFoundError as error:
        raise PlatformError(
            f"Kubernetes needs the package kubernetes-asyncio ({error}); install stoker[kubernetes]"
        ) from error
    configuration = client.Configuration()
    in_cluster = not access.kubeconfig and _IN_CLUSTER in os.environ
    path = access.kubeconfig or os.environ.get("KUBECONFIG") or _USUAL
    source = "the pod's service account" if in_cluster else f"kubeconfig {path}"
    if not in_cluster and not _any_there(path):
        raise PlatformError(
            f"{source}: there is no such file; name one with --kubeconfig or KUBECONFIG"
        )
    try:
        async with asyncio.timeout(access.timeout):
            if in_cluster:
                config.load_incluster_config(client_configuration=configuration)
            else:
                await config.load_kube_config(
                    config_file=path,
                    context=access.context or None,
                    client_configuration=configuration,
                    persist_config=False,
                )
    except TimeoutError as error:
        raise PlatformError(f"{source}: no credentials within {access.timeout:g} s") from error
    except Exception as error:  # whatever a file or an exec plugin can get wrong
        raise PlatformError(f"{source} cannot be used: {error}") from error
    return client.ApiClient(configuration)


def _any_there(paths: str) -> bool:
    """KUBECONFIG may name several, of which some may be missing."""
    return any(os.path.exists(path) for path in paths.split(os.pathsep))
