"""Everything that goes wrong between an API server and its clients, on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """What a fault may look at. ``verb`` as RBAC has it: get, list, watch, create, ..."""

    verb: str
    path: str
    agent: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer so, without looking at the request: 429, a 503 in plain text, a 409 ..."""

    status: int
    text: str = ""
    content_type: str = "text/plain"
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and say nothing until the fault is lifted, or the client leaves.

    ``after``: do what was asked first, so that only the answer is missing.
    """

    after: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection off. ``after`` as with Hang; in a watch, ``mid_event`` sends half
    of the next event first."""

    after: bool = False
    mid_event: bool = False


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """A watch that ends as soon as it has begun, properly: load balancers do that."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A watch whose first line is this."""

    text: str


Action = Answer | Hang | Reset | EndOfFile | Garbage


@dataclass(eq=False, slots=True)
class Fault:
    """One thing that goes wrong, for the first ``times`` requests that match; -1: all.

    ``met`` counts them. ``lift()`` ends it and lets go of those that hang.
    """

    action: Action
    matches: Callable[[Request], bool]
    times: int = -1
    met: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def lift(self) -> None:
        self.times = 0
        self.lifted.set()


class Faults:
    """All that is to go wrong. The first that matches is what happens."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        action: Action,
        *,
        verb: str = "",
        path: str = "",
        agent: str = "",
        times: int = -1,
    ) -> Fault:
        """For requests with this verb (any if empty), with these parts of path and agent."""

        def matches(request: Request) -> bool:
            verbs = verb.split("|") if verb else [request.verb]
            return request.verb in verbs and path in request.path and agent in request.agent

        fault = Fault(action, matches, times)
        self._faults.append(fault)
        return fault

    def meet(self, request: Request) -> Fault | None:
        """The fault that this request meets, if any; it is counted."""
        for fault in self._faults:
            if fault.times != 0 and fault.matches(request):
                fault.times -= 1 if fault.times > 0 else 0
                fault.met += 1
                return fault
        return None

    def lift(self) -> None:
        """Let everything go right again."""
        for fault in self._faults:
            fault.lift()
        self._faults.clear()
