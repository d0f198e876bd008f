"""The link that carries load from reporters (activators) to the autoscaler.

In memory when both live in one process; a socket elsewhere offers the same two methods.
The data path must never wait for it nor break with it: both methods return at once and
never raise.
"""

from __future__ import annotations

from typing import Protocol

from stoker.vocabulary import Poke, StatReport


class StatSink(Protocol):
    """Whoever takes load in: the autoscaler, or the sending end of a socket."""

    def report(self, report: StatReport) -> None:
        """Take one interval's report. Never blocks, never raises."""

    def poke(self, poke: Poke) -> None:
        """Take a plea for an early decision. Never blocks, never raises."""


class MemoryLink:
    """A link within one process. What arrives while nobody listens is counted, not kept."""

    def __init__(self) -> None:
        self._sink: StatSink | None = None
        self.lost_reports = 0
        self.lost_pokes = 0

    def attach(self, sink: StatSink | None) -> None:
        """Set (or with None, take away) the listening end."""
        self._sink = sink

    def report(self, report: StatReport) -> None:
        if self._sink is None:
            self.lost_reports += 1
        else:
            self._sink.report(report)

    def poke(self, poke: Poke) -> None:
        if self._sink is None:
            self.lost_pokes += 1
        else:
            self._sink.poke(poke)
