"""Containers or functions: two services, 26 ms and 1.6 ms, at rates from 1 per 100 s to 1,000/s.

A function has an instance of its own for every request under way and is paid per request and
by its milliseconds; a container takes requests one after the other, waits for the next one,
and is paid for as long as it is there. Both are woken from zero by the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, log

import numpy as np

from simulations.draws import Constant, Lognormal
from simulations.engine import Run
from simulations.result import Result
from simulations.scenarios.outcome import Figures, Outcome, Simulate
from simulations.services import Drawn
from simulations.trace import Trace
from simulations.world import Prices, Start, World
from stoker.vocabulary import ModelKey, ModelSpec, ScalingConfig, ServingConfig

SERVICES = (0.026, 0.0016)
RATES = (0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
SPREAD = 0.2
"""The CV of service times."""
WARM_UP = 120.0
"""Seconds not counted: this is about what goes on when instances are there."""
MODEL = ModelKey("default", "service")
PER_REQUEST = 0.20e-6
PER_GB_SECOND = 1.66667e-5
MEMORY = 2.0
"""AWS Lambda, x86, us-east-1, 2024; GB of the function. Billed by the millisecond."""
CONTAINER_HOUR = 0.04048 + 2 * 0.004445
"""AWS Fargate, us-east-1, 2024: one vCPU and 2 GB for an hour."""


@dataclass(frozen=True, slots=True)
class Kind:
    """``start``: seconds; ``retention``: how long an instance without work stays at least;
    ``utilisation``: the share of its slots that is wanted busy.
    """

    name: str
    start: float
    retention: float
    utilisation: float


FUNCTION = Kind("function", 1.0, 600.0, 1.0)
CONTAINER = Kind("container", 10.0, 60.0, 0.7)


def run(simulate: Simulate, *, small: bool = False) -> Outcome:
    """``small``: three rates, and a twentieth of the requests."""
    rates = (1.0, 100.0, 1000.0) if small else RATES
    tables, notes, shown_runs = [], [], []
    for service in SERVICES:
        rows, costs = [], []
        for rate in rates:
            source = arrivals(rate, 0.05 if small else 1.0)
            ours = {
                kind: simulate(run_of(kind, service, source, rate), None)
                for kind in (FUNCTION, CONTAINER)
            }
            per_million = (
                invoiced(service),
                1e6 * ours[CONTAINER].money.dollars / ours[CONTAINER].totals.answered,
            )
            costs.append(per_million)
            rows.append(_row(rate, ours, per_million))
            if rate == rates[-1]:
                shown_runs += list(ours.values())
        tables.append(Figures(f"Requests of {_ms(service)}", HEADINGS, tuple(rows)))
        notes.append(_even(service, rates, costs))
    return Outcome("Containers or functions", tuple(tables), (*notes, *_notes()), shown_runs)


def arrivals(rate: float, share: float) -> Trace:
    """Requests at random, ``rate`` per second: behind the warm-up ``share`` of the time in which
    20,000 come, which is taken for 5 minutes at least and 6 hours at most.
    """
    counted = min(21_600.0, max(300.0, 20_000 / rate)) * share
    count = int(rate * (WARM_UP + counted)) + 1
    # Not before the first instances are there: what would queue until then is none of this.
    times = CONTAINER.start + np.cumsum(np.random.default_rng(1).exponential(1 / rate, count))
    return Trace((MODEL,), times, np.zeros(count, np.int32), float(times[-1]))


def run_of(kind: Kind, service: float, source: Trace, rate: float) -> Run:
    """One slot per instance either way. What the mean rate needs is there at first and stays: a
    queue from a start together would call for instances that nobody needs afterwards.
    """
    spec = ModelSpec(
        MODEL,
        scaling=ScalingConfig(
            target=kind.utilisation,
            capacity=1.0,
            initial_scale=max(1, ceil(rate * service / kind.utilisation)),
            min_scale=int(rate * service / kind.utilisation),
            scale_to_zero_pod_retention_period=kind.retention,
        ),
        serving=ServingConfig(container_concurrency=1, queue_requests=100_000),
    )
    world = World(
        Drawn(Lognormal(service, SPREAD)),
        Start({"start": Constant(kind.start)}),
        prices=Prices(CONTAINER_HOUR, 0.0),
    )
    return Run(
        source,
        {MODEL: spec},
        world,
        label=f"{kind.name}, {_ms(service)}",
        trace=f"{len(source):,} requests, {rate:g}/s",
        max_queued_requests=100_000,
        warm_up=min(WARM_UP, source.duration / 2),
    )


def invoiced(service: float) -> float:
    """Dollars per million invocations. Whole milliseconds are billed: a time t that is spread
    costs 0.5 ms more on average, one below a millisecond all of it.
    """
    billed = max(ceil(service * 1000), service * 1000 + 0.5) / 1000
    return 1e6 * (PER_REQUEST + billed * MEMORY * PER_GB_SECOND)


HEADINGS = (
    *("requests/s", "function p50", "p99", "cold", "$/million"),
    *("container p50", "p99", "cold", "$/million", "faster at p99", "cheaper"),
)


def _row(rate: float, ours: dict[Kind, Result], costs: tuple[float, float]) -> tuple[str, ...]:
    cells = [f"{rate:g}"]
    for result, cost in zip(ours.values(), costs, strict=True):
        p50, p99 = (_ms(result.latencies.percentile(p)) for p in (50, 99))
        cells += [p50, p99, f"{100 * result.totals.cold_share:.2g} %", f"{cost:.3g}"]
    slow = [result.latencies.percentile(99) for result in ours.values()]
    same = abs(slow[0] - slow[1]) <= 0.05 * max(slow)
    return (*cells, "–" if same else _winner(slow), _winner(costs))


def _ms(seconds: float) -> str:
    return f"{round(1000 * seconds, 1):g} ms"


def _winner(values: Sequence[float]) -> str:
    return (FUNCTION, CONTAINER)[int(values[1] < values[0])].name


def _even(service: float, rates: Sequence[float], costs: Sequence[tuple[float, float]]) -> str:
    """Where the costs cross, between two of the rates, on a straight line in logarithms."""
    ratios = [log(container / function) for function, container in costs]
    for place in range(len(rates) - 1):
        before, after = ratios[place : place + 2]
        if before > 0 >= after:
            share = before / (before - after)
            rate = exp(log(rates[place]) + share * log(rates[place + 1] / rates[place]))
            return f"requests of {_ms(service)}: a container is cheaper from {rate:.0f}/s on"
    winner = CONTAINER.name if ratios[0] <= 0 else FUNCTION.name
    return f"requests of {_ms(service)}: a {winner} is cheaper at all these rates"


def _notes() -> tuple[str, ...]:
    return (
        f"function: one request per instance, start {FUNCTION.start:g} s, kept"
        f" {FUNCTION.retention:g} s; {PER_REQUEST * 1e6:g} $ per million requests and"
        f" {PER_GB_SECOND:g} $ per GB and second, {MEMORY:g} GB, by the millisecond;"
        " idle instances cost nothing",
        f"container: one request at a time, start {CONTAINER.start:g} s, kept"
        f" {CONTAINER.retention:g} s at least, {100 * CONTAINER.utilisation:g} % busy;"
        f" {CONTAINER_HOUR:.4f} $ per hour from the begin of its start",
        f"requests come at random (Poisson), those of the first {WARM_UP:g} s are not counted;"
        f" times in an instance: lognormal, CV {SPREAD:g}; networks and gateways are left out on"
        " both sides",
    )
