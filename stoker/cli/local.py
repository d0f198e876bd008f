"""Stoker on one machine: activator, autoscaler and local platform wired in one process."""

from __future__ import annotations

import logging
import os
from asyncio import Task, get_running_loop
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from activator.arrivals import Tap
from activator.cluster import Cluster
from activator.server import Activator
from autoscaler.journal import Journal
from autoscaler.reconciler import Autoscaler
from stoker.admin import Admin, Arrivals
from stoker.admin_token import VARIABLE, AdminToken
from stoker.arrivals import Recording, Recordings
from stoker.cli.documents import Documents
from stoker.cli.seen import Seen, seen
from stoker.cli.tapping import Tapping
from stoker.clock import SystemClock
from stoker.config_file import ConfigFile, Refused, Reloaded
from stoker.estimate import Estimator
from stoker.exposition import Exposition
from stoker.link import MemoryLink
from stoker.platforms.local.platform import LocalPlatform
from stoker.telemetry import LOST_REPORTS, Reading
from stoker.vocabulary import Address, ModelKey

log = logging.getLogger("stoker")


class LocalStoker:
    """The whole of Stoker in one process. Use as an async context manager.

    Entering raises ListenError when an address is taken; leaving stops every replica.
    """

    def __init__(self, file: ConfigFile) -> None:
        self.file = file
        process = file.config.process
        self.clock = SystemClock()
        estimator = Estimator()
        self.platform = LocalPlatform(clock=self.clock, estimator=estimator)
        self.link = MemoryLink()
        self.journal = Journal(path=process.journal_file, max_bytes=process.journal_bytes)
        self.autoscaler = Autoscaler(
            self.platform,
            self.clock,
            tick_interval=process.tick_interval,
            silent_after=process.silent_reporter_timeout,
            journal=self.journal,
            estimator=estimator,
        )
        self.activator = Activator(
            process,
            self.platform,
            self.link,
            self.clock,
            eta=self.autoscaler.eta,
            cluster=Cluster.configured(process),
        )
        self._tapping = Tapping(self.activator, Tap(), lambda batch: self.recordings.feed(0, batch))
        self.recordings = Recordings(self._tapping.switch)
        exposition = Exposition(
            [
                self.activator.reading_parts,
                self.autoscaler.reading_parts,
                self.platform.readings,
                self.file.readings,
                self._readings,
            ]
        )
        self._documents = Documents(self.platform, self.autoscaler, self.clock, self._seen)
        self.admin = Admin(
            process.admin,
            exposition,
            self.documents,
            self.explain,
            self._ready,
            token=AdminToken(process.admin_token_file, os.environ.get(VARIABLE, "")),
            open_paths=process.admin_open_paths,
            arrivals=Arrivals(self.recordings, self._record, self._documents.named),
        )
        self._watching: Task[None] | None = None

    async def __aenter__(self) -> Self:
        # The sockets first: a taken port must be said before any replica was started.
        await self.admin.start()
        try:
            await self.activator.start()
            await self.platform.start()
            self._documents.start()
            self.link.attach(self.autoscaler)
            await self.autoscaler.start()
            self.platform.apply(self.file.config.models)
        except BaseException:
            await self._close()
            raise
        self._watching = get_running_loop().create_task(self.file.watch(self._reloaded))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Where requests come in, by listener."""
        return self.activator.addresses

    def roll(self) -> None:
        """There is nothing to replace."""
        log.warning("workers = 1: everything is in one process, which cannot be replaced")

    def reopen_logs(self) -> None:
        """Whoever rotates logs has moved the access log away."""
        self.activator.reopen_logs()

    async def drain(self) -> None:
        """Take nothing new; let holds and answers finish within drain-timeout."""
        process = self.file.config.process
        left = await self.activator.drain(process.drain_timeout)
        if left:
            log.warning("%d requests did not finish within drain-timeout", left)

    async def _close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(BaseException):
                await self._watching
        await self.autoscaler.close()
        self.link.attach(None)
        await self.activator.close()
        self._tapping.last()
        self.recordings.end("Stoker has stopped")
        await self.platform.close()
        await self.admin.close()
        await self._tapping.close()
        self.journal.close()

    # --- changes ---

    def _reloaded(self, outcome: Reloaded | Refused) -> None:
        if isinstance(outcome, Refused):
            log.error("settings refused, the last good ones stay in force: %s", outcome.error)
            return
        if outcome.needs_restart:
            names = ", ".join(outcome.needs_restart)
            log.warning("settings that take effect at the next start only: %s", names)
        log.info("settings reloaded: %d models", len(outcome.config.models))
        self.activator.reconfigure(outcome.config.process)
        self.platform.apply(outcome.config.models)

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self.activator.leaving or self.activator.draining:
            return False, "stopping"
        if self.file.error is not None:
            return True, "ready (the settings file as it is now was refused)"
        return True, "ready"

    def documents(self) -> list[dict[str, Any]]:
        """Every model's state, by name."""
        return self._documents.models()

    async def refresh(self) -> None:
        """Nothing to do: all that ``documents`` needs is in this process."""

    def _seen(self, key: ModelKey) -> Seen | None:
        model = self.activator.models.get(key)
        return None if model is None else seen(model)

    def explain(self, name: str) -> dict[str, Any] | None:
        """All that is known of one model; None: there is no such model."""
        key = self._documents.named(name)
        state = None if key is None else self._documents.model(key)
        if key is None or state is None:
            return None
        return {
            "state": state,
            "requests": self.activator.models[key].explain(self.clock.now()),
            **self.autoscaler.explain(key),
        }

    def _record(self, models: Sequence[ModelKey]) -> Recording:
        return self.recordings.open(self.clock.now(), self.clock.wall(), models)

    def _readings(self) -> Iterator[Reading]:
        yield Reading(LOST_REPORTS, ("report",), self.link.lost_reports)
        yield Reading(LOST_REPORTS, ("poke",), self.link.lost_pokes)
