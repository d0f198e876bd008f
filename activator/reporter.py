"""Tells the autoscaler, once per interval, what every model has had queued and active."""

from __future__ import annotations

from activator.admission import Admission
from activator.throttler import Throttler
from stoker.link import StatSink
from stoker.vocabulary import Poke, Stat, StatReport


class Reporter:
    """Builds one process's reports. ``epoch`` must be larger than at its last start."""

    def __init__(
        self, name: str, epoch: int, admission: Admission, link: StatSink, now: float
    ) -> None:
        self.name = name
        self.epoch = epoch
        self._admission = admission
        self._link = link
        self._sequence = 0
        self._last = now

    def report(self, now: float) -> StatReport:
        """Send what happened since the last report. An idle model is not mentioned."""
        stats = []
        interval = now - self._last
        touched = self._admission.touched
        for throttler in list(touched):
            queued, active, arrivals, completions = throttler.take_load(now, interval)
            if queued or active or arrivals or completions:
                stats.append(Stat(throttler.key, queued, active, arrivals, completions))
            else:
                del touched[throttler]
        self._sequence += 1
        self._last = now
        report = StatReport(self.name, self.epoch, self._sequence, now, interval, tuple(stats))
        self._link.report(report)
        return report

    def poke(self, throttler: Throttler, now: float) -> None:
        """A hold found no slot: ask for a decision now.

        Per model and interval that is once, and again each time its load has doubled: a
        burst of 1,000 behind a first request tells in ten pokes what it is, at once.
        """
        level = throttler.queued + throttler.active
        if level < 2 * throttler.poked:
            return
        throttler.poked = level
        self._link.poke(
            Poke(self.name, self.epoch, throttler.key, throttler.queued, throttler.active, now)
        )
