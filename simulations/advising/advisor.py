"""The ways to run a model, side by side on the same trace, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulations.advising.breakeven import rate_of_a_replica, rate_worth_sleeping
from simulations.advising.functions import Invoked, Needs, invoked
from simulations.advising.offers import Offer
from simulations.tuning.judged import Judged, together
from simulations.tuning.rough import by_segment
from simulations.tuning.slo import Reference, Slo
from simulations.tuning.space import Candidate, Load, load_of
from simulations.tuning.task import Task, Workers, workers
from simulations.tuning.tuner import CURRENT, Fared, Progress, Tuned, tune
from stoker.vocabulary import ScalingConfig

WORTH = 0.1
"""The share of the cost that sleeping must save to be worth its cold starts."""
TRIED = 4
"""So many sizes are replayed where the estimate of the smallest was too low."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way to run it. ``kept``: the SLO. ``serverless``: whether it goes to zero.
    ``against``: why it is none, in words.
    """

    name: str
    dollars_per_hour: float
    replicas: float
    p50: float
    p99: float
    cold_share: float
    kept: bool
    serverless: bool
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Advice:
    """``worth_sleeping``, ``replica_pays[offer]``: rates, requests per second."""

    task: Task
    slo: Slo
    tuned: Tuned
    load: Load
    needs: Needs
    ways: tuple[Way, ...]
    worth_sleeping: float
    replica_pays: dict[str, float]
    invoked: tuple[Invoked, ...]

    @property
    def best(self) -> Way | None:
        """The cheapest way that is possible and keeps the SLO; None: none does."""
        good = [way for way in self.ways if way.kept and not way.against]
        return min(good, key=lambda way: way.dollars_per_hour, default=None)

    @property
    def best_always_on(self) -> Way | None:
        """The cheapest that never sleeps and keeps the SLO."""
        good = [way for way in self.ways if way.kept and not way.serverless]
        return min(good, key=lambda way: way.dollars_per_hour, default=None)


def advise(
    task: Task,
    slo: Slo,
    offers: Sequence[Offer],
    needs: Needs,
    *,
    budget: int = 128,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Advice:
    """Compare. Deterministic, whatever ``jobs``. ``needs.slots``: as in a replica."""
    told = progress or (lambda *_: None)
    tuned = tune(task, slo, budget, jobs, told)
    load = load_of(task.trace, task.service, needs.slots)
    with workers(task, jobs) as at_work:
        always = _always_on(at_work, slo, load, told, tuned)
    config = task.base.scaling(tuned.recommended.candidate)
    runs = tuple(invoked(task.trace, task.service, offer, needs) for offer in offers)
    knative = tuned.knative.judged
    ways = [
        *always,
        _way("Knative's defaults, to zero", knative, slo, tuned, serverless=True),
        _settings_way("settings now", task.base.scaling(CURRENT), tuned.current, slo, tuned),
        _settings_way("tuned settings", config, tuned.recommended, slo, tuned),
        *(_by_invocation(run, slo, tuned) for run in runs),
    ]
    price = task.world.prices
    hourly = price.node_hour / price.replicas_per_node if price.node_hour else price.replica_hour
    mean = float(task.service.mean()) if len(task.service) else 0.0
    kept = config.stable_window + config.scale_to_zero_pod_retention_period
    return Advice(
        task,
        slo,
        tuned,
        load,
        needs,
        tuple(ways),
        rate_worth_sleeping(mean, kept, task.world.start.mean, WORTH),
        {run.offer.name: rate_of_a_replica(hourly, run.per_request) for run in runs},
        runs,
    )


def always_on(count: int) -> Candidate:
    """Settings for ``count`` replicas, always."""
    number = str(count)
    return (
        ("activation-scale", "1"),
        ("initial-scale", number),
        ("max-scale", number),
        ("min-scale", number),
    )


def _always_on(at_work: Workers, slo: Slo, load: Load, told: Progress, tuned: Tuned) -> list[Way]:
    """Enough for the peak, and the fewest that keep the SLO."""
    peak = max(1, math.ceil(load.peak))
    least = max(1, math.ceil(load.mean))
    sizes = list(range(least, max(peak, least) + 1))
    flowed = at_work.flow([always_on(n) for n in sizes], lambda s: told("always on, roughly", s))
    task = at_work.task
    every = list(range(len(task.segments)))
    estimates = by_segment(flowed, len(task.trace.models), len(every), task.service).of(every)
    references = {
        Reference.CURRENT: tuned.current.judged,
        Reference.KNATIVE: tuned.knative.judged,
    }
    good = [n for n, one in zip(sizes, estimates, strict=True) if slo.met(one, references)]
    first = good[0] if good else sizes[-1]
    judged: dict[int, Judged] = {}
    for count in (peak, *range(first, min(first + TRIED, max(peak, first) + 1))):
        if count not in judged:
            (parts,) = at_work.replay([always_on(count)], lambda s: told("always on, exactly", s))
            judged[count] = together(parts)
        if count != peak and slo.met(judged[count], references):
            break
    fewest = min((n for n, one in judged.items() if slo.met(one, references)), default=peak)
    names = {peak: f"always on: {peak} (the peak)"}
    names.setdefault(fewest, f"always on: {fewest} (the fewest)")
    return [
        _way(names[n], judged[n], slo, tuned, serverless=False) for n in sorted(names, reverse=True)
    ]


def _way(name: str, judged: Judged, slo: Slo, tuned: Tuned, *, serverless: bool) -> Way:
    references = {
        Reference.CURRENT: tuned.current.judged,
        Reference.KNATIVE: tuned.knative.judged,
    }
    return Way(
        name,
        judged.dollars_per_hour,
        judged.replicas,
        judged.percentile(False, 50),
        judged.percentile(False, 99),
        judged.cold_share,
        slo.met(judged, references),
        serverless,
    )


def _settings_way(name: str, config: ScalingConfig, fared: Fared, slo: Slo, tuned: Tuned) -> Way:
    """Settings go to zero, or they have a floor."""
    floor = config.min_scale or int(not config.enable_scale_to_zero)
    where = f"never below {floor}" if floor else "to zero"
    return _way(f"{name}, {where}", fared.judged, slo, tuned, serverless=not floor)


def _by_invocation(run: Invoked, slo: Slo, tuned: Tuned) -> Way:
    judged = Judged(
        requests=run.requests,
        cold=run.cold,
        waits=run.waits,
        latencies=run.latencies,
        dollars=run.dollars,
        replica_seconds=run.paid_seconds,
        seconds=run.seconds,
    )
    name = f"invocations: {run.offer.title or run.offer.name}"
    return replace(_way(name, judged, slo, tuned, serverless=True), against=run.against)
