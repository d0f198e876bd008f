"""The Kubernetes platform passes the suite that every world has to pass."""

from __future__ import annotations

import pytest

from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.testing import CHECKS, Subject, poll_until
from stoker.vocabulary import ModelKey
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment


@pytest.mark.parametrize("name", CHECKS)
async def test_the_kubernetes_platform_conforms(
    name: str, cluster: Cluster, kubelet: Kubelet
) -> None:
    """One check at a time: real pods, scaled by the cluster's own controllers."""
    await cluster.client.create(cluster.path("deployments"), deployment("m"))
    platform = KubernetesPlatform(cluster.client, namespaces=[cluster.namespace])
    async with platform:
        await CHECKS[name](Subject(platform, ModelKey(cluster.namespace, "m"), poll_until))
