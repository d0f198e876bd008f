"""One revision counter for all objects, and a bounded log of changes per resource."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.kubernetes.api.errors import expired
from tests.kubernetes.api.kinds import KINDS, Kind, Obj

Key = tuple[str, str]  # namespace ("" for what has none), name


class Stored:
    """One version of one object. Its JSON is made once, however many lists and watches."""

    __slots__ = ("_encoded", "_item", "data")

    def __init__(self, data: Obj) -> None:
        self.data = data
        self._encoded: bytes | None = None
        self._item: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = json.dumps(self.data, separators=(",", ":")).encode()
        return self._encoded

    @property
    def item(self) -> bytes:
        """As lists of built-in kinds have it: without ``kind`` and ``apiVersion``."""
        if self._item is None:
            rest = {k: v for k, v in self.data.items() if k not in ("kind", "apiVersion")}
            self._item = json.dumps(rest, separators=(",", ":")).encode()
        return self._item

    @property
    def key(self) -> Key:
        metadata = self.data["metadata"]
        return metadata.get("namespace", ""), metadata["name"]


class Change(NamedTuple):
    """One write. ``old`` None: created; ``new`` is the last state where it was deleted."""

    revision: int
    kind: Kind
    old: Stored | None
    new: Stored
    deleted: bool


class Store:
    """``log_size``: how many changes of each resource are kept for watches to go on from."""

    def __init__(self, log_size: int = 1000) -> None:
        # Never 1 at the start of a real cluster either; small numbers hide mistakes.
        self.revision = 1000
        self._log_size = log_size
        self._objects: dict[Kind, dict[Key, Stored]] = {kind: {} for kind in KINDS}
        self._logs: dict[Kind, deque[Change]] = {kind: deque() for kind in KINDS}
        self._forgotten: dict[Kind, int] = dict.fromkeys(KINDS, self.revision - 1)
        self._listeners: dict[object, Callable[[Change], None]] = {}

    def get(self, kind: Kind, key: Key) -> Stored | None:
        return self._objects[kind].get(key)

    def all(self, kind: Kind, namespace: str = "") -> list[Stored]:
        """Those of ``namespace`` (all if empty), in the order of their keys, as etcd has it."""
        objects = self._objects[kind]
        keys = sorted(key for key in objects if not namespace or key[0] == namespace)
        return [objects[key] for key in keys]

    def count(self, kind: Kind) -> int:
        return len(self._objects[kind])

    def put(self, kind: Kind, data: Obj) -> Stored:
        """Write ``data`` under the next revision, which it gets as its resourceVersion."""
        stored = Stored(self._stamped(data))
        old = self._objects[kind].get(stored.key)
        self._objects[kind][stored.key] = stored
        self._record(Change(self.revision, kind, old, stored, False))
        return stored

    def delete(self, kind: Kind, key: Key) -> Stored:
        """Take the object away; its last state gets the revision of the deletion."""
        old = self._objects[kind].pop(key)
        last = Stored(self._stamped(old.data))
        self._record(Change(self.revision, kind, old, last, True))
        return last

    def _stamped(self, data: Obj) -> Obj:
        self.revision += 1
        return data | {"metadata": data["metadata"] | {"resourceVersion": str(self.revision)}}

    def _record(self, change: Change) -> None:
        log = self._logs[change.kind]
        log.append(change)
        if len(log) > self._log_size:
            self._forgotten[change.kind] = log.popleft().revision
        for listener in tuple(self._listeners.values()):
            listener(change)

    def compact(self) -> None:
        """Forget every change so far: whoever goes on from an earlier revision gets 410."""
        for kind, log in self._logs.items():
            self._forgotten[kind] = self.revision
            log.clear()

    def since(self, kind: Kind, revision: int) -> Iterator[Change]:
        """The changes after ``revision``. Raises StatusError (410) if some are forgotten."""
        forgotten = self._forgotten[kind]
        if revision < forgotten:
            raise expired(f"too old resource version: {revision} ({forgotten})")
        return iter([change for change in self._logs[kind] if change.revision > revision])

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``listener`` with every change from now on; returns how to end that."""
        token = object()
        self._listeners[token] = listener
        return lambda: void(self._listeners.pop(token, None))


def void(_: object) -> None:
    """Nothing."""
