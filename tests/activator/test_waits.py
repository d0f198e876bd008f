"""Why a request waited: causes, parts of the wait, sentences."""

from __future__ import annotations

from activator.throttler import Throttler
from activator.tickets import Ticket
from activator.waits import (
    ASLEEP,
    NO_SLOT,
    RETRY,
    SET_ASIDE,
    Cause,
    Wait,
    activation,
    bound_of,
    cause_of,
    parts,
    recent,
    sentence,
)
from stoker.vocabulary import Address, ModelKey, Phase, Replica, ServingConfig

DIGITS = ModelKey.parse("digits")
NOWHERE = Address("127.0.0.1", 1)
ASLEEP_CAUSE = Cause(0, 0, 0, 0, 0, "")


def throttler(**serving: object) -> Throttler:
    """One model's, at time 0."""
    return Throttler(DIGITS, ServingConfig(**serving), 0.0)  # type: ignore[arg-type]


def held(model: Throttler, now: float, hard: float | None = None) -> Ticket:
    """A ticket that has to wait."""
    ticket = Ticket(model, "", 0, hard, 0, now, None)
    assert not model.claim(ticket, now)
    model.enqueue(ticket, now)
    return ticket


def replica(created: float, *phases: tuple[Phase, float]) -> Replica:
    """One that has just turned ready."""
    since = created + sum(seconds for _, seconds in phases)
    return Replica(
        DIGITS, "r1", 1, Phase.READY, since, NOWHERE, created=created, phase_seconds=phases
    )


def wait(cause: Cause, **changes: object) -> Wait:
    """One that took from 100 to 110."""
    whole = Wait(110.0, 10.0, cause, None, "", 400.0, "hold-timeout")
    return whole._replace(**changes)  # type: ignore[arg-type]


def test_cause_at_zero() -> None:
    """No replica is ready; who waits already is counted."""
    model = throttler()
    assert cause_of(model, held(model, 1.0), 1.0) == ASLEEP_CAUSE
    cause = cause_of(model, held(model, 1.0), 1.0)
    assert (cause.kind, cause.before) == (ASLEEP, 1)


def test_cause_without_a_free_slot() -> None:
    """All slots of the ready replicas are taken."""
    model = throttler(container_concurrency=2)
    model.add_replica("r1", NOWHERE, 0.0)
    for _ in range(2):
        assert model.claim(Ticket(model, "", 0, None, 0, 0.0, None), 0.0)
    cause = cause_of(model, held(model, 1.0), 1.0)
    assert cause == Cause(1, 2, 2, 0, 0, "")
    assert cause.kind == NO_SLOT


def test_cause_with_a_replica_set_aside() -> None:
    """It failed somebody; the one that it failed is tried again."""
    model = throttler(container_concurrency=1)
    model.add_replica("r1", NOWHERE, 0.0)
    ticket = Ticket(model, "", 0, None, 0, 0.0, None)
    assert model.claim(ticket, 0.0)
    model.failed(ticket, 1.0, eject=True)
    other = cause_of(model, held(model, 1.0), 1.0)
    assert (other.kind, other.set_aside) == (SET_ASIDE, 1)
    model.enqueue(ticket, 1.0)
    again = cause_of(model, ticket, 1.0)
    assert (again.kind, again.failed_by) == (RETRY, "r1")


def test_which_deadline_bounds_a_hold() -> None:
    """The hold's own, its cap, or the caller's."""
    model = throttler(hold_timeout=10.0, hold_timeout_cap=25.0)
    assert bound_of(model, held(model, 5.0)) == (15.0, "hold-timeout")
    assert bound_of(model, held(model, 5.0, hard=8.0)) == (8.0, "the caller's own deadline")
    model.made_progress("starting", 22.0)
    assert bound_of(model, held(model, 5.0)) == (30.0, "hold-timeout-cap")


def test_a_cold_start_is_told_phase_by_phase() -> None:
    """From the first request: until asked for, each phase, its turn; they sum up to the wait."""
    start = replica(101.0, (Phase.PULLING_IMAGE, 2.0), (Phase.STARTING, 5.0))
    waited = wait(ASLEEP_CAUSE, start=start)
    assert parts(waited) == [
        ("deciding", 1.0),
        ("pulling-image", 2.0),
        ("starting", 5.0),
        ("its-turn", 2.0),
    ]
    assert sum(seconds for _, seconds in parts(waited)) == waited.seconds
    assert sentence(waited) == (
        "no replica was ready: 1.000 s until a replica was asked for, then 2.000 s pulling-image,"
        " then 5.000 s starting, then 2.000 s until it was its turn;"
        " it could have waited 290.0 s more (hold-timeout)"
    )


def test_who_comes_during_a_start_waits_for_the_rest_of_it() -> None:
    """What was over before the request came is none of its wait."""
    start = replica(90.0, (Phase.PULLING_IMAGE, 5.0), (Phase.STARTING, 8.0))
    assert parts(wait(ASLEEP_CAUSE, start=start)) == [("starting", 3.0), ("its-turn", 7.0)]
    late = replica(90.0, (Phase.STARTING, 30.0))
    assert parts(wait(ASLEEP_CAUSE, start=late)) == [("starting", 10.0)]


def test_sentences() -> None:
    """Each cause in words that a person understands."""
    slots = Cause(2, 8, 8, 0, 12, "")
    assert sentence(wait(slots)).startswith(
        "no free slot: 8 of 8 slots of 2 replicas were taken, behind 12 others; it could"
    )
    assert sentence(wait(slots._replace(set_aside=1, before=0))).startswith(
        "no free slot: 8 of 8 slots of 2 replicas were taken, 1 of the replicas set aside after"
        " failing;"
    )
    assert sentence(wait(Cause(1, 16, 0, 0, 1, ""))).startswith(
        "1 new replica took no more at that moment, behind 1 other;"
    )
    assert sentence(wait(Cause(1, 0, 2, 1, 0, ""))).startswith(
        "the one ready replica was set aside after failing;"
    )
    assert sentence(wait(Cause(3, 0, 6, 3, 0, ""))).startswith(
        "all 3 ready replicas were set aside after failing;"
    )
    assert sentence(wait(Cause(1, 0, 2, 0, 0, "r7"))).startswith(
        "replica r7 failed it and it was tried again;"
    )
    gone = wait(ASLEEP_CAUSE, refused="hold-deadline")
    assert sentence(gone) == "no replica was ready; given up (hold-deadline)"
    other = wait(ASLEEP_CAUSE, refused="fallback")
    assert sentence(other) == "no replica was ready; then another model answered instead"


def test_an_activation_is_its_parts_and_the_total() -> None:
    """What the histogram by phase is fed with."""
    start = replica(1.0, (Phase.STARTING, 3.0))
    assert activation(start, 0.0, 4.5) == [
        ("deciding", 1.0),
        ("starting", 3.0),
        ("its-turn", 0.5),
        ("total", 4.5),
    ]


def test_the_document() -> None:
    """JSON-ready, with the sentence and the figures behind it."""
    start = replica(101.0, (Phase.STARTING, 8.0))
    (told,) = recent((wait(ASLEEP_CAUSE, start=start),), 130.0)
    assert told.pop("why")
    assert told == {
        "seconds_ago": 20.0,
        "waited": 10.0,
        "cause": "asleep",
        "phases": {"deciding": 1.0, "starting": 8.0, "its-turn": 1.0},
        "slots": {"taken": 0, "of": 0},
        "before": 0,
        "replica": "r1",
        "refused": "",
        "deadline_in": 290.0,
        "bound": "hold-timeout",
    }
    (none,) = recent((wait(ASLEEP_CAUSE, refused="client-gone"),), 130.0)
    assert (none["replica"], none["phases"], none["refused"]) == ("", {}, "client-gone")
