"""An event loop that stands still: its time is a ManualClock's, and nothing runs unasked."""

from __future__ import annotations

import asyncio
import concurrent.futures
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from stoker.testing import ManualClock

# More callbacks than this without a pause are taken for a loop without an end.
ENDLESS = 100_000


class SteppedLoop(asyncio.AbstractEventLoop):
    """``complaints``: what was passed to the exception handler, in words."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.complaints: list[str] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.meanwhile: Callable[[], object] = bool  # what goes on beside it
        self.connect: Callable[..., Coroutine[Any, Any, Any]]
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[asyncio.TimerHandle] = []

    # --- what the driver of a run asks ---

    def __enter__(self) -> SteppedLoop:
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio._set_running_loop(None)

    def settle(self) -> None:
        """Run what is due now, and what comes of it, until nothing is left to do."""
        for _ in range(ENDLESS):
            self._ring()
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise AssertionError("the loop never comes to rest")

    def turn(self) -> None:
        """One turn: what is due now, but not what comes of it."""
        self._ring()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def advance(self, seconds: float) -> None:
        """Let time pass at once: a timer that was due several times rings once."""
        self.settle()
        self.clock.advance(seconds)
        self.settle()

    def finish(self, work: Coroutine[Any, Any, Any], seconds: float = 60.0) -> None:
        """Run ``work`` to its end, which may take so long."""
        task = self.create_task(work)
        self.settle()
        for _ in range(100):
            if task.done():
                break
            self.meanwhile()
            self.advance(seconds / 100)
        assert task.done(), "it does not end"
        task.result()

    def _ring(self) -> None:
        timers, now = self._timers, self.time()
        while timers and timers[0].when() <= now:
            timer = heapq.heappop(timers)
            if not timer.cancelled():
                self._ready.append(timer)

    # --- what asyncio and the activator ask ---

    def time(self) -> float:
        return self.clock.now()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **_: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        return await self.connect(*args, **options)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        pass

    def remove_reader(self, fd: Any) -> bool:
        return True

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(repr(context))


class Disk:
    """Stands in for the spool's thread: does one thing after the other, when told to.

    ``broken``: what is done fails.
    """

    def __init__(self) -> None:
        self.broken = False
        self._jobs: deque[tuple[concurrent.futures.Future[Any], Callable[..., Any], Any]] = deque()

    def submit(self, job: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._jobs.append((future, job, args))
        return future

    def work(self, count: int = 1_000_000) -> bool:
        """Do up to so many things. Returns whether there was any."""
        worked = False
        while self._jobs and count:
            count -= 1
            worked = True
            future, job, args = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job(*args))
            except OSError as caught:
                future.set_exception(caught)
        return worked

    def shutdown(self, wait: bool = True) -> None:
        self.work()
