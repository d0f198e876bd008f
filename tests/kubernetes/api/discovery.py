"""Which groups, versions and resources there are, for clients that ask (kubectl does)."""

from __future__ import annotations

from tests.kubernetes.api.kinds import KINDS, Kind, Obj

_VERBS = [
    *("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
]

VERSION: Obj = {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}


def document(path: str) -> Obj | None:
    """The answer for a discovery path; None where it is none."""
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [
            _group(*pair) for pair in sorted({(k.group, k.version) for k in KINDS if k.group})
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    roots = {_root(kind): kind.api_version for kind in KINDS}
    if path == "/openapi/v3":
        # Without the slash in front: these are keys, not addresses.
        return {"paths": {r[1:]: {"serverRelativeURL": f"/openapi/v3{r}"} for r in roots}}
    if path.startswith("/openapi/v3/") and path.removeprefix("/openapi/v3") in roots:
        return _openapi(roots[path.removeprefix("/openapi/v3")])
    return _resources(roots[path]) if path in roots else None


def _root(kind: Kind) -> str:
    return f"/apis/{kind.api_version}" if kind.group else "/api/v1"


def _openapi(api_version: str) -> Obj:
    """Only what kubectl asks it for: that PATCH knows ``fieldValidation``."""
    parameters = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
    paths = {}
    for kind in KINDS:
        if kind.api_version == api_version:
            space = "/namespaces/{namespace}" if kind.namespaced else ""
            named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
            patch = {"parameters": parameters, "x-kubernetes-group-version-kind": named}
            paths[f"{_root(kind)}{space}/{kind.plural}/{{name}}"] = {"patch": patch}
    info = {"title": "Kubernetes", "version": "v1.36.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _group(group: str, version: str) -> Obj:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resources(api_version: str) -> Obj:
    resources = [r for k in KINDS if k.api_version == api_version for r in _entries(k)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": resources,
    }


def _entries(kind: Kind) -> list[Obj]:
    main: Obj = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
        "shortNames": list(kind.short),
    }
    entries = [main]
    for name in kind.subresources:
        entry: Obj = {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": ["create"] if name == "binding" else ["get", "patch", "update"],
        }
        if name == "scale":
            entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        entries.append(entry)
    return entries
