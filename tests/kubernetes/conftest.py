"""The cluster that tests run against: our own API server, or any with ``--kubeconfig``."""

from __future__ import annotations

import ipaddress
import itertools
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.controllers import Controllers
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.objects import kubeconfig

NAMES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """``access`` reaches it; ``server`` is ours, None with a real one; ``namespace`` is for
    this test alone; ``addresses`` are for its pods."""

    access: Access
    client: Client
    server: ApiServer | None
    namespace: str
    addresses: ipaddress.IPv4Network

    def path(self, resource: str, name: str = "", subresource: str = "") -> str:
        """``path("deployments", "m", "scale")`` in the test's namespace."""
        group = GROUPS.get(resource, "/api/v1")
        parts = (f"{group}/namespaces/{self.namespace}/{resource}", name, subresource)
        return "/".join(part for part in parts if part)


GROUPS = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "scaledobjects": "/apis/keda.sh/v1alpha1",
}


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Each client would read the machine's authorities anew, 40 ms each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kubernetes_asyncio.client.rest.ssl.create_default_context",
            cache(ssl.create_default_context),
        )
        yield


@pytest.fixture
async def own_server(request: pytest.FixtureRequest) -> AsyncIterator[ApiServer | None]:
    """Our own API server, unless another was given. A request for a path that it does not
    know fails the test."""
    if request.config.getoption("--kubeconfig"):
        yield None
        return
    async with ApiServer(loopback=True) as ours:
        yield ours
        assert ours.unknown == []


@pytest.fixture
def server(own_server: ApiServer | None) -> ApiServer:
    """Our own API server, for what only it can be made to do."""
    if own_server is None:
        pytest.skip("faults can be had from our own API server only")
    return own_server


@pytest.fixture
async def cluster(
    request: pytest.FixtureRequest, own_server: ApiServer | None, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """A cluster and a new namespace in it."""
    addresses = ipaddress.IPv4Network(request.config.getoption("--pod-addresses"))
    namespace = f"stoker-test-{os.getpid()}-{next(NAMES)}-{secrets.token_hex(2)}"
    if own_server is None:
        access = Access(request.config.getoption("--kubeconfig"))
    else:
        access = Access(kubeconfig(tmp_path, own_server.url))
    async with await Client.connect(access, "tests") as client:
        await client.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield Cluster(access, client, own_server, namespace, addresses)
        if own_server is None:
            await client.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
def client(cluster: Cluster) -> Client:
    """Stoker's own client, connected."""
    return cluster.client


@pytest.fixture
def kubectl_environment(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """For kubectl: where the cluster is, and a home of its own."""
    return {
        "KUBECONFIG": cluster.access.kubeconfig,
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
async def controllers(own_server: ApiServer | None) -> AsyncIterator[Controllers | None]:
    """Ours beside our own server; None where the cluster has its own."""
    if own_server is None:
        yield None
        return
    async with Controllers(own_server) as ours:
        yield ours


@pytest.fixture
async def kubelet(cluster: Cluster, controllers: Controllers | None) -> AsyncIterator[Kubelet]:
    """The only node: pods run as processes of this machine."""
    async with Kubelet(cluster.access, cluster.addresses) as ours:
        yield ours
