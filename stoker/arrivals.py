"""Arrivals and ends of requests on their way to those who record them. Pure.

An arrival is told when it happens and its end when that happens, so that whatever becomes
of a recorder, a worker or Stoker itself, what arrived until then is known. Nothing of what
was asked is in it: a number, a model's name, seconds. Whoever reads too slowly loses
arrivals, is told how many, and holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple

from stoker.errors import ControlError
from stoker.vocabulary import ModelKey

MOST_EVENTS: Final = 200_000
"""What may wait for one recorder: ten seconds of 10,000 requests/s, about 25 MB."""
MOST_RECORDINGS: Final = 8


class Arrived(NamedTuple):
    """Request ``number`` for ``model`` arrived at ``time`` (monotonic seconds)."""

    number: int
    model: ModelKey
    time: float


class Ended(NamedTuple):
    """It is over: after ``seconds`` in a replica; None: no replica answered it in full, or
    it is not known how long one took.
    """

    number: int
    model: ModelKey
    seconds: float | None


class Batch(NamedTuple):
    """What happened in one process up to ``at``. ``lost``: arrivals that it could not keep."""

    at: float
    arrived: Sequence[Arrived]
    ended: Sequence[Ended]
    lost: int = 0


class Piece(NamedTuple):
    """What a recorder gets next. ``lost`` and ``lost_ends``: since the piece before."""

    arrived: Sequence[Arrived]
    ended: Sequence[Ended]
    lost: int
    lost_ends: int
    notes: Sequence[str]


class Recording:
    """What waits for one recorder. ``models`` empty: it wants all."""

    def __init__(self, began: float, wall: float, models: Iterable[ModelKey], limit: int) -> None:
        self.began = began
        self.wall = wall
        self.over = ""
        self.total = 0
        self.total_lost = 0
        self._models = frozenset(models)
        self._limit = limit
        self._arrived: list[Arrived] = []
        self._ended: list[Ended] = []
        self._lost = 0
        self._lost_ends = 0
        self._notes: list[str] = []

    def feed(self, batch: Batch) -> None:
        """Keep what there is room for. An arrival that is lost is counted; so is an end, which
        leaves its arrival without seconds.
        """
        arrived, ended = batch.arrived, batch.ended
        if self._models:
            arrived = [event for event in arrived if event.model in self._models]
            ended = [ending for ending in ended if ending.model in self._models]
        kept = arrived[: max(0, self._limit - len(self._arrived))]
        kept_ends = ended[: max(0, self._limit - len(self._ended))]
        self._arrived += kept
        self._ended += kept_ends
        lost = len(arrived) - len(kept) + batch.lost
        self._lost += lost
        self._lost_ends += len(ended) - len(kept_ends)
        self.total += len(arrived) + batch.lost
        self.total_lost += lost

    def note(self, text: str) -> None:
        """Something that whoever reads the recording should know."""
        self._notes.append(text)

    def take(self, limit: int) -> Piece | None:
        """The next piece, with at most ``limit`` events of a kind; None: there is nothing."""
        arrived, self._arrived = self._arrived[:limit], self._arrived[limit:]
        # An end is of use only behind its arrival, which may still wait here.
        room = 0 if self._arrived else limit
        ended, self._ended = self._ended[:room], self._ended[room:]
        piece = Piece(arrived, ended, self._lost, self._lost_ends, self._notes)
        self._lost = self._lost_ends = 0
        self._notes = []
        return piece if any(piece) else None


class Recordings:
    """Everybody who records. ``switch`` is told whether anybody does, when that changes;
    ``sources`` says which processes there are.
    """

    def __init__(
        self,
        switch: Callable[[bool], None],
        sources: Callable[[], Collection[int]] = lambda: (0,),
        limit: int | None = None,
    ) -> None:
        self._switch = switch
        self._sources = sources
        self._limit = limit
        self._open: list[Recording] = []
        self._heard: dict[int, float] = {}
        self._over = ""

    @property
    def active(self) -> bool:
        return bool(self._open)

    def open(self, now: float, wall: float, models: Iterable[ModelKey] = ()) -> Recording:
        """Begin to record. Raises ControlError when too many do."""
        if self._over:
            raise ControlError(f"nothing can be recorded any more: {self._over}")
        if len(self._open) >= MOST_RECORDINGS:
            raise ControlError(
                f"{MOST_RECORDINGS} recordings are under way, which is the most; end one first"
            )
        limit = MOST_EVENTS if self._limit is None else self._limit
        recording = Recording(now, wall, models, limit)
        self._open.append(recording)
        if len(self._open) == 1:
            self._heard = {}
            self._switch(True)
        return recording

    def close(self, recording: Recording) -> None:
        """It is not read any more. Idempotent."""
        if recording in self._open:
            self._open.remove(recording)
            if not self._open:
                self._switch(False)

    def feed(self, source: int, batch: Batch) -> None:
        """What a process tells."""
        self._heard[source] = batch.at
        for recording in self._open:
            recording.feed(batch)

    def note(self, text: str) -> None:
        """For everybody who records now."""
        for recording in self._open:
            recording.note(text)

    def end(self, why: str) -> None:
        """Nothing more will come: recorders get what is left, and ``why``."""
        self._over = why
        for recording in self._open:
            recording.over = why

    def known_until(self, recording: Recording) -> float:
        """All that happened up to then has been fed, by every process that there is."""
        heard = self._heard
        return max(
            recording.began,
            min((heard.get(source, 0.0) for source in self._sources()), default=0.0),
        )
