"""The API server's reads: lists in pages, selectors, watches from any revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client, Obj
from tests.kubernetes.api.errors import StatusError
from tests.kubernetes.api.kinds import named
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.api.store import Store
from tests.kubernetes.api.verbs import Verbs
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.objects import config_map, endpoint_slice, refused

Next = Callable[[], AsyncIterator[Obj]]


@asynccontextmanager
async def watching(
    client: Client, path: str, version: str, **query: str
) -> AsyncIterator[AsyncIterator[Obj]]:
    """A watch of ``path`` from ``version`` on."""
    parameters = {"resourceVersion": version, "timeoutSeconds": "30", **query}
    async with aclosing(client.watch(path, parameters, silence=30)) as events:
        yield events


def told(event: Obj) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


async def test_a_watch_goes_on_where_a_list_ended(cluster: Cluster, client: Client) -> None:
    """Every change after the list's revision, in order, none before it."""
    path = cluster.path("configmaps")
    await client.create(path, config_map("before"))
    _, version = await client.list(path)
    await client.create(path, config_map("a"))
    await client.patch(f"{path}/a", {"data": {"k": "v"}})
    await client.delete(f"{path}/a")
    async with watching(client, path, version) as events:
        seen = [await anext(events) for _ in range(3)]
        await client.create(path, config_map("b"))
        seen.append(await anext(events))
    assert [told(e) for e in seen] == [
        *(("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")),
    ]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)


async def test_without_a_revision_a_watch_begins_with_what_is_there(
    cluster: Cluster, client: Client
) -> None:
    """As ADDED, then the changes."""
    path = cluster.path("configmaps")
    await client.create(path, config_map("a"))
    async with watching(client, path, "") as events:
        names = {told(await anext(events)) for _ in range(1 if cluster.server else 2)}
        assert ("ADDED", "a") in names
        await client.delete(f"{path}/a")
        assert told(await anext(events)) == ("DELETED", "a")


async def test_initial_events_end_with_a_bookmark(cluster: Cluster, client: Client) -> None:
    """sendInitialEvents: the state as it is, then a bookmark that says so."""
    path = cluster.path("configmaps")
    await client.create(path, config_map("a"))
    asked = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
    }
    async with watching(client, path, "", **asked) as events:
        seen = [await anext(events)]
        while seen[-1]["type"] != "BOOKMARK":
            seen.append(await anext(events))
    assert ("ADDED", "a") in [told(e) for e in seen[:-1]]
    annotations = seen[-1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}
    with pytest.raises(ApiError) as raised:
        async with watching(client, path, "", sendInitialEvents="true") as events:
            await anext(events)
    assert refused(raised.value) == (422, "Invalid")


async def test_a_watch_with_a_selector_sees_objects_come_and_go(
    cluster: Cluster, client: Client
) -> None:
    """One that no longer matches is DELETED to it, one that now does is ADDED."""
    path = cluster.path("configmaps")
    _, version = await client.list(path)
    await client.create(path, config_map("a", labels={"on": "no"}))
    await client.patch(f"{path}/a", {"metadata": {"labels": {"on": "yes"}}})
    await client.patch(f"{path}/a", {"data": {"k": "v"}})
    last = await client.patch(f"{path}/a", {"metadata": {"labels": {"on": None}}})
    async with watching(client, path, version, labelSelector="on=yes") as events:
        seen = [await anext(events) for _ in range(3)]
    assert [e["type"] for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[2]["object"]["metadata"]["labels"] == {"on": "yes"}
    version = seen[2]["object"]["metadata"]["resourceVersion"]
    assert version == last["metadata"]["resourceVersion"]


SELECTORS = {
    "app=a": "a",
    "app==a": "a",
    "app!=a": "b c d",
    "app in (a, b)": "a b",
    "app notin (a, b)": "c d",
    "app": "a b c",
    "!app": "d",
    "app=c,tier": "c",
}


@pytest.mark.parametrize("selector", SELECTORS)
async def test_label_selectors(selector: str, cluster: Cluster, client: Client) -> None:
    """Every form that queries have."""
    path = cluster.path("configmaps")
    for name in "abcd":
        labels = {"a": {"app": "a"}, "b": {"app": "b"}, "c": {"app": "c", "tier": "1"}, "d": {}}
        body = config_map(name, labels=labels[name] | {"ours": "yes"})
        await client.create(path, body)
    items, _ = await client.list(path, {"labelSelector": f"ours=yes,{selector}"})
    assert [i["metadata"]["name"] for i in items] == SELECTORS[selector].split()


async def test_field_selectors(cluster: Cluster, client: Client) -> None:
    """Names anywhere, a few fields of some kinds; any other is refused."""
    path = cluster.path("configmaps")
    await client.create(path, config_map("a"))
    items, _ = await client.list(path, {"fieldSelector": "metadata.name=a"})
    assert [i["metadata"]["name"] for i in items] == ["a"]
    with pytest.raises(ApiError) as raised:
        await client.list(path, {"fieldSelector": "data.k=v"})
    assert refused(raised.value) == (400, "BadRequest")
    assert "field label not supported" in str(raised.value)


async def test_items_of_lists_do_not_say_what_they_are(cluster: Cluster, client: Client) -> None:
    """kind and apiVersion are the list's; the objects of watches do say so."""
    path = cluster.path("configmaps")
    await client.create(path, config_map("a"))
    items, _ = await client.list(path, {"fieldSelector": "metadata.name=a"})
    assert [set(i) & {"kind", "apiVersion"} for i in items] == [set()]


async def test_pages_are_of_one_revision(cluster: Cluster, client: Client) -> None:
    """What is written while pages are fetched is in none of them."""
    path = cluster.path("configmaps")
    for number in range(5):
        await client.create(path, config_map(f"a{number}", labels={"ours": "yes"}))
    asked = {"limit": "2", "labelSelector": "ours=yes"}
    page = await client.send("list", "GET", path, query=asked)
    assert page["metadata"]["continue"]
    await client.create(path, config_map("a9", labels={"ours": "yes"}))
    await client.delete(f"{path}/a3")
    names = [i["metadata"]["name"] for i in page["items"]]
    version = page["metadata"]["resourceVersion"]
    while token := page["metadata"].get("continue"):
        page = await client.send("list", "GET", path, query={**asked, "continue": token})
        names += [i["metadata"]["name"] for i in page["items"]]
        assert page["metadata"]["resourceVersion"] == version
    assert names == ["a0", "a1", "a2", "a3", "a4"]


async def test_forgotten_revisions_are_gone(cluster: Cluster, server: ApiServer) -> None:
    """410 for a watch (within its answer of 200) and for the next page."""
    client, path = cluster.client, cluster.path("configmaps")
    for name in "ab":
        await client.create(path, config_map(name))
    page = await client.send("list", "GET", path, query={"limit": "1"})
    await client.create(path, config_map("c"))
    server.store.compact()
    server.verbs.expire_pages()
    async with watching(client, path, page["metadata"]["resourceVersion"]) as events:
        event = await anext(events)
    status = event["object"]
    assert (event["type"], status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    assert "too old resource version" in status["message"]
    token = page["metadata"]["continue"]
    with pytest.raises(ApiError) as raised:
        await client.send("list", "GET", path, query={"limit": "1", "continue": token})
    assert refused(raised.value) == (410, "Expired")


async def test_the_log_of_changes_is_bounded() -> None:
    """What has fallen out of it is 410, what is still in it is not."""
    store = Store(log_size=3)
    verbs = Verbs(store, lambda: 0.0)
    kind = named("ConfigMap")
    made = [verbs.create(kind, "default", config_map(f"a{n}")) for n in range(5)]
    versions = [int(m.data["metadata"]["resourceVersion"]) for m in made]
    assert [c.new.data["metadata"]["name"] for c in store.since(kind, versions[1])] == [
        *("a2", "a3", "a4"),
    ]
    with pytest.raises(StatusError) as raised:
        store.since(kind, versions[0])
    assert raised.value.code == 410


async def test_revisions_of_the_future_are_waited_for(cluster: Cluster, server: ApiServer) -> None:
    """504 and a time to wait: a replica of the server that lags behind says so."""
    with pytest.raises(ApiError) as raised:
        await cluster.client.list(cluster.path("configmaps"), {"resourceVersion": "999999"})
    assert (raised.value.status, raised.value.retry_after) == (504, 1)


async def test_unknown_paths_are_written_down() -> None:
    """404, and the fixture fails the test at its end."""
    async with ApiServer() as server:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{server.url}/api/v1/namespaces/default/quotas") as answer:
                assert answer.status == 404
            async with session.get(f"{server.url}/api/v1/pods/some-name") as answer:
                assert answer.status == 404
        assert server.unknown == [
            "GET /api/v1/namespaces/default/quotas",
            "GET /api/v1/pods/some-name",
        ]


async def test_slices_name_no_loopback_address() -> None:
    """As on a real server, unless a test's own pods live there."""
    body = endpoint_slice("a", "127.0.0.1")
    with pytest.raises(StatusError) as raised:
        Verbs(Store(), lambda: 0.0).create(named("EndpointSlice"), "default", body)
    assert (raised.value.code, "loopback" in str(raised.value)) == (422, True)
    Verbs(Store(), lambda: 0.0, loopback=True).create(named("EndpointSlice"), "default", body)
