"""Events about models and settings, where ``kubectl describe`` shows them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import NamedTuple

from stoker.clock import Clock
from stoker.errors import ApiError
from stoker.platforms.kubernetes.client import Client, Obj
from stoker.platforms.kubernetes.names import COMPONENT
from stoker.vocabulary import ModelKey

logger = logging.getLogger(__name__)

WAITING = 1000
# What was told of an object within this time is not told again: a decision that fails every
# few seconds would fill etcd.
QUIET_SECONDS = 600.0
REMEMBERED = 10_000
# The API server takes no longer ones.
LONGEST_MESSAGE = 1024


_API_VERSIONS = {"Deployment": "apps/v1", "ConfigMap": "v1"}


class Note(NamedTuple):
    """One event about the Deployment of ``model``, or another object of that name."""

    model: ModelKey
    uid: str
    reason: str
    message: str
    warning: bool
    kind: str = "Deployment"


class Recorder:
    """Writes one event at a time; ``dropped`` counts what was not written."""

    def __init__(self, client: Client, *, clock: Clock) -> None:
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._waiting: asyncio.Queue[Note] = asyncio.Queue(WAITING)
        self._told: OrderedDict[Note, float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What waits is not written. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def record(self, note: Note) -> None:
        """Never raises, never blocks."""
        now = self._clock.now()
        if now - self._told.get(note, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._told[note] = now
        self._told.move_to_end(note)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        try:
            self._waiting.put_nowait(note)
        except asyncio.QueueFull:
            self.dropped += 1

    async def _run(self) -> None:
        while True:
            note = await self._waiting.get()
            path = f"/api/v1/namespaces/{note.model.namespace}/events"
            try:
                await self._client.create(path, self._event(note))
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    continue  # another process has told the same
                self.dropped += 1
                logger.warning("%s: the event %s was not kept: %s", note.model, note.reason, error)

    def _event(self, note: Note) -> Obj:
        wall = self._clock.wall()
        now = datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # By what it says and when: what every activator and autoscaler sees is one Event.
        told = f"{note} {wall // QUIET_SECONDS}".encode()
        suffix = hashlib.sha256(told).hexdigest()[:16]
        message = note.message.encode()[:LONGEST_MESSAGE].decode(errors="ignore")
        return {
            "metadata": {"name": f"{note.model.name[:200]}.{suffix}"},
            "involvedObject": {
                "apiVersion": _API_VERSIONS[note.kind],
                "kind": note.kind,
                "namespace": note.model.namespace,
                "name": note.model.name,
                "uid": note.uid,
            },
            "type": "Warning" if note.warning else "Normal",
            "reason": _camel(note.reason),
            "message": message,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }


def _camel(kind: str) -> str:
    """``scale-failed`` as Kubernetes has it: ``ScaleFailed``."""
    return "".join(part[:1].upper() + part[1:] for part in kind.replace("_", "-").split("-"))
