"""What one decision costs: ``python -m benchmarks.decider [--json FILE] [--quick]``.

Every model reports once per second, and every second all of them are decided on. Measured is
what the autoscaler does from the report it is handed to the finished plan: collector, windows,
policy, bounds, scale-to-zero, change detection, Decision objects and reasons for what changed,
and the journal in memory. Making and sending the report is the reporter's business and left
out. Two forms of report: columns (``stoker.columns.StatColumns``, what a link carries when
models are many) and objects (``StatReport``, a Stat per model, what an activator in the same
process hands over). The garbage collector is set as ``stoker up`` sets it.

Time is that of the processor: nothing here waits, and a neighbour that takes the processor
away is not counted.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import process_time
from typing import NamedTuple

import numpy as np

from autoscaler.collector import Collector
from autoscaler.journal import Journal
from autoscaler.planner import Planner
from autoscaler.policies import Supply
from autoscaler.table import Floats
from benchmarks.common import Report, arguments
from stoker.columns import StatColumns
from stoker.vocabulary import ModelKey, ScalingConfig, Stat, StatReport

SIZES = (1, 1_000, 20_000, 100_000)
FORMS = ("columns", "objects")
LIMIT_NS = 200.0
WARM_UP = 65
"""Seconds before measuring: the stable window is full then, and the decisions have settled."""


class Cost(NamedTuple):
    """Median ns per model, and the share of decisions that changed per tick."""

    ingest: float
    tick: float
    changed: float

    @property
    def total(self) -> float:
        return self.ingest + self.tick


class Bench:
    """A planner with ``models`` models, each with a few replicas and a load that wavers."""

    def __init__(self, models: int) -> None:
        self.models = models
        self.planner = Planner(journal=Journal())
        self.collector = Collector(self.planner)
        self._keys = [ModelKey("benchmark", f"model-{number}") for number in range(models)]
        self._random = np.random.default_rng(7)
        self._loads = self._random.uniform(0.0, 600.0, models)
        self._epoch = 0
        self.second = 0
        for key, load in zip(self._keys, self._loads, strict=True):
            self.planner.set_model(key, ScalingConfig(), 0.0)
            self.planner.set_counts(key, int(load // 70) + 1, 0, 0.0)
        rows = self.planner.rows.resolve(self._keys).rows
        for self.second in range(1, WARM_UP + 1):
            self.planner.open_second(self.second)
            self.planner.add_load(self.second, rows, self._wavering())
            self.planner.decide(self.second + 0.5)

    def measure(self, columns: bool, steps: int) -> Cost:
        """The costs when reports come in this form. The first one, with all names, is not
        among them: it comes once per life of a reporter."""
        self._epoch += 1
        self._step(columns, first=True)
        ingest, tick, changed = zip(*(self._step(columns) for _ in range(steps)), strict=True)
        ns = 1e9 / self.models
        return Cost(median(ingest) * ns, median(tick) * ns, median(changed) / self.models)

    def _wavering(self) -> Floats:
        return self._loads * self._random.uniform(0.9, 1.1, self.models)

    def _step(self, columns: bool, first: bool = False) -> tuple[float, float, int]:
        """One second: seconds spent on ingest and on the tick, and decisions changed."""
        self.second += 1
        now = self.second + 0.5
        report = self._columns(now, first) if columns else self._objects(now)
        begun = process_time()
        self.collector.take(report, now)
        taken = process_time()
        self.collector.advance(now)
        plan = self.planner.decide(now)
        return taken - begun, process_time() - taken, len(plan.decisions)

    def _objects(self, now: float) -> StatReport:
        stats = tuple(
            Stat(key, 0.0, load, 10, 10)
            for key, load in zip(self._keys, self._wavering().tolist(), strict=True)
        )
        return StatReport("activator", self._epoch, self.second, now, 1.0, stats)

    def _columns(self, now: float, first: bool) -> StatColumns:
        counts = array("q", [10]) * self.models
        return StatColumns(
            "activator",
            self._epoch,
            self.second,
            now,
            1.0,
            known=0 if first else self.models,
            new_models=tuple(self._keys) if first else (),
            ids=array("q", range(self.models)),
            queued=array("d", bytes(8 * self.models)),
            active=array("d", self._wavering().tobytes()),
            arrivals=counts,
            completions=counts,
        )

    def measure_policy(self, steps: int) -> float:
        """Median ns per model of the policy's arithmetic alone, on averages as they are."""
        planner, now, models = self.planner, self.second + 1.0, self.models
        averages = planner.windows.averages(now, models)
        ready = planner.state.ready[:models]
        at, supply = slice(0, models), Supply(ready, ready, np.zeros_like(ready))
        return _median_ns(lambda: planner.policy.decide(at, averages, supply, now), steps) / models


def measure_asleep(models: int, steps: int) -> float:
    """Median ns per model and tick when all models are at zero and nobody reports any."""
    planner = Planner(journal=Journal())
    for number in range(models):
        planner.set_model(ModelKey("benchmark", f"model-{number}"), _ASLEEP, 0.0)
    collector = Collector(planner)
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 1.0
        collector.take(StatReport("activator", 1, int(now), now, 1.0, ()), now)
        planner.decide(now)

    for _ in range(5):
        tick()
    return _median_ns(tick, steps) / models


_ASLEEP = ScalingConfig(initial_scale=0)


def _median_ns(call: Callable[[], object], times: int) -> float:
    spent = []
    for _ in range(times):
        begun = process_time()
        call()
        spent.append(process_time() - begun)
    return median(spent) * 1e9


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """What exists now is not looked at by the garbage collector, and it comes rarely."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def main() -> int:
    args = arguments("What one decision costs, the ingest of its Stat included.")
    report = Report(
        "Decider: ns of CPU per decision, ingest of one Stat per model included",
        ["models", "report as", "ingest ns", "tick ns", "total ns", "÷ policy alone", "changed"],
    )
    steps = 15 if args.quick else 60
    for models in SIZES:
        bench = Bench(models)
        largest = models == SIZES[-1]
        with collecting_rarely():
            alone = bench.measure_policy(steps)
            costs = {form: bench.measure(form == "columns", steps) for form in FORMS}
        for form, cost in costs.items():
            report.row(
                models, form, cost.ingest, cost.tick, cost.total, cost.total / alone, cost.changed
            )
            if largest:
                limit = LIMIT_NS if form == "columns" else None
                name = f"decision at {models:,} models, report as {form}"
                report.figure(name, cost.total, "ns", limit=limit)
        if largest:
            report.figure(f"policy's arithmetic alone at {models:,} models", alone, "ns")
            asleep = measure_asleep(models, steps)
            report.figure(f"tick with all of {models:,} models asleep", asleep, "ns per model")
    report.note(
        "ingest: from a report in memory to the windows; tick: averages, decisions, plan. "
        "changed: share of decisions that differ from the tick before."
    )
    report.note(f"Medians of {steps} ticks, one per second, after {WARM_UP} s of wavering load.")
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(main())
