"""``stoker adopt``, ``release``, ``uninstall`` and ``status -A``: what they say is what happens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stoker.cli import main
from stoker.clock import SystemClock
from stoker.errors import PlatformError
from stoker.platforms.kubernetes import restoring
from stoker.platforms.kubernetes.restoring import Restoring
from tests.kubernetes.api.faults import Answer
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.controllers import Controllers
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment, service
from tests.kubernetes.test_traffic import Activators, leading, reached, state

HPA = {
    "metadata": {"name": "m"},
    "spec": {
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "m"},
    },
}


class Ran:
    """The command with the test's cluster and namespace: exit code, what was said."""

    def __init__(self, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
        self._cluster = cluster
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        access = ("-n", self._cluster.namespace, "--kubeconfig", self._cluster.access.kubeconfig)
        code = await asyncio.to_thread(main, [*arguments, *access])
        said = self._capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def ran(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(cluster, capsys)


async def create(cluster: Cluster, replicas: int = 0, *, managed: bool = True, **more: Any) -> None:
    body = deployment("m", replicas, managed=managed, **more)
    await cluster.client.create(cluster.path("deployments"), body)
    await cluster.client.create(cluster.path("services"), service("m"))


async def metadata(cluster: Cluster) -> Any:
    return (await cluster.client.get(cluster.path("deployments", "m")))["metadata"]


async def taken(cluster: Cluster) -> None:
    """As a Stoker leaves a Service that it has taken over, when it is killed."""
    name, address = "m", str(cluster.addresses[-2])
    made = await cluster.client.patch(
        cluster.path("services", name),
        {
            "metadata": {"annotations": {"stoker.dev/activator-ports": "=20000"}},
            "spec": {"selector": {"stoker.dev/direct": "true"}},
        },
    )
    body = {
        "metadata": {
            "name": "m-stoker-ipv4",
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "stoker.dev",
            },
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": name,
                    "uid": made["metadata"]["uid"],
                }
            ],
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "", "port": 20000}],
    }
    await cluster.client.create(cluster.path("endpointslices"), body)


# --- adopt and release ---


async def test_adopt_says_what_happens_and_then_does_it(cluster: Cluster, ran: Ran) -> None:
    """Without --yes nothing changes; with it the label and the settings are there."""
    await create(cluster, managed=False)
    code, said = await ran("adopt", "deploy/m", "--set", "max-scale=3")
    assert (code, "nothing was changed" in said) == (0, True)
    assert "Service m keeps its name and address" in said
    assert "warning: container server has no readinessProbe" in said
    assert "stoker.dev/managed" not in ((await metadata(cluster)).get("labels") or {})
    code, said = await ran("adopt", "deployment/m", "--set", "max-scale=3", "--yes")
    assert (code, "done" in said) == (0, True)
    now = await metadata(cluster)
    assert now["labels"]["stoker.dev/managed"] == "true"
    assert now["annotations"]["stoker.dev/max-scale"] == "3"
    assert "has the label already" in (await ran("adopt", "m"))[1]


async def test_what_cannot_be_adopted(cluster: Cluster, ran: Ran) -> None:
    """Refused with the reason, and left as it is."""
    await create(cluster, managed=False)
    await cluster.client.create(cluster.path("horizontalpodautoscalers"), HPA)
    code, said = await ran("adopt", "deploy/m", "--yes", "--set", "max-scale=lots")
    assert code == 1
    assert "refused: HorizontalPodAutoscaler m scales it too" in said
    assert "refused: stoker.dev/max-scale = lots" in said
    assert "stoker.dev/managed" not in ((await metadata(cluster)).get("labels") or {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adopt", "deploy/none"), "there is none; name its namespace with -n"),
        (("adopt", "statefulset/m"), "is no Deployment; allowed: deploy/NAME or NAME"),
        (("adopt", "m", "--set", "max-scale"), "has no =; allowed: KEY=VALUE"),
        (("release", "m", "--timeout", "3"), "has no unit; seconds are written 3s"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], said: str, ran: Ran) -> None:
    """What was wrong, its value, what is allowed."""
    code, text = await ran(*arguments)
    assert code == 1
    assert said in text


async def test_release_gives_services_back(cluster: Cluster, kubelet: Kubelet, ran: Ran) -> None:
    """Of a model that is asleep: a replica first, then its Service is its own again."""
    await create(cluster, annotations={"stoker.dev/initial-scale": "0"})
    activators = Activators(cluster)
    activators.accept(20000)
    async with leading(cluster, activators):
        await reached(cluster, "=20000", [activators.address], True, 0)
        code, said = await ran("release", "deploy/m")
        assert (code, "it is asleep: it is scaled to 1" in said) == (0, True)
        assert (await state(cluster))[2]
        code, said = await ran("release", "deploy/m", "--yes")
        assert (code, "done" in said) == (0, True), said
        await reached(cluster, None, [], False, 1)
    code, said = await ran("release", "deploy/m", "--yes")
    assert (code, "nothing to release" in said) == (0, True)


async def test_release_without_anybody_who_gives_back(cluster: Cluster, ran: Ran) -> None:
    """It says so, and what to do."""
    await create(cluster, 1)
    await taken(cluster)
    code, said = await ran("release", "deploy/m", "--yes", "--timeout", "1ms")
    assert code == 1
    assert f"stoker uninstall -n {cluster.namespace}" in said


# --- uninstall ---


class Looked(SystemClock):
    """A hundredth of a second passes each time it is looked at, however slow the machine is."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        self._now += 0.01
        return self._now


def restored(
    cluster: Cluster, said: list[str], timeout: float = 60.0, clock: SystemClock | None = None
) -> Restoring:
    return Restoring(
        cluster.client,
        [cluster.namespace],
        clock or SystemClock(),
        said.append,
        timeout=timeout,
        settle=0.05,
    )


async def test_uninstall_restores_and_wakes(cluster: Cluster, kubelet: Kubelet, ran: Ran) -> None:
    """Nobody leads any more: a replica first, then the key, our slice and the annotation."""
    await create(cluster)
    before = await cluster.client.get(cluster.path("services", "m"))
    await taken(cluster)
    code, said = await ran("uninstall")
    assert (code, "nothing was changed; --yes does it" in said) == (0, True)
    assert f"Service {cluster.namespace}/m: to be restored" in said
    lines: list[str] = []
    assert await restored(cluster, lines).run() == []
    await reached(cluster, None, [], False, 1)
    after = await cluster.client.get(cluster.path("services", "m"))
    assert after["spec"] == before["spec"]
    assert lines == [
        f"Deployment {cluster.namespace}/m: asleep, scaled to 1",
        f"Service {cluster.namespace}/m: its selector is its own again",
        f"Service {cluster.namespace}/m: EndpointSlice m-stoker-ipv4 deleted",
    ]
    code, said = await ran("uninstall", "--yes")
    assert (code, "nothing of Stoker's is left" in said) == (0, True)


async def test_uninstall_where_nothing_gets_ready(
    cluster: Cluster, controllers: Controllers, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the timeout Services are restored all the same, and it is said that nobody answers."""
    monkeypatch.setattr(restoring, "LOOK_SECONDS", 0.01)
    await create(cluster, 1)
    await taken(cluster)
    code, said = await ran("uninstall", "--yes", "--timeout", "1ms")
    assert code == 1
    assert f"no pod is ready yet behind {cluster.namespace}/m" in said
    assert (await state(cluster))[:3] == (None, [], False)


async def test_uninstall_while_a_stoker_leads(cluster: Cluster, ran: Ran) -> None:
    """It would put everything back: refused, and nothing is touched."""
    await create(cluster)
    await taken(cluster)
    lease = {
        "metadata": {"name": "stoker"},
        "spec": {
            "holderIdentity": "somebody",
            "renewTime": "2999-01-01T00:00:00.000000Z",
            "leaseDurationSeconds": 15,
        },
    }
    await cluster.client.create(cluster.path("leases"), lease)
    for more in ((), ("--yes",)):
        code, said = await ran("uninstall", *more)
        assert (code, "a Stoker leads (somebody, Lease" in said) == (len(more), True)
    assert (await state(cluster))[2]


async def test_uninstall_lets_pods_live(cluster: Cluster, kubelet: Kubelet) -> None:
    """What was to be taken away and never was loses its mark."""
    await create(cluster, 1)
    while not (pods := (await cluster.client.list(cluster.path("pods")))[0]):
        pass
    name = pods[0]["metadata"]["name"]
    marks = {"stoker.dev/draining": "x", "controller.kubernetes.io/pod-deletion-cost": "-1000"}
    path = cluster.path("pods", name)
    await cluster.client.patch(path, {"metadata": {"annotations": marks}})
    lines: list[str] = []
    assert await restored(cluster, lines).run() == []
    assert lines == [f"Pod {cluster.namespace}/{name}: may go on"]
    assert not (await cluster.client.get(path))["metadata"].get("annotations")


async def test_uninstall_against_somebody(
    cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write is outdated, or gone, or refused: tried again, told, passed on."""
    monkeypatch.setattr(restoring, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(restoring, "PATIENCE_SECONDS", 0.1)
    await create(cluster, 1)
    await taken(cluster)
    fault = server.faults.add(Answer(409, "{}"), verb="patch", path="/services")
    with pytest.raises(PlatformError, match=r"not restored: .*/m: somebody puts back"):
        await restored(cluster, [], timeout=0.0, clock=Looked()).run()
    assert fault.met > 1
    fault.lift()
    server.faults.add(Answer(403, "no"), verb="patch", path="/services")
    with pytest.raises(PlatformError, match="403"):
        await restored(cluster, [], timeout=0.0).run()


# --- status ---


async def test_status_of_a_cluster(cluster: Cluster, ran: Ran) -> None:
    """From the cluster's own objects: no Stoker need run."""
    await create(cluster, 2)
    await taken(cluster)
    code, said = await ran("status", "--json")
    assert code == 0
    assert json.loads(said) == [
        {
            "model": f"{cluster.namespace}/m",
            "replicas": 2,
            "ready": 0,
            "traffic": "m through activators",
            "note": "",
        }
    ]
    code, said = await ran("status", "-A")
    assert code == 0
    assert "0/2" in said
