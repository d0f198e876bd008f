"""A replica whose requests slow each other down: processor sharing. Pure.

All requests in the replica advance at the same rate, 1/slowdown(n) of what each would do
alone while there are n. With a virtual time that runs at that rate a request that needs w
seconds alone ends when w of it have passed, whoever joined or left meanwhile, so that only
the next end has to be known (as in weighted fair queueing's virtual time, Demers, Keshav
and Shenker 1989).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from activator.tickets import Ticket


class Sharing:
    """The requests in one replica. ``version`` grows whenever the next end has moved."""

    __slots__ = ("_heap", "_last", "_slowdown", "_virtual", "version")

    def __init__(self, slowdown: Callable[[int], float], now: float) -> None:
        self._slowdown = slowdown
        self._heap: list[tuple[float, int, Ticket]] = []
        self._virtual = 0.0
        self._last = now
        self.version = 0

    def _advance(self, now: float) -> None:
        if self._heap:
            self._virtual += (now - self._last) / self._slowdown(len(self._heap))
        self._last = now

    def join(self, ticket: Ticket, seconds: float, order: int, now: float) -> None:
        """A request that takes ``seconds`` alone. ``order`` tells apart who ends together."""
        self._advance(now)
        heappush(self._heap, (self._virtual + seconds, order, ticket))
        self.version += 1

    def leave(self, ticket: Ticket, now: float) -> None:
        """It is not to be finished: its client left, or the replica died."""
        self._advance(now)
        self._heap = [entry for entry in self._heap if entry[2] is not ticket]
        heapify(self._heap)
        self.version += 1

    def tickets(self) -> list[Ticket]:
        """Who is in the replica, in the order in which they would end."""
        return [ticket for _, _, ticket in sorted(self._heap)]

    def next_end(self, now: float) -> float | None:
        """When the next request ends if nobody joins or leaves; None: there is none."""
        if not self._heap:
            return None
        left = max(0.0, self._heap[0][0] - self._virtual)
        return now + left * self._slowdown(len(self._heap))

    def end(self, now: float) -> Ticket:
        """The request whose end has come. Raises IndexError when there is none."""
        self._advance(now)
        virtual, _, ticket = heappop(self._heap)
        # The division's rounding must not let time run backwards for who is left.
        self._virtual = max(self._virtual, virtual)
        self.version += 1
        return ticket
