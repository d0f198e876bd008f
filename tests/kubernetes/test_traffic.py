"""Services led through activators and back, in a cluster whose writes fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stoker.errors import UnknownModelError
from stoker.platforms.kubernetes import routing
from stoker.platforms.kubernetes.names import ACTIVATOR_PORTS, DIRECT, SLICE_MANAGER_OURS
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.platforms.kubernetes.traffic import Activator
from stoker.vocabulary import ModelKey
from tests.kubernetes.api.faults import Action, Answer, Hang, Reset
from tests.kubernetes.api.kinds import named
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import deployment, service
from tests.kubernetes.waiting import until
from tests.kubernetes.watcher import Watcher, events

SLICES = named("EndpointSlice")


class Activators:
    """Those there are. They accept on whatever ports they are told to."""

    def __init__(self, cluster: Cluster) -> None:
        # At the end of the pods' addresses, which these are no pods of.
        self.address = str(cluster.addresses[-2])
        self.known = [Activator("one", {"IPv4": self.address}, frozenset())]

    def __call__(self) -> list[Activator]:
        return self.known

    def accept(self, *ports: int) -> None:
        self.known = [Activator("one", {"IPv4": self.address}, frozenset(ports))]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(routing, "RETRY", 0.01)


@asynccontextmanager
async def leading(
    cluster: Cluster, activators: Activators, told: list[dict[int, ModelKey]] | None = None
) -> AsyncIterator[tuple[KubernetesPlatform, Watcher]]:
    platform = KubernetesPlatform(
        cluster.client,
        namespaces=[cluster.namespace],
        activators=activators,
        on_ports=lambda ports: told.append(dict(ports)) if told is not None else None,
        settle=0.05,
    )
    async with platform:
        yield platform, Watcher(platform)


async def set_up(cluster: Cluster, replicas: int = 0, **spec: Any) -> ModelKey:
    await cluster.client.create(cluster.path("deployments"), deployment("m", replicas))
    await cluster.client.create(cluster.path("services"), service("m", **spec))
    return ModelKey(cluster.namespace, "m")


async def state(cluster: Cluster) -> tuple[str | None, list[str], bool, int]:
    """The allocated ports, the addresses in our slice, whether the key is there, and how many
    ready endpoints the cluster's own slice has."""
    found = await cluster.client.get(cluster.path("services", "m"))
    slices, _ = await cluster.client.list(cluster.path("endpointslices"))
    ours, theirs = [], 0
    for each in slices:
        manager = each["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
        endpoints = each.get("endpoints") or ()
        if manager == SLICE_MANAGER_OURS:
            ours += [address for e in endpoints for address in e["addresses"]]
        else:
            theirs += sum(e["conditions"]["ready"] for e in endpoints)
    annotations = found["metadata"].get("annotations") or {}
    return annotations.get(ACTIVATOR_PORTS), ours, DIRECT in found["spec"]["selector"], theirs


async def reached(cluster: Cluster, *wanted: object) -> None:
    """Until ``state`` is that."""
    while await state(cluster) != wanted:
        pass


async def test_a_service_is_taken_over_and_given_back(cluster: Cluster, kubelet: Kubelet) -> None:
    """At zero, before any replica: its clients find the activator. Back only once a replica is
    ready, and then everything is as it was."""
    key = await set_up(cluster)
    before = await cluster.client.get(cluster.path("services", "m"))
    activators = Activators(cluster)
    async with leading(cluster, activators) as (platform, seen):
        await reached(cluster, "=20000", [], False, 0)
        while platform.activator_ports() != {20000: key}:
            await state(cluster)
        activators.accept(20000)
        platform.activators_changed()
        await reached(cluster, "=20000", [activators.address], True, 0)
        (ours,) = [
            s
            for s in (await cluster.client.list(cluster.path("endpointslices")))[0]
            if s["metadata"]["name"] == "m-stoker-ipv4"
        ]
        assert [(p.get("name", ""), p["port"]) for p in ours["ports"]] == [("", 20000)]
        assert ours["metadata"]["ownerReferences"][0]["uid"] == before["metadata"]["uid"]
        await platform.set_traffic(key, False)
        while "no replica is ready" not in str(platform._routing and platform._routing.waiting()):
            await state(cluster)
        assert (await state(cluster))[2]
        await platform.scale(key, 1)
        await seen.ready(1)
        await reached(cluster, None, [], False, 1)
        after = await cluster.client.get(cluster.path("services", "m"))
        assert after["spec"] == before["spec"]
        assert after["metadata"].get("annotations") in (None, {})


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_whoever_comes_after_goes_on(
    writes: int, cluster: Cluster, kubelet: Kubelet, server: ApiServer
) -> None:
    """The process dies after any of its writes, there and back: the next one looks and ends
    what was begun, and at every moment somebody answers."""
    key = await set_up(cluster, replicas=1)
    activators = Activators(cluster)
    activators.accept(20000)
    while (await state(cluster))[3] != 1:
        pass
    answers: list[bool] = []

    def look(_: object) -> None:
        """After each write whatsoever: is there an address that answers?"""
        slices = server.store.all(SLICES, cluster.namespace)
        answers.append(any(e["conditions"]["ready"] for s in slices for e in s.data["endpoints"]))

    server.store.listen(look)

    async def begin(wanted: bool) -> None:
        done = written(server)
        async with leading(cluster, activators) as (platform, _):
            await platform.set_traffic(key, wanted)
            while written(server) - done < writes:
                await state(cluster)

    def written(server: ApiServer) -> int:
        paths = ("/services/m", "/endpointslices")
        verbs = ("patch", "create", "delete")
        return sum(server.count(verb, path, "(tests)") for verb in verbs for path in paths)

    await begin(True)
    async with leading(cluster, activators):
        await reached(cluster, "=20000", [activators.address], True, 0)
    await begin(False)
    async with leading(cluster, activators) as (platform, _):
        await platform.set_traffic(key, False)
        await reached(cluster, None, [], False, 1)
    assert len(answers) > 5
    assert all(answers)


FAULTS: dict[str, Action] = {
    "refused": Answer(503, "no"),
    "outdated": Answer(409, '{"reason":"Conflict","message":"modified"}'),
    "written, no answer": Reset(after=True),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_every_write_may_fail(
    case: str, cluster: Cluster, kubelet: Kubelet, server: ApiServer
) -> None:
    """Each of them twice, there and back: in the end all is as wanted."""
    key = await set_up(cluster, replicas=1)
    activators = Activators(cluster)
    activators.accept(20000)
    for path in ("/services/m", "/endpointslices"):
        server.faults.add(FAULTS[case], verb="patch|create|delete", path=path, times=2)
    async with leading(cluster, activators) as (platform, _):
        await reached(cluster, "=20000", [activators.address], True, 0)
        for path in ("/services/m", "/endpointslices"):
            server.faults.add(FAULTS[case], verb="patch|create|delete", path=path, times=2)
        await platform.set_traffic(key, False)
        await reached(cluster, None, [], False, 1)


async def test_a_model_that_is_no_more_is_given_back(cluster: Cluster, kubelet: Kubelet) -> None:
    """The label is taken away while it is asleep: its Service is its own again."""
    await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(20000)
    async with leading(cluster, activators):
        await reached(cluster, "=20000", [activators.address], True, 0)
        labels = {"metadata": {"labels": {"stoker.dev/managed": None}}}
        await cluster.client.patch(cluster.path("deployments", "m"), labels)
        await reached(cluster, None, [], False, 0)


async def test_a_key_that_somebody_takes_out_is_put_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ever later, with an Event, and never as fast as they can; a slice of ours that somebody
    deletes is made anew at once."""
    monkeypatch.setattr(routing, "FIRST_TRUCE", 0.05)
    await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(20000)
    async with leading(cluster, activators) as (platform, _):
        whole = ("=20000", [activators.address], True, 0)
        await reached(cluster, *whole)
        await cluster.client.delete(cluster.path("endpointslices", "m-stoker-ipv4"))
        await reached(cluster, *whole)
        path = cluster.path("services", "m")
        for _ in range(2):
            await cluster.client.patch(path, {"spec": {"selector": {DIRECT: None}}})
            await reached(cluster, *whole)
        monkeypatch.setattr(routing, "FIRST_TRUCE", 3600.0)
        await cluster.client.patch(path, {"spec": {"selector": {DIRECT: None}}})
        waiting = platform._routing and platform._routing.waiting
        while "(3 times)" not in str(waiting and waiting()):
            await state(cluster)
        assert (await state(cluster))[:3] == ("=20000", [activators.address], False)
        assert len(await events(cluster, "TrafficContested")) == 1


async def test_slices_follow_activators(cluster: Cluster) -> None:
    """One comes, one leaves: the slice names those that are there. A second Service has ports
    of its own."""
    await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(20000, 20001, 20002)
    async with leading(cluster, activators) as (platform, _):
        await reached(cluster, "=20000", [activators.address], True, 0)
        other = str(cluster.addresses[-3])
        both = frozenset({20000, 20001, 20002})
        activators.known = [*activators.known, Activator("two", {"IPv4": other}, both)]
        platform.activators_changed()
        await reached(cluster, "=20000", sorted([activators.address, other]), True, 0)
        del activators.known[0]
        platform.activators_changed()
        await reached(cluster, "=20000", [other], True, 0)
        named = [{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]
        second = service("second", selector={"app": "m"}, ports=named)
        await cluster.client.create(cluster.path("services"), second)
        while len(platform.activator_ports()) < 3:
            await state(cluster)
        found = await cluster.client.get(cluster.path("services", "second"))
        assert found["metadata"]["annotations"][ACTIVATOR_PORTS] == "http=20001,grpc=20002"


async def test_what_cannot_be_taken_over_is_said(cluster: Cluster) -> None:
    """A headless Service stays as it is, with an Event that says why."""
    await set_up(cluster, clusterIP="None")
    async with leading(cluster, Activators(cluster)):
        told: list[str] = []
        while not told:
            told = list(await events(cluster, "TrafficRefused"))
        assert told == [
            "Service m is headless: its clients ask for the pods' own addresses",
        ]
        assert (await state(cluster))[:3] == (None, [], False)


async def test_services_are_left_alone_without_activators(cluster: Cluster) -> None:
    """A platform that knows of none writes nothing to them."""
    await set_up(cluster)
    async with KubernetesPlatform(cluster.client, namespaces=[cluster.namespace]) as platform:
        platform.activators_changed()
        assert platform.activator_ports() == {}
        assert (await state(cluster))[:3] == (None, [], False)


async def test_services_that_come_at_once_get_different_ports(cluster: Cluster) -> None:
    """None is given away twice between a write and its being seen."""
    await set_up(cluster)
    for number in range(5):
        body = service(f"s{number}", selector={"app": "m"})
        await cluster.client.create(cluster.path("services"), body)
    async with leading(cluster, Activators(cluster)) as (platform, _):
        while len(platform.activator_ports()) < 6:
            await state(cluster)
        assert sorted(platform.activator_ports()) == list(range(20000, 20006))
        paths = [cluster.path("services", name) for name in ("m", "s0", "s1", "s2", "s3", "s4")]
        told = [(await cluster.client.get(path))["metadata"]["annotations"] for path in paths]
        assert len({annotations[ACTIVATOR_PORTS] for annotations in told}) == 6


async def test_a_copied_annotation_takes_no_traffic_away(cluster: Cluster) -> None:
    """Whoever copies a Service with its annotations gets ports of its own: the port stays with
    the older one's model, all the time."""
    key = await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(20000)
    told: list[dict[int, ModelKey]] = []
    await cluster.client.create(cluster.path("deployments"), deployment("thief"))
    async with leading(cluster, activators, told) as (platform, _):
        await reached(cluster, "=20000", [activators.address], True, 0)
        body = service("thief")
        body["metadata"]["annotations"] = {ACTIVATOR_PORTS: "=20000"}
        await cluster.client.create(cluster.path("services"), body)
        while len(platform.activator_ports()) < 2:
            await state(cluster)
        thief = ModelKey(cluster.namespace, "thief")
        assert platform.activator_ports() == {20000: key, 20001: thief}
        assert all(ports.get(20000, key) == key for ports in told)
        found = await cluster.client.get(cluster.path("services", "thief"))
        assert found["metadata"]["annotations"][ACTIVATOR_PORTS] == "=20001"


async def test_who_does_not_lead_writes_nothing_and_knows_the_ports(cluster: Cluster) -> None:
    """Then it leads, and goes on at once."""
    leads = False
    key = await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(20000)
    more: Any = {"namespaces": [cluster.namespace], "activators": activators}
    async with (
        KubernetesPlatform(cluster.client, leads=lambda: leads, **more) as platform,
        KubernetesPlatform(
            cluster.client, namespaces=[cluster.namespace], looks_only=True
        ) as looking,
    ):
        platform.activators_changed()
        assert (await state(cluster))[:3] == (None, [], False)
        leads = True
        platform.lead_changed()
        await reached(cluster, "=20000", [activators.address], True, 0)
        while looking.activator_ports() != {20000: key}:
            await state(cluster)


async def test_a_model_with_replicas_is_one_until_its_service_is_given_back(
    cluster: Cluster, kubelet: Kubelet, server: ApiServer
) -> None:
    """Whoever calls meanwhile gets an answer: the label goes, the model stays, unscaled, as
    long as its Service leads to the activators. A label that comes back undoes it."""
    key = await set_up(cluster, replicas=1)
    activators = Activators(cluster)
    activators.accept(20000)
    async with leading(cluster, activators) as (platform, seen):
        await reached(cluster, "=20000", [activators.address], True, 0)
        await seen.ready(1)
        fault = server.faults.add(Answer(503, "no"), verb="patch", path="/services/m")
        for value, known in ((None, False), ("true", True), (None, False)):
            body = {"metadata": {"labels": {"stoker.dev/managed": value}}}
            await cluster.client.patch(cluster.path("deployments", "m"), body)
            while await is_scaled(platform, key) is not known:
                await state(cluster)
            assert key in seen.models
        fault.lift()
        await reached(cluster, None, [], False, 1)
        await until(lambda: key not in seen.models)
        assert len(seen.gone) == 1


async def is_scaled(platform: KubernetesPlatform, key: ModelKey) -> bool:
    try:
        await platform.scale(key, 1)
    except UnknownModelError:
        return False
    return True


async def test_a_slow_answer_for_one_service_does_not_stop_others(
    cluster: Cluster, server: ApiServer
) -> None:
    """More Services than are written to at once, of which one hangs: the others are led on, and
    it too once it is let go."""
    await set_up(cluster)
    activators = Activators(cluster)
    activators.accept(*range(20000, 20100))
    names = [f"s{number}" for number in range(routing.MOST_AT_ONCE + 4)]
    for name in names:
        body = service(name, selector={"app": "m"})
        await cluster.client.create(cluster.path("services"), body)
    fault = server.faults.add(Hang(), verb="patch", path="/services/m")
    async with leading(cluster, activators):

        async def taken() -> int:
            services, _ = await cluster.client.list(cluster.path("services"))
            return sum(DIRECT in found["spec"]["selector"] for found in services)

        while await taken() < len(names):
            pass
        assert (await state(cluster))[0] is None
        fault.lift()
        while await taken() <= len(names):
            pass
