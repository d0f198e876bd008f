"""Server-side apply, and who owns which fields after any write."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.kubernetes.api.errors import Cause, StatusError, apply_conflict, bad_request
from tests.kubernetes.api.fields import (
    Path,
    decoded,
    element,
    encoded,
    is_atomic,
    is_merged,
    owned,
    value_at,
    without,
)
from tests.kubernetes.api.kinds import Kind, Obj

APPLY = "application/apply-patch+yaml"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, and how. ``stamp``: when, as metadata has it; ``force``: takes over what
    others own."""

    name: str
    stamp: str = ""
    subresource: str = ""
    operation: str = "Update"
    force: bool = False

    def is_of(self, entry: Entry) -> bool:
        return (entry.manager, entry.operation, entry.subresource) == (
            *(self.name, self.operation, self.subresource),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``managedFields``."""

    manager: str
    operation: str
    subresource: str
    api_version: str
    time: str
    fields: frozenset[Path]


def entries_of(obj: Obj) -> list[Entry]:
    """Raises StatusError (400) for what is no list of entries."""
    found = []
    for raw in obj["metadata"].get("managedFields") or ():
        if not raw:
            continue  # [{}] is how a client resets it
        if raw.get("operation") not in ("Apply", "Update") or raw.get("fieldsType") != "FieldsV1":
            raise bad_request(f"metadata.managedFields: {str(raw)[:200]}")
        found.append(
            Entry(
                raw.get("manager", ""),
                raw["operation"],
                raw.get("subresource", ""),
                raw.get("apiVersion", ""),
                raw.get("time", ""),
                decoded(raw.get("fieldsV1") or {}),
            )
        )
    return found


def written(entries: Iterable[Entry]) -> list[Obj]:
    """Entries as metadata has them; those that own nothing are left out."""
    return [
        {
            "manager": entry.manager,
            "operation": entry.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encoded(entry.fields),
            **({"subresource": entry.subresource} if entry.subresource else {}),
        }
        for entry in entries
        if entry.fields
    ]


def applied(kind: Kind, live: Obj, config: Obj, by: Manager) -> tuple[Obj, list[Entry]]:
    """``live`` with ``config`` applied, and who owns what then.

    Raises StatusError (409) where others own what would change, unless ``by.force``. What the
    same manager applied before and names no longer is removed, unless another owns it too.
    """
    wanted = owned(config)
    entries = entries_of(live)
    others = [entry for entry in entries if not by.is_of(entry)]
    contested = [
        (entry, path)
        for entry in others
        for path in sorted(entry.fields & wanted)
        if value_at(live, path) != value_at(config, path)
    ]
    if not by.force:
        mine = _applied_by_kubectl(live) if by.name == "kubectl" else frozenset()
        if conflicts := [_cause(entry, path) for entry, path in contested if path not in mine]:
            raise apply_conflict(conflicts)
    taken = {path for _, path in contested}
    entries = [e if by.is_of(e) else replace(e, fields=e.fields - taken) for e in entries]
    kept: frozenset[Path] = wanted.union(*(e.fields for e in entries if not by.is_of(e)))
    before = _of(entries, by)
    result = _merged(live, config, "", "")
    given_up = {
        path
        for path in before - kept
        if path[-1].startswith("f:") or not any(other[: len(path)] == path for other in kept)
    }
    without(result, given_up)
    return result, _with(entries, kind, by, wanted)


def _applied_by_kubectl(live: Obj) -> frozenset[Path]:
    """What kubectl applied without the server: its own, though another entry has it."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    if not text:
        return frozenset()
    last = json.loads(text)
    return frozenset(path for path in owned(last) if value_at(last, path) == value_at(live, path))


def tracked(kind: Kind, old: Obj | None, new: Obj, by: Manager) -> list[Entry]:
    """Who owns what after any other write: whoever changed a field owns it, and alone."""
    entries = entries_of(new)
    # Only what differs is looked at closer: most writes are of a status.
    was, parts = old or {}, {*(old or {}), *new}
    differing = [key for key in parts if was.get(key) != new.get(key)]
    before = owned({key: was[key] for key in differing if key in was})
    after = owned({key: new[key] for key in differing if key in new})
    changed = {p for p in after if p not in before or value_at(old, p) != value_at(new, p)}
    gone = before - after
    if not changed and not gone:
        return entries
    mine = (_of(entries, by) | changed) - gone
    lost = changed | gone
    entries = [
        e if by.is_of(e) or e.fields.isdisjoint(lost) else replace(e, fields=e.fields - lost)
        for e in entries
    ]
    return _with(entries, kind, by, mine)


def _of(entries: Iterable[Entry], by: Manager) -> frozenset[Path]:
    return frozenset().union(*(entry.fields for entry in entries if by.is_of(entry)))


def _with(entries: list[Entry], kind: Kind, by: Manager, fields: frozenset[Path]) -> list[Entry]:
    """With the manager's entry in its place; its time stays where it owns the same as before."""
    parts = (by.name, by.operation, by.subresource, kind.api_version)
    for index, entry in enumerate(entries):
        if by.is_of(entry):
            time = entry.time if entry.fields == fields else by.stamp
            return [*entries[:index], Entry(*parts, time, fields), *entries[index + 1 :]]
    return [*entries, Entry(*parts, by.stamp, fields)]


def _cause(entry: Entry, path: Path) -> Cause:
    how = f' with subresource "{entry.subresource}"' if entry.subresource else ""
    at = f" at {entry.time}" if entry.operation == "Update" else ""
    message = f'conflict with "{entry.manager}"{how} using {entry.api_version}{at}'
    return Cause(_shown(path), message, "FieldManagerConflict")


def _shown(path: Path) -> str:
    """``.spec.template.spec.containers[name="server"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        else:
            inner = step[2:].strip("{}")
            parts = [part.partition(":") for part in inner.split(",")]
            text += "[" + ",".join(f"{k.strip(chr(34))}={v}" if v else k for k, _, v in parts) + "]"
    return text


def _merged(live: Any, config: Any, name: str, parent: str) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and not is_atomic(name):
        result = dict(live)
        for key, value in config.items():
            if value is not None:
                result[key] = _merged(live.get(key), value, key, name)
        return result
    if isinstance(config, list) and isinstance(live, list) and is_merged(name, parent):
        found = {element(item, name, parent): item for item in live}
        for item in config:
            key = element(item, name, parent)
            found[key] = _merged(found.get(key), item, name, name)
        # As the applier has them, then those of others.
        first = [element(item, name, parent) for item in config]
        return [found[key] for key in [*first, *(key for key in found if key not in first)]]
    return copy.deepcopy(config)


def checked(config: Any, name: str) -> Obj:
    """What may be applied. Raises StatusError (400, 422)."""
    if not isinstance(config, dict):
        raise bad_request(f"the body is no object: {str(config)[:100]!r}")
    for key in ("apiVersion", "kind"):
        if not config.get(key):
            raise StatusError(400, "BadRequest", f"{key} must be set in an apply patch")
    metadata = config.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if metadata.setdefault("name", name) != name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL"
            f" ({name})"
        )
    return config
