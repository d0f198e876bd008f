"""The autoscaler without its shell: what it hears, when it decides, what it concludes. Sans-IO.

``autoscaler.reconciler`` runs it by the clock and carries its commands out; the simulator
runs the very same object under a virtual one.
"""

from __future__ import annotations

from autoscaler.agenda import Agenda
from autoscaler.census import Census
from autoscaler.collector import Collector
from autoscaler.evidence import Recorder
from autoscaler.planner import Planner
from autoscaler.policies import Policy
from stoker.columns import StatColumns
from stoker.estimate import Estimator
from stoker.platform import ModelChanged, ModelEvent, ReplicaEvent
from stoker.vocabulary import ModelKey, Plan, Poke, StatReport, WakeAt


class Brain:
    """Everything the autoscaler knows, and what follows from it.

    ``silent_after``: seconds for which a silent reporter's last numbers stay in force.
    """

    def __init__(
        self,
        *,
        tick_interval: float = 2.0,
        silent_after: float = 10.0,
        policy: Policy | None = None,
        estimator: Estimator | None = None,
        journal: Recorder | None = None,
    ) -> None:
        self.agenda = Agenda(tick_interval)
        self.estimator = estimator or Estimator()
        self.planner = Planner(policy, journal)
        self.collector = Collector(self.planner, silent_after)
        self.census = Census()

    # --- what it hears ---

    def report(self, report: StatReport | StatColumns, now: float) -> None:
        """One interval's load."""
        self.collector.take(report, now)

    def poke(self, poke: Poke, now: float) -> bool:
        """A plea for an early decision; whether there will be one."""
        model = self.collector.poke(poke, now)
        if model is not None:
            self.agenda.poke(model)
        return model is not None

    def model_event(self, event: ModelEvent, now: float) -> None:
        """A model appeared, changed or went; it is decided for at once, not at the next tick."""
        if isinstance(event, ModelChanged):
            key = event.spec.key
            self.planner.set_model(key, event.spec.scaling, now)
            self.planner.set_counts(key, *self.census.counts(key), now)
            self._tell_start_seconds(key, now)
            self.agenda.poke(key)
        else:
            key = event.model
            self.agenda.forget(key)
            self.planner.remove_model(key, now)
            self.census.forget(key)
            self.estimator.forget(key)

    def replica_event(self, event: ReplicaEvent, now: float) -> None:
        """A replica appeared, moved on or ended; starts that were seen whole are learned from."""
        model, ready, starting, became_ready = self.census.take(event)
        self.planner.set_counts(model, ready, starting, now)
        if became_ready is not None:
            self.estimator.observe(model, became_ready.node, became_ready.phase_seconds)
            self._tell_start_seconds(model, now)

    def _tell_start_seconds(self, model: ModelKey, now: float) -> None:
        """What is known of the model's own starts; another's say nothing of when to prewarm."""
        start = self.estimator.eta(model)
        if start.known:
            self.planner.set_start_seconds(model, start.seconds, now)

    # --- what it concludes ---

    def decide(self, now: float, models: set[ModelKey] | None = None) -> Plan:
        """Decide for all models, or for some. Commands are the caller's to carry out, except
        that it looks again at what asked for it.
        """
        self.collector.advance(now)
        plan = self.planner.decide(now, models)
        for command in plan.commands:
            if isinstance(command, WakeAt):
                self.agenda.wake(command.model, command.time)
        return plan

    def eta(self, model: ModelKey, now: float) -> float | None:
        """Seconds until ``model`` can serve: 0 when it does, None while nothing is known."""
        return self.estimator.until_served(model, self.census.replicas(model), now)
