"""Arrivals on their way to recorders: filtered, bounded, counted; nobody waits for anybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.arrivals import MOST_RECORDINGS, Arrived, Batch, Ended, Piece, Recordings
from stoker.errors import ControlError
from stoker.vocabulary import ModelKey

A, B = ModelKey.parse("a"), ModelKey.parse("b")


def batch(*numbers: int, at: float = 1.0, model: ModelKey = A, lost: int = 0) -> Batch:
    """Each arrives, and ends after a second in a replica."""
    arrived = [Arrived(number, model, at) for number in numbers]
    return Batch(at, arrived, [Ended(number, model, 1.0) for number in numbers], lost)


def test_whether_anybody_records_is_told_when_it_changes() -> None:
    """Two recorders: on with the first, off with the last; closing twice is closing once."""
    told: list[bool] = []
    recordings = Recordings(told.append)
    assert not recordings.active
    first, second = recordings.open(1.0, 0.0), recordings.open(2.0, 0.0)
    assert (told, recordings.active) == ([True], True)
    recordings.close(first)
    recordings.close(first)
    assert told == [True]
    recordings.close(second)
    assert (told, recordings.active) == ([True, False], False)


def test_each_gets_what_it_asked_for() -> None:
    """All models, or some; what was before a recorder came is not its own."""
    recordings = Recordings(lambda _: None)
    everything = recordings.open(0.0, 0.0)
    recordings.feed(0, batch(1))
    only_b = recordings.open(0.0, 0.0, [B])
    recordings.feed(0, batch(2))
    recordings.feed(0, batch(3, model=B))
    piece = everything.take(10)
    assert piece is not None
    assert [event.number for event in piece.arrived] == [1, 2, 3]
    piece = only_b.take(10)
    assert piece == Piece([Arrived(3, B, 1.0)], [Ended(3, B, 1.0)], 0, 0, [])
    assert only_b.take(10) is None


@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 20), st.integers(1, 7))
def test_nothing_is_lost_silently(sizes: list[int], limit: int, most: int) -> None:
    """Whatever comes while nobody reads: told or counted; an end never before its arrival."""
    recordings = Recordings(lambda _: None, limit=limit)
    slow = recordings.open(0.0, 0.0)
    number = 0
    for size in sizes:
        recordings.feed(0, batch(*range(number, number + size), lost=1))
        number += size
    arrived: list[int] = []
    ended: list[int] = []
    lost = lost_ends = 0
    while (piece := slow.take(most)) is not None:
        assert max(len(piece.arrived), len(piece.ended)) <= most
        arrived += [event.number for event in piece.arrived]
        ended += [event.number for event in piece.ended]
        assert set(ended) <= set(arrived)
        lost += piece.lost
        lost_ends += piece.lost_ends
    assert len(arrived) == min(limit, number)
    assert len(arrived) + lost == number + len(sizes) == slow.total
    assert len(ended) + lost_ends == number
    assert slow.total_lost == lost


def test_notes_and_the_end_reach_everybody() -> None:
    """What people should know, once; after the end nobody can begin."""
    recordings = Recordings(lambda _: None)
    recording = recordings.open(0.0, 0.0)
    recordings.note("a worker died")
    piece = recording.take(1)
    assert piece is not None
    assert piece.notes == ["a worker died"]
    recordings.end("stopped")
    assert (recording.over, recording.take(1)) == ("stopped", None)
    with pytest.raises(ControlError, match="any more: stopped"):
        recordings.open(0.0, 0.0)


def test_recordings_are_bounded() -> None:
    """One too many is refused with the number; when one ends there is room again."""
    recordings = Recordings(lambda _: None)
    opened = [recordings.open(0.0, 0.0) for _ in range(MOST_RECORDINGS)]
    with pytest.raises(ControlError, match=f"{MOST_RECORDINGS} recordings are under way"):
        recordings.open(0.0, 0.0)
    recordings.close(opened[3])
    assert recordings.open(0.0, 0.0).total == 0


def test_known_is_what_every_process_has_told() -> None:
    """The slowest counts; one that has told nothing holds it at the beginning."""
    sources = [1, 2]
    recordings = Recordings(lambda _: None, lambda: sources)
    recording = recordings.open(5.0, 0.0)
    recordings.feed(1, batch(at=9.0))
    assert recordings.known_until(recording) == 5.0
    recordings.feed(2, batch(at=7.0))
    assert recordings.known_until(recording) == 7.0
    sources.remove(2)
    assert recordings.known_until(recording) == 9.0
    sources.clear()
    assert recordings.known_until(recording) == 5.0
