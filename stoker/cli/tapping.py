"""Takes what an activator tells of arrivals and passes it on, while somebody records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from activator.arrivals import Tap
from activator.server import Activator
from stoker.arrivals import Batch

TAKE_SECONDS: Final = 0.25


class Tapping:
    """``send`` gets a batch every TAKE_SECONDS, when ``ready`` says that it is of use; what
    waits is kept by ``tap`` meanwhile, within its bound.
    """

    def __init__(
        self,
        activator: Activator,
        tap: Tap,
        send: Callable[[Batch], None],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._activator = activator
        self._tap = tap  # one for all recordings: no number is given twice
        self._send = send
        self._ready = ready
        self._task: asyncio.Task[None] | None = None

    def switch(self, on: bool) -> None:
        """Begin, or end. Idempotent."""
        if on == (self._task is not None):
            return
        if on:
            self._activator.record(self._tap)
            self._task = asyncio.get_running_loop().create_task(self._take_often())
        else:
            self._activator.record(None)
            self._tap.take(0.0)
            self._cancel()

    def last(self) -> None:
        """Pass on what is left, if anybody records."""
        if self._task is not None:
            self._send(self._tap.take(self._activator.clock.now()))

    async def close(self) -> None:
        """Take nothing more. Idempotent."""
        task = self._cancel()
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def _cancel(self) -> asyncio.Task[None] | None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    async def _take_often(self) -> None:
        while True:
            await asyncio.sleep(TAKE_SECONDS)
            if self._ready():
                self.last()
