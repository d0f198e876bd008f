"""What is written down of a run while it goes on, by model and over time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from activator.throttler import Throttler
from simulations.meter import Track, empty_series, steps_in
from simulations.result import Floats, Money, Result, Series, Spread, Totals
from simulations.run import Run
from simulations.trace import Whole
from stoker.platform import ReplicaChanged, ReplicaGone
from stoker.vocabulary import ModelKey, Phase, Replica, ScaleTo, StatReport

Counts = Mapping[Throttler, int]


class Books:
    """Counts, integrals and curves. ``restart`` begins them anew, after a warm-up."""

    def __init__(self, run: Run, models: Sequence[ModelKey]) -> None:
        self._run = run
        self._models = tuple(models)
        self._keys = run.source.models
        self._requests = np.zeros(len(self._keys), dtype=np.int64)
        self._replicas: dict[str, Replica] = {}
        self._there: dict[ModelKey, int] = dict.fromkeys(self._models, 0)
        self._wanted: dict[ModelKey, int] = {}
        self._began = 0.0
        # Curves begin where counting does; those of the warm-up are drawn for nobody.
        self._counted = empty_series(run.source.duration - run.warm_up, run.step)
        step = self._counted.step
        self.series = (
            Series.empty(step, steps_in(run.warm_up, step)) if run.warm_up else self._counted
        )
        self._open()

    def _open(self) -> None:
        series, step = self.series, self.series.step
        self._totals = {key: Totals() for key in self._models}
        self._waits, self._latencies, self._cold_waits = Spread(), Spread(), Spread()
        self._cold: list[float] = []
        self._decisions = 0
        self._ready = Track(series.ready, step, self._began)
        self._starting = Track(series.starting, step, self._began)
        self._desired = Track(series.desired, step, self._began)
        # Nodes have no curve: of them only the integral is wanted.
        self._nodes = Track(np.zeros(1), max(self._run.source.duration, 1.0), self._began)

    @property
    def _tracks(self) -> tuple[Track, ...]:
        return self._ready, self._starting, self._desired, self._nodes

    def restart(self, now: float, under_way: Counts) -> None:
        """What is counted begins now; so many requests are under way for these models."""
        levels = [track.value for track in self._tracks]
        self.series = self._counted
        self._began = now
        self._open()
        for track, level in zip(self._tracks, levels, strict=True):
            track.value = level
        for throttler, count in under_way.items():
            self._totals[throttler.key].requests += count
            self._totals[throttler.key].tries += count
        for key, totals in self._totals.items():
            totals.peak_replicas = self._there[key]

    # --- requests ---

    def arrivals(self, times: Floats, which: Whole) -> None:
        """Requests that come, those of the warm-up among them, which do not count."""
        counted = times >= self._run.warm_up
        self._requests += np.bincount(which[counted], minlength=len(self._keys))
        series = self._counted
        steps = ((times[counted] - self._run.warm_up) / series.step).astype(np.int64)
        steps = np.minimum(steps, len(series) - 1)
        series.arrivals += np.bincount(steps, minlength=len(series))

    def _step(self, now: float) -> int:
        """Its place; what happens after the trace's end belongs to the last one."""
        return min(int((now - self._began) / self.series.step), len(self.series) - 1)

    def answered(self, waits: Sequence[float], latencies: Sequence[float]) -> None:
        """Seconds until the answer's end, of answered requests; and until the slot, of those
        among them that waited.
        """
        self._waits.add(np.array(waits))
        self._waits.add(np.zeros(len(latencies) - len(waits)))
        self._latencies.add(np.array(latencies) + self._run.world.network)
        self._cold_waits.add(np.array(self._cold))
        self._cold.clear()

    def cold(self, throttler: Throttler, waited: float, now: float) -> None:
        """An answered request had come when no replica was ready."""
        self._totals[throttler.key].cold += 1
        self._cold.append(waited)
        self.series.cold[self._step(now)] += 1

    def waited(self, seconds: float, now: float) -> None:
        """A request got its slot after that time."""
        step = self._step(now)
        self.series.wait_max[step] = max(self.series.wait_max[step], seconds)

    def activation(self, throttler: Throttler) -> None:
        """A request for a model at zero, the first one."""
        self._totals[throttler.key].activations += 1

    def refused(self, throttler: Throttler, reason: str, now: float) -> None:
        """For good: its client does not try again."""
        self._totals[throttler.key].refused[reason] += 1
        self.series.refused[self._step(now)] += 1

    def abandoned(self, throttler: Throttler) -> None:
        """Its client left for good."""
        self._totals[throttler.key].abandoned += 1

    def tried_again(self, throttler: Throttler) -> None:
        """Its client came back."""
        self._totals[throttler.key].tries += 1

    def retried(self, throttler: Throttler) -> None:
        """Its replica died, and it is tried elsewhere."""
        self._totals[throttler.key].retries += 1

    def busy(self, throttler: Throttler, seconds: float) -> None:
        """A replica had something to do for that long."""
        self._totals[throttler.key].busy_seconds += seconds

    def load(self, report: StatReport) -> None:
        """One report: what was active and queued on average, and how many were answered."""
        interval = report.interval
        step = self._step(report.time - interval / 2)
        share = interval / self.series.step
        for model, queued, active, _, completions in report.stats:
            totals = self._totals[model]
            totals.answered += completions
            totals.slot_seconds += active * interval
            self.series.active[step] += active * share
            self.series.queued[step] += queued * share

    # --- replicas and decisions ---

    def decided(self, models: int) -> None:
        self._decisions += models

    def desired(self, command: ScaleTo, now: float) -> None:
        """So many are wanted from now on."""
        before = self._wanted.get(command.model, 0)
        self._wanted[command.model] = command.replicas
        self._desired.add(command.replicas - before, now)

    def replica(self, event: ReplicaChanged | ReplicaGone, now: float) -> None:
        """A replica appeared, moved on or ended."""
        replica = event.replica
        model = replica.model
        totals = self._totals[model]
        if isinstance(event, ReplicaGone):
            before = self._replicas.pop(replica.id)
            if before.phase is Phase.READY:
                self._unready(before, now)
                totals.crashes += 1
            elif before.is_starting:
                self._starting.add(-1, now)
            totals.replica_seconds += now - max(before.created, self._began)
            self._count(model, -1, now)
            return
        known = self._replicas.get(replica.id)
        self._replicas[replica.id] = replica
        if known is None:
            totals.starts += 1
            self._starting.add(1, now)
            self._count(model, 1, now)
            return
        if known.is_starting and not replica.is_starting:
            self._starting.add(-1, now)
            if replica.phase is Phase.READY:
                self._ready.add(1, now)
        elif known.phase is Phase.READY and replica.phase is not Phase.READY:
            self._unready(known, now)

    def _unready(self, replica: Replica, now: float) -> None:
        self._ready.add(-1, now)
        totals = self._totals[replica.model]
        totals.ready_seconds += now - max(replica.since, self._began)

    def _count(self, model: ModelKey, change: int, now: float) -> None:
        self._there[model] += change
        totals = self._totals[model]
        totals.peak_replicas = max(totals.peak_replicas, self._there[model])
        nodes = -(-len(self._replicas) // self._run.world.prices.replicas_per_node)
        self._nodes.add(nodes - self._nodes.value, now)

    # --- the end ---

    def close(self, now: float, unfinished: Counts) -> Result:
        """The result, as of ``now``."""
        run, prices = self._run, self._run.world.prices
        for replica in self._replicas.values():
            totals = self._totals[replica.model]
            totals.replica_seconds += now - max(replica.created, self._began)
            if replica.phase is Phase.READY:
                totals.ready_seconds += now - max(replica.since, self._began)
        for throttler, count in unfinished.items():
            self._totals[throttler.key].unfinished += count
        for track in self._tracks:
            track.settle(now)
        everything = Totals()
        for place, key in enumerate(self._keys):
            if key in self._totals:
                totals = self._totals[key]
                totals.requests += int(self._requests[place])
                totals.tries += int(self._requests[place])
                everything.merge(totals)
        everything.node_seconds = self._nodes.integral
        hours = everything.replica_seconds / 3600
        dollars = (
            everything.node_seconds / 3600 * prices.node_hour
            if prices.node_hour
            else hours * prices.replica_hour
        )
        return Result(
            label=run.label,
            trace=run.trace,
            seed=run.seed,
            duration=now - self._began,
            totals=everything,
            waits=self._waits,
            latencies=self._latencies,
            cold_waits=self._cold_waits,
            series=self.series,
            money=Money(dollars, hours * prices.accelerators),
            models=self._totals,
            settings=dict(run.settings),
            assumptions=run.world.assumptions(),
            decisions=self._decisions,
        )
