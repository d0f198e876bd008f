"""What tuning came to, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from simulations.report.numbers import count, seconds
from simulations.tuning.choosing import MARGIN
from simulations.tuning.judged import Judged
from simulations.tuning.settings_file import SettingsFile, as_configmap, as_defaults, defaults_diff
from simulations.tuning.space import Candidate
from simulations.tuning.tuner import CURRENT, Tuned

WIDTH = 110
"""Columns where nothing is known of the terminal."""
HOURS_A_MONTH = 730


def print_tuned(tuned: Tuned, settings: SettingsFile | None, out: TextIO) -> None:
    """The tables, the recommendation with its confidence, and what to change."""
    console = Console(file=out, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    for line in _heading(tuned):
        console.print(line, markup=False)
    console.print(_table(tuned))
    for line in ("", *_settings(tuned), ""):
        console.print(line, markup=False)
    for line in (*_verdict(tuned), "", *_confidence(tuned), ""):
        console.print(line, markup=False)
    console.print(_held_back(tuned))
    for line in _changes(tuned, settings):
        console.print(line, markup=False)


def _heading(tuned: Tuned) -> Iterable[str]:
    task = tuned.task
    trace, segments = task.trace, task.segments
    yield (
        f"{count(len(trace))} requests in {seconds(trace.duration)}; SLO: {tuned.slo}, where a"
        " wait is a latency without the time in a replica"
    )
    part = (
        ""
        if segments.replayed >= segments.total
        else (f", exactly on {seconds(segments.replayed)} of them")
    )
    yield (
        f"{tuned.estimated} configurations tried roughly, {tuned.replayed} replayed exactly:"
        f" {len(segments)} segments of {seconds(segments.total / len(segments))}{part}"
    )
    yield from (f"  {line}" for line in task.world.assumptions())
    yield ""


def _table(tuned: Tuned) -> Table:
    table = _columns("front of cost, p99 wait and cold share")
    shown = [
        ("now", tuned.current),
        ("Knative's defaults", tuned.knative),
        ("recommended", tuned.recommended),
        *((f"front {place}", one) for place, one in enumerate(tuned.front, 1)),
    ]
    for name, one in shown:
        kept = tuned.slo.met(one.judged, _references(tuned))
        table.add_row(name, *figures(one.judged), "yes" if kept else "no")
    return table


def _settings(tuned: Tuned) -> Iterable[str]:
    """What the recommended configuration changes, and those of the front."""
    base = tuned.task.base
    shown = [("recommended", tuned.recommended)]
    shown += [(f"front {place}", one) for place, one in enumerate(tuned.front, 1)]
    for name, one in shown:
        yield f"{name}: {written(base.changes(one.candidate)) or 'as now'}"


def _columns(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("$/hour", "replicas", "p50 wait", "p99 wait", "cold", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("SLO kept", no_wrap=True)
    return table


def figures(judged: Judged) -> list[str]:
    """Cost, replicas, waits, cold and failed share."""
    return [
        f"{judged.dollars_per_hour:.3f}",
        count(judged.replicas),
        waited(judged.percentile(False, 50)),
        waited(judged.percentile(False, 99)),
        share(judged.cold_share),
        share(judged.failed_share),
    ]


def waited(value: float) -> str:
    """Seconds, or that some were never answered."""
    return "never" if math.isinf(value) else seconds(value)


def share(value: float) -> str:
    """In percent."""
    return f"{100 * value:.3g} %"


def written(candidate: Candidate) -> str:
    """Settings on one line."""
    return ", ".join(f"{name}: {text}" for name, text in candidate)


def _references(tuned: Tuned) -> Any:
    from simulations.tuning.slo import Reference

    return {Reference.CURRENT: tuned.current.judged, Reference.KNATIVE: tuned.knative.judged}


def saved(now: Judged, then: Judged) -> float:
    """The share of the cost that goes; negative where it grows. 0 where nothing was paid."""
    return 1 - then.dollars / now.dollars if now.dollars else 0.0


def _verdict(tuned: Tuned) -> Iterable[str]:
    best, now = tuned.recommended, tuned.current
    hourly, before = best.judged.dollars_per_hour, now.judged.dollars_per_hour
    if not tuned.met:
        yield (
            f"No configuration that was tried keeps {tuned.slo}; the recommended one comes"
            f" nearest: p99 wait {waited(best.judged.percentile(False, 99))}. Only a faster start,"
            " more room or a looser SLO would help."
        )
    if best.candidate == CURRENT:
        yield f"The settings in force are the best that were found: ${before:.3f} an hour."
        return
    less = saved(now.judged, best.judged)
    yield (
        f"Recommended: ${hourly:.3f} an hour instead of ${before:.3f}"
        f" ({_change(less)}; ${(before - hourly) * HOURS_A_MONTH:,.0f} a month), p99 wait"
        f" {waited(best.judged.percentile(False, 99))} instead of"
        f" {waited(now.judged.percentile(False, 99))}. Knative's defaults:"
        f" ${tuned.knative.judged.dollars_per_hour:.3f},"
        f" {waited(tuned.knative.judged.percentile(False, 99))}."
    )


def _change(less: float) -> str:
    return f"{100 * less:.0f} % less" if less >= 0 else f"{-100 * less:.0f} % more"


def _confidence(tuned: Tuned) -> Iterable[str]:
    held = tuned.held_back
    low, high = held.interval
    yield (
        f"Chosen on two thirds of the segments (with {100 * MARGIN:.0f} % of every limit to"
        " spare, and kept in each of them where that can be had) and judged on the rest, in"
        f" turn: the SLO was kept in {held.met} of {held.trials} held-back segments, that is,"
        f" with 95 % confidence in {100 * low:.0f} to {100 * high:.0f} % of segments like these."
    )


def _held_back(tuned: Tuned) -> Table:
    held = tuned.held_back
    table = _columns("on held-back segments")
    references = _references(tuned)
    for name, judged in (
        ("tuned", held.tuned),
        ("now", held.current),
        ("Knative's defaults", held.knative),
    ):
        kept = tuned.slo.met(judged, references)
        table.add_row(name, *figures(judged), "yes" if kept else "no")
    return table


def _changes(tuned: Tuned, settings: SettingsFile | None) -> Iterable[str]:
    changes = tuned.task.base.changes(tuned.recommended.candidate)
    if not changes:
        return
    yield ""
    edited = None if settings is None else settings.edited(changes)
    if settings is not None and edited is not None:
        yield from settings.diff(edited)
    elif settings is not None:
        yield f"{settings.path} is written in a way that only people should change; it needs:"
        yield from (f"  {name}: {text}" for name, text in changes)
    else:
        yield from defaults_diff(tuned.task.base, changes)


def files(tuned: Tuned, settings: SettingsFile | None) -> tuple[str, str]:
    """The settings file with the recommendation in force, and it as a ConfigMap."""
    base = tuned.task.base
    changes = base.changes(tuned.recommended.candidate)
    edited = None if settings is None else settings.edited(changes)
    return edited or as_defaults(base, changes), as_configmap(base, changes)


def document(tuned: Tuned) -> dict[str, Any]:
    """All of it as JSON; seconds, shares of 1, dollars per hour."""
    held, base = tuned.held_back, tuned.task.base
    return {
        "slo": str(tuned.slo),
        "slo_met": tuned.met,
        "seed": tuned.task.seed,
        "assumptions": tuned.task.world.assumptions(),
        "segments": len(tuned.task.segments),
        "segment_seconds": tuned.task.segments.total / len(tuned.task.segments),
        "replayed_seconds": tuned.task.segments.replayed,
        "estimated": tuned.estimated,
        "replayed": tuned.replayed,
        "fluid_ticks": tuned.ticks,
        "recommended": {
            "settings": dict(base.changes(tuned.recommended.candidate)),
            **measures(tuned.recommended.judged),
        },
        "current": measures(tuned.current.judged),
        "knative": measures(tuned.knative.judged),
        "front": [
            {"settings": dict(base.changes(one.candidate)), **measures(one.judged)}
            for one in tuned.front
        ],
        "held_back": {
            "met": held.met,
            "trials": held.trials,
            "interval": list(held.interval),
            "tuned": measures(held.tuned),
            "current": measures(held.current),
            "knative": measures(held.knative),
            "chosen": [dict(base.changes(candidate)) for candidate in held.chosen],
        },
    }


def measures(judged: Judged) -> dict[str, Any]:
    """The figures of a replay; a percentile is null where too many were never answered."""
    waits = {percent: judged.percentile(False, percent) for percent in (50, 95, 99)}
    latency = judged.percentile(True, 99)
    return {
        "requests": judged.requests,
        "dollars_per_hour": judged.dollars_per_hour,
        "replicas": judged.replicas,
        **{f"wait_p{p}": None if math.isinf(value) else value for p, value in waits.items()},
        "latency_p99": None if math.isinf(latency) else latency,
        "cold_share": judged.cold_share,
        "failed_share": judged.failed_share,
    }
