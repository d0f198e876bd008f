"""The autoscaler's shell: events and reports in, ticks by the clock, commands carried out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

from autoscaler.brain import Brain
from autoscaler.executor import Executor, Trouble, Wait, wait_for
from autoscaler.journal import Journal
from autoscaler.policies import Policy
from autoscaler.views import Views
from stoker import telemetry
from stoker.clock import Clock
from stoker.columns import StatColumns
from stoker.estimate import Estimator
from stoker.platform import ModelEvent, ModelRemoved, Platform, ReplicaEvent, Unsubscribe
from stoker.telemetry import Histogram, Reading
from stoker.vocabulary import (
    Command,
    Decision,
    ModelKey,
    Plan,
    PlatformEvent,
    Poke,
    ScaleTo,
    Stage,
    StatReport,
    WakeAt,
)

logger = logging.getLogger(__name__)

TICK_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)


class Autoscaler:
    """Decides for all models of a platform. Is the ``StatSink`` of a link.

    Ticks come every ``tick_interval`` seconds, when a decision asked to be looked at again
    (WakeAt), and at once after a poke, then for the models concerned only. ``silent_after``:
    seconds for which a silent reporter's last numbers stay in force. The journal is the
    caller's to close, after this.
    """

    def __init__(
        self,
        platform: Platform,
        clock: Clock,
        *,
        tick_interval: float = 2.0,
        silent_after: float = 10.0,
        policy: Policy | None = None,
        estimator: Estimator | None = None,
        journal: Journal | None = None,
        wait: Wait = wait_for,
        metric_models: int = 2000,
    ) -> None:
        self.journal = journal or Journal()
        self.brain = Brain(
            tick_interval=tick_interval,
            silent_after=silent_after,
            policy=policy,
            estimator=estimator,
            journal=self.journal,
        )
        self.planner = self.brain.planner
        self.collector = self.brain.collector
        self.estimator = self.brain.estimator
        self.ticks = 0
        self.errors: Counter[str] = Counter()
        self._platform = platform
        self._clock = clock
        self._file = self.journal.file
        self._wait = wait
        self._metric_models = metric_models
        self._stir = asyncio.Event()
        self._closing = False
        self._paused = False
        self._running: asyncio.Task[None] | None = None
        self._unsubscribe: list[Unsubscribe] = []
        self._tick_seconds = Histogram(TICK_BOUNDS)
        self._flushing: asyncio.Future[None] | None = None
        self._executor = Executor(
            platform,
            clock,
            on_done=self._scaled,
            on_failed=self._scale_failed,
            on_refused=self._scale_refused,
            wait=wait,
        )
        self._views = Views(self.brain, self._executor, self.journal)

    # --- the link's sink -------------------------------------------------------------

    def report(self, report: StatReport | StatColumns) -> None:
        """Take one interval's report. Never blocks, never raises."""
        try:
            self.brain.report(report, self._clock.now())
        except Exception:
            self._broken("report")

    def poke(self, poke: Poke) -> None:
        """Take a plea for an early decision. Never blocks, never raises."""
        try:
            if self.brain.poke(poke, self._clock.now()):
                self._stir.set()
        except Exception:
            self._broken("poke")

    # --- life --------------------------------------------------------------------------

    async def start(self) -> None:
        """Watch the platform and begin to decide. May be called once."""
        if self._file is not None:
            self._file.rotate_if_full(self._snapshot)
        self._unsubscribe = [
            self._platform.watch_models(self._on_model),
            self._platform.watch_replicas(self._on_replica),
        ]
        self._running = asyncio.get_running_loop().create_task(self._loop())

    async def close(self) -> None:
        """Stop deciding; replicas stay as they are. Idempotent."""
        self._closing = True
        self._stir.set()
        for stop in self._unsubscribe:
            stop()
        if self._running is not None:
            await asyncio.wait([self._running])
        await self._executor.close()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    def pause(self) -> None:
        """Another decides: carry out nothing more, but go on hearing of load. Idempotent."""
        self._paused = True
        self._executor.drop_all()

    def resume(self) -> None:
        """Decide again, at once. What was asked for before is taken to be outdated: another may
        have asked for something else meanwhile. Idempotent.
        """
        if self._paused:
            self._paused = False
            now = self._clock.now()
            for model in tuple(self.planner.rows.index):
                self.planner.forget_asked(model, now)
            self.brain.agenda.begin(now)
            self._stir.set()

    async def _loop(self) -> None:
        agenda = self.brain.agenda
        agenda.begin(self._clock.now())
        while not self._closing:
            self._stir.clear()
            now = self._clock.now()
            everyone, models = agenda.take(now)
            if self._paused:
                # Seconds without a word are filled in all the same, and silent reporters given up.
                self.collector.advance(now)
            elif everyone or models:
                self.tick(now, None if everyone else models)
            self._flush()
            await self._wait(self._stir, max(0.0, agenda.until() - self._clock.now()))

    def tick(self, now: float, models: set[ModelKey] | None = None) -> Plan:
        """Decide for all models, or for some, and act on it. Never raises."""
        begun = self._clock.now()
        try:
            if self._file is not None:
                self._file.rotate_if_full(self._snapshot)
            plan = self.brain.decide(now, models)
            for command in plan.commands:
                self._act(command)
        except Exception:
            self._broken("tick")
            plan = Plan(now)
        self.ticks += 1
        self._tick_seconds.add(self._clock.now() - begun)
        return plan

    def _act(self, command: Command) -> None:
        match command:
            case ScaleTo():
                self._executor.want(command)
            case WakeAt():
                pass  # on the agenda already
            case _:
                # No platform here has pools to grow or stores to fill yet.
                self.errors["ignored-command"] += 1
                if isinstance(command, Stage):
                    self._note(command.model, "ignored", repr(command))

    # --- events of the platform ----------------------------------------------------------

    def _on_model(self, event: ModelEvent) -> None:
        self.brain.model_event(event, self._clock.now())
        if isinstance(event, ModelRemoved):
            self._executor.drop(event.model)
        self._stir.set()

    def _on_replica(self, event: ReplicaEvent) -> None:
        self.brain.replica_event(event, self._clock.now())

    # --- outcomes of commands --------------------------------------------------------------

    def _scaled(self, command: ScaleTo) -> None:
        self._tell(command, "scaled", f"to {command.replicas}: {command.reason}")

    def _scale_failed(self, command: ScaleTo, trouble: Trouble) -> None:
        detail = f"to {command.replicas}, {trouble.failures} in a row: {trouble.error}"
        if trouble.failures == 1:
            self._tell(command, "scale-failed", detail)
        else:
            self._note(command.model, "scale-failed", detail)

    def _scale_refused(self, command: ScaleTo, error: str) -> None:
        self.planner.forget_asked(command.model, self._clock.now())
        self._note(command.model, "scale-refused", f"to {command.replicas}: {error}")

    def _tell(self, command: ScaleTo, kind: str, detail: str) -> None:
        """For the journal and for those who look at the platform's events."""
        self._note(command.model, kind, detail)
        self._platform.record_event(
            PlatformEvent(
                command.model,
                kind,
                detail,
                self._clock.now(),
                (("replicas", str(command.replicas)),),
            )
        )

    def _note(self, model: ModelKey, what: str, detail: str) -> None:
        self.journal.note(self._clock.now(), model, what, detail)

    def _broken(self, where: str) -> None:
        self.errors[where] += 1
        logger.exception("the autoscaler's %s failed; it goes on", where)

    # --- the journal's file ------------------------------------------------------------------

    def _snapshot(self) -> dict[str, object]:
        # By ``wall`` the times of all lines up to the next snapshot can be told to people.
        return {**self.planner.snapshot(self._clock.now()), "wall": self._clock.wall()}

    def _flush(self) -> None:
        if self._file is not None and (self._flushing is None or self._flushing.done()):
            loop = asyncio.get_running_loop()
            self._flushing = loop.run_in_executor(None, self._file.flush)

    # --- for people and scrapes ----------------------------------------------------------------

    def decision(self, model: ModelKey) -> Decision | None:
        """The last decision for ``model``; None when there is none."""
        return self.planner.decision(model)

    def eta(self, model: ModelKey, now: float) -> float | None:
        """Seconds until ``model`` can serve: 0 when it does, None while nothing is known."""
        return self.brain.eta(model, now)

    def explain(self, model: ModelKey) -> dict[str, object]:
        """All that is known of why ``model`` has the replicas it has; JSON-ready.

        Raises KeyError when the model is unknown.
        """
        return self._views.explain(model, self._clock.now())

    def snapshot(self) -> list[dict[str, object]]:
        """One entry per model, sorted by name: what a live table shows; JSON-ready."""
        return self._views.table()

    def readings(self) -> Iterator[Reading]:
        """The metrics under "autoscaler" in ``stoker.telemetry``; series are bounded."""
        for part in self.reading_parts():
            yield from part

    def reading_parts(self) -> Iterator[list[Reading]]:
        """The same, one list per model: between them other things may happen."""
        dropped = self.collector.dropped.items()
        yield [
            Reading(telemetry.TICK_SECONDS, (), self._tick_seconds),
            *(Reading(telemetry.STALE_REPORTS, (reason,), count) for reason, count in dropped),
        ]
        yield from self._views.reading_parts(self._metric_models)
