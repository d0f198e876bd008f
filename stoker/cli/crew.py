"""The worker processes: starts them, hears them, replaces them. Carries out what ``Roster``
decides.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stoker.cli import roster, worker
from stoker.cli.roster import Cause, Effect, Roster, Stage
from stoker.cli.shares import worker_name
from stoker.clock import Clock
from stoker.errors import WorkerError
from stoker.platforms.relay import messages
from stoker.platforms.relay.channel import Channel, Handler
from stoker.telemetry import WORKER_CONNECTIONS, WORKER_EXITS, WORKERS, Reading
from stoker.vocabulary import Address

log = logging.getLogger("stoker")

# Beyond its own time limits a worker that ends has this long for its last words.
LAST_WORDS_SECONDS = 10.0
LAST_GASP_SECONDS = 3.0
# A worker reports its load at least every 10 s (the longest report-interval).
HUNG_SECONDS = 60.0
ASK_SECONDS = 2.0


@dataclass(slots=True)
class Process:
    """One worker process and the channel to it."""

    number: int
    slot: int
    popen: subprocess.Popen[bytes]
    channel: Channel
    peer: Address | None = None
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return worker_name(self.number)


class Crew:
    """``begin`` makes the first message for a worker that has just been started;
    ``on_message`` gets what workers say, with their number; ``on_gone`` is called when one has
    ended and all that it said has been passed on. ``queues``: by listener, one per slot.
    """

    def __init__(
        self,
        queues: Mapping[str, Sequence[socket.socket]],
        workers: int,
        clock: Clock,
        retire_timeout: float,
        *,
        begin: Callable[[int, Channel], messages.Begin],
        on_message: Callable[[int, Any], None],
        on_gone: Callable[[int], None],
        handlers: Mapping[str, Handler],
        patience: float = HUNG_SECONDS,
    ) -> None:
        self._queues = queues
        self._workers = workers
        self._clock = clock
        self.retire_timeout = retire_timeout
        self._begin = begin
        self._on_message = on_message
        self._on_gone = on_gone
        self._handlers = handlers
        self.roster = Roster(
            workers, patience=patience, retire_patience=retire_timeout + LAST_WORDS_SECONDS
        )
        self.processes: dict[int, Process] = {}
        self.exits: Counter[Cause] = Counter()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = False
        self._waiting: list[int] = []

    # --- life ---

    async def start(self) -> None:
        """Start all workers; returns when all could serve. Raises WorkerError if one cannot.

        They do not take requests before ``open``.
        """
        self._perform(self.roster.begin(self._clock.now()))
        while len(self._waiting) < self._workers:
            if self.exits:
                raise WorkerError("a worker process could not start; see the lines above")
            self._changed.clear()
            await self._changed.wait()

    def open(self) -> None:
        """From now on workers serve as soon as they can."""
        self._up = True
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            self._perform(self.roster.ready(number, self._clock.now()))

    def set_retire_timeout(self, seconds: float) -> None:
        """How long workers that are replaced may take from now on."""
        self.retire_timeout = seconds
        self.roster.retire_patience = seconds + LAST_WORDS_SECONDS

    def roll(self) -> None:
        """Replace all workers, one by one, without losing a request."""
        if self.roster.stopping:
            return
        log.info("replacing %d workers, one by one", len(self.roster.serving()))
        self._perform(self.roster.roll(self._clock.now()))

    async def drain(self, timeout: float) -> None:
        """Have all workers take nothing new and finish; returns when all have ended."""
        self.roster.stop()
        for number, process in self.processes.items():
            stage = self.roster.workers[number].stage
            if stage is Stage.SERVING:
                process.channel.send(messages.Retire(timeout, stopping=True))
            elif stage is Stage.STARTING:
                process.channel.send(messages.Stop())
        await self._all_gone()

    async def close(self) -> None:
        """End all workers now. Idempotent."""
        self.roster.stop()
        if self._timer is not None:
            self._timer.cancel()
        for process in self.processes.values():
            process.channel.send(messages.Stop())
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._all_gone()
        except TimeoutError:
            for process in self.processes.values():
                log.error("%s (pid %d) does not end: killed", process.name, process.popen.pid)
                process.popen.kill()
            await self._all_gone()

    async def _all_gone(self) -> None:
        while self.processes:
            self._changed.clear()
            await self._changed.wait()

    # --- talking to them ---

    def tell(self, message: object) -> None:
        """Say something to all workers."""
        for process in self.processes.values():
            process.channel.send(message)

    async def ask(self, what: str, *arguments: object) -> dict[int, Any]:
        """What the workers answer, by number. Who does not answer soon is left out."""
        processes = [process for process in self.processes.values() if process.peer is not None]
        answers = await asyncio.gather(
            *(p.channel.ask(what, *arguments, timeout=ASK_SECONDS) for p in processes),
            return_exceptions=True,
        )
        return {
            process.number: answer
            for process, answer in zip(processes, answers, strict=True)
            if not isinstance(answer, BaseException)
        }

    # --- what becomes of them ---

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self._perform_one(effect)
        if self._timer is not None:
            self._timer.cancel()
        wake_at = self.roster.wake_at()
        if wake_at < roster.NEVER:
            delay = max(0.0, wake_at - self._clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._perform(self.roster.tick(self._clock.now()))

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case roster.Start(number, slot):
                self._spawn(number, slot)
            case roster.Serve(number, queues):
                self.processes[number].channel.send(messages.Listen(queues))
            case roster.Retire(number):
                retire = messages.Retire(self.retire_timeout, stopping=False)
                self.processes[number].channel.send(retire)
            case roster.Kill(number, why):
                process = self.processes[number]
                log.error("%s (pid %d): %s: killed", process.name, process.popen.pid, why)
                # ABRT first: the worker says where it hangs, if it still can.
                process.popen.send_signal(signal.SIGABRT)
                loop = asyncio.get_running_loop()
                loop.call_later(LAST_GASP_SECONDS, process.popen.kill)
            case roster.Ended(_, cause, pause):
                self.exits[cause] += 1
                if pause:
                    log.error("the next worker starts in %g s: the last ones ended early", pause)
            case roster.Rolled(failed):
                if failed:
                    log.error("a new worker could not start: the others stay as they are")
                else:
                    log.info("workers replaced")

    def _spawn(self, number: int, slot: int) -> None:
        ours, theirs = socket.socketpair()
        queues = [
            (listener, queue, sock.fileno())
            for listener, socks in self._queues.items()
            for queue, sock in enumerate(socks)
        ]
        arguments = json.dumps([number, self._workers, theirs.fileno(), queues])
        with theirs:
            popen = subprocess.Popen(
                # -P and the same path: what the working directory holds is not imported.
                (sys.executable, "-P", "-m", worker.__name__, arguments),
                pass_fds=[theirs.fileno(), *(descriptor for _, _, descriptor in queues)],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            )
        channel = Channel(
            lambda message: self._heard(number, message), lambda: None, self._handlers
        )
        process = self.processes[number] = Process(number, slot, popen, channel)
        self._spawn_task(self._watch(process, ours))

    def _spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _introduce(self, process: Process) -> None:
        """Make a new worker and the others known to each other. The new one has to know them
        before they connect to it.
        """
        with suppress(WorkerError, TimeoutError):  # it has died, or will be found to hang
            await process.channel.ask("peers", self._peers(), timeout=ASK_SECONDS)
        self._tell_peers()

    async def _watch(self, process: Process, sock: socket.socket) -> None:
        """One worker's life, from the first message to its exit."""
        await process.channel.open(sock)
        process.channel.send(self._begin(process.number, process.channel))
        self._tell_peers()
        if self.roster.stopping:
            process.channel.send(messages.Stop())
        await _ended(process.popen)
        # What it said last may still be on its way.
        await process.channel.wait_closed()
        self._gone(process)

    def _heard(self, number: int, message: object) -> None:
        now = self._clock.now()
        self.roster.heard(number, now)
        match message:
            case messages.Ready(peer):
                self.processes[number].peer = peer
                self._spawn_task(self._introduce(self.processes[number]))
            case messages.Linked() if self._up:
                self._perform(self.roster.ready(number, now))
            case messages.Linked():
                self._waiting.append(number)
                self._changed.set()
            case messages.Leaving():
                if not self.roster.stopping:
                    self._perform(self.roster.leave(number, now))
            case _:
                self._on_message(number, message)

    def _gone(self, process: Process) -> None:
        del self.processes[process.number]
        code = process.popen.returncode
        asked = code == 0 and process.number in self.roster.workers
        asked = asked and self.roster.workers[process.number].stage is Stage.RETIRING
        if not (asked or self.roster.stopping) or code:
            how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
            log.error("%s (pid %d) ended unasked: %s", process.name, process.popen.pid, how)
        if not self._up:
            self.roster.stop()  # see start(): trying again would be in vain
        self._on_gone(process.number)
        self._tell_peers()
        self._perform(self.roster.exited(process.number, self._clock.now()))
        self._changed.set()

    def _peers(self) -> dict[str, Address]:
        return {p.name: p.peer for p in self.processes.values() if p.peer is not None}

    def _tell_peers(self) -> None:
        self.tell(messages.Peers(self._peers()))

    # --- to see ---

    def documents(self) -> list[dict[str, Any]]:
        """The workers, for people and tests."""
        now = self._clock.now()
        return [
            {
                "worker": process.name,
                "slot": process.slot,
                "pid": process.popen.pid,
                "stage": known.stage.value,
                "for": round(now - known.since, 3),
                "queues": list(known.queues),
                "connections": process.connections,
            }
            for process in self.processes.values()
            if (known := self.roster.workers.get(process.number)) is not None
        ]

    def readings(self) -> Iterator[Reading]:
        """Metrics of the processes themselves."""
        yield Reading(WORKERS, (), len(self.roster.serving()))
        for cause in Cause:
            yield Reading(WORKER_EXITS, (cause.value,), self.exits[cause])
        by_slot: Counter[int] = Counter()
        for process in self.processes.values():
            by_slot[process.slot] += process.connections
        for slot in range(self._workers):
            yield Reading(WORKER_CONNECTIONS, (str(slot),), by_slot[slot])


async def _ended(popen: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended; its exit code is known then."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(popen.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        with suppress(ChildProcessError):
            popen.wait()
