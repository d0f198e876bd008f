"""Advice for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from simulations.advising.advisor import WORTH, Advice, Way
from simulations.advising.offers import GIB, Offer
from simulations.report.numbers import count, seconds
from simulations.tuning.texts import HOURS_A_MONTH, WIDTH, share, waited, written


def print_advice(advice: Advice, out: TextIO) -> None:
    """The verdict first, then the table, the rates at which it would change, the assumptions."""
    console = Console(file=out, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(verdict(advice), markup=False)
    console.print()
    console.print(_table(advice))
    for line in ("", *_rates(advice), "", "Assumed:", *(f"  {a}" for a in assumptions(advice))):
        console.print(line, markup=False)


def verdict(advice: Advice) -> str:
    """One line: yes or no, and why."""
    best, steady = advice.best, advice.best_always_on
    if best is None:
        return (
            f"No answer: no way of running it keeps {advice.slo} on this trace; a faster start,"
            " more room or a looser SLO is needed."
        )
    cost = f"{_monthly(best)} a month, p99 wait {waited(best.p99)}"
    if not best.serverless:
        asleep = [way for way in advice.ways if way.serverless and not way.against]
        closest = min(asleep, key=lambda way: (not way.kept, way.dollars_per_hour), default=None)
        why = (
            ""
            if closest is None
            else (
                f"; {closest.name} costs {_monthly(closest)} and"
                f" {'keeps' if closest.kept else 'misses'} {advice.slo}"
            )
        )
        return f"No: {best.name} is the cheapest that keeps {advice.slo}: {cost}{why}."
    if steady is None:
        return f"Yes: only {best.name} keeps {advice.slo}: {cost}."
    less = 1 - best.dollars_per_hour / steady.dollars_per_hour if steady.dollars_per_hour else 0.0
    if less < WORTH:
        return (
            f"Hardly: {best.name} saves {100 * less:.0f} % over {steady.name}"
            f" ({cost} instead of {_monthly(steady)}), too little to be worth cold starts."
        )
    return (
        f"Yes: {best.name} keeps {advice.slo} for {cost}, {100 * less:.0f} % less than"
        f" {steady.name} ({_monthly(steady)})."
    )


def _monthly(way: Way) -> str:
    return f"${way.dollars_per_hour * HOURS_A_MONTH:,.0f}"


def _table(advice: Advice) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("$/hour", "$/month", "replicas", "p50 wait", "p99 wait", "cold"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(str(advice.slo), overflow="fold")
    for way in advice.ways:
        verdict = "; ".join(way.against) if way.against else ("kept" if way.kept else "missed")
        table.add_row(
            way.name,
            f"{way.dollars_per_hour:.3f}",
            f"{way.dollars_per_hour * HOURS_A_MONTH:,.0f}",
            count(way.replicas),
            waited(way.p50),
            waited(way.p99),
            share(way.cold_share),
            f"no: {verdict}" if way.against else verdict,
        )
    return table


def _rates(advice: Advice) -> Iterable[str]:
    rate = len(advice.task.trace) / max(advice.task.trace.duration, 1.0)
    yield (
        f"This trace: {_rate(rate)} on average; {advice.load.mean:.2g} replicas' worth of work,"
        f" {advice.load.peak:.2g} at its peak."
    )
    yield (
        f"Were requests to come at random, one replica would sleep more than {100 * WORTH:.0f} %"
        f" of the time below {_rate(advice.worth_sleeping)}."
    )
    for run in advice.invoked:
        pays = advice.replica_pays[run.offer.name]
        name = run.offer.title or run.offer.name
        if math.isinf(pays):
            yield f"{name}: costs nothing on this trace, so no replica is cheaper."
        else:
            yield (
                f"{name}: ${1000 * run.per_request:.4f} per 1,000 requests; from {_rate(pays)} on"
                " a replica that is always there is cheaper, if one can take that."
            )


def _rate(rate: float) -> str:
    for per, unit in ((1.0, "second"), (60.0, "minute"), (3600.0, "hour")):
        if rate * per >= 1 or unit == "hour":
            return f"{rate * per:.3g} requests per {unit}"
    raise AssertionError


def assumptions(advice: Advice) -> list[str]:
    """Everything the figures rest on."""
    task, needs = advice.task, advice.needs
    changes = task.base.changes(advice.tuned.recommended.candidate)
    slower = (
        f", {needs.slowdown:g} times slower without accelerators"
        if needs.slowdown != 1
        else (", as fast without accelerators as with them" if needs.accelerators else "")
    )
    return [
        *task.world.assumptions(),
        f"segments: {len(task.segments)} of {seconds(task.segments.total / len(task.segments))};"
        " by the invocation: the whole trace",
        f"tuned settings: {written(changes) or 'as now'}",
        f"a replica or instance needs {needs.memory / GIB:.3g} GiB of memory, an image of"
        f" {needs.package / GIB:.3g} GiB{slower}",
        *(_offer(run.offer, needs.slots) for run in advice.invoked),
        f"a month has {HOURS_A_MONTH} hours like these; free tiers, traffic and storage are left"
        " out",
    ]


def _offer(offer: Offer, slots: int) -> str:
    prices = [f"${offer.gib_second:.10f}".rstrip("0") + " per GiB-second"]
    if offer.vcpu_second:
        vcpu = f"${offer.vcpu_second:.10f}".rstrip("0")
        prices.append(f"{vcpu} per vCPU-second ({offer.vcpus:g} vCPUs)")
    prices.append(f"${offer.request * 1e6:.2f} per million requests")
    at_once = int(offer.concurrency) or max(1, slots)
    return (
        f"{offer.title or offer.name} (as published around 2022): {', '.join(prices)}; a cold start"
        f" takes {seconds(offer.cold_start)}, idle instances are kept {seconds(offer.kept_warm)},"
        f" {at_once} request{'s' if at_once > 1 else ''} at once in each"
    )


def document(advice: Advice) -> dict[str, Any]:
    """All of it as JSON: seconds, shares of 1, dollars per hour, requests per second."""
    best = advice.best
    return {
        "verdict": verdict(advice),
        "serverless": None if best is None else best.serverless,
        "best": None if best is None else best.name,
        "slo": str(advice.slo),
        "ways": [
            {
                "name": way.name,
                "dollars_per_hour": way.dollars_per_hour,
                "replicas": way.replicas,
                "wait_p50": None if math.isinf(way.p50) else way.p50,
                "wait_p99": None if math.isinf(way.p99) else way.p99,
                "cold_share": way.cold_share,
                "slo_kept": way.kept,
                "serverless": way.serverless,
                "against": list(way.against),
            }
            for way in advice.ways
        ],
        "load": {"mean_replicas": advice.load.mean, "peak_replicas": advice.load.peak},
        "break_even": {
            "worth_sleeping": advice.worth_sleeping,
            "replica_pays": {
                name: None if math.isinf(rate) else rate
                for name, rate in advice.replica_pays.items()
            },
        },
        "tuned_settings": dict(advice.task.base.changes(advice.tuned.recommended.candidate)),
        "assumptions": assumptions(advice),
    }
