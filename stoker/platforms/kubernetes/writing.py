"""Writes about models: counts, marks, deletions; tried again until they are done."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stoker.clock import Clock
from stoker.errors import ApiError, PlatformError
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.models import DeploymentView
from stoker.platforms.kubernetes.names import DELETION_COST, DRAINING
from stoker.platforms.kubernetes.scaling import Delete, Effect, Mark, Scaling, SetScale
from stoker.platforms.kubernetes.tracking import Tracker
from stoker.vocabulary import ModelKey, Phase

logger = logging.getLogger(__name__)

Budget = Callable[[], float]
"""How many seconds a write may take; raises NotLeadingError if this process may not write."""

# The first pause after a write that failed in the background; doubled up to the other.
RETRY, LONGEST_RETRY = 0.5, 30.0
LOOK_AGAIN = 300.0


@dataclass(slots=True)
class Managed:
    """A Deployment that carries the label. ``refused`` says why it is no model, or that its
    last change was not taken."""

    deployment: DeploymentView
    tracker: Tracker
    scaling: Scaling
    announced: bool = False
    via_activator: bool = True
    refused: str = ""
    refused_for: str = ""
    # Whether its initial scale is behind it.
    initialised: bool = False
    # It is no model any more (``removed``: nor labelled), but requests still come for it.
    leaving: bool = False
    removed: bool = False
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    retry_at: float = 0.0
    failures: int = 0

    @property
    def ready(self) -> int:
        """How many replicas are ready."""
        return sum(replica.phase is Phase.READY for replica in self.tracker.replicas)


class Writer:
    """Carries out what ``Scaling`` asks for, of every model in ``models``.

    ``write`` does it now and says what went wrong; what becomes due by itself (a victim that
    is empty, or whose time is over) is done in the background.
    """

    def __init__(
        self, client: Client, models: Mapping[ModelKey, Managed], *, budget: Budget, clock: Clock
    ) -> None:
        self._client = client
        self._models = models
        self._budget = budget
        self._clock = clock
        self._due: set[ModelKey] = set()
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write no more. Idempotent."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def look_at(self, key: ModelKey) -> None:
        """Something happened to this model."""
        self._due.add(key)
        self._stir.set()

    async def _run(self) -> None:
        """Write what became due by itself: a victim that is empty, or whose time is over."""
        pending: set[ModelKey] = set()  # those that time alone makes due
        while True:
            self._stir.clear()
            pending |= self._due
            self._due.clear()
            pause = LOOK_AGAIN
            for key in tuple(pending):
                known = self._models.get(key)
                if known is None or not known.announced:
                    pending.discard(key)
                    continue
                at = await self._proceed(key, known)
                if at < math.inf:
                    pause = min(pause, max(0.0, at - self._clock.now()))
                else:
                    pending.discard(key)
            timer = asyncio.get_running_loop().call_later(pause, self._stir.set)
            try:
                await self._stir.wait()
            finally:
                timer.cancel()

    async def _proceed(self, key: ModelKey, known: Managed) -> float:
        """Write what is due; when to look at it again, infinity: when something happens."""
        if self._clock.now() < known.retry_at:
            return known.retry_at
        if known.writing.locked():
            return math.inf  # whoever writes there goes on until nothing is left to do
        try:
            await self._write(known)
        except PlatformError as error:
            logger.debug("%s: %s", key, error)
            return known.retry_at
        at = known.scaling.wake_at
        return at if at > self._clock.now() else math.inf

    async def write(self, known: Managed) -> None:
        """Carry out effects one by one until there is none. Raises ApiError, NotLeadingError;
        what is left then is done in the background."""
        try:
            await self._write(known)
        finally:
            self.look_at(known.deployment.key)

    async def _write(self, known: Managed) -> None:
        async with known.writing:
            try:
                while not self._closed:
                    effect = known.scaling.next(known.tracker.replicas, self._clock.now())
                    if effect is None:
                        break
                    await self._perform(known, effect)
                    known.scaling.done(effect, self._clock.now())
            except PlatformError:
                known.failures += 1
                pause = min(RETRY * 2.0 ** min(known.failures - 1, 10), LONGEST_RETRY)
                known.retry_at = self._clock.now() + pause
                raise
            known.failures, known.retry_at = 0, 0.0

    async def _perform(self, known: Managed, effect: Effect) -> None:
        key, timeout = known.deployment.key, self._budget()
        match effect:
            case SetScale(count):
                path = f"/apis/apps/v1/namespaces/{key.namespace}/deployments/{key.name}/scale"
                body: dict[str, Any] = {"spec": {"replicas": count}}
                await self._client.patch(path, body, timeout=timeout)
                return
            case Mark(id) | Delete(id):
                pod = known.tracker.pod(id)
                if pod is None:
                    return
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        try:
            if isinstance(effect, Delete):
                await self._client.delete(path, uid=pod.uid, timeout=timeout)
                return
            now = datetime.fromtimestamp(self._clock.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            marks = {DELETION_COST: str(effect.cost), DRAINING: now}
            body = {"metadata": {"uid": pod.uid, "annotations": marks}}
            await self._client.patch(path, body, timeout=timeout)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            known.scaling.gone(effect.id)  # gone meanwhile, or another by the same name
