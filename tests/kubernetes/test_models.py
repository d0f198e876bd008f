"""Which Deployments are models, with what settings, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.errors import PlatformError, UnknownModelError
from stoker.platforms.kubernetes import recorder, reflection
from stoker.telemetry import BAD_MODEL_SETTINGS
from stoker.vocabulary import ModelKey, PlatformEvent
from tests.kubernetes.api.faults import Answer
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment
from tests.kubernetes.waiting import until
from tests.kubernetes.watcher import events, platform_of


async def create(cluster: Cluster, name: str = "m", **more: Any) -> ModelKey:
    await cluster.client.create(cluster.path("deployments"), deployment(name, **more))
    return ModelKey(cluster.namespace, name)


async def annotate(cluster: Cluster, name: str, **values: str | None) -> None:
    annotations = {f"stoker.dev/{key.replace('_', '-')}": value for key, value in values.items()}
    body = {"metadata": {"annotations": annotations}}
    await cluster.client.patch(cluster.path("deployments", name), body)


async def heard(cluster: Cluster, reason: str) -> str:
    """The message of the one Event with this reason, once it is there."""
    found: list[str] = []
    while not found:
        found = list(await events(cluster, reason))
    (message,) = found
    return message


async def test_a_label_makes_a_model_and_its_removal_ends_it(cluster: Cluster) -> None:
    """Annotations are its settings, as they change; Deployments without it are left alone."""
    key = await create(cluster, annotations={"stoker.dev/max-scale": "3"})
    await create(cluster, "other", managed=False)
    async with platform_of(cluster) as (platform, seen):
        assert [spec.scaling.max_scale for spec in seen.models.values()] == [3]
        await annotate(cluster, "m", max_scale="5", container_concurrency="2")
        await until(lambda: seen.models[key].scaling.max_scale == 5)
        assert seen.models[key].serving.container_concurrency == 2
        late = await create(cluster, "late")
        await until(lambda: late in seen.models)
        labels = {"metadata": {"labels": {"stoker.dev/managed": None}}}
        await cluster.client.patch(cluster.path("deployments", "m"), labels)
        await until(lambda: set(seen.models) == {late})
        with pytest.raises(UnknownModelError):
            await platform.scale(key, 1)
        await cluster.client.delete(cluster.path("deployments", "late"))
        await until(lambda: not seen.models)


async def test_bad_annotations_are_refused_and_the_last_good_ones_stay(cluster: Cluster) -> None:
    """With an Event that names key, value and range, and a metric."""
    key = await create(cluster, annotations={"stoker.dev/max-scale": "3"})
    bad = await create(cluster, "bad", annotations={"stoker.dev/stable-window": "1s"})
    async with platform_of(cluster) as (platform, seen):
        assert set(seen.models) == {key}
        with pytest.raises(UnknownModelError, match=r"stoker\.dev/stable-window = 1s"):
            await platform.scale(bad, 1)
        told = await heard(cluster, "SettingsRefused")
        assert told == "stoker.dev/stable-window = 1s: is out of range; allowed: [6s, 1h]"
        await annotate(cluster, "bad", stable_window="7s")
        await until(lambda: bad in seen.models)
        await annotate(cluster, "m", max_scale="-3")
        await until(lambda: key in platform.refusals())
        assert platform.refusals()[key].endswith("; the last good settings stay")
        assert seen.models[key].scaling.max_scale == 3
        readings = {r.labels: r.value for r in platform.readings() if r.spec is BAD_MODEL_SETTINGS}
        assert readings == {(str(key),): 1}
        await annotate(cluster, "m", max_scale="4")
        await until(lambda: seen.models[key].scaling.max_scale == 4)
        assert platform.refusals() == {}


@pytest.mark.parametrize(
    ("port", "ports", "said"),
    [
        ("grpc", [{"name": "http", "containerPort": 80}], "is no port of its containers"),
        ("0", [{"name": "http", "containerPort": 80}], "1 to 65535, or one of http"),
        (None, [], "stoker.dev/port: is missing; allowed: 1 to 65535; the containers declare"),
    ],
)
async def test_a_port_has_to_be_known(
    port: str | None, ports: list[dict[str, Any]], said: str, cluster: Cluster
) -> None:
    """Where else should requests go?"""
    annotations = {} if port is None else {"stoker.dev/port": port, "stoker.dev/max-scale": "x"}
    key = await create(cluster, annotations=annotations, ports=ports)
    async with platform_of(cluster) as (platform, seen):
        assert seen.models == {}
        assert said in platform.refusals()[key]
        assert ("max-scale" in platform.refusals()[key]) == (port is not None)
        await annotate(cluster, "m", port="8080", max_scale=None)
        await until(lambda: key in seen.models)


async def test_another_port_is_taken_up(cluster: Cluster, kubelet: Kubelet) -> None:
    """The replicas are the same pods at another address."""
    key = await create(cluster, replicas=1)
    async with platform_of(cluster) as (_, seen):
        await seen.ready(1)
        await annotate(cluster, "m", port="9000")
        await until(
            lambda: {r.address and r.address.port for r in seen.replicas.values()} == {9000}
        )
        assert key in seen.models


def hpa(name: str, target: str, kind: str = "Deployment") -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": target}
    return {"metadata": {"name": name}, "spec": {"maxReplicas": 3, "scaleTargetRef": reference}}


async def test_a_target_of_an_hpa_is_refused(cluster: Cluster) -> None:
    """Two would only undo each other's work; once the HPA is gone, it is a model."""
    key = await create(cluster)
    free = await create(cluster, "free")
    path = cluster.path("horizontalpodautoscalers")
    await cluster.client.create(path, hpa("a", "m"))
    await cluster.client.create(path, hpa("b", "free", "StatefulSet"))
    async with platform_of(cluster) as (platform, seen):
        assert set(seen.models) == {free}
        with pytest.raises(UnknownModelError, match="HorizontalPodAutoscaler a scales it too"):
            await platform.scale(key, 1)
        assert "HorizontalPodAutoscaler a" in await heard(cluster, "ModelRefused")
        await cluster.client.delete(f"{path}/a")
        await until(lambda: set(seen.models) == {free, key})
        await cluster.client.create(path, hpa("c", "free"))
        await until(lambda: set(seen.models) == {key})
        retarget = {"spec": {"scaleTargetRef": {"name": "m"}}}
        await cluster.client.patch(f"{path}/c", retarget)
        await until(lambda: set(seen.models) == {free})


async def test_a_target_of_a_scaled_object_is_refused(cluster: Cluster) -> None:
    """KEDA's, also while it has paused and there is no HPA of it."""
    if cluster.server is None:
        pytest.skip("needs KEDA's definitions")
    await create(cluster)
    body = {"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"name": "m"}}}
    await cluster.client.create(cluster.path("scaledobjects"), body)
    async with platform_of(cluster) as (platform, seen):
        assert seen.models == {}
        assert "ScaledObject a" in next(iter(platform.refusals().values()))


async def test_a_deployment_made_anew_is_another(cluster: Cluster, kubelet: Kubelet) -> None:
    """Deleted and created under the same name: nothing of the old one is kept."""
    key = await create(cluster, replicas=1)
    async with platform_of(cluster) as (platform, seen):
        (first,) = await seen.ready(1)
        await cluster.client.delete(cluster.path("deployments", "m"))
        await until(lambda: not seen.models)
        assert seen.gone[first].reason == "no longer managed; the pod goes on"
        await create(cluster)
        await until(lambda: key in seen.models)
        await platform.scale(key, 1)
        await until(lambda: first not in seen.replicas and len(seen.replicas) == 1)


async def test_events_are_kept_with_their_deployment(cluster: Cluster) -> None:
    """What is told again and again is written once; what is of no model is only logged."""
    key = await create(cluster)
    async with platform_of(cluster) as (platform, _):
        for _ in range(3):
            platform.record_event(PlatformEvent(key, "scale-failed", "to 3: \N{FIRE} no", 0.0))
        platform.record_event(PlatformEvent(key, "scaled", "x" * 5000, 0.0))
        platform.record_event(PlatformEvent(None, "scaled", "of nobody", 0.0))
        assert len(await heard(cluster, "Scaled")) == 1024
        items, _ = await cluster.client.list(cluster.path("events"))
        told = {i["reason"]: (i["type"], i["involvedObject"]["name"]) for i in items}
        assert told == {"ScaleFailed": ("Warning", "m"), "Scaled": ("Normal", "m")}
        assert len(items) == 2


async def test_events_that_cannot_be_kept_harm_nothing(
    cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted; neither a full queue nor an API server that refuses them raises."""
    monkeypatch.setattr(recorder, "WAITING", 3)
    key = await create(cluster)
    refusing = server.faults.add(Answer(503, "no"), verb="create", path="/events", times=2)
    async with platform_of(cluster) as (platform, _):
        for number in range(10):
            platform.record_event(PlatformEvent(key, "scaled", f"to {number}", 0.0))
        assert platform._recorder.dropped == 7
        await until(lambda: refusing.met == 2)
        assert await heard(cluster, "Scaled") == "to 2"
        assert platform._recorder.dropped == 9


async def test_an_initial_scale_is_for_what_is_labelled_later(cluster: Cluster) -> None:
    """What is there when Stoker starts, or when another begins to lead, may have had its
    initial scale long ago and sleep: it is not woken for that."""
    leads = False
    old = await create(cluster, annotations={"stoker.dev/initial-scale": "2"})
    async with platform_of(cluster, leads=lambda: leads) as (platform, seen):
        assert seen.models[old].scaling.initial_scale == 0
        new = await create(cluster, "new", annotations={"stoker.dev/initial-scale": "2"})
        await until(lambda: new in seen.models)
        assert seen.models[new].scaling.initial_scale == 2
        leads = True
        platform.lead_changed()
        assert seen.models[new].scaling.initial_scale == 0
        newest = await create(cluster, "newest", annotations={"stoker.dev/initial-scale": "2"})
        await until(lambda: newest in seen.models)
        assert seen.models[newest].scaling.initial_scale == 2


async def test_only_who_leads_tells_events(cluster: Cluster) -> None:
    """Of several processes that see the same, one does; a new leader tells what still holds."""
    leads = False
    await create(cluster, annotations={"stoker.dev/max-scale": "many"})
    async with platform_of(cluster, leads=lambda: leads) as (platform, _):
        await until(lambda: bool(platform.refusals()))
        assert await events(cluster, "SettingsRefused") == []
        leads = True
        platform.lead_changed()
        assert "stoker.dev/max-scale" in await heard(cluster, "SettingsRefused")


@pytest.mark.parametrize("resource", ["pods", "deployments", "horizontalpodautoscalers"])
async def test_a_start_without_rights_says_which_are_missing(
    resource: str, cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for ever; rights that come a moment late are enough."""
    monkeypatch.setattr(reflection, "FIRST_PAUSE", 0.01)
    text = '{"kind":"Status","reason":"Forbidden","message":"no list for you"}'
    path = f"/{cluster.namespace}/{resource}"
    server.faults.add(Answer(403, text), verb="list", path=path, times=2)
    async with platform_of(cluster):
        pass
    server.faults.add(Answer(403, text), verb="list", path=path)
    with pytest.raises(PlatformError) as caught:
        async with platform_of(cluster):
            pass
    assert f"{resource} may not be listed (API server: 403: no list for you)" in str(caught.value)
    assert f"list and watch on {resource} in namespace {cluster.namespace}" in str(caught.value)
