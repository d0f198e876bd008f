"""Keeps a resource known: the I/O around ``Reflection``."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

from stoker.clock import Clock
from stoker.errors import ApiError, PlatformError
from stoker.platforms.kubernetes.client import Client, Query
from stoker.platforms.kubernetes.reflection import (
    Cause,
    Delta,
    Key,
    List,
    Obj,
    Reflection,
    Wait,
    cause_of,
)
from stoker.telemetry import (
    RELISTS,
    WATCH_EVENTS,
    WATCH_FAILURES,
    WATCH_SILENCE,
    WATCHED_OBJECTS,
    Reading,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Asked of the server, give or take a fifth: a watch that hangs is noticed within that and
# SILENCE, and five resources still cost less than 0.05 requests per second.
WATCH_SECONDS = 120
SILENCE = 15.0
# So many refusals in a row, about two seconds, before a start is given up.
REFUSALS = 5


class Wants(Protocol[T]):
    """Who is told of changes: all of one list or event at once, in order."""

    def __call__(self, deltas: Iterable[Delta[T]]) -> None: ...


class Reflector(Generic[T]):
    """``path`` is a collection's. Changes go to ``on_change``, which must not raise.

    Used with ``start()``, ``synced()`` and ``close()``. Never gives up.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        project: Callable[[Obj], T | None],
        on_change: Wants[T],
        *,
        clock: Clock,
        query: Query | None = None,
        chance: Callable[[], float] = random.random,
        watch_seconds: float = WATCH_SECONDS,
        silence: float = SILENCE,
    ) -> None:
        self.resource = path.rpartition("/")[2]
        self.events = 0
        self.lists = 0
        self.failures: Counter[Cause] = Counter()
        self._client = client
        self._path = path
        self._query = dict(query or {})
        self._reflection: Reflection[T] = Reflection(project)
        self._on_change = on_change
        self._clock = clock
        self._chance = chance
        self._watch_seconds = watch_seconds
        self._silence = silence
        self._synced = asyncio.Event()
        self._refusals = 0
        self._refused: PlatformError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def known(self) -> Mapping[Key, T]:
        """Every object that is known, by namespace and name."""
        return self._reflection.known

    @property
    def last_failure(self) -> str:
        """What went wrong last, in words."""
        return self._reflection.last_failure

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def synced(self) -> None:
        """Until everything has been listed once. Raises PlatformError where that may not be:
        rights that were given a moment ago are waited for, see ``REFUSALS``.
        """
        await self._synced.wait()
        if self._refused is not None:
            raise self._refused

    async def close(self) -> None:
        """Watch no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def readings(self) -> Iterator[Reading]:
        """How much is known, how late, and what went wrong; for ``telemetry.Exposition``."""
        labels = (self.resource,)
        yield Reading(WATCHED_OBJECTS, labels, len(self.known))
        yield Reading(WATCH_EVENTS, labels, self.events)
        yield Reading(RELISTS, labels, self.lists)
        if (heard := self._reflection.heard_at) is not None:
            yield Reading(WATCH_SILENCE, labels, self._clock.now() - heard)
        for cause, count in self.failures.items():
            yield Reading(WATCH_FAILURES, (self.resource, cause), count)

    # --- the loop ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            step = self._reflection.next(self._clock.now())
            try:
                match step:
                    case Wait(until):
                        await asyncio.sleep(max(0.0, until - self._clock.now()))
                    case List():
                        await self._list()
                    case _:
                        await self._watch(step.revision)
            except ApiError as error:
                cause = cause_of(error.status)
                self._failed(cause, str(error), error.retry_after)
                if not self._synced.is_set() and error.status in (401, 403):
                    self._count_refusal(error)
            except Exception as error:
                # An object of a shape nobody has thought of must not end the watch of all.
                logger.exception("%s: what came could not be taken in", self._path)
                self._failed(Cause.GARBAGE, repr(error), 0.0)

    async def _list(self) -> None:
        self.lists += 1
        items, revision = await self._client.list(self._path, self._query)
        self._tell(self._reflection.listed(items, revision, self._clock.now()))
        if not self._synced.is_set():
            logger.debug("%s: %d objects at %s", self._path, len(items), revision)
            self._synced.set()

    def _count_refusal(self, error: ApiError) -> None:
        self._refusals += 1
        if self._refusals < REFUSALS:
            return
        *_, space, _ = ("", "", *self._path.split("/"))
        where = f"in namespace {space}" if "/namespaces/" in self._path else "in all namespaces"
        self._refused = PlatformError(
            f"{self._path} may not be listed ({error}); grant the verbs list and watch on"
            f" {self.resource} {where} to the account that Stoker runs as"
        )
        self._synced.set()

    async def _watch(self, revision: str) -> None:
        seconds = self._watch_seconds * (0.8 + 0.4 * self._chance())
        query: dict[str, Any] = {
            **self._query,
            "resourceVersion": revision,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        events = self._client.watch(self._path, query, silence=seconds + self._silence)
        async with aclosing(events):
            async for event in events:
                deltas = self._reflection.event(event, self._clock.now(), self._chance())
                if deltas is None:
                    self._note(Cause.EXPIRED if self._expired(event) else Cause.GARBAGE)
                    return
                self.events += 1
                self._tell(deltas)
        if self._reflection.ended(self._clock.now(), self._chance()):
            self._note(Cause.ENDED_EARLY)

    @staticmethod
    def _expired(event: Obj) -> bool:
        return bool(event["object"].get("code") == 410)

    def _tell(self, deltas: list[Delta[T]]) -> None:
        if deltas:
            self._on_change(deltas)

    def _failed(self, cause: Cause, why: str, retry_after: float) -> None:
        self._reflection.failed(cause, why, self._clock.now(), self._chance(), retry_after)
        self._note(cause)

    def _note(self, cause: Cause) -> None:
        self.failures[cause] += 1
        level = logging.DEBUG if cause is Cause.ENDED_EARLY else logging.WARNING
        logger.log(level, "%s: %s: %s", self._path, cause, self.last_failure)
