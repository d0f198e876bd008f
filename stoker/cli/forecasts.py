"""When a model will be served, told where no autoscaler is at hand: from the same events, by the
same estimate as the autoscaler's.
"""

from __future__ import annotations

from autoscaler.census import Census
from stoker.estimate import Estimator
from stoker.platform import ModelEvent, ModelRemoved, Platform, ReplicaEvent
from stoker.vocabulary import ModelKey


class Forecasts:
    """What an ``Activator`` is given as ``eta``. ``estimator``: what is known already of starts."""

    def __init__(self, estimator: Estimator | None = None) -> None:
        self._census = Census()
        self._estimator = estimator or Estimator()

    def watch(self, platform: Platform) -> None:
        """Before the activator does: whom it asks must know what it knows."""
        platform.watch_models(self._model_event)
        platform.watch_replicas(self._replica_event)

    def eta(self, model: ModelKey, now: float) -> float | None:
        """In how many seconds the model has a replica; None: nobody can say."""
        return self._estimator.until_served(model, self._census.replicas(model), now)

    def _model_event(self, event: ModelEvent) -> None:
        if isinstance(event, ModelRemoved):
            self._census.forget(event.model)
            self._estimator.forget(event.model)

    def _replica_event(self, event: ReplicaEvent) -> None:
        became_ready = self._census.take(event).became_ready
        if became_ready is not None:
            self._estimator.observe(
                became_ready.model, became_ready.node, became_ready.phase_seconds
            )
