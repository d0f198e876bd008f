"""What people and scrapes get to see of the autoscaler. Only reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict

from autoscaler.brain import Brain
from autoscaler.executor import OUTCOMES, Executor
from autoscaler.journal import Journal, shown
from stoker import telemetry
from stoker.telemetry import Reading
from stoker.vocabulary import ModelKey, Phase


class Views:
    """Reads what the autoscaler's parts know."""

    def __init__(self, brain: Brain, executor: Executor, journal: Journal) -> None:
        self._planner = brain.planner
        self._census = brain.census
        self._estimator = brain.estimator
        self._executor = executor
        self._journal = journal

    def explain(self, model: ModelKey, now: float) -> dict[str, object]:
        """See ``Autoscaler.explain``."""
        config = self._planner.config(model)
        decision, outage = self._planner.decision(model), self._census.outage(model)
        trouble = self._executor.trouble(model)
        return {
            "model": str(model),
            "time": now,
            "decision": None if decision is None else {**decision._asdict(), "model": str(model)},
            "replicas": [
                {
                    "id": replica.id,
                    "phase": replica.phase.value,
                    "seconds_in_phase": now - replica.since,
                    "node": replica.node,
                    "reason": replica.reason,
                    "ready_in": self._estimator.eta(
                        model, replica.node, replica.phase, now - replica.since
                    )._asdict()
                    if replica.is_starting
                    else None,
                }
                for replica in self._census.replicas(model)
            ],
            "outage": None if outage is None else {**asdict(outage), "model": str(model)},
            "trouble": None if trouble is None else trouble._asdict(),
            "start": self._estimator.eta(model)._asdict(),
            "start_phases": {
                phase.value: seconds for phase, seconds in self._estimator.phases(model).items()
            },
            "config": asdict(config),
            "decisions": [
                {
                    "seconds_ago": now - verdict.decision.time,
                    "desired": verdict.decision.desired,
                    "reason": verdict.decision.reason,
                }
                for verdict in self._journal.verdicts(model)
            ],
            "history": [shown(entry) for entry in self._journal.entries(model)],
        }

    def table(self) -> list[dict[str, object]]:
        """See ``Autoscaler.snapshot``."""
        return [self._summary(model) for model in sorted(self._planner.rows.index)]

    def _summary(self, model: ModelKey) -> dict[str, object]:
        decision, outage = self._planner.decision(model), self._census.outage(model)
        phases = self._census.phases(model)
        return {
            "model": str(model),
            "desired": 0 if decision is None else decision.desired,
            "ready": phases[Phase.READY],
            "starting": self._census.counts(model)[1],
            "phases": {phase.value: count for phase, count in phases.items()},
            "panicking": decision is not None and decision.panicking,
            "stable": None if decision is None or not decision.valid else decision.stable,
            "panic": None if decision is None or not decision.valid else decision.panic,
            "reason": "not decided on yet" if decision is None else decision.reason,
            "outage": "" if outage is None else outage.reason,
        }

    def reading_parts(self, most: int) -> Iterator[list[Reading]]:
        """Metrics by model for ``most`` models, a list each; those with replicas come first."""
        models = tuple(self._planner.rows.index)
        awake = [model for model in models if self._census.replicas(model)]
        asleep = (model for model in models if not self._census.replicas(model))
        for model in itertools.islice(itertools.chain(awake, asleep), most):
            yield list(self._readings(model))

    def _readings(self, model: ModelKey) -> Iterator[Reading]:
        name = (str(model),)
        for phase, count in self._census.phases(model).items():
            yield Reading(telemetry.REPLICAS, (*name, phase.value), count)
        for outcome in OUTCOMES:
            count = self._executor.outcomes[model, outcome]
            if count:
                yield Reading(telemetry.SCALE_COMMANDS, (*name, outcome), count)
        decision = self._planner.decision(model)
        if decision is None:
            return
        yield Reading(telemetry.DESIRED, name, decision.desired)
        yield Reading(telemetry.PANIC, name, decision.panicking)
        if decision.valid:
            yield Reading(telemetry.STABLE_CONCURRENCY, name, decision.stable)
            yield Reading(telemetry.PANIC_CONCURRENCY, name, decision.panic)
