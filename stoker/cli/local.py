"""Stoker on one machine: activator, autoscaler and local platform wired in one process."""

from __future__ import annotations

import logging
from asyncio import Task, get_running_loop
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from activator.server import Activator
from autoscaler.journal import Journal
from autoscaler.reconciler import Autoscaler
from stoker.admin import Admin
from stoker.clock import SystemClock
from stoker.config_file import ConfigFile, Refused, Reloaded
from stoker.link import MemoryLink
from stoker.platform import ReplicaChanged, ReplicaEvent, ReplicaGone
from stoker.platforms.local.platform import LocalPlatform
from stoker.telemetry import LOST_REPORTS, Exposition, Reading
from stoker.vocabulary import ModelKey, Phase, Replica

log = logging.getLogger("stoker")

WHY_LENGTH = 200


class LocalStoker:
    """The whole of Stoker in one process. Use as an async context manager.

    Entering raises ListenError when an address is taken; leaving stops every replica.
    """

    def __init__(self, file: ConfigFile) -> None:
        self.file = file
        process = file.config.process
        self.clock = SystemClock()
        self.platform = LocalPlatform(clock=self.clock)
        self.link = MemoryLink()
        self.journal = Journal(path=process.journal_file, max_bytes=process.journal_bytes)
        self.autoscaler = Autoscaler(
            self.platform,
            self.clock,
            tick_interval=process.tick_interval,
            silent_after=process.silent_reporter_timeout,
            journal=self.journal,
        )
        self.activator = Activator(
            process, self.platform, self.link, self.clock, eta=self.autoscaler.eta
        )
        exposition = Exposition(
            [
                self.activator.readings,
                self.autoscaler.readings,
                self.platform.readings,
                self.file.readings,
                self._readings,
            ]
        )
        self.admin = Admin(process.admin, exposition, self.documents, self.explain, self._ready)
        self._replicas: dict[ModelKey, dict[str, Replica]] = {}
        self._watching: Task[None] | None = None

    async def __aenter__(self) -> Self:
        # The sockets first: a taken port must be said before any replica was started.
        await self.admin.start()
        try:
            await self.activator.start()
            await self.platform.start()
            self.platform.watch_replicas(self._replica_event)
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

    async def drain(self) -> None:
        """Take nothing new; let holds and answers finish within drain-timeout."""
        left = await self.activator.drain(self.file.config.process.drain_timeout)
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
        await self.platform.close()
        await self.admin.close()
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

    def _replica_event(self, event: ReplicaEvent) -> None:
        if isinstance(event, ReplicaChanged):
            replicas = self._replicas.setdefault(event.replica.model, {})
            replicas[event.replica.id] = event.replica
        elif isinstance(event, ReplicaGone):
            self._replicas.get(event.replica.model, {}).pop(event.replica.id, None)

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self.activator.draining:
            return False, "stopping"
        if self.file.error is not None:
            return True, "ready (the settings file as it is now was refused)"
        return True, "ready"

    def documents(self) -> list[dict[str, Any]]:
        """Every model's state, by name."""
        return [self._document(key) for key in sorted(self.activator.models)]

    def _document(self, key: ModelKey) -> dict[str, Any]:
        model = self.activator.models[key]
        throttler = model.throttler
        replicas = list(self._replicas.get(key, {}).values())
        decision = self.autoscaler.decision(key)
        now = self.clock.now()
        outage = throttler.outage
        trouble = outage.reason if outage else ""
        phase = _phase(replicas, failed=outage is not None)
        pause = self.platform.pause(key)
        if pause is not None and not trouble:
            why, seconds = pause
            trouble = f"next start in {seconds:.1f} s, the last replica {why}"
            phase = "starting" if phase == "zero" else phase
        return {
            "model": str(key),
            "phase": phase,
            "desired": decision.desired if decision else 0,
            "queued": throttler.queued,
            "active": throttler.active,
            "panicking": decision.panicking if decision else False,
            "why": _why(trouble, decision.reason if decision else ""),
            "stable": decision.stable if decision else -1.0,
            "panic": decision.panic if decision else -1.0,
            "answered": model.answered,
            "refused": {reason.value: count for reason, count in model.refusals.items()},
            "hosts": list(model.spec.hosts),
            "replicas": [self._replica(replica, now) for replica in replicas],
        }

    def _replica(self, replica: Replica, now: float) -> dict[str, Any]:
        return {
            "id": replica.id,
            "phase": replica.phase.value,
            "address": str(replica.address) if replica.address else "",
            "node": replica.node,
            "generation": replica.generation,
            "reason": replica.reason,
            "created": replica.created,
            "since": replica.since,
            "age": now - replica.created,
            "in_phase": now - replica.since,
            "phase_seconds": {phase.value: s for phase, s in replica.phase_seconds},
            "pid": self.platform.process_ids().get(replica.id),
        }

    def explain(self, name: str) -> dict[str, Any] | None:
        """All that is known of one model; None: there is no such model."""
        key = self.activator.router.names().get(name)
        if key is None:
            return None
        now = self.clock.now()
        state = self._document(key)
        for replica in state["replicas"]:
            replica["output"] = self.platform.output(replica["id"])
        return {
            "state": state,
            "requests": self.activator.models[key].explain(now),
            **self.autoscaler.explain(key),
        }

    def _readings(self) -> Iterator[Reading]:
        yield Reading(LOST_REPORTS, ("report",), self.link.lost_reports)
        yield Reading(LOST_REPORTS, ("poke",), self.link.lost_pokes)


def _phase(replicas: list[Replica], *, failed: bool) -> str:
    """The model's phase: that of its best replica."""
    phases = {replica.phase for replica in replicas}
    if Phase.READY in phases:
        return "ready"
    if failed:
        return "failed"
    if any(replica.is_starting for replica in replicas):
        return "starting"
    return "draining" if Phase.DRAINING in phases else "zero"


def _why(trouble: str, reason: str) -> str:
    if trouble:
        line = " ".join(trouble.split())
        return line if len(line) <= WHY_LENGTH else f"{line[: WHY_LENGTH - 1]}…"
    return reason or "no request yet"
