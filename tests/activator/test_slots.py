"""Slots that another process owns: the same throttler dispatches what was lent to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from activator.admission import Admission
from activator.balancer import Backend
from activator.slots import OwnSlots
from activator.tickets import Failure, Reason, State
from stoker.vocabulary import Address, Balancing, ModelKey, ModelSpec, ServingConfig

KEY = ModelKey("default", "digits")
HERE = Address("127.0.0.1", 1)


class LentSlots:
    """Slots owned elsewhere: none until some are lent, one at a time, for one request each."""

    def __init__(self) -> None:
        self._lent: list[Backend] = []
        self.asked = 0
        self.returned: list[str] = []
        self.news: list[tuple[str, str]] = []
        self.limit = 1

    @property
    def backends(self) -> Sequence[Backend]:
        return self._lent

    def lend(self, replica_id: str) -> None:
        self._lent.append(Backend(replica_id, HERE, 1, backlog=False))

    def take(self, now: float, avoid: str, key: int = 0) -> Backend | None:
        if not self._lent:
            self.asked += 1
            return None
        backend = self._lent.pop()
        backend.in_flight += 1
        return backend

    def give_back(self, backend: Backend, now: float) -> None:
        backend.in_flight -= 1
        self.returned.append(backend.replica_id)

    def add(self, replica_id: str, address: Address, *, backlog: bool) -> bool:
        self.news.append(("ready", replica_id))
        return True

    def drain(self, replica_id: str) -> Backend | None:
        self.news.append(("drains", replica_id))
        return None

    def remove(self, replica_id: str) -> None:
        self.news.append(("gone", replica_id))

    def set_limit(self, container_concurrency: int, *, backlog: bool) -> None:
        self.limit = container_concurrency

    def set_balancing(self, balancing: Balancing, load_factor: float) -> None:
        self.balancing = balancing


def test_slots_owned_elsewhere_are_dispatched_when_they_are_lent() -> None:
    """Held until something is lent, granted then, given back once; replicas are news only."""
    lent = LentSlots()
    admission = Admission(10, 1000, make_slots=lambda spec: lent)
    spec = ModelSpec(KEY, serving=ServingConfig(container_concurrency=1))
    model, _ = admission.set_model(spec, 0.0)
    first, second = (admission.offer(model, "", 0, None, 0, 0.0) for _ in range(2))
    assert (first.state, second.state, lent.asked) == (State.HELD, State.HELD, 1)
    assert admission.replica_ready(model, "r1", HERE, 0.5) == []
    lent.lend("r1")
    assert model.grant(1.0) == [first]
    assert first.backend is not None
    assert first.backend.replica_id == "r1"
    lent.lend("r2")
    assert admission.finish(first, 2.0, answered=True) == [second]
    assert admission.finish(second, 3.0, answered=True) == []
    assert lent.returned == ["r1", "r2"]
    assert model.drain_replica("r1")
    model.remove_replica("r1")
    assert lent.news == [("ready", "r1"), ("drains", "r1"), ("drains", "r1"), ("gone", "r1")]
    admission.set_model(ModelSpec(KEY, serving=ServingConfig(container_concurrency=4)), 4.0)
    assert lent.limit == 4
    assert (model.queued, model.active, admission.held) == (0, 0, 0)


def test_own_slots_know_each_replica_once() -> None:
    """Adding twice changes nothing; draining leaves no slot; unknown ids are ignored."""
    slots = OwnSlots(2)
    assert slots.add("r1", HERE, backlog=False)
    assert not slots.add("r1", HERE, backlog=False)
    taken = [slots.take(0.0, "") for _ in range(3)]
    assert [t is not None for t in taken] == [True, True, False]
    drained = slots.drain("r1")
    assert drained is taken[0]
    assert slots.drain("r1") is drained
    assert slots.drain("r9") is None
    assert list(slots.backends) == []
    slots.remove("r1")
    slots.remove("r9")
    assert slots.add("r1", HERE, backlog=False)


@pytest.mark.parametrize(
    ("failure", "serving", "tries"),
    [
        (Failure("died"), ServingConfig(retry_attempts=2), 3),
        (Failure("died"), ServingConfig(retry_attempts=0), 1),
        (Failure("died", idempotent=False), ServingConfig(retry_attempts=2), 3),
        (Failure("died", idempotent=False), ServingConfig(retry_post=False), 1),
        (Failure("died", replayable=False), ServingConfig(retry_attempts=2), 1),
    ],
)
def test_how_often_a_failed_request_is_tried(
    failure: Failure, serving: ServingConfig, tries: int
) -> None:
    """1 + retry-attempts where it may be sent again, else once; the refusal says why."""
    admission = Admission(10, 1000)
    model, _ = admission.set_model(ModelSpec(KEY, serving=serving), 0.0)
    for number in range(4):
        admission.replica_ready(model, f"r{number}", HERE, 0.0)
    ticket = admission.offer(model, "", 0, None, 0, 0.0)
    for now in range(1, tries):
        assert admission.failed(ticket, failure, now) is None
        assert admission.retry(ticket, 0, now) == [ticket]
    refusal = admission.failed(ticket, failure, tries)
    assert refusal is not None
    assert refusal.reason is Reason.REPLICA_FAILED
    assert refusal.detail.startswith("died")
    assert ("retry-post" in refusal.detail) == (not serving.retry_post)
    assert ("too large" in refusal.detail) == (not failure.replayable)
    assert (model.queued, model.active) == (0, 0)


def test_stale_connections_are_no_attempts() -> None:
    """However many there were: they say nothing about the replica, nor eject it."""
    admission = Admission(10, 1000)
    model, _ = admission.set_model(ModelSpec(KEY, serving=ServingConfig(retry_attempts=0)), 0.0)
    admission.replica_ready(model, "r1", HERE, 0.0)
    ticket = admission.offer(model, "", 0, None, 0, 0.0)
    for _ in range(5):
        assert admission.failed(ticket, Failure("closed", stale=True), 1.0) is None
        assert admission.retry(ticket, 0, 1.0) == [ticket]
    assert admission.failed(ticket, Failure("died"), 1.0) is not None
