"""The three kinds of patch: JSON (RFC 6902), merge (RFC 7386), strategic merge (by key)."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.api.errors import StatusError, bad_request

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

# What Kubernetes' types declare as patchMergeKey. By the field's name; "" where the same name
# means several lists, told apart by what is above.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "conditions": "type",
    "ownerReferences": "uid",
    "addresses": "type",
    "taints": "key",
    "topologySpreadConstraints": "topologyKey",
    "readinessGates": "",
    "tolerations": "",
    "endpoints": "",
}
_PORT_KEYS = {"spec": "port", "containers": "containerPort", "initContainers": "containerPort"}
_MERGED_PRIMITIVES = ("finalizers",)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategic(target: Any, patch: Any, parent: str = "") -> Any:
    """Strategic merge patch, with ``$patch``, ``$retainKeys``, ``$setElementOrder`` and
    ``$deleteFromPrimitiveList``. Raises StatusError (400) for other directives."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return None
    result = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    orders: dict[str, list[Any]] = {}
    for key, value in patch.items():
        directive, slash, name = key.partition("/")
        if directive == "$setElementOrder" and slash:
            orders[name] = value
        elif directive == "$deleteFromPrimitiveList" and slash:
            result[name] = [item for item in result.get(name) or () if item not in value]
        elif key.startswith("$"):
            if key != "$retainKeys":
                raise bad_request(f"unknown directive {key}")
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _list(result.get(key), value, key, parent)
        else:
            patched = strategic(result.get(key), value, key)
            if patched is None:
                result.pop(key, None)
            else:
                result[key] = patched
    for name, order in orders.items():
        if name in result:
            result[name] = _ordered(result[name], order, name, parent)
    return result


def _merge_key(name: str, parent: str) -> str:
    return _PORT_KEYS.get(parent, "") if name == "ports" else _MERGE_KEYS.get(name, "")


def _list(target: Any, patch: list[Any], name: str, parent: str) -> list[Any]:
    key = _merge_key(name, parent)
    if not key:
        if name in _MERGED_PRIMITIVES:
            old = list(target or ())
            return old + [item for item in patch if item not in old]
        return copy.deepcopy(patch)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    result = list(target or ())
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        found = [i for i, old in enumerate(result) if old.get(key) == item[key]]
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif found:
            result[found[0]] = strategic(result[found[0]], item, name)
        else:
            result.append(strategic({}, item, name))
    return result


def _ordered(items: list[Any], order: list[Any], name: str, parent: str) -> list[Any]:
    key = _merge_key(name, parent)
    ranks = {(item[key] if key else item): rank for rank, item in enumerate(order)}
    return sorted(items, key=lambda item: ranks.get(item[key] if key else item, len(ranks)))


def json_patched(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises StatusError: 400 for what is no patch, 422 for what cannot be done."""
    if not isinstance(operations, list):
        kind = "object" if isinstance(operations, dict) else type(operations).__name__
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type"
            " jsonpatch.Patch"
        )
    result = copy.deepcopy(target)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request due to an error in our request: {error!r}"
            raise StatusError(422, "Invalid", message) from error
    return result


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation["op"], operation["path"]
    if kind in ("move", "copy"):
        value = copy.deepcopy(_walk(document, _steps(operation["from"])))
        if kind == "move":
            _remove(document, _steps(operation["from"]))
        return _add(document, _steps(path), value)
    steps = _steps(path)
    match kind:
        case "add":
            return _add(document, steps, copy.deepcopy(operation["value"]))
        case "remove":
            _remove(document, steps)
        case "replace":
            _walk(document, steps)
            if isinstance(_walk(document, steps[:-1]), list):
                _remove(document, steps)
            return _add(document, steps, copy.deepcopy(operation["value"]))
        case "test":
            if _walk(document, steps) != operation["value"]:
                raise ValueError(f"testing value {path} failed")
        case _:
            raise ValueError(f"unexpected kind: {kind}")
    return document


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"{path} is no pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _walk(document: Any, steps: list[str]) -> Any:
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _add(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    holder = _walk(document, steps[:-1])
    if not isinstance(holder, list):
        holder[steps[-1]] = value
    elif steps[-1] == "-":
        holder.append(value)
    else:
        if not 0 <= int(steps[-1]) <= len(holder):
            raise IndexError(steps[-1])
        holder.insert(int(steps[-1]), value)
    return document


def _remove(document: Any, steps: list[str]) -> None:
    holder = _walk(document, steps[:-1])
    if isinstance(holder, list):
        del holder[int(steps[-1])]
    else:
        del holder[steps[-1]]
