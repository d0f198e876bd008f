"""Tuned settings against Knative's: ``python -m benchmarks.tuned [--json FILE] [--quick]``.

Each real trace is cut into segments; settings are chosen on some of them and judged on those held
back, in turn (``simulations.tuning``), with the same requests and starts for everybody. Asked for
is: a p99 wait no longer than with Knative's defaults, and then as cheap as can be. ServeGen's
clients are those of a middling rate, two hours of each. A trace that is not there is named as
missing. ``--quick`` does one, with fewer settings tried.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.common import Report, arguments, run
from benchmarks.simulating.many import SERVEGEN, traces
from simulations.services import fitting
from simulations.trace import Trace, gathered
from simulations.traces import read_source
from simulations.tuning.segments import segments
from simulations.tuning.slo import parse_slo
from simulations.tuning.space import Base
from simulations.tuning.task import Task
from simulations.tuning.tuner import tune
from simulations.world import World, parse_start

START = "schedule=2s, image=20s, start=8s"
SLOTS, PARTS, SAVED = 8, 6, 0.30
CLIENTS, BEGIN, LENGTH = 5, 86_400.0 + 36_000.0, 7_200.0
"""ServeGen: how many clients, and which two hours of them (from 10:00 of the second day)."""
LEAST, MOST = 1_000, 50_000
"""Requests of a client in these hours: fewer say little, more take long."""


class Workload(NamedTuple):
    """A trace by name."""

    name: str
    trace: Trace


def workloads(quick: bool) -> Iterator[Workload]:
    """The real traces there are."""
    folder = traces()
    if folder is None:
        return
    names = {
        "Azure LLM, code": "AzureLLMInferenceTrace_code.csv",
        "Azure LLM, conv": "AzureLLMInferenceTrace_conv.csv",
        "Mooncake, conversation": "mooncake_conversation_arrivals.csv",
    }
    for name, file in names.items():
        yield Workload(name, gathered(read_source(str(folder / file)).source))
        if quick:
            return
    every = read_source(str(folder / SERVEGEN), between=(BEGIN, BEGIN + LENGTH))
    counts: dict[str, int] = dict.fromkeys((key.name for key in every.models), 0)
    for block in every.blocks():
        for place, count in enumerate(
            [int((block.which == place).sum()) for place in range(len(every.models))]
        ):
            counts[every.models[place].name] += count
    middling = sorted((count, name) for name, count in counts.items() if LEAST <= count <= MOST)
    for _, name in middling[:CLIENTS]:
        source = read_source(str(folder / SERVEGEN), models=[name], between=(BEGIN, BEGIN + LENGTH))
        yield Workload(f"ServeGen, {name}", gathered(source.source))


def least(trace: Trace, world: World) -> float:
    """Replicas on average that are needed where the future is known and nobody waits for a start:
    as many as hold what is under way, and one through a silence that is shorter than a start.

    In dollars per hour too, at a dollar each. Under it no settings can come without longer waits.
    """
    seconds = world.service.seconds(trace, np.random.default_rng(1))
    times = np.concatenate([trace.times, trace.times + seconds])
    order = np.argsort(times, kind="stable")
    count = len(trace)
    under_way = np.cumsum(np.where(order < count, 1, -1))
    lasts = np.diff(times[order])
    needed = np.ceil(under_way[:-1] / SLOTS)
    needed[(needed == 0) & (lasts < world.start.mean)] = 1
    return float((needed * lasts).sum() / lasts.sum())


def why_not(best: float) -> str:
    """Why a cost did not come down; ``best``: what knowing the future would bring it to."""
    if best > 1 - SAVED:
        return f"cannot: {best:.2f} × with the future known"
    return f"{best:.2f} × only with the future known"


def main(argv: Sequence[str] | None = None) -> int:
    """Tune, judge, print, and return the exit status."""
    args = arguments(str(__doc__).splitlines()[0], argv=argv)
    report = Report(
        "Tuned settings against Knative's defaults, on held-back segments",
        [
            *("trace", "requests", "tuned $/h", "Knative $/h", "× Knative", "least $/h"),
            *("p99 wait s", "Knative's p99", "kept in", "seconds", "why not less"),
        ],
    )
    budget, jobs = (24 if args.quick else 96), len(os.sched_getaffinity(0))
    reached = 0
    found = list(workloads(args.quick))
    for name, trace in found:
        begun = time.perf_counter()
        world = World(fitting(trace), parse_start(START))
        base = Base({"container_concurrency": SLOTS})
        task = Task(trace, world, base, segments(trace, PARTS))
        held = tune(task, parse_slo("p99<knative"), budget, jobs).held_back
        ours, theirs = held.tuned, held.knative
        ratio = ours.dollars_per_hour / theirs.dollars_per_hour
        waits = ours.percentile(False, 99), theirs.percentile(False, 99)
        met = ratio <= 1 - SAVED and waits[0] <= waits[1]
        reached += met
        bound = least(trace, world)
        report.row(
            *(name, len(trace), ours.dollars_per_hour, theirs.dollars_per_hour, ratio, bound),
            *(*waits, f"{held.met} of {held.trials}", time.perf_counter() - begun),
            "" if met else why_not(bound / theirs.dollars_per_hour),
        )
        print(f"{name}: {ratio:.2f} × the cost", file=sys.stderr, flush=True)
    if found:
        report.figure(
            f"of {len(found)} traces, those with {SAVED:.0%} less cost and no longer p99 wait",
            float(reached),
            "traces",
            float(len(found)),
            at_most=False,
        )
    else:
        report.note("The real traces are missing: nothing was measured; set STOKER_TRACES.")
    report.note(
        f"A replica costs a dollar an hour, has {SLOTS} slots and takes 30 s to start ({START});"
        " services are reckoned from tokens where the trace has them, else 0.5 s on average."
        f" {PARTS} segments; {budget} settings tried. Least: what is needed where the future is"
        " known, replicas are there at once and one stays through silences shorter than a start."
    )
    return report.finish(args)


if __name__ == "__main__":
    sys.exit(run(main))
