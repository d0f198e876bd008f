"""Tells the autoscaler, once per interval, what every model has had queued and active."""

from __future__ import annotations

from collections.abc import Callable

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
        # Takes away what another member of a cluster reports; None: there is no cluster.
        self.own_load: Callable[[Throttler, Stat, float], Stat] | None = None

    def report(self, now: float) -> StatReport:
        """Send what happened since the last report. An idle model is not mentioned."""
        stats = []
        interval = now - self._last
        touched = self._admission.touched
        for throttler in list(touched):
            queued, active, arrivals, completions = throttler.take_load(now, interval)
            if queued or active or arrivals or completions:
                stat = Stat(throttler.key, queued, active, arrivals, completions)
                if self.own_load is not None:
                    stat = self.own_load(throttler, stat, interval)
                    if not any(stat[1:]):
                        continue
                stats.append(stat)
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
        active = throttler.active
        # Who was refused because the model would wake too late for it waits no more, and yet
        # somebody has to wake it.
        queued = max(throttler.queued, 1 - active)
        if queued + active < 2 * throttler.poked:
            return
        throttler.poked = queued + active
        self._link.poke(Poke(self.name, self.epoch, throttler.key, queued, active, now))
