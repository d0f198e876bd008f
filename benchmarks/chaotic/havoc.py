"""What goes wrong on purpose: replicas killed, the parent frozen, workers rolled.

All at random times from a seed, never two of the slow ones at once, only on processes that
the benchmark's own Stoker started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.local import LocalStoker, get_json

KILL_EVERY, FREEZE_EVERY, ROLL_EVERY = 1.5, 14.0, 11.0
FROZEN_SECONDS = 3.0


class Havoc:
    """Breaks things until cancelled. ``done`` counts what was broken."""

    def __init__(self, stoker: LocalStoker, models: Sequence[str], seed: int) -> None:
        self.stoker = stoker
        self.models = models
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)
        # A frozen parent answers no questions and rolls no workers.
        self._parent = asyncio.Lock()

    async def run(self, seconds: float) -> None:
        """Go on for so long; what was begun is ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(KILL_EVERY, seconds, self._kill))
            group.create_task(self._every(FREEZE_EVERY, seconds, self._freeze))
            group.create_task(self._every(ROLL_EVERY, seconds, self._roll))

    async def _every(
        self, average: float, seconds: float, what: Callable[[], Awaitable[None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            pause = average * self._random.uniform(0.5, 1.5)
            if loop.time() + pause > end:
                return
            await asyncio.sleep(pause)
            await what()

    async def _kill(self) -> None:
        """kill -9 of one ready replica, be it the last of its model."""
        async with self._parent:
            models = (await asyncio.to_thread(get_json, self.stoker.admin, "/api/models"))["models"]
        candidates = [
            replica["pid"]
            for model in models
            for replica in model["replicas"]
            if replica["phase"] == "ready" and replica["pid"]
        ]
        if candidates:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(sorted(candidates)), signal.SIGKILL)
                self.done["replicas killed"] += 1

    async def _freeze(self) -> None:
        """The parent, and with it the autoscaler, stops and goes on later."""
        async with self._parent:
            os.kill(self.stoker.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(FROZEN_SECONDS)
            finally:
                os.kill(self.stoker.pid, signal.SIGCONT)
            self.done["autoscaler stopped and continued"] += 1

    async def _roll(self) -> None:
        """All workers are replaced, one after the other."""
        async with self._parent:
            os.kill(self.stoker.pid, signal.SIGUSR2)
            self.done["rolls of all workers"] += 1
