"""A reflector against an API server that fails in every way that they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from stoker.clock import SystemClock
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.reflection import Cause, Changed, Delta
from stoker.platforms.kubernetes.reflector import Reflector
from stoker.telemetry import (
    API_REQUESTS,
    RELISTS,
    WATCH_EVENTS,
    WATCH_FAILURES,
    WATCH_SILENCE,
    WATCHED_OBJECTS,
)
from tests.kubernetes.api.faults import Action, Answer, EndOfFile, Garbage, Hang, Reset
from tests.kubernetes.api.kinds import named
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import config_map
from tests.kubernetes.waiting import until

AGENT = "reflector"


class Seen:
    """What a reflector tells, put together again: it must always be the whole truth."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __call__(self, deltas: Any) -> None:
        for delta in deltas:
            self.take(delta)

    def take(self, delta: Delta[str]) -> None:
        name = delta.key[1]
        assert self.known.get(name) == delta.old
        if isinstance(delta, Changed):
            self.known[name] = delta.new
        else:
            del self.known[name]


@asynccontextmanager
async def reflecting(
    cluster: Cluster, seen: Seen, *, patience: float = 30.0
) -> AsyncIterator[Reflector[str]]:
    """A reflector of the namespace's config maps named ``a...``. ``patience``: how long it
    waits for an answer, and for a silent watch."""
    access = replace(cluster.access, timeout=min(patience, 10.0))
    async with await Client.connect(access, AGENT) as client:
        reflector = Reflector[str](
            client,
            cluster.path("configmaps"),
            lambda o: o.get("data", {}).get("k") if o["metadata"]["name"][0] == "a" else None,
            seen,
            clock=SystemClock(),
            chance=lambda: 0.0,
            watch_seconds=patience,
            silence=patience,
        )
        reflector.start()
        try:
            yield reflector
        finally:
            await reflector.close()
            await reflector.close()


async def put(cluster: Cluster, name: str, value: str) -> None:
    """Create or change a config map."""
    body = config_map(name, {"k": value})
    if cluster.server is None or name not in await names(cluster):
        await cluster.client.create(cluster.path("configmaps"), body)
    else:
        await cluster.client.patch(cluster.path("configmaps", name), {"data": {"k": value}})


async def names(cluster: Cluster) -> set[str]:
    items, _ = await cluster.client.list(cluster.path("configmaps"))
    return {item["metadata"]["name"] for item in items}


async def test_it_knows_what_is_there_and_what_changes(cluster: Cluster) -> None:
    """From the first list on; objects that do not matter are left aside."""
    seen, path = Seen(), cluster.path("configmaps")
    await put(cluster, "a1", "1")
    async with reflecting(cluster, seen) as reflector:
        await reflector.synced()
        assert seen.known == {"a1": "1"}
        await cluster.client.create(path, config_map("a2", {"k": "2"}))
        await cluster.client.create(path, config_map("b", {"k": "no"}))
        await cluster.client.patch(f"{path}/a1", {"data": {"k": "3"}})
        await until(lambda: seen.known == {"a1": "3", "a2": "2"})
        await cluster.client.delete(f"{path}/a2")
        await until(lambda: seen.known == {"a1": "3"})
        assert reflector.known == {(cluster.namespace, "a1"): "3"}


async def test_many_objects_come_in_pages(cluster: Cluster, server: ApiServer) -> None:
    """1,200 objects are three requests; one list that went out of date half-way is begun anew."""
    for number in range(1200):
        body = config_map(f"a{number}", {"k": "v"})
        server.verbs.create(named("ConfigMap"), cluster.namespace, body)
    stale = server.faults.add(
        Answer(410, '{"kind":"Status","code":410,"reason":"Expired","message":"too old"}'),
        verb="list",
        agent=AGENT,
        times=1,
    )
    seen = Seen()
    async with reflecting(cluster, seen) as reflector:
        await reflector.synced()
        assert len(seen.known) == 1200
        assert reflector.failures == {Cause.EXPIRED: 1}
    assert stale.met == 1
    assert server.count("list", agent=AGENT) == 1 + 3


def log_forgotten(server: ApiServer) -> None:
    server.store.compact()
    server.reset_watches()


WATCH_FAULTS: dict[str, tuple[Action, Cause]] = {
    "reset within an event": (Reset(mid_event=True), Cause.NO_ANSWER),
    "ends at once": (EndOfFile(), Cause.ENDED_EARLY),
    "nothing comes": (Hang(), Cause.NO_ANSWER),
    "too many requests": (Answer(429, "slow down", retry_after=0), Cause.THROTTLED),
    "a proxy's page": (Answer(503, "<html>no backend</html>"), Cause.REFUSED),
    "forbidden": (Answer(403, '{"kind":"Status","reason":"Forbidden"}'), Cause.REFUSED),
    "expired": (Answer(410, '{"kind":"Status","reason":"Expired"}'), Cause.EXPIRED),
    "no JSON": (Garbage("<html>"), Cause.NO_ANSWER),
    "no event": (Garbage('{"type":"ADDED"}'), Cause.NO_ANSWER),
    "of an unknown type": (Garbage('{"type":"X","object":{}}'), Cause.GARBAGE),
    "an error within": (Garbage('{"type":"ERROR","object":{"code":500}}'), Cause.GARBAGE),
    "410 within": (Garbage('{"type":"ERROR","object":{"code":410}}'), Cause.EXPIRED),
}


@pytest.mark.parametrize("case", WATCH_FAULTS)
async def test_a_watch_that_fails_is_taken_up_again(
    case: str, cluster: Cluster, server: ApiServer
) -> None:
    """Whatever goes wrong, and however often: in the end everything is known, and it was
    counted what went wrong."""
    action, cause = WATCH_FAULTS[case]
    seen = Seen()
    await put(cluster, "a1", "1")
    fault = server.faults.add(action, verb="watch", agent=AGENT, times=3)
    async with reflecting(cluster, seen, patience=0.3 if case == "nothing comes" else 30.0) as it:
        await it.synced()
        await put(cluster, "a1", "2")
        await until(lambda: fault.met >= 1)
        await put(cluster, "a2", "1")
        await until(lambda: fault.met == 3)
        await put(cluster, "a1", "3")
        await cluster.client.delete(cluster.path("configmaps", "a2"))
        await until(lambda: seen.known == {"a1": "3"})
        await put(cluster, "a3", "1")
        await until(lambda: seen.known == {"a1": "3", "a3": "1"})
        assert it.failures[cause] >= 3
        assert it.last_failure


LIST_FAULTS: dict[str, Action] = {
    "reset": Reset(),
    "nothing comes": Hang(),
    "too many requests": Answer(429, "slow down"),
    "a proxy's page": Answer(503, "<html>no backend</html>"),
    "half an object": Answer(200, '{"items": ['),
    "another object": Answer(200, '["a"]'),
    "a list of another shape": Answer(200, '{"metadata":{"resourceVersion":"1"},"items":[{}]}'),
}


@pytest.mark.parametrize("case", LIST_FAULTS)
async def test_a_list_that_fails_is_tried_again(
    case: str, cluster: Cluster, server: ApiServer
) -> None:
    """Until there is one; nothing half-listed is taken for the whole."""
    seen = Seen()
    await put(cluster, "a1", "1")
    fault = server.faults.add(LIST_FAULTS[case], verb="list", agent=AGENT, times=2)
    async with reflecting(cluster, seen, patience=0.3 if case == "nothing comes" else 30.0) as it:
        await it.synced()
        assert fault.met == 2
        assert seen.known == {"a1": "1"}
        assert it.lists >= 2  # aiohttp itself asks again where a kept connection was reset
        assert sum(it.failures.values()) == it.lists - 1


BREAKS: dict[str, Callable[[ApiServer], None]] = {
    "ended": ApiServer.end_watches,
    "reset": ApiServer.reset_watches,
    "reset, and the log forgotten": log_forgotten,
}


@pytest.mark.parametrize("case", BREAKS)
async def test_nothing_is_missed_between_two_watches(
    case: str, cluster: Cluster, server: ApiServer
) -> None:
    """What happens while no watch is open is known afterwards, deletions too."""
    seen = Seen()
    for name in ("a1", "a2"):
        await put(cluster, name, "1")
    async with reflecting(cluster, seen) as reflector:
        await reflector.synced()
        await until(lambda: server.count("watch", agent=AGENT) == 1)
        held = server.faults.add(Hang(), verb="watch|list", agent=AGENT)
        BREAKS[case](server)
        await until(lambda: held.met == 1)
        await put(cluster, "a1", "2")
        await cluster.client.delete(cluster.path("configmaps", "a2"))
        if case.endswith("forgotten"):
            server.store.compact()
        held.lift()
        await until(lambda: seen.known == {"a1": "2"})
        assert reflector.lists == (2 if case.endswith("forgotten") else 1)


async def test_bookmarks_keep_a_quiet_watch_young(cluster: Cluster, server: ApiServer) -> None:
    """A revision that is known from a bookmark alone is gone on from, so that a quiet resource
    is not listed anew after each compaction."""
    seen = Seen()
    await put(cluster, "a1", "1")
    async with reflecting(cluster, seen) as reflector:
        await reflector.synced()
        await until(lambda: server.count("watch", agent=AGENT) == 1)
        server.verbs.create(named("Namespace"), "", {"metadata": {"name": "elsewhere"}})
        events = reflector.events
        server.bookmark()
        await until(lambda: reflector.events == events + 1)
        server.store.compact()
        server.end_watches()
        await until(lambda: server.count("watch", agent=AGENT) == 2)
        await put(cluster, "a1", "2")
        await until(lambda: seen.known == {"a1": "2"})
        assert reflector.lists == 1


async def test_what_it_counts(cluster: Cluster, server: ApiServer) -> None:
    """Objects, events, lists, failures by cause, how long ago it heard; requests by verb."""
    seen = Seen()
    server.faults.add(Answer(503, "no"), verb="list", agent=AGENT, times=1)
    await put(cluster, "a1", "1")
    async with reflecting(cluster, seen) as reflector:
        assert WATCH_SILENCE not in {r.spec for r in reflector.readings()}
        await reflector.synced()
        await put(cluster, "a1", "2")
        await until(lambda: reflector.events == 1)
        readings = {(r.spec, r.labels): r.value for r in reflector.readings()}
        silence = readings.pop((WATCH_SILENCE, ("configmaps",)))
        assert isinstance(silence, float)
        assert silence >= 0
        assert readings == {
            (WATCHED_OBJECTS, ("configmaps",)): 1,
            (WATCH_EVENTS, ("configmaps",)): 1,
            (RELISTS, ("configmaps",)): 2,
            (WATCH_FAILURES, ("configmaps", "refused")): 1,
        }
        sent = {r.labels: r.value for r in reflector._client.readings() if r.spec is API_REQUESTS}
        assert sent == {("list", "503"): 1, ("list", "200"): 1}
