"""Counting replicas by what a platform tells of them."""

from __future__ import annotations

from autoscaler.census import Census
from stoker.platform import ModelOutage, ReplicaChanged, ReplicaGone
from stoker.vocabulary import Outage, Phase, Replica
from tests.autoscaler.driving import A, B


def replica(id: str, phase: Phase) -> Replica:
    return Replica(A, id, 1, phase, since=0.0)


def test_only_ready_and_starting_count() -> None:
    """Draining and failed replicas are neither capacity nor on their way to it."""
    census = Census()
    for number, phase in enumerate(Phase):
        change = census.take(ReplicaChanged(replica(f"r{number}", phase)))
    assert change[:3] == (A, 1, 4)
    assert census.counts(A) == (1, 4)
    assert census.phases(A) == dict.fromkeys(Phase, 1)
    assert census.counts(B) == (0, 0)


def test_becoming_ready_is_told_once() -> None:
    """Only of replicas whose way up was seen."""
    census = Census()
    assert census.take(ReplicaChanged(replica("r1", Phase.STARTING))).became_ready is None
    ready = replica("r1", Phase.READY)
    assert census.take(ReplicaChanged(ready)).became_ready == ready
    assert census.take(ReplicaChanged(ready)).became_ready is None
    assert census.take(ReplicaChanged(replica("r2", Phase.READY))).became_ready is None


def test_what_is_gone_is_forgotten() -> None:
    """Ends of replicas, known or not."""
    census = Census()
    for id in ("r1", "r2"):
        census.take(ReplicaChanged(replica(id, Phase.READY)))
    assert census.take(ReplicaGone(replica("r1", Phase.READY)))[:3] == (A, 1, 0)
    assert census.take(ReplicaGone(replica("r2", Phase.READY)))[:3] == (A, 0, 0)
    assert census.take(ReplicaGone(replica("r3", Phase.READY)))[:3] == (A, 0, 0)
    assert census.replicas(A) == ()


def test_outages() -> None:
    """An outage lasts until it is taken back, or the model goes."""
    census = Census()
    outage = Outage(A, "exits with 1", 0.0, 60.0)
    assert census.take(ModelOutage(A, outage))[:3] == (A, 0, 0)
    assert census.outage(A) == outage
    census.take(ModelOutage(A, None))
    census.take(ModelOutage(A, None))
    assert census.outage(A) is None
    census.take(ModelOutage(A, outage))
    census.forget(A)
    assert census.outage(A) is None
