"""Which activators there are, from the slices of their Service."""

from __future__ import annotations

from typing import Any

from stoker.clock import SystemClock
from stoker.platforms.kubernetes.members import Members
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.waiting import until


def pods(cluster: Cluster, **numbers: int) -> list[dict[str, Any]]:
    return [
        {
            "addresses": [str(cluster.addresses[number])],
            "conditions": {"ready": False},
            "targetRef": {"kind": "Pod", "name": name},
        }
        for name, number in numbers.items()
    ]


async def test_pods_of_the_service_are_members_ready_or_not(cluster: Cluster) -> None:
    """They come and go; those of another Service, and what is no pod, are none. Of a pod with
    two addresses the IPv4 one counts."""
    path = cluster.path("endpointslices")

    async def put(name: str, service: str, family: str, endpoints: list[Any]) -> None:
        metadata = {"name": name, "labels": {"kubernetes.io/service-name": service}}
        body = {"metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": []}
        await cluster.client.create(path, body)

    nobody: list[Any] = [{"addresses": [str(cluster.addresses[9])]}]
    await put("one", "stoker-activator", "IPv4", [*pods(cluster, a=1, b=2), *nobody])
    await put("other", "m", "IPv4", pods(cluster, c=3))
    told: list[Any] = []
    members = Members(
        cluster.client, cluster.namespace, "stoker-activator", told.append, SystemClock()
    )
    try:
        await members.start()
        address = {name: str(cluster.addresses[n]) for name, n in (("a", 1), ("b", 2), ("d", 4))}
        assert told == [{"a": address["a"], "b": address["b"]}] == [members.found]
        six = [{"addresses": ["fd00::1"], "targetRef": {"kind": "Pod", "name": "a"}}]
        only = [{"addresses": ["fd00::5"], "targetRef": {"kind": "Pod", "name": "e"}}]
        await put("six", "stoker-activator", "IPv6", six + only)
        await until(lambda: len(members.found) == 3)
        assert members.found["a"] == address["a"]
        assert members.found["e"] == "fd00::5"
        await cluster.client.patch(f"{path}/one", {"endpoints": pods(cluster, a=1, d=4)})
        await until(lambda: set(members.found) == {"a", "d", "e"})
        await cluster.client.delete(f"{path}/six")
        await until(lambda: members.found == {"a": address["a"], "d": address["d"]})
        assert next(reading.value for reading in members.readings()) == 1
    finally:
        await members.close()
