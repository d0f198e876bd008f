"""The ConfigMap with settings of all models, in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stoker.errors import Problem, SettingsError
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.platforms.kubernetes.shared_settings import SharedSettings
from stoker.telemetry import CONFIG_REFUSED, CONFIG_RELOADS
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import config_map
from tests.kubernetes.test_models import annotate, create, heard
from tests.kubernetes.waiting import until
from tests.kubernetes.watcher import platform_of

NAME = "stoker-config"


async def write(cluster: Cluster, **data: str) -> None:
    """The ConfigMap, made."""
    settings = {key.replace("_", "-") if key != "_example" else key: v for key, v in data.items()}
    await cluster.client.create(cluster.path("configmaps"), config_map(NAME, settings))


async def change(cluster: Cluster, **data: str | None) -> None:
    settings = {key.replace("_", "-"): value for key, value in data.items()}
    await cluster.client.patch(cluster.path("configmaps", NAME), {"data": settings})


def readings(platform: KubernetesPlatform) -> dict[Any, Any]:
    """What is told of settings: by outcome, and whether they are refused now."""
    found = [r for r in platform.readings() if r.spec in (CONFIG_RELOADS, CONFIG_REFUSED)]
    return {reading.labels: reading.value for reading in found}


async def test_annotations_are_over_it_and_it_is_over_the_defaults(cluster: Cluster) -> None:
    """In force before the first model is announced; changed, made and deleted while it runs."""
    await write(cluster, max_scale="3", stable_window="90s")
    await cluster.client.create(cluster.path("configmaps"), config_map("other", {"no": "setting"}))
    own = await create(cluster, "own", annotations={"stoker.dev/max-scale": "5"})
    key = await create(cluster)
    async with platform_of(cluster, settings=SharedSettings(cluster.namespace)) as (platform, seen):

        def found() -> list[tuple[int, float]]:
            scaling = [seen.models[k].scaling for k in (own, key)]
            return [(s.max_scale, s.stable_window) for s in scaling]

        assert found() == [(5, 90.0), (3, 90.0)]
        await change(cluster, max_scale="4", stable_window=None)
        await until(lambda: found() == [(5, 60.0), (4, 60.0)])
        await annotate(cluster, "own", max_scale=None)
        await until(lambda: found() == [(4, 60.0), (4, 60.0)])
        await cluster.client.delete(cluster.path("configmaps", NAME))
        await until(lambda: found() == [(0, 60.0), (0, 60.0)])
        await write(cluster, stable_window="10s")
        await until(lambda: found() == [(0, 10.0), (0, 10.0)])
        assert readings(platform) == {("applied",): 4, ("refused",): 0, (): 0}


async def test_a_bad_one_is_refused_and_the_last_good_one_stays(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, with an Event on it, a metric and a line, all naming key, value and range."""
    await write(cluster, max_scale="3")
    key = await create(cluster)
    settings = SharedSettings(cluster.namespace)
    async with platform_of(cluster, settings=settings) as (platform, seen):
        await change(cluster, max_scale="4", stable_window="1s")
        said = "data.stable-window = 1s: is out of range; allowed: [6s, 1h]"
        assert await heard(cluster, "SettingsRefused") == f"{said}; the last good settings stay"
        (event,) = (await cluster.client.list(cluster.path("events")))[0]
        about = event["involvedObject"]
        assert (about["apiVersion"], about["kind"], about["name"]) == ("v1", "ConfigMap", NAME)
        assert event["type"] == "Warning"
        assert settings.refused == said
        assert f"ConfigMap {cluster.namespace}/{NAME}: refused" in caplog.text
        assert said in caplog.text
        assert readings(platform) == {("applied",): 1, ("refused",): 1, (): 1}
        assert seen.models[key].scaling.max_scale == 3
        await change(cluster, stable_window="7s")
        await until(lambda: seen.models[key].scaling.max_scale == 4)
        assert readings(platform) == {("applied",): 2, ("refused",): 1, (): 0}
        assert settings.refused == ""


async def test_one_that_is_bad_at_the_start_stops_nothing(cluster: Cluster) -> None:
    """Built-in defaults are in force then; two processes that see it make one Event."""
    await write(cluster, max_scale="many")
    key = await create(cluster)
    async with (
        platform_of(cluster, settings=SharedSettings(cluster.namespace)) as (_, seen),
        platform_of(cluster, settings=SharedSettings(cluster.namespace)) as (other, _),
    ):
        assert seen.models[key].scaling.max_scale == 0
        assert "data.max-scale = many" in await heard(cluster, "SettingsRefused")
        await annotate(cluster, "m", max_scale="few")
        said = "stoker.dev/max-scale = few"

        async def told() -> list[str]:
            items, _ = await cluster.client.list(cluster.path("events"))
            return [item["involvedObject"]["kind"] for item in items]

        await until(lambda: said in other.refusals().get(key, ""))
        while "Deployment" not in await told():
            pass
        assert sorted(await told()) == ["ConfigMap", "Deployment"]


async def test_what_knative_says_without_meaning_here_is_listed(cluster: Cluster) -> None:
    """As an Event on the ConfigMap; the rest is in force."""
    await write(cluster, _example="a long text", activator_capacity="100", max_scale="3")
    key = await create(cluster)
    async with platform_of(cluster, settings=SharedSettings(cluster.namespace)) as (_, seen):
        assert seen.models[key].scaling.max_scale == 3
        told = await heard(cluster, "SettingsIgnored")
        assert "data.activator-capacity has no effect: the activator's limits are" in told


async def test_a_contradiction_with_a_model_is_the_model_s(cluster: Cluster) -> None:
    """It keeps its last good settings and says where the other value stands; others change."""
    key = await create(cluster, annotations={"stoker.dev/max-scale": "3"})
    other = await create(cluster, "other")
    async with platform_of(cluster, settings=SharedSettings(cluster.namespace)) as (platform, seen):
        await write(cluster, min_scale="5")
        await until(lambda: seen.models[other].scaling.min_scale == 5)
        assert platform.refusals()[key].startswith(
            "min-scale of all models = 5: is above max-scale; allowed: [0, 3]"
        )
        assert seen.models[key].scaling.min_scale == 0
        await change(cluster, min_scale="2")
        await until(lambda: seen.models[key].scaling.min_scale == 2)
        assert platform.refusals() == {}


async def test_what_the_process_does_not_take_is_refused_whole(cluster: Cluster) -> None:
    """Its own variables may contradict; then nothing of the ConfigMap comes into force."""
    taken: list[Mapping[str, str]] = []

    def accept(processes: Mapping[str, str]) -> None:
        if processes.get("drain-delay") == "2s":
            raise SettingsError("", [Problem("data.drain-delay", "2s", "is too much today")])
        taken.append(processes)

    await write(cluster, max_scale="3", drain_delay="1s")
    key = await create(cluster)
    settings = SharedSettings(cluster.namespace, accept=accept)
    async with platform_of(cluster, settings=settings) as (_, seen):
        assert taken == [{"drain-delay": "1s"}]
        await change(cluster, max_scale="4", drain_delay="2s")
        assert "drain-delay = 2s: is too much today" in await heard(cluster, "SettingsRefused")
        assert seen.models[key].scaling.max_scale == 3
        assert len(taken) == 1
