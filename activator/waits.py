"""Why requests had to wait, and how long for what: measured as it happens, told in words.

Pure. What is kept per wait is small, because ten thousand may be held at once; intervals and
sentences are worked out when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from activator.throttler import Throttler
from activator.tickets import Ticket
from stoker.vocabulary import Replica

ASLEEP = "asleep"
NO_SLOT = "no-slot"
SET_ASIDE = "set-aside"
RETRY = "retry"
# Not a refusal: how a hold ends that another model took over.
FALLBACK = "fallback"

DECIDING = "deciding"
OWN_TURN = "its-turn"


class Cause(NamedTuple):
    """What kept a request from a slot, as things stood when it began to wait.

    ``taken``: requests in the ``ready`` replicas; ``slots``: how many these take together,
    0 without a limit; ``before``: requests that waited already; ``failed_by``: the replica
    that it had before and that failed it.
    """

    ready: int
    taken: int
    slots: int
    set_aside: int
    before: int
    failed_by: str

    @property
    def kind(self) -> str:
        if self.failed_by:
            return RETRY
        if not self.ready:
            return ASLEEP
        return SET_ASIDE if self.set_aside == self.ready else NO_SLOT


class Wait(NamedTuple):
    """One wait that has ended at ``time`` (monotonic) after ``seconds``.

    ``start`` is the replica that it then got, as it was when it turned ready; ``refused`` why
    it got none. ``deadline`` is until when it could have waited, by the setting ``bound``.
    """

    time: float
    seconds: float
    cause: Cause
    start: Replica | None
    refused: str
    deadline: float
    bound: str


def cause_of(throttler: Throttler, ticket: Ticket, now: float) -> Cause:
    """Why ``ticket``, just put into the line, did not get a slot at once."""
    slots = throttler.slots
    ready = len(slots.backends)
    # Counted only where something is set aside at all: this is done for every hold.
    aside = 0
    if throttler.resumes_at > now and throttler.resumes_at != float("inf"):
        aside = sum(backend.ejected_until > now for backend in slots.backends)
    return Cause(
        ready,
        throttler.active,
        ready * throttler.config.container_concurrency,
        aside,
        throttler.queued - 1,
        ticket.avoid,
    )


def bound_of(throttler: Throttler, ticket: Ticket) -> tuple[float, str]:
    """Until when a held ticket may wait, and the setting (or the caller) that says so."""
    deadline = throttler.effective_deadline(ticket)
    if ticket.hard_deadline is not None and deadline == ticket.hard_deadline:
        return deadline, "the caller's own deadline"
    config = throttler.config
    capped = ticket.held_since + config.hold_timeout_cap
    if config.hold_timeout_cap > config.hold_timeout and deadline >= capped:
        return deadline, "hold-timeout-cap"
    return deadline, "hold-timeout"


def parts(wait: Wait) -> list[tuple[str, float]]:
    """What the wait was spent on, in order: (phase, seconds), all above zero.

    For a model that was asleep: until a replica was asked for (``deciding``), each phase of
    its start, and from ready on until it was this request's turn (``its-turn``).
    """
    began = wait.time - wait.seconds
    start = wait.start
    if start is None or wait.cause.kind is not ASLEEP:
        return []
    marks = [(DECIDING, start.created)]
    for phase, seconds in start.phase_seconds:
        marks.append((phase.value, marks[-1][1] + seconds))
    marks.append((OWN_TURN, wait.time))
    spent = []
    at = began
    for name, until in marks:
        until = min(until, wait.time)
        if until > at:
            spent.append((name, until - at))
            at = until
    return spent


def sentence(wait: Wait) -> str:
    """Why this one waited, for people."""
    what = _what(wait.cause)
    spent = parts(wait)
    if spent:
        what += ": " + ", then ".join(_part(name, seconds) for name, seconds in spent)
    left = wait.deadline - wait.time
    if wait.refused == FALLBACK:
        return f"{what}; then another model answered instead"
    if wait.refused:
        return f"{what}; given up ({wait.refused})"
    return f"{what}; it could have waited {max(0.0, left):.1f} s more ({wait.bound})"


def _what(cause: Cause) -> str:
    behind = f", behind {_number(cause.before, 'other')}" if cause.before else ""
    match cause.kind:
        case "retry":
            return f"replica {cause.failed_by} failed it and it was tried again{behind}"
        case "asleep":
            return f"no replica was ready{behind}"
        case "set-aside":
            return f"{_all_of(cause.ready)} set aside after failing{behind}"
    if not cause.slots:
        # A replica without a limit is filled slowly while it is new and others wait.
        what = f"{_number(cause.ready, 'new replica')} took no more at that moment"
    else:
        what = (
            f"no free slot: {min(cause.taken, cause.slots)} of {cause.slots} slots of"
            f" {_number(cause.ready, 'replica')} were taken"
        )
    if cause.set_aside:
        what += f", {cause.set_aside} of the replicas set aside after failing"
    return what + behind


def _part(name: str, seconds: float) -> str:
    told = {DECIDING: "until a replica was asked for", OWN_TURN: "until it was its turn"}
    return f"{seconds:.3f} s {told.get(name, name)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _all_of(count: int) -> str:
    return "the one ready replica was" if count == 1 else f"all {count} ready replicas were"


def activation(start: Replica, began: float, granted: float) -> list[tuple[str, float]]:
    """The parts of a cold start that began with a first hold and ended with its slot, and
    their ``total``: what one histogram by phase counts.
    """
    cause = Cause(0, 0, 0, 0, 0, "")
    wait = Wait(granted, granted - began, cause, start, "", granted, "")
    return [*parts(wait), ("total", granted - began)]


def recent(waits: Sequence[Wait], now: float) -> list[dict[str, object]]:
    """The waits as the explain document shows them, oldest first. Seconds."""
    return [
        {
            "seconds_ago": round(now - wait.time, 3),
            "waited": round(wait.seconds, 6),
            "cause": wait.cause.kind,
            "why": sentence(wait),
            "phases": {name: round(seconds, 6) for name, seconds in parts(wait)},
            "slots": {"taken": wait.cause.taken, "of": wait.cause.slots},
            "before": wait.cause.before,
            "replica": wait.start.id if wait.start is not None else "",
            "refused": wait.refused,
            "deadline_in": round(wait.deadline - wait.time, 3),
            "bound": wait.bound,
        }
        for wait in waits
    ]
