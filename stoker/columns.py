"""Load reports as columns: what a link carries when there are many models.

A ``StatReport`` costs an object per model on both ends. Its columnar form names each model
once, when the reporter first has something to say of it, and from then on by number.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from stoker.vocabulary import ModelKey, StatReport


class StatColumns(NamedTuple):
    """A ``StatReport`` by columns; the other fields mean the same.

    Models are numbered per reporter and epoch, from 0 in the order in which they were first
    named. ``new_models`` get the numbers from ``known`` on; a receiver that does not know
    exactly ``known`` models has missed a report and must refuse this one, until the reporter
    begins a new epoch. ``ids`` (int64) are distinct; ``queued`` and ``active`` (float64),
    ``arrivals`` and ``completions`` (int64) have one entry for each of them. Columns are
    ``array.array`` or anything else that offers the same buffer.
    """

    reporter: str
    epoch: int
    sequence: int
    time: float
    interval: float
    known: int
    new_models: tuple[ModelKey, ...]
    ids: Sequence[int]
    queued: Sequence[float]
    active: Sequence[float]
    arrivals: Sequence[int]
    completions: Sequence[int]


class ColumnEncoder:
    """The sending end: turns one reporter's StatReports into columns."""

    def __init__(self) -> None:
        self._ids: dict[ModelKey, int] = {}
        self._epoch = -1

    def encode(self, report: StatReport) -> StatColumns:
        """The columns of ``report``; a new epoch starts the numbering anew."""
        if report.epoch != self._epoch:
            self._epoch = report.epoch
            self._ids.clear()
        known = len(self._ids)
        ids = self._ids
        # setdefault with the current length numbers a model the first time it is seen.
        numbers = array("q", [ids.setdefault(stat.model, len(ids)) for stat in report.stats])
        return StatColumns(
            report.reporter,
            report.epoch,
            report.sequence,
            report.time,
            report.interval,
            known,
            tuple(ids)[known:],
            numbers,
            array("d", [stat.queued for stat in report.stats]),
            array("d", [stat.active for stat in report.stats]),
            array("q", [stat.arrivals for stat in report.stats]),
            array("q", [stat.completions for stat in report.stats]),
        )
