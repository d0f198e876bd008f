"""Which activators there are: the pods of their own Service, ready or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stoker.clock import Clock
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.names import SLICE_SERVICE
from stoker.platforms.kubernetes.reflection import Changed, Delta, Key
from stoker.platforms.kubernetes.reflector import Reflector
from stoker.telemetry import Reading

Found = Mapping[str, str]


class Members:
    """``found`` is their addresses by the name of the pod; ``on_change`` is told of another.

    One that is not ready is there all the same: it may have requests, and has to be known to
    the others before it takes any. Of a pod with two addresses the IPv4 one counts.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        service: str,
        on_change: Callable[[Found], None],
        clock: Clock,
    ) -> None:
        self.found: Found = {}
        self._on_change = on_change
        self._slices: dict[Key, tuple[str, Found]] = {}
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        query = {"labelSelector": f"{SLICE_SERVICE}={service}"}
        self._reflector: Reflector[tuple[str, Found]] = Reflector(
            client, path, _pods, self._changed, clock=clock, query=query
        )

    async def start(self) -> None:
        """Returns once they have been listed. Raises PlatformError where that is refused."""
        self._reflector.start()
        await self._reflector.synced()

    async def close(self) -> None:
        """Idempotent."""
        await self._reflector.close()

    def readings(self) -> Iterable[Reading]:
        """For ``telemetry.Exposition``."""
        return self._reflector.readings()

    def _changed(self, deltas: Iterable[Delta[tuple[str, Found]]]) -> None:
        for delta in deltas:
            if isinstance(delta, Changed):
                self._slices[delta.key] = delta.new
            else:
                del self._slices[delta.key]
        found: dict[str, str] = {}
        for _, pods in sorted(self._slices.values(), key=lambda s: s[0], reverse=True):
            found |= pods  # IPv4 last, over IPv6
        if found != self.found:
            self.found = found
            self._on_change(found)


def _pods(obj: Mapping[str, Any]) -> tuple[str, Found] | None:
    """The family of a slice, and the pods in it with an address each."""
    pods = {}
    for endpoint in obj.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod" and endpoint.get("addresses"):
            pods[target["name"]] = endpoint["addresses"][0]
    return obj.get("addressType", ""), pods
