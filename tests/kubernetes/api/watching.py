"""One watch: which changes it tells, in which words, from which revision on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.kubernetes.api.errors import Cause, StatusError, invalid
from tests.kubernetes.api.kinds import Kind
from tests.kubernetes.api.selectors import object_matches
from tests.kubernetes.api.store import Change, Store, Stored


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """The parameters of a watch, as the query has them."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    version_match: str = ""
    bookmarks: bool = False
    initial_events: bool | None = None


def line(type: str, encoded: bytes) -> bytes:
    """One event, as it goes over the wire."""
    return b'{"type":"' + type.encode() + b'","object":' + encoded + b"}\n"


def error_line(error: StatusError) -> bytes:
    return line("ERROR", json.dumps(error.status).encode())


class Watch:
    """Turns changes into lines. ``revision``: what the watcher has seen so far."""

    def __init__(self, store: Store, query: WatchQuery) -> None:
        self._store = store
        self._query = query
        self._matches = object_matches(query.kind, query.label_selector, query.field_selector)
        self.revision = 0
        _check(query)

    def begin(self) -> Iterator[bytes]:
        """What is told at first. Raises StatusError (410) for a revision that is forgotten."""
        query, store = self._query, self._store
        version = query.resource_version
        everything = query.initial_events or (query.initial_events is None and version in ("", "0"))
        if everything or version in ("", "0"):
            self.revision = store.revision
            if everything:
                for stored in store.all(query.kind, query.namespace):
                    if self._sees(stored):
                        yield line("ADDED", stored.encoded)
                if query.initial_events:
                    yield self.bookmark(initial_end=True)
            return
        self.revision = int(version)
        for change in store.since(query.kind, self.revision):
            yield from self.told(change)

    def told(self, change: Change) -> Iterator[bytes]:
        """The line of a change, if the watcher gets to see one."""
        if change.kind is not self._query.kind or change.revision <= self.revision:
            return
        self.revision = change.revision
        was = change.old is not None and self._sees(change.old)
        now = not change.deleted and self._sees(change.new)
        if now:
            yield line("MODIFIED" if was else "ADDED", change.new.encoded)
        elif was and change.old is not None:
            # Deleted, or changed so that it is no longer selected: the state that was, with
            # the revision of the change.
            gone = change.new.data if change.deleted else change.old.data
            metadata = gone["metadata"] | {"resourceVersion": str(change.revision)}
            yield line("DELETED", Stored(gone | {"metadata": metadata}).encoded)

    def bookmark(self, initial_end: bool = False) -> bytes:
        """Up to where the watcher has seen everything."""
        self.revision = max(self.revision, self._store.revision)
        metadata: dict[str, object] = {"resourceVersion": str(self.revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind = self._query.kind
        obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return line("BOOKMARK", json.dumps(obj).encode())

    def _sees(self, stored: Stored) -> bool:
        namespace, name = stored.key
        query = self._query
        if query.namespace not in ("", namespace) or query.name not in ("", name):
            return False
        return self._matches(stored.data)


def _check(query: WatchQuery) -> None:
    if query.initial_events is not None and query.version_match != "NotOlderThan":
        cause = Cause(
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            "FieldValueForbidden",
        )
        raise invalid(query.kind, "", [cause])
    if query.version_match and query.initial_events is None:
        cause = Cause(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is"
            " provided",
            "FieldValueForbidden",
        )
        raise invalid(query.kind, "", [cause])
