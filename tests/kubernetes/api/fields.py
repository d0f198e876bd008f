"""Sets of fields, as ``metadata.managedFields`` has them: which parts of an object who owns.

After the structured merge of Kubernetes (sigs.k8s.io/structured-merge-diff): maps are merged key
by key, lists by the keys that Kubernetes' types declare (``x-kubernetes-list-map-keys``),
everything else is one value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from tests.kubernetes.api.kinds import Obj

Path = tuple[str, ...]
"""Elements in FieldsV1's spelling: ``f:NAME``, ``k:{"name":"server"}``, ``v:"a"``. The path of a
list's item is in a set of its own right."""

_LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "podIPs": ("ip",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_PORT_KEYS = {"spec": "port", "containers": "containerPort", "initContainers": "containerPort"}
_SETS = ("finalizers",)
# Maps that are one value, as ``x-kubernetes-map-type: atomic`` says.
_ATOMIC = frozenset(
    {
        *("selector", "labelSelector", "podSelector", "namespaceSelector", "nodeSelector"),
        *("roleRef", "scaleTargetRef", "targetRef", "involvedObject", "nodeSelectorTerms"),
        *("fieldRef", "resourceFieldRef", "secretKeyRef", "configMapKeyRef"),
    }
)
# Nobody owns what says which object it is, or what the server alone writes.
_UNOWNED = frozenset(
    {
        *("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
    }
)
_MISSING = object()


def owned(obj: Obj) -> frozenset[Path]:
    """Every field of an object that somebody can own."""
    parts = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    metadata = parts.get("metadata") or {}
    parts["metadata"] = {key: value for key, value in metadata.items() if key not in _UNOWNED}
    if not parts["metadata"]:
        del parts["metadata"]
    return frozenset(_below(parts, "", ()))


def _below(value: Obj, parent: str, path: Path) -> Iterator[Path]:
    for key, inner in value.items():
        if inner is not None:
            yield from _field(inner, key, parent, (*path, f"f:{key}"))


def _field(value: Any, name: str, parent: str, path: Path) -> Iterator[Path]:
    if isinstance(value, dict) and value and name not in _ATOMIC:
        yield from _below(value, name, path)
    elif isinstance(value, list) and value and is_merged(name, parent):
        for item in value:
            inner = (*path, element(item, name, parent))
            yield inner
            if isinstance(item, dict):
                yield from _below(item, name, inner)
    else:
        yield path


def is_merged(name: str, parent: str) -> bool:
    """Whether the list of this name is merged item by item."""
    return name in _SETS or bool(_keys(name, parent))


def is_atomic(name: str) -> bool:
    """Whether the map of this name is one value."""
    return name in _ATOMIC


def _keys(name: str, parent: str) -> tuple[str, ...]:
    if name == "ports":
        return (_PORT_KEYS[parent], "protocol") if parent in _PORT_KEYS else ()
    return _LIST_KEYS.get(name, ())


def element(item: Any, name: str, parent: str) -> str:
    """What tells an item of a merged list from the others."""
    if name in _SETS:
        return "v:" + json.dumps(item)
    values = {key: item.get(key) for key in _keys(name, parent)}
    if "protocol" in values:
        values["protocol"] = values["protocol"] or "TCP"
    return "k:" + json.dumps(values, separators=(",", ":"))


def value_at(obj: Any, path: Path) -> Any:
    """What stands there; for the item of a list only whether it does: True."""
    found = _walk(obj, path)
    if found is _MISSING or path[-1].startswith("f:"):
        return None if found is _MISSING else found
    return True


def _walk(obj: Any, path: Path) -> Any:
    names = ["", ""]
    for step in path:
        if step.startswith("f:"):
            obj = obj.get(step[2:], _MISSING) if isinstance(obj, dict) else _MISSING
            names.append(step[2:])
        else:
            items = obj if isinstance(obj, list) else ()
            found = [item for item in items if element(item, names[-1], names[-2]) == step]
            obj = found[0] if found else _MISSING
        if obj is _MISSING:
            return _MISSING
    return obj


def without(obj: Obj, paths: Iterable[Path]) -> Obj:
    """``obj``, changed in place: ``paths`` and maps that are empty without them are gone."""
    for path in sorted(paths, key=len):  # an item before its key, without which it is not found
        holder = _walk(obj, path[:-1])
        if isinstance(holder, list):
            names = ["", "", *(step[2:] for step in path if step.startswith("f:"))]
            left = [i for i in holder if element(i, names[-1], names[-2]) != path[-1]]
            holder[:] = left
        elif isinstance(holder, dict):
            holder.pop(path[-1][2:], None)
        if holder in ({}, []) and len(path) > 1 and path[-2].startswith("f:"):
            _walk(obj, path[:-2]).pop(path[-2][2:], None)
    return obj


def encoded(paths: Iterable[Path]) -> Obj:
    """As FieldsV1: ``{"f:spec": {"f:replicas": {}}}``; "." is the item of a list itself."""
    return _encoded(frozenset(paths))


@lru_cache(1000)
def _encoded(paths: frozenset[Path]) -> Obj:
    """Shared between objects: what is in the store is never changed, only replaced."""
    tree: Obj = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        if not path[-1].startswith("f:"):
            node["."] = {}
    return tree


def decoded(tree: Obj) -> frozenset[Path]:
    """The set that ``encoded`` made. "." of a map means nothing here: maps have no owner."""
    return frozenset(_decoded(tree, ()))


def _decoded(tree: Obj, path: Path) -> Iterator[Path]:
    if not tree or ("." in tree and not path[-1].startswith("f:")):
        yield path
    for step, inner in tree.items():
        if step != ".":
            yield from _decoded(inner, (*path, step))
