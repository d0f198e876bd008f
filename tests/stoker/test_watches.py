"""Watching: the state first, then every change, whatever watchers do meanwhile."""

from __future__ import annotations

import logging

import pytest

from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    ModelRemoved,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    Unsubscribe,
)
from stoker.vocabulary import ModelKey, ModelSpec, Outage, Phase, Replica
from stoker.watches import Watches

KEY = ModelKey.parse("digits")
OTHER = ModelKey.parse("other")
OUTAGE = Outage(KEY, "exits at once", 1.0, 2.0)


def replica(id: str, phase: Phase = Phase.READY) -> Replica:
    return Replica(KEY, id, 1, phase, 0.0)


def test_state_comes_first_and_is_the_latest() -> None:
    """What is gone, removed or over is not delivered; what changed only as it is now."""
    watches = Watches()
    watches.announce_model(ModelChanged(ModelSpec(KEY)))
    watches.announce_model(ModelChanged(ModelSpec(OTHER)))
    watches.announce_model(ModelChanged(ModelSpec(KEY, hosts=("a",))))
    watches.announce_model(ModelRemoved(OTHER))
    watches.announce_replica(ReplicaChanged(replica("a", Phase.STARTING)))
    watches.announce_replica(ReplicaChanged(replica("b")))
    watches.announce_replica(ReplicaChanged(replica("a")))
    watches.announce_replica(ReplicaGone(replica("b")))
    watches.announce_replica(ModelOutage(KEY, OUTAGE))
    watches.announce_replica(ModelOutage(OTHER, OUTAGE))
    watches.announce_replica(ModelOutage(OTHER, None))
    models: list[ModelEvent] = []
    replicas: list[ReplicaEvent] = []
    watches.watch_models(models.append)
    watches.watch_replicas(replicas.append)
    assert models == [ModelChanged(ModelSpec(KEY, hosts=("a",)))]
    assert replicas == [ReplicaChanged(replica("a")), ModelOutage(KEY, OUTAGE)]


def test_a_watcher_may_change_what_it_is_being_told() -> None:
    """State that ended during its own delivery is not delivered after its end."""
    watches = Watches()
    watches.announce_model(ModelChanged(ModelSpec(KEY)))
    watches.announce_model(ModelChanged(ModelSpec(OTHER)))
    watches.announce_replica(ReplicaChanged(replica("a")))
    watches.announce_replica(ReplicaChanged(replica("b")))
    watches.announce_replica(ModelOutage(KEY, OUTAGE))
    heard: list[object] = []

    def replica_watcher(event: ReplicaEvent) -> None:
        heard.append(event)
        if event == ReplicaChanged(replica("a")):
            watches.announce_replica(ReplicaGone(replica("b")))
            watches.announce_replica(ModelOutage(KEY, None))

    def model_watcher(event: ModelEvent) -> None:
        heard.append(event)
        if isinstance(event, ModelChanged):
            watches.announce_model(ModelRemoved(OTHER))

    # An outage announced over while the replicas are still being told is not told again.
    outages = watches.outages
    watches.watch_replicas(replica_watcher)
    assert outages == {}
    assert heard == [
        ReplicaChanged(replica("a")),
        ReplicaGone(replica("b")),
        ModelOutage(KEY, None),
    ]
    heard.clear()
    watches.watch_models(model_watcher)
    assert heard == [ModelChanged(ModelSpec(KEY)), ModelRemoved(OTHER)]


def test_an_outage_that_ends_during_the_telling_of_outages() -> None:
    """As with replicas: each is looked up again before it is told."""
    watches = Watches()
    for key in (KEY, OTHER):
        watches.announce_replica(ModelOutage(key, OUTAGE))
    heard: list[ReplicaEvent] = []

    def watcher(event: ReplicaEvent) -> None:
        heard.append(event)
        if event == ModelOutage(KEY, OUTAGE):
            watches.announce_replica(ModelOutage(OTHER, None))

    watches.watch_replicas(watcher)
    assert heard == [ModelOutage(KEY, OUTAGE), ModelOutage(OTHER, None)]


def test_ended_watches_hear_nothing_not_even_this_event() -> None:
    """A watcher may end another's watch; the same function may watch twice."""
    watches = Watches()
    heard: list[ReplicaEvent] = []
    ends: list[Unsubscribe] = []

    def end_others(event: ReplicaEvent) -> None:
        for end in ends:
            end()

    watches.watch_replicas(end_others)
    ends.append(watches.watch_replicas(heard.append))
    end_second = watches.watch_replicas(heard.append)
    watches.announce_replica(ReplicaChanged(replica("a")))
    assert len(heard) == 1
    end_second()
    end_second()
    watches.announce_replica(ReplicaChanged(replica("b")))
    assert len(heard) == 1


def test_what_a_watcher_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the event, and the others hear it all the same."""
    watches = Watches()
    heard: list[ReplicaEvent] = []

    def raising(event: ReplicaEvent) -> None:
        raise RuntimeError("on purpose")

    watches.watch_replicas(raising)
    watches.watch_replicas(heard.append)
    with caplog.at_level(logging.ERROR):
        watches.announce_replica(ReplicaChanged(replica("a")))
    assert heard == [ReplicaChanged(replica("a"))]
    assert "id='a'" in caplog.text
    assert "on purpose" in caplog.text
