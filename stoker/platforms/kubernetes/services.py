"""Services and EndpointSlices: what is kept of them, and the writes that ``traffic`` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.names import (
    ACTIVATOR_PORTS,
    DIRECT,
    SLICE_MANAGER,
    SLICE_MANAGER_OURS,
    SLICE_SERVICE,
)
from stoker.platforms.kubernetes.traffic import (
    Annotate,
    DeleteSlice,
    PutSlice,
    ServiceView,
    SetKey,
    SliceView,
    Write,
)

Obj = Mapping[str, Any]


def view(service: Obj) -> ServiceView | None:
    """None for a Service that is nothing to us: no selector, and none of our marks."""
    metadata, spec = service["metadata"], service["spec"]
    selector, ports = spec.get("selector") or {}, spec.get("ports") or ()
    written = (metadata.get("annotations") or {}).get(ACTIVATOR_PORTS, "")
    if not selector and not written:
        return None
    return ServiceView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        selector=tuple(sorted(selector.items())),
        ports=tuple(port.get("name", "") for port in ports),
        families=tuple(spec.get("ipFamilies") or ("IPv4",)),
        headless=spec.get("clusterIP") == "None",
        external=spec.get("type") == "ExternalName",
        udp=any(port.get("protocol", "TCP") != "TCP" for port in ports),
        allocated=_allocated(written),
        version=metadata["resourceVersion"],
        created=metadata.get("creationTimestamp") or "",
    )


def _allocated(text: str) -> tuple[tuple[str, int], ...]:
    """``http=20000,grpc=20001``, as ``_written`` writes it; what anybody else made of it
    counts as not there."""
    pairs = [pair.rpartition("=") for pair in text.split(",") if pair]
    if any(not number.isdecimal() for _, _, number in pairs):
        return ()
    return tuple((name, int(number)) for name, _, number in pairs)


def _written(ports: tuple[tuple[str, int], ...]) -> str | None:
    return ",".join(f"{name}={port}" for name, port in ports) or None


def slice_view(obj: Obj) -> SliceView | None:
    """None for a slice of no Service."""
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    if SLICE_SERVICE not in labels:
        return None
    endpoints = obj.get("endpoints") or ()
    ready = [e for e in endpoints if (e.get("conditions") or {}).get("ready", True)]
    return SliceView(
        name=metadata["name"],
        service=labels[SLICE_SERVICE],
        ours=labels.get(SLICE_MANAGER) == SLICE_MANAGER_OURS,
        family=obj["addressType"],
        addresses=tuple(sorted(address for e in endpoints for address in e["addresses"])),
        ports=tuple((p.get("name") or "", p.get("port") or 0) for p in obj.get("ports") or ()),
        ready=len(ready),
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
    )


async def perform(
    client: Client,
    service: ServiceView,
    known: Mapping[str, SliceView],
    write: Write,
    budget: float,
) -> None:
    """Do ``write`` over the versions that are known, by slice name; over no other.

    Raises ApiError; 409: what was known is outdated.
    """
    root = f"/namespaces/{service.namespace}"
    path = f"/api/v1{root}/services/{service.name}"
    slices = f"/apis/discovery.k8s.io/v1{root}/endpointslices"
    metadata: dict[str, Any] = {"resourceVersion": service.version}
    match write:
        case Annotate(ports):
            metadata["annotations"] = {ACTIVATOR_PORTS: _written(ports)}
            await client.patch(path, {"metadata": metadata}, timeout=budget)
        case SetKey(present):
            selector = {DIRECT: "true" if present else None}
            body = {"metadata": metadata, "spec": {"selector": selector}}
            await client.patch(path, body, timeout=budget)
        case DeleteSlice(name):
            try:
                await client.delete(f"{slices}/{name}", uid=known[name].uid, timeout=budget)
            except ApiError as error:
                if error.status != 404:
                    raise
        case PutSlice(family, addresses, ports):
            name = f"{service.name}-stoker-{family.lower()}"
            content = {
                "endpoints": [
                    {"addresses": [address], "conditions": {"ready": True}} for address in addresses
                ],
                "ports": [{"name": n, "port": port, "protocol": "TCP"} for n, port in ports],
            }
            if name in known:
                over: dict[str, Any] = {"metadata": {"resourceVersion": known[name].version}}
                body = over | content
                await client.patch(f"{slices}/{name}", body, timeout=budget)
            else:
                made = _ours(service, name) | {"addressType": family, **content}
                await client.create(slices, made, timeout=budget)


def _ours(service: ServiceView, name: str) -> dict[str, Any]:
    """The head of a slice of ours: it goes with its Service."""
    owner = {"apiVersion": "v1", "kind": "Service", "name": service.name, "uid": service.uid}
    labels = {SLICE_SERVICE: service.name, SLICE_MANAGER: SLICE_MANAGER_OURS}
    return {"metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}}
