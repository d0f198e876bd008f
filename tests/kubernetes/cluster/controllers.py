"""Deployment, ReplicaSet and EndpointSlice controllers, a scheduler, owner GC: beside our own
server. With ``--kubeconfig`` the cluster's own do their part."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tests.kubernetes.api.errors import StatusError
from tests.kubernetes.api.kinds import Obj, named
from tests.kubernetes.api.patching import MERGE
from tests.kubernetes.api.selectors import selects
from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.api.store import Change
from tests.kubernetes.cluster.rules import (
    condition,
    deletion_rank,
    is_active,
    is_ready,
    rollout,
    template_hash,
)

DEPLOYMENT, REPLICA_SET, POD = named("Deployment"), named("ReplicaSet"), named("Pod")
SERVICE, SLICE, NODE = named("Service"), named("EndpointSlice"), named("Node")
_OWNED = (REPLICA_SET, POD, SLICE)
_Key = tuple[str, str, str]  # kind, namespace, name


class Controllers:
    """Used as ``async with Controllers(server) as controllers:``.

    ``room``: how many pods the scheduler finds a node for; the others are unschedulable.
    ``hold()`` and ``go()``: let them fall behind, and catch up.
    """

    def __init__(self, server: ApiServer) -> None:
        self.room = 1_000_000
        self._verbs = server.verbs
        self._store = server.store
        self._dirty: dict[_Key, None] = {}
        self._stir = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    async def __aenter__(self) -> Controllers:
        self._unlisten = self._store.listen(self._changed)
        for kind in (DEPLOYMENT, REPLICA_SET, POD, SERVICE):
            for stored in self._store.all(kind):
                self._dirty[kind.kind, *stored.key] = None
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unlisten()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def hold(self) -> None:
        self._going.clear()

    def go(self) -> None:
        self._going.set()

    def _changed(self, change: Change) -> None:
        for key in self._concerned(change):
            self._dirty[key] = None
        self._stir.set()

    def _concerned(self, change: Change) -> Iterator[_Key]:
        namespace, name = change.new.key
        if change.kind in (DEPLOYMENT, REPLICA_SET, POD, SERVICE):
            yield change.kind.kind, namespace, name
        if change.kind is NODE:
            yield from (("Pod", *s.key) for s in self._store.all(POD))
        if change.kind in _OWNED:
            for owner in change.new.data["metadata"].get("ownerReferences") or ():
                yield owner["kind"], namespace, owner["name"]
        if change.kind is POD:
            yield from (("Service", *s.key) for s in self._store.all(SERVICE, namespace))
        if change.deleted:
            uid = change.new.data["metadata"]["uid"]
            for kind in _OWNED:
                for stored in self._store.all(kind, namespace):
                    owners = stored.data["metadata"].get("ownerReferences") or ()
                    if any(owner["uid"] == uid for owner in owners):
                        yield "garbage", kind.kind, stored.key[1] + "/" + namespace

    async def _run(self) -> None:
        while True:
            self._stir.clear()
            while self._dirty:
                await self._going.wait()
                key = next(iter(self._dirty))
                del self._dirty[key]
                # What changed meanwhile is dirty again by that very change.
                with suppress(StatusError):
                    self._reconcile(key)
                await asyncio.sleep(0)
            await self._stir.wait()

    def _reconcile(self, key: _Key) -> None:
        kind, namespace, name = key
        if kind == "garbage":
            victim, space = name.split("/")
            self._verbs.delete(named(namespace), space, victim)
            return
        stored = self._store.get(named(kind), (namespace, name))
        if stored is None or stored.data["metadata"].get("deletionTimestamp"):
            return
        obj = stored.data
        match kind:
            case "Deployment":
                self._deployment(obj)
            case "ReplicaSet":
                self._replica_set(obj)
            case "Pod":
                self._schedule(obj)
            case "Service":
                self._endpoints(obj)

    # --- Deployments ------------------------------------------------------------------------

    def _deployment(self, obj: Obj) -> None:
        metadata, spec = obj["metadata"], obj["spec"]
        namespace, name = metadata["namespace"], metadata["name"]
        ours = [s.data for s in self._store.all(REPLICA_SET, namespace) if _owned(s.data, obj)]
        current = f"{name}-{template_hash(spec['template'])}"
        olds = [rs for rs in ours if rs["metadata"]["name"] != current]
        news = [rs for rs in ours if rs["metadata"]["name"] == current]
        if not news:
            made = self._verbs.create(REPLICA_SET, namespace, _set_of(obj, current))
            news = [made.data]
        new = news[0]
        size, sizes = rollout(obj, new, olds)
        for rs, replicas in [(new, size), *((old, sizes.get(_name(old), 0)) for old in olds)]:
            if rs["spec"]["replicas"] != replicas:
                body = {"spec": {"replicas": replicas}}
                self._verbs.patch(REPLICA_SET, namespace, _name(rs), MERGE, body)
        counts = [rs.get("status", {}) for rs in [new, *olds]]
        ready = sum(c.get("readyReplicas", 0) for c in counts)
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": sum(c.get("replicas", 0) for c in counts),
            "updatedReplicas": counts[0].get("replicas", 0),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, spec["replicas"] - ready),
        }
        self._verbs.patch(DEPLOYMENT, namespace, name, MERGE, {"status": status}, "status")

    # --- ReplicaSets ------------------------------------------------------------------------

    def _replica_set(self, obj: Obj) -> None:
        metadata, spec = obj["metadata"], obj["spec"]
        namespace, name = metadata["namespace"], metadata["name"]
        pods = [s.data for s in self._store.all(POD, namespace) if _owned(s.data, obj)]
        active = [pod for pod in pods if is_active(pod)]
        missing = spec["replicas"] - len(active)
        for _ in range(missing):
            template = copy.deepcopy(spec["template"])
            owner = _reference(obj)
            template["metadata"] |= {"generateName": f"{name}-", "ownerReferences": [owner]}
            self._verbs.create(POD, namespace, template)
        if missing < 0:
            for pod in sorted(active, key=deletion_rank)[:-missing]:
                self._verbs.delete(POD, namespace, _name(pod))
        ready = sum(is_ready(pod) for pod in active)
        status = {
            "observedGeneration": metadata["generation"],
            "replicas": len(active),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        self._verbs.patch(REPLICA_SET, namespace, name, MERGE, {"status": status}, "status")

    # --- the scheduler ------------------------------------------------------------------------

    def _schedule(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if obj["spec"].get("nodeName") or obj["spec"]["schedulerName"] != "default-scheduler":
            return
        nodes = [s.data for s in self._store.all(NODE) if is_ready(s.data)]
        placed = sum(bool(s.data["spec"].get("nodeName")) for s in self._store.all(POD))
        if nodes and placed < self.room:
            self._verbs.bind(namespace, name, {"target": {"name": _name(nodes[0])}})
        elif not condition(obj, "PodScheduled"):
            why = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": f"0/{len(nodes)} nodes are available: {len(nodes)} Too many pods.",
                "lastTransitionTime": self._verbs.timestamp(),
            }
            status = {"status": {"conditions": [why]}}
            self._verbs.patch(POD, namespace, name, MERGE, status, "status")

    # --- EndpointSlices -----------------------------------------------------------------------

    def _endpoints(self, service: Obj) -> None:
        namespace, name = service["metadata"]["namespace"], _name(service)
        selector = service["spec"].get("selector")
        if not selector:
            return  # whoever removes the selector keeps the slice that was: as the real one does
        labels = {
            "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        endpoints: list[Obj] = []
        ports: list[Obj] = []
        for stored in self._store.all(POD, namespace):
            pod = stored.data
            found = selects({"matchLabels": selector}, pod["metadata"].get("labels") or {})
            if found and pod["status"].get("podIP"):
                endpoints.append(_endpoint(pod))
                ports = ports or _ports(service, pod)
        body: Obj = {"endpoints": endpoints, "ports": ports}
        for stored in self._store.all(SLICE, namespace):
            if (stored.data["metadata"].get("labels") or {}).items() >= labels.items():
                self._verbs.patch(SLICE, namespace, _name(stored.data), MERGE, body)
                return
        metadata: Obj = {"generateName": f"{name}-", "labels": labels}
        metadata["ownerReferences"] = [_reference(service)]
        body |= {"metadata": metadata, "addressType": "IPv4"}
        self._verbs.create(SLICE, namespace, body)


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _owned(obj: Obj, owner: Obj) -> bool:
    references = obj["metadata"].get("ownerReferences") or ()
    return any(r["uid"] == owner["metadata"]["uid"] and r.get("controller") for r in references)


def _reference(owner: Obj) -> Obj:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": _name(owner),
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _set_of(deployment: Obj, name: str) -> Obj:
    """The ReplicaSet of a Deployment's template."""
    spec = copy.deepcopy(deployment["spec"])
    template, selector = spec["template"], spec["selector"]
    mark = {"pod-template-hash": name.rpartition("-")[2]}
    template["metadata"]["labels"] = (template["metadata"].get("labels") or {}) | mark
    selector["matchLabels"] = (selector.get("matchLabels") or {}) | mark
    metadata: dict[str, Any] = {"name": name, "labels": template["metadata"]["labels"]}
    metadata["ownerReferences"] = [_reference(deployment)]
    return {
        "metadata": metadata,
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }


def _endpoint(pod: Obj) -> Obj:
    serving, terminating = is_ready(pod), bool(pod["metadata"].get("deletionTimestamp"))
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": serving and not terminating,
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": _name(pod),
            "uid": pod["metadata"]["uid"],
        },
    }


def _ports(service: Obj, pod: Obj) -> list[Obj]:
    ports = []
    for port in service["spec"]["ports"]:
        number = port["targetPort"]
        if isinstance(number, str):
            every = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
            number = next((p["containerPort"] for p in every if p.get("name") == number), None)
        if number is not None:
            ports.append({"name": port.get("name", ""), "port": number, "protocol": "TCP"})
    return ports
