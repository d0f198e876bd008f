"""What a process tells of arrivals while somebody records them.

A request that is passed on to another process of the same Stoker is told of where it came
in; its end is told by the process whose replica answered it, under the same number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from activator.shared_slots import PEER
from stoker.arrivals import Arrived, Batch, Ended

if TYPE_CHECKING:
    from activator.observer import Story
    from activator.request import Request

ARRIVAL: Final = b"stoker-arrival"
MOST_WAITING: Final = 50_000
"""Arrivals that may wait to be taken, which is done four times a second."""
# Numbers of one process are below this; each process has its own thousands of billions.
NUMBERS: Final = 1 << 42


class Tap:
    """Arrivals and ends since they were last taken.

    ``process``: the number of this one. ``shared``: the others are parts of the same Stoker
    and told of by the same recordings.
    """

    def __init__(
        self, process: int = 0, *, shared: bool = False, limit: int = MOST_WAITING
    ) -> None:
        self._next = process * NUMBERS + 1
        self._shared = shared
        self._limit = limit
        self._arrived: list[Arrived] = []
        self._ended: list[Ended] = []
        self._lost = 0

    def take(self, now: float) -> Batch:
        """What happened since this was last called."""
        batch = Batch(now, self._arrived, self._ended, self._lost)
        self._arrived, self._ended, self._lost = [], [], 0
        return batch

    # --- what the observer tells ---

    def admitted(self, request: Request, story: Story) -> None:
        """It is about to be answered, held or refused."""
        client = request.client
        if client.is_peer:
            if self._shared and request.controls is not None:
                said = request.controls.get(ARRIVAL, b"")
                story.arrival = int(said) if said.isdigit() else 0
            return
        model = request.instead_of or request.model
        assert model is not None
        if len(self._arrived) >= self._limit:
            self._lost += 1  # its end would be of no use either: that number stays 0
            return
        story.arrival = self._next
        self._next += 1
        self._arrived.append(Arrived(story.arrival, model.spec.key, request.arrived))

    def forwarding(self, story: Story, replica_id: str, now: float) -> None:
        """Sent to a replica, or passed on."""
        story.sent = 0.0 if replica_id.startswith(PEER) else now
        story.passed_on = False

    def attempt_failed(self, story: Story) -> None:
        """Whoever had it has it no more."""
        story.sent = 0.0
        story.passed_on = False

    def line(self, request: Request) -> bytes:
        """The header line for the process that it is passed on to, who will tell of its end."""
        story = request.story
        if not self._shared or story is None or not story.arrival or request.instead_of:
            return b""
        story.passed_on = True
        return b"%b: %d\r\n" % (ARRIVAL, story.arrival)

    def ended(self, request: Request, story: Story, now: float) -> None:
        """It is over, however. The seconds of another model's replica are none of its own."""
        if not story.arrival or story.passed_on:
            return
        model = request.instead_of or request.model
        assert model is not None
        answered = request.refusal is None and story.sent and request.instead_of is None
        seconds = max(0.0, now - story.sent) if answered else None
        self._ended.append(Ended(story.arrival, model.spec.key, seconds))
