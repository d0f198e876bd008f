"""A cluster in this process: the tests' API server and controllers, and pods that are ready
as soon as they have a node, each a small server on a loopback address of its own.

One clock for all: when ``/scale`` was written, when a pod turned ready, when a byte came.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from tests.kubernetes.api.kinds import Obj, named
from tests.kubernetes.api.patching import MERGE
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.api.store import Change, Stored
from tests.kubernetes.cluster.controllers import Controllers
from tests.kubernetes.objects import deployment, kubeconfig

NAMESPACE, NODE, PORT = "bench", "node", 8080
DEPLOYMENT, POD = named("Deployment"), named("Pod")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_STAMP = "2026-01-01T00:00:00Z"


class _Server(asyncio.Protocol):
    """Answers every request that comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


class World:
    """Used as ``async with World(directory) as world:``.

    ``scaled`` and ``ready``: when the count of a Deployment was last raised from zero and when
    a pod of it last turned ready, by its name, on ``time.monotonic``. ``lowered``: how often
    any count was lowered.
    """

    def __init__(self, directory: Path) -> None:
        self.api = ApiServer(loopback=True, log_size=20_000)
        self.kubeconfig = ""
        self._directory = directory
        self.scaled: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self.lowered = 0
        self._addresses = self._all_addresses()
        self._pending: asyncio.Queue[Obj] = asyncio.Queue()
        self._servers: dict[str, asyncio.Server] = {}
        self._stack = AsyncExitStack()

    @staticmethod
    def _all_addresses() -> Iterator[str]:
        return (f"127.77.{a}.{b}" for a in itertools.count() for b in range(1, 255))

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.api)
        self.kubeconfig = kubeconfig(self._directory, self.api.url)
        verbs = self.api.verbs
        for kind, body in (
            ("Namespace", {"metadata": {"name": NAMESPACE}}),
            ("Node", {"metadata": {"name": NODE}}),
        ):
            verbs.create(named(kind), "", body)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": _STAMP}
        verbs.patch(named("Node"), "", NODE, MERGE, {"status": {"conditions": [ready]}}, "status")
        self._stack.callback(self.api.store.listen(self._changed))
        kubelet = asyncio.get_running_loop().create_task(self._run_pods())
        self._stack.push_async_callback(self._end, kubelet)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for server in self._servers.values():
            server.close()

    @asynccontextmanager
    async def controllers(self) -> AsyncIterator[None]:
        """Deployments get pods, pods get the node: only where there are few of them."""
        async with Controllers(self.api):
            yield

    # --- pods ---

    def _changed(self, change: Change) -> None:
        now = time.monotonic()
        if change.kind is DEPLOYMENT and change.old is not None:
            before, after = (s.data["spec"]["replicas"] for s in (change.old, change.new))
            if before == 0 < after:
                self.scaled[change.new.key[1]] = now
            self.lowered += after < before
        elif change.kind is POD:
            pod = change.new.data
            if change.deleted or pod["metadata"].get("deletionTimestamp"):
                if server := self._servers.pop(pod["metadata"]["uid"], None):
                    server.close()
                if not change.deleted:
                    self._pending.put_nowait(pod)
            elif pod["spec"].get("nodeName") and not (pod["status"].get("podIP")):
                self._pending.put_nowait(pod)

    async def _run_pods(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            pod = await self._pending.get()
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            if pod["metadata"].get("deletionTimestamp"):
                self.api.verbs.delete(POD, NAMESPACE, name, {"gracePeriodSeconds": 0})
                continue
            address = next(self._addresses)
            self._servers[uid] = await loop.create_server(_Server, address, PORT)
            status = {"status": ready_status(pod, address)}
            self.ready[pod["metadata"]["labels"]["app"]] = time.monotonic()
            self.api.verbs.patch(POD, NAMESPACE, name, MERGE, status, "status")

    # --- what there is ---

    def deployment(self, name: str, replicas: int = 0, **annotations: str) -> Stored:
        """Create one; its pods are labelled ``app: NAME``."""
        written = {f"stoker.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}
        body = deployment(name, replicas, annotations=written)
        return self.api.verbs.create(DEPLOYMENT, NAMESPACE, body)

    def many(self, deployments: int, pods_each: int) -> None:
        """Deployments with pods that are ready, put there at once, without controllers."""
        first = self.deployment("d0", pods_each, min_scale=str(pods_each)).data
        pod = self._pod_of(first)
        for number in range(deployments):
            name = f"d{number}"
            if number:
                self.api.store.put(DEPLOYMENT, _renamed(first, "d0", name))
            for which in range(pods_each):
                one: dict[str, Any] = _renamed(pod, "d0", name)
                one["metadata"]["name"] = f"{name}-1-{which}"
                one["metadata"]["uid"] = f"{number:08d}-{which}"
                one["status"] = ready_status(one, f"127.{number >> 8 & 63}.{number & 255}.{which}")
                self.api.store.put(POD, one)

    def _pod_of(self, deployment: Obj) -> Obj:
        template = copy.deepcopy(deployment["spec"]["template"])
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "d0-1", "uid": "r"}
        template["metadata"]["labels"]["pod-template-hash"] = "1"
        template["metadata"] |= {
            "name": "d0-1-x",
            "ownerReferences": [{**owner, "controller": True}],
        }
        template["spec"]["nodeName"] = NODE
        made = self.api.verbs.create(POD, NAMESPACE, template)
        self.api.store.delete(POD, made.key)
        return made.data


def _renamed(obj: Obj, old: str, new: str) -> Obj:
    """A copy for another model: each word that begins with ``old`` begins with ``new``."""

    def walked(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: walked(v) for k, v in value.items()}
        if isinstance(value, list):
            return [walked(v) for v in value]
        if value == old or (isinstance(value, str) and value.startswith(f"{old}-")):
            return new + value[len(old) :]
        return value

    renamed: Obj = walked(obj)
    renamed["metadata"]["uid"] = f"uid-{new}"
    return renamed


def ready_status(pod: Obj, address: str) -> Obj:
    """As a kubelet writes it of a pod whose containers are all ready."""
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    conditions = [{"type": k, "status": "True", "lastTransitionTime": _STAMP} for k in kinds]
    container = pod["spec"]["containers"][0]
    running = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": _STAMP}},
        "lastState": {},
    }
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "conditions": conditions,
        "containerStatuses": [running],
    }
