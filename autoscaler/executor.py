"""Carries out ScaleTo commands: one at a time per model, the latest wish wins, with back-off."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from stoker.clock import Clock
from stoker.errors import PlatformClosedError, UnknownModelError
from stoker.vocabulary import ModelKey, ScaleTo

logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
MAX_AT_ONCE = 64
OUTCOMES = ("ok", "failed", "refused")

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""The waiting seam: until the event is set or the seconds (at least 0) are over; whether the
event is set after the latter is left open."""


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """The loop's own way to wait; under a virtual loop, its virtual time."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()


class Scales(Protocol):
    """The one thing of a platform that is needed here."""

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None: ...


class Trouble(NamedTuple):
    """A command that keeps failing: how often so far, why, and when it is tried again."""

    replicas: int
    failures: int
    error: str
    retry_at: float


class _Wish:
    def __init__(self, command: ScaleTo) -> None:
        self.command = command
        self.changed = asyncio.Event()
        self.trouble: Trouble | None = None


class Executor:
    """``outcomes`` counts by (model, outcome): ``ok``, ``failed``, ``refused``."""

    def __init__(
        self,
        platform: Scales,
        clock: Clock,
        *,
        on_done: Callable[[ScaleTo], None],
        on_failed: Callable[[ScaleTo, Trouble], None],
        on_refused: Callable[[ScaleTo, str], None],
        wait: Wait = wait_for,
    ) -> None:
        self.outcomes: Counter[tuple[ModelKey, str]] = Counter()
        self._platform = platform
        self._clock = clock
        self._on_done = on_done
        self._on_failed = on_failed
        self._on_refused = on_refused
        self._wait = wait
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._wishes: dict[ModelKey, _Wish] = {}
        self._tasks: dict[ModelKey, asyncio.Task[None]] = {}

    def want(self, command: ScaleTo) -> None:
        """Carry out ``command``, in place of an earlier one for the model not done yet."""
        wish = self._wishes.get(command.model)
        if wish is not None:
            wish.command = command
            wish.changed.set()
            return
        wish = self._wishes[command.model] = _Wish(command)
        task = asyncio.get_running_loop().create_task(self._carry_out(wish))
        self._tasks[command.model] = task

        def ended(_: object) -> None:
            # One that was dropped may have a successor already.
            if self._tasks.get(command.model) is task:
                del self._tasks[command.model]

        task.add_done_callback(ended)

    def trouble(self, model: ModelKey) -> Trouble | None:
        """What keeps the model's command from being carried out, if anything does."""
        wish = self._wishes.get(model)
        return None if wish is None else wish.trouble

    def drop(self, model: ModelKey) -> None:
        """The model is gone: nothing is wanted of it any more."""
        task = self._tasks.get(model)
        if task is not None:
            task.cancel()
        self._wishes.pop(model, None)
        for outcome in OUTCOMES:
            self.outcomes.pop((model, outcome), None)

    def drop_all(self) -> None:
        """Nothing is wanted any more of any model; what was done stays counted."""
        for task in self._tasks.values():
            task.cancel()
        self._wishes.clear()

    async def idle(self) -> None:
        """Until nothing is being carried out."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        """Give up what is not done yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, wish: _Wish) -> None:
        model = wish.command.model
        try:
            while True:
                command = wish.command
                wish.changed.clear()
                if await self._try(wish, command):
                    if wish.command is command:
                        return
                elif wish.trouble is not None:
                    await self._wait(wish.changed, wish.trouble.retry_at - self._clock.now())
                else:
                    return
        finally:
            if self._wishes.get(model) is wish:
                del self._wishes[model]

    async def _try(self, wish: _Wish, command: ScaleTo) -> bool:
        """True: done. False: failed (``wish.trouble`` says when again) or refused (None)."""
        model = command.model
        try:
            async with self._at_once:
                await self._platform.scale(model, command.replicas, command.victims)
        except (UnknownModelError, PlatformClosedError, ValueError) as error:
            # Trying again cannot help.
            wish.trouble = None
            self.outcomes[model, "refused"] += 1
            self._on_refused(command, f"{type(error).__name__}: {error}")
            return False
        except Exception as error:
            failures = 1 if wish.trouble is None else wish.trouble.failures + 1
            backoff = min(FIRST_BACKOFF * 2 ** min(failures - 1, 10), LONGEST_BACKOFF)
            wish.trouble = Trouble(
                command.replicas,
                failures,
                f"{type(error).__name__}: {error}",
                self._clock.now() + backoff,
            )
            self.outcomes[model, "failed"] += 1
            self._on_failed(command, wish.trouble)
            logger.warning(
                "scaling %s to %d failed (%d in a row), again in %.1f s: %s",
                model,
                command.replicas,
                failures,
                backoff,
                wish.trouble.error,
            )
            return False
        wish.trouble = None
        self.outcomes[model, "ok"] += 1
        self._on_done(command)
        return True
