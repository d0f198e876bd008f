"""manifests/ applied to the API server, and what they run, with the rights that they give."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from stoker import __version__
from stoker.cli.pods import AUDIENCE
from stoker.platforms.kubernetes import scaling
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.vocabulary import ModelKey, Phase
from tests.kubernetes.api.errors import StatusError
from tests.kubernetes.api.kinds import named
from tests.kubernetes.api.rbac import Asked, Authorizer, Right
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.kubelet import Image, Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment, kubeconfig, service
from tests.kubernetes.test_kubectl import kubectl
from tests.kubernetes.test_replicas import IMAGE, SERVER
from tests.kubernetes.test_traffic import Activators, reached, state
from tests.kubernetes.waiting import until
from tests.kubernetes.watcher import Watcher
from tests.manifests.rendering import HOME, MANIFESTS, OVERLAYS, of_kind, overlay, program

TOKEN = "the-account-s-token"
STOKER = f"stoker:{__version__}"


@pytest.mark.parametrize("mode", ["--server-side=false", "--server-side"])
@pytest.mark.parametrize("name", OVERLAYS)
async def test_everything_can_be_applied_again_and_again(
    name: str, mode: str, cluster: Cluster, server: ApiServer, kubectl_environment: dict[str, str]
) -> None:
    """Made in one go; nothing is changed by the second time; deleted as it came."""
    folder = str(MANIFESTS / "overlays" / name)

    async def run(*arguments: str) -> list[str]:
        status, out = await kubectl(cluster, kubectl_environment, *arguments, here=False)
        assert status == 0, out
        return out.splitlines()

    made = await run("apply", mode, "-k", folder)
    assert len(made) == len(overlay(name))
    assert all(line.endswith((" created", " serverside-applied")) for line in made), made
    revision = server.store.revision
    again = await run("apply", mode, "-k", folder)
    # kubectl sends the selector of a budget each time (its patch strategy is to replace it).
    sent = [line for line in again if not line.startswith("poddisruptionbudget")]
    assert all(line.endswith((" unchanged", " serverside-applied")) for line in sent), again
    assert server.store.revision == revision
    gone = await run("delete", "-k", folder, "--wait=false")
    assert len(gone) == len(made)


async def test_rights_are_weighed_as_rbac_does(server: ApiServer) -> None:
    """Bound in one namespace they are of no use in another; a name bounds a rule to it."""
    create, pod = server.verbs.create, named("Pod")
    rule = {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}
    create(named("Role"), "default", {"metadata": {"name": "r"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "one", "namespace": "home"}],
    }
    create(named("RoleBinding"), "default", binding)
    authorizer = Authorizer(server.store, {"t": "home:one", "u": "home:two"})
    allowed = Asked("get", pod, "default", "a")
    authorizer.check("t", allowed)
    authorizer.check("an administrator's", allowed._replace(verb="delete"))
    assert authorizer.used == {Right("Role r", "", "pods", "get", "a")}
    others: list[tuple[str, Asked]] = [
        ("u", allowed),
        ("t", allowed._replace(name="b")),
        ("t", allowed._replace(name="")),
        ("t", allowed._replace(verb="list")),
        ("t", allowed._replace(namespace="kube-system")),
        ("t", allowed._replace(namespace="")),
        ("t", allowed._replace(subresource="status")),
        ("t", allowed._replace(kind=named("Service"))),
    ]
    for token, asked in others:
        with pytest.raises(StatusError, match="is forbidden: User"):
            authorizer.check(token, asked)
    assert len(authorizer.denied) == len(others)


@pytest.fixture
def account(server: ApiServer, cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """A kubeconfig of the ServiceAccount that the manifests make; nothing it lacks is asked for."""
    server.authorizer.accounts[TOKEN] = f"{HOME}:stoker"
    (tmp_path / "account").mkdir()
    yield kubeconfig(tmp_path / "account", server.url, TOKEN)
    assert server.authorizer.denied == []


async def apply(cluster: Cluster, environment: dict[str, str], name: str) -> None:
    """The overlay, and a pod for each of its replicas."""
    status, out = await kubectl(
        *(cluster, environment, "apply", "-k", str(MANIFESTS / "overlays" / name)), here=False
    )
    assert status == 0, out


def runs(kubelet: Kubelet, account: str, directory: Path) -> None:
    """What Stoker's image and the model's stand for here."""
    own = {"KUBECONFIG": account, "STOKER_SPOOL_DIRECTORY": str(directory), "HOME": str(directory)}
    own["STOKER_DRAIN_DELAY"] = "0s"  # nothing here goes on sending
    command = (sys.executable, "-m", "stoker")
    kubelet.images[STOKER] = Image(command, takes=True, environment=own)
    kubelet.images[IMAGE] = Image((sys.executable, "-c", SERVER, "{address}", "8080"))


async def make(cluster: Cluster, namespace: str, **annotations: str) -> None:
    """A labelled Deployment ``m`` with its Service."""
    path = f"/namespaces/{namespace}"
    body = deployment(
        "m",
        readinessProbe={"httpGet": {"port": 8080, "path": "/"}},
        annotations={f"stoker.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
    )
    await cluster.client.create(f"/apis/apps/v1{path}/deployments", body)
    front = service("m", ports=[{"port": 80, "targetPort": "http"}])
    await cluster.client.create(f"/api/v1{path}/services", front)


async def started(kubelet: Kubelet) -> str:
    """The address of Stoker's pod, once it is ready."""
    while True:
        for pod in tuple(kubelet.pods.values()):
            if pod.name.startswith("stoker-") and pod.ready:
                return pod.address
        await asyncio.sleep(0.01)


async def ask(address: str, host: str = "m.localhost") -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}:8080/", headers={"Host": host}) as answer,
    ):
        return answer.status


async def events(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    items, _ = await cluster.client.list(f"/api/v1/namespaces/{namespace}/events")
    return {(item["reason"], item["involvedObject"]["kind"]) for item in items}


async def test_the_minimal_one_wakes_a_model_with_its_rights_and_no_others(
    cluster: Cluster,
    server: ApiServer,
    kubelet: Kubelet,
    account: str,
    kubectl_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Applied, run as its pod says, asked, scaled out and in, told wrong settings, ended: each
    request is granted, and each right that is granted was needed."""
    runs(kubelet, account, tmp_path)
    await apply(cluster, kubectl_environment, "minimal")
    await make(cluster, cluster.namespace, initial_scale="0")
    address = await started(kubelet)
    assert await ask(address) == 200

    # Out and in again: the bounds alone ask for it, a victim is marked.
    path = cluster.path("deployments", "m")

    async def annotate(**values: str) -> None:
        marks = {f"stoker.dev/{k.replace('_', '-')}": v for k, v in values.items()}
        await cluster.client.patch(path, {"metadata": {"annotations": marks}})

    async def count() -> int:
        found = await cluster.client.get(f"{path}/scale")
        return int(found["spec"].get("replicas", 0))

    await annotate(min_scale="2")
    while await count() != 2:
        pass
    await annotate(min_scale="0", max_scale="1")
    while await count() != 1:
        pass
    await annotate(max_scale="few")
    settings = f"/api/v1/namespaces/{HOME}/configmaps/stoker-config"
    await cluster.client.patch(settings, {"data": {"max-scale": "many"}})
    while ("SettingsRefused", "Deployment") not in await events(cluster, cluster.namespace):
        pass
    while ("SettingsRefused", "ConfigMap") not in await events(cluster, HOME):
        pass
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}:9090/metrics") as answer,
    ):
        await check_metrics(await answer.read())

    # The orderly end gives the lease back; the pods of models stay.
    await cluster.client.patch(
        f"/apis/apps/v1/namespaces/{HOME}/deployments/stoker", {"spec": {"replicas": 0}}
    )
    await until(lambda: not any(pod.name.startswith("stoker-") for pod in kubelet.pods.values()))
    lease = await cluster.client.get(
        f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/stoker"
    )
    assert lease["spec"]["holderIdentity"] == ""
    assert await count() == 1

    await annotate(max_scale="1")
    await replace_a_pod_that_went(cluster, kubelet, account, monkeypatch)
    granted = {right for right, _ in server.authorizer.rights(f"{HOME}:stoker")}
    assert granted - server.authorizer.used == set()


async def replace_a_pod_that_went(
    cluster: Cluster, kubelet: Kubelet, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one case in which Stoker deletes a pod: the cluster ended another than the marked.
    Before, what takes long in a process: a Service that follows its activators, and is given
    back."""
    monkeypatch.setattr(scaling, "SETTLE", 0.05)
    key = ModelKey(cluster.namespace, "n")
    await cluster.client.create(cluster.path("deployments"), deployment("n", image="n:1"))
    async with await Client.connect(Access(account), "tests") as client:
        activators = Activators(cluster)
        platform = KubernetesPlatform(
            client, namespaces=[cluster.namespace], activators=activators, settle=0.05
        )
        async with platform:
            await until(lambda: bool(platform.activator_ports()))
            activators.accept(*platform.activator_ports())
            platform.activators_changed()
            address = activators.address
            while (await state(cluster))[1] != [address]:
                pass
            unlabel = {"metadata": {"labels": {"stoker.dev/managed": None}}}
            await cluster.client.patch(cluster.path("deployments", "m"), unlabel)
            await reached(cluster, None, [], False, 1)
            seen = Watcher(platform, drains=False)

            def ids(phase: Phase) -> set[str]:
                return {id for id in seen.ids(phase) if seen.replicas[id].model == key}

            await platform.scale(key, 1)
            await until(lambda: len(ids(Phase.READY)) == 1)
            (victim,) = ids(Phase.READY)
            kubelet.images["n:1"].pull.clear()
            await platform.scale(key, 2)
            await until(lambda: len(ids(Phase.PULLING_IMAGE)) == 1)
            await platform.scale(key, 1, [victim])
            await until(lambda: ids(Phase.DRAINING) == {victim})
            platform.drained(victim)
            await until(lambda: victim in seen.gone)
            kubelet.images["n:1"].pull.set()


async def check_metrics(text: bytes) -> None:
    """By Prometheus' own linter: it has nothing to say."""
    assert b"stoker_leading 1" in text
    process = await asyncio.create_subprocess_exec(
        *(program("promtool", "prometheus"), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(text)
    assert (process.returncode, out.decode()) == (0, "")


async def test_the_restricted_one_keeps_to_its_namespace(
    cluster: Cluster,
    server: ApiServer,
    kubelet: Kubelet,
    account: str,
    kubectl_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """A model there is woken; the same label elsewhere is nothing to it: it may not even look."""
    runs(kubelet, account, tmp_path)
    await apply(cluster, kubectl_environment, "restricted")
    await make(cluster, "default", initial_scale="0")
    await make(cluster, cluster.namespace, hosts="elsewhere.test", min_scale="1")
    address = await started(kubelet)
    assert await ask(address) == 200
    assert await ask(address, "elsewhere.test") == 404
    granted = server.authorizer.rights(f"{HOME}:stoker")
    spaces = {right.verb: space for right, space in granted if right.resource == "pods"}
    assert set(spaces.values()) == {"default"}


async def test_the_ha_one_takes_requests_and_decides_with_the_rights_it_has(
    cluster: Cluster,
    server: ApiServer,
    kubelet: Kubelet,
    kubectl_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Three activators and two autoscalers, each with its own account: they find each other, a
    model is woken through its Service's activators, and nothing they lack is asked for."""
    for process in ("activator", "autoscaler"):
        server.authorizer.accounts[process] = f"{HOME}:stoker-{process}"
        (tmp_path / process).mkdir()
        link = f"{process}'s token for the link"
        kubelet.accounts[f"stoker-{process}"] = (
            kubeconfig(tmp_path / process, server.url, process),
            link,
        )
        server.tokens[link] = (f"system:serviceaccount:{HOME}:stoker-{process}", AUDIENCE)
    kubelet.directory = tmp_path / "volumes"

    def argument(text: str) -> list[str]:
        flag, _, name = text.partition("=stoker-autoscaler:")
        pods = [pod for pod in kubelet.pods.values() if pod.name.startswith("stoker-autoscaler-")]
        return [f"{flag}={pod.address}:{name}" for pod in pods] if name else [text]

    command = (sys.executable, "-m", "stoker")
    own = {"HOME": str(tmp_path), "STOKER_DRAIN_DELAY": "0s"}
    kubelet.images[STOKER] = Image(command, takes=True, environment=own, argument=argument)
    kubelet.images[IMAGE] = Image((sys.executable, "-c", SERVER, "{address}", "8080"))
    await apply(cluster, kubectl_environment, "ha")
    await make(cluster, cluster.namespace, initial_scale="0")

    def ready(process: str) -> list[str]:
        mine = [p for p in kubelet.pods.values() if p.name.startswith(f"stoker-{process}-")]
        return [pod.address for pod in mine if pod.ready]

    await until(lambda: (len(ready("activator")), len(ready("autoscaler"))) == (3, 2), 90.0)
    for address in ready("activator"):
        assert await ask(address) == 200
    while not (await state(cluster))[2]:
        pass
    ports, addresses, _, _ = await state(cluster)
    assert set(addresses) == set(ready("activator"))
    assert ports == "=20000"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{addresses[0]}:20000/") as answer,
    ):
        assert answer.status == 200
    settings = f"/api/v1/namespaces/{HOME}/configmaps/stoker-config"
    await cluster.client.patch(settings, {"data": {"max-scale": "many"}})
    while ("SettingsRefused", "ConfigMap") not in await events(cluster, HOME):
        pass
    assert server.authorizer.denied == []
    looked = {right for right, _ in server.authorizer.rights(f"{HOME}:stoker-activator")}
    assert looked - server.authorizer.used == set()
    # What the autoscaler may do beyond stoker cluster, each right of which is known to be used.
    may = {right for right, _ in server.authorizer.rights(f"{HOME}:stoker-autoscaler")}
    proven = rights_in("minimal")
    assert proven <= {right[1:] for right in may}
    more = {right for right in may if right[1:] not in proven}
    assert {right.resource for right in more} == {"tokenreviews", "secrets"}
    assert more <= server.authorizer.used


def rights_in(name: str) -> set[tuple[str, ...]]:
    """Group, resource, verb and name of everything that an overlay's roles grant."""
    return {
        (group, resource, verb, only)
        for role in of_kind(overlay(name), "Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for only in rule.get("resourceNames", [""])
    }
