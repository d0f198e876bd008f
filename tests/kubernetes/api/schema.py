"""Which fields objects may have, from the classes of kubernetes_asyncio.

Those are generated from Kubernetes' OpenAPI document, so every field of every built-in kind
is known with its type. Unknown fields are refused whatever ``fieldValidation`` says: here they
are mistakes of what is tested.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from kubernetes_asyncio.client import models

from tests.kubernetes.api.errors import StatusError, bad_request
from tests.kubernetes.api.kinds import Kind, Obj

_SCALARS = {"str": str, "int": int, "bool": bool}
# int-or-string and quantities: the generator has them as "object" and "str".
_QUANTITIES = "dict(str, str)"


@cache
def _fields(model: str) -> dict[str, str]:
    """JSON name → type, as the generator writes them."""
    cls = getattr(models, model)
    return {name: cls.openapi_types[field] for field, name in cls.attribute_map.items()}


def check(kind: Kind, obj: Any) -> None:
    """Raises StatusError (400) for what is no ``kind``: unknown fields, wrong types."""
    if not isinstance(obj, dict):
        raise bad_request(f"the body is no object: {str(obj)[:100]!r}")
    for key, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if obj.get(key, wanted) != wanted:
            raise bad_request(f"the {key} in the data ({obj[key]}) is not {wanted}")
    if kind.custom:
        _walk("V1ObjectMeta", obj.get("metadata") or {}, "metadata", kind)
    else:
        _walk(kind.model, obj, "", kind)


def _walk(type_name: str, value: Any, path: str, kind: Kind) -> None:
    if value is None or type_name == "object":
        return
    if match := re.fullmatch(r"list\[(.*)\]", type_name):
        _expect(value, list, path, kind)
        for index, item in enumerate(value):
            _walk(match[1], item, f"{path}[{index}]", kind)
    elif match := re.fullmatch(r"dict\(str, (.*)\)", type_name):
        _expect(value, dict, path, kind)
        for key, item in value.items():
            if type_name == _QUANTITIES and "resources" in path and isinstance(item, int):
                continue
            _walk(match[1], item, f"{path}[{key}]", kind)
    elif type_name in _SCALARS:
        _expect(value, _SCALARS[type_name], path, kind)
    elif type_name == "float":
        _expect(value, (int, float), path, kind)
    elif type_name == "datetime":
        _expect(value, str, path, kind)
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
            raise _undecodable(kind, f"parsing time {value!r} at {path}")
    else:
        _expect(value, dict, path, kind)
        fields = _fields(type_name)
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            if key not in fields:
                raise bad_request(f'strict decoding error: unknown field "{where}"')
            _walk(fields[key], item, where, kind)


def _expect(value: Any, types: type | tuple[type, ...], path: str, kind: Kind) -> None:
    right = isinstance(value, types) and (types is bool or not isinstance(value, bool))
    if not right:
        raise _undecodable(kind, f"{path} is {type(value).__name__}")


def _undecodable(kind: Kind, what: str) -> StatusError:
    return bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {what}'
    )


def without_unset(obj: Obj) -> Obj:
    """``obj`` as Go's omitempty writes it: what is null is not there."""
    return {
        key: without_unset(value) if isinstance(value, dict) else value
        for key, value in obj.items()
        if value is not None
    }
