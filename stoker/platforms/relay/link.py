"""The link of a worker: load by columns, pleas at once, over the channel to the parent."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.columns import ColumnEncoder
from stoker.platforms.relay.channel import Channel
from stoker.telemetry import LOST_REPORTS, Reading
from stoker.vocabulary import Poke, StatReport


class RelayedLink:
    """Implements ``stoker.link.StatSink``. What the channel refuses is counted, not kept: the
    next report says what counts then, and a hold that goes on waiting pleads again.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._encoder = ColumnEncoder()
        self.lost_reports = 0
        self.lost_pokes = 0

    def report(self, report: StatReport) -> None:
        # A report that is encoded has to arrive, or the numbers of the models it names would
        # not be known at the other end: so the channel is asked first.
        if self._channel.behind:
            self.lost_reports += 1
        else:
            self._channel.send(self._encoder.encode(report))

    def poke(self, poke: Poke) -> None:
        if not self._channel.offer(poke):
            self.lost_pokes += 1

    def readings(self) -> Iterator[Reading]:
        """What was lost, for ``telemetry.Exposition``."""
        yield Reading(LOST_REPORTS, ("report",), self.lost_reports)
        yield Reading(LOST_REPORTS, ("poke",), self.lost_pokes)
