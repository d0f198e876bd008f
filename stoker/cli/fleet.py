"""Stoker on one machine in several processes: platform and autoscaler here, activators in
workers. The sibling of ``LocalStoker``; see docs/workers.md.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from asyncio import Lock, Task, get_running_loop, sleep, timeout
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from activator.server import DEFAULT_LISTENER
from autoscaler.journal import Journal
from autoscaler.reconciler import Autoscaler
from stoker.admin import Admin, Arrivals
from stoker.admin_token import VARIABLE, AdminToken
from stoker.arrivals import Batch, Recording, Recordings
from stoker.cli.crew import LAST_WORDS_SECONDS, Crew
from stoker.cli.documents import Documents
from stoker.cli.merging import merged
from stoker.cli.seen import Seen, summed
from stoker.cli.shares import worker_name
from stoker.cli.totals import Totals
from stoker.cli.worker import Look
from stoker.clock import SystemClock
from stoker.columns import StatColumns
from stoker.config_file import ConfigFile, Refused, Reloaded
from stoker.errors import ListenError
from stoker.estimate import Estimator
from stoker.exposition import Exposition
from stoker.packed_readings import unpack
from stoker.platform import ModelEvent, ModelRemoved
from stoker.platforms.local.platform import LocalPlatform
from stoker.platforms.relay import messages
from stoker.platforms.relay.channel import Channel
from stoker.platforms.relay.feed import Feed
from stoker.settings import ProcessConfig
from stoker.sockets import bind_queues
from stoker.vocabulary import Address, ModelKey, Poke, StatReport

log = logging.getLogger("stoker")

# How often the workers' counters are fetched without a scrape: so much at most is lost of
# what one has counted when it dies.
COLLECT_SECONDS = 5.0


def worker_count(process: ProcessConfig) -> int:
    """How many workers the settings ask for on this machine."""
    return process.workers or len(os.sched_getaffinity(0))


class Fleet:
    """The parent process of several workers. Use as an async context manager.

    Entering raises ListenError when an address is taken, WorkerError when no worker can
    start; leaving ends every worker and stops every replica. ``relay_logs``: have workers'
    log lines shown by this process.
    """

    def __init__(self, file: ConfigFile, workers: int, *, relay_logs: bool = False) -> None:
        self.file = file
        self.draining = False
        process = file.config.process
        self.clock = SystemClock()
        estimator = Estimator()
        self.platform = LocalPlatform(clock=self.clock, estimator=estimator)
        self.journal = Journal(path=process.journal_file, max_bytes=process.journal_bytes)
        self.autoscaler = Autoscaler(
            self.platform,
            self.clock,
            tick_interval=process.tick_interval,
            silent_after=process.silent_reporter_timeout,
            journal=self.journal,
            estimator=estimator,
        )
        self.feed = Feed(self.platform)
        self._workers = workers
        self._relay_logs = relay_logs
        self._queues: dict[str, Sequence[socket.socket]] = {}
        self.crew = Crew(
            self._queues,
            workers,
            self.clock,
            process.drain_timeout,
            begin=self._begin,
            on_message=self._heard,
            on_gone=self._worker_gone,
            handlers=self.feed.handlers(),
        )
        self._token = secrets.token_bytes(32)
        self._totals = Totals()
        self._seen: dict[int, dict[ModelKey, Seen]] = {}
        # The last look of each worker that arrived here.
        self._looks: dict[int, int] = {}
        self._asking = Lock()
        # Each worker is a reporter; what it said last is answered for it when it is gone.
        self._reports: dict[int, StatColumns] = {}
        # Those that have said Goodbye and are about to be gone.
        self._bidden: set[int] = set()
        self.recordings = Recordings(
            lambda on: self.crew.tell(messages.Record(on)),
            lambda: [worker.number for worker in self.crew.roster.serving()],
        )
        exposition = Exposition(
            [
                self._totals.readings,
                self.autoscaler.reading_parts,
                self.platform.readings,
                self.file.readings,
                self.crew.readings,
            ]
        )
        self._documents = Documents(self.platform, self.autoscaler, self.clock, self._sum)
        self.admin = Admin(
            process.admin,
            exposition,
            self._fresh_documents,
            self.explain,
            self._ready,
            token=AdminToken(process.admin_token_file, os.environ.get(VARIABLE, "")),
            open_paths=process.admin_open_paths,
            refresh=self._collect,
            workers=self.crew.documents,
            arrivals=Arrivals(self.recordings, self._record, self._documents.named),
        )
        self._tasks: list[Task[None]] = []

    # --- life ---

    async def __aenter__(self) -> Self:
        # The sockets first: a taken port must be said before any process was started.
        await self.admin.start()
        try:
            self._bind()
            await self.platform.start()
            self._documents.start()
            self.platform.watch_models(self._model_event)
            self.feed.start()
            await self.autoscaler.start()
            await self.crew.start()
            # In this order workers see every replica start, and know that it is empty.
            self.platform.apply(self.file.config.models)
            self.crew.open()
        except BaseException:
            await self._close()
            raise
        loop = get_running_loop()
        self._tasks.append(loop.create_task(self.file.watch(self._reloaded)))
        self._tasks.append(loop.create_task(self._collect_often()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    def _bind(self) -> None:
        process = self.file.config.process
        wanted = [(DEFAULT_LISTENER, "listen", process.listen)]
        wanted += [(name, f"listeners.{name}", address) for name, address in process.listeners]
        try:
            for listener, setting, address in wanted:
                self._queues[listener] = bind_queues(address, setting, self._workers)
        except ListenError:
            self._close_queues()
            raise

    def _close_queues(self) -> None:
        for queues in self._queues.values():
            for sock in queues:
                sock.close()

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Where requests come in, by listener."""
        return {
            listener: Address(*queues[0].getsockname()[:2])
            for listener, queues in self._queues.items()
        }

    def roll(self) -> None:
        """Replace the workers one by one; no request is lost by it."""
        self.crew.roll()

    def reopen_logs(self) -> None:
        """Whoever rotates logs has moved the access log away."""
        self.crew.tell(messages.ReopenLogs())

    async def drain(self) -> None:
        """Take nothing new; let holds and answers finish within drain-timeout."""
        self.draining = True
        process = self.file.config.process
        # See Worker: who is refused must not be left waiting in a queue that nobody empties.
        get_running_loop().call_later(process.drain_delay, self._close_queues)
        patience = process.drain_delay + process.drain_timeout + LAST_WORDS_SECONDS
        with suppress(TimeoutError):  # who has not ended by then is ended by close()
            async with timeout(patience):
                await self.crew.drain(process.drain_timeout)

    async def _close(self) -> None:
        self.draining = True
        for task in self._tasks:
            task.cancel()
            with suppress(BaseException):
                await task
        await self.autoscaler.close()
        await self.crew.close()
        self.recordings.end("Stoker has stopped")
        self.feed.close()
        self._close_queues()
        await self.platform.close()
        await self.admin.close()
        self.journal.close()

    # --- workers ---

    def _begin(self, worker: int, channel: Channel) -> messages.Begin:
        return messages.Begin(
            self.file.config.process,
            self.feed.join(worker, channel),
            self.autoscaler.estimator,
            token=self._token,
            relay_logs=self._relay_logs,
            recording=self.recordings.active,
        )

    def _heard(self, worker: int, message: object) -> None:
        match message:
            case StatColumns():
                self._reports[worker] = message
                self.autoscaler.report(message)
            case Poke():
                self.autoscaler.poke(message)
            case Batch():
                self.recordings.feed(worker, message)
            case messages.Goodbye(readings, seen, left):
                self._bidden.add(worker)
                self._totals.update(worker, readings)
                self._seen[worker] = dict(seen)
                if left:
                    log.warning("%d requests did not finish within drain-timeout", left)
            case messages.Logged(level, logger, text, fields):
                logging.getLogger(logger).log(level, text, extra={"fields": fields})
            case _:
                self.feed.take(worker, message)

    def _worker_gone(self, worker: int) -> None:
        if worker not in self._bidden:
            why = "ended without a last word: up to a second of what it knew is missing"
            self.recordings.note(f"{worker_name(worker)} {why}")
        self._bidden.discard(worker)
        self.feed.leave(worker)
        self._totals.ended(worker)
        self._retire_seen(worker)
        self._looks.pop(worker, None)
        last = self._reports.pop(worker, None)
        if last is not None:
            # Else its last numbers would stand until silent-reporter-timeout.
            now = self.clock.now()
            nothing = StatReport(last.reporter, last.epoch, last.sequence + 1, now, 1.0, ())
            self.autoscaler.report(nothing)

    def _retire_seen(self, worker: int) -> None:
        """What a worker has answered and refused still counts; what it held is over."""
        kept = self._seen.setdefault(0, {})  # workers are numbered from 1
        for key, state in self._seen.pop(worker, {}).items():
            kept[key] = summed([kept.get(key, Seen()), state._replace(queued=0, active=0)])

    # --- changes ---

    def _reloaded(self, outcome: Reloaded | Refused) -> None:
        if isinstance(outcome, Refused):
            log.error("settings refused, the last good ones stay in force: %s", outcome.error)
            return
        if outcome.needs_restart:
            names = ", ".join(outcome.needs_restart)
            log.warning("settings that take effect at the next start only: %s", names)
        log.info("settings reloaded: %d models", len(outcome.config.models))
        self.crew.set_retire_timeout(outcome.config.process.drain_timeout)
        self.crew.tell(messages.Settings(outcome.config.process))
        self.platform.apply(outcome.config.models)

    def _model_event(self, event: ModelEvent) -> None:
        if isinstance(event, ModelRemoved):
            self._totals.forget(event.model)
            for states in self._seen.values():
                states.pop(event.model, None)

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self.draining:
            return False, "stopping"
        if not self.crew.roster.serving():
            return False, "no worker is up"
        if self.file.error is not None:
            return True, "ready (the settings file as it is now was refused)"
        return True, "ready"

    def documents(self) -> list[dict[str, Any]]:
        """Every model's state, by name, as of the last ``refresh``."""
        return self._documents.models()

    async def refresh(self) -> None:
        """Ask the workers how things stand."""
        # One after the other: an older answer must not come to lie on a newer one.
        async with self._asking:
            for worker, look in (await self.crew.ask("look", self._looks)).items():
                assert isinstance(look, Look)
                process = self.crew.processes.get(worker)
                if process is not None:  # else it has ended meanwhile
                    process.connections = look.connections
                    self._looks[worker] = look.number
                    self._seen.setdefault(worker, {}).update(look.models)

    async def _fresh_documents(self) -> list[dict[str, Any]]:
        await self.refresh()
        return self.documents()

    async def _collect(self) -> None:
        """Fetch the workers' counters."""
        await self.refresh()
        async with self._asking:
            for worker, readings in (await self.crew.ask("readings")).items():
                if worker in self.crew.processes:
                    self._totals.update(worker, unpack(readings))

    async def _collect_often(self) -> None:
        while True:
            await sleep(COLLECT_SECONDS)
            await self._collect()

    def _record(self, models: Sequence[ModelKey]) -> Recording:
        return self.recordings.open(self.clock.now(), self.clock.wall(), models)

    def _sum(self, key: ModelKey) -> Seen:
        return summed([states[key] for states in self._seen.values() if key in states])

    async def explain(self, name: str) -> dict[str, Any] | None:
        """All that is known of one model; None: there is no such model."""
        key = self._documents.named(name)
        if key is None:
            return None
        await self.refresh()
        told = await self.crew.ask("explain", key)
        state = self._documents.model(key)
        if state is None:
            return None
        requests = merged([told[worker] for worker in sorted(told)]) or {}
        # Of workers that have ended too.
        requests["answered"], requests["refused"] = state["answered"], state["refused"]
        return {"state": state, "requests": requests, **self.autoscaler.explain(key)}
