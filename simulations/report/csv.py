"""Results as CSV (RFC 4180), for spreadsheets and data frames.

A cell that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``-``, ``@``,
a tab or a return) gets an apostrophe before it, as spreadsheets themselves write it: names in
traces are other people's. Numbers are never changed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TextIO

from simulations.report.models import most_expensive
from simulations.report.naming import named
from simulations.result import Result, Series, Spread, Totals

Cell = str | float | None

_SPREADS = ("waits", "latencies", "cold_waits")
_FIGURES = ("p50", "p95", "p99", "max")
_COUNTS = tuple(f.name for f in fields(Totals) if f.name != "refused")


def columns(results: Sequence[Result]) -> list[str]:
    """The heading of the table of totals; a column for each reason that occurred."""
    return [
        *("row", "run", "label", "trace", "model", "seed", "began", "duration"),
        *_COUNTS,
        *("refused", "cold_share", "utilisation"),
        *(f"refused_{reason}" for reason in _reasons(results)),
        *(f"{spread}_{figure}" for spread in _SPREADS for figure in _FIGURES),
        *("dollars", "dollars_per_thousand", "gpu_hours", "decisions", "wall_seconds"),
    ]


def totals_table(results: Sequence[Result], out: TextIO) -> None:
    """A line for each run, each followed by one for each of its models, dearest first.

    What is known of a run only (percentiles, GPU-hours) is empty in a model's line.
    """
    writer = csv.writer(out)
    writer.writerow([_cell(name) for name in columns(results)])
    reasons = _reasons(results)
    for run in named(results):
        result = run.result
        about = (run.number, result.label, result.trace)
        begin = (result.seed, result.began, result.duration)
        spread = [f for name in _SPREADS for f in _figures(getattr(result, name))]
        money = (result.money.dollars, _per_thousand(result.money.dollars, result.totals))
        rest = (result.money.gpu_hours, result.decisions, result.wall_seconds)
        own = [*_totals(result.totals, reasons), *spread, *money, *rest]
        writer.writerow([_cell(c) for c in ("run", *about, "", *begin, *own)])
        for share in most_expensive(result):
            price = (share.dollars, _per_thousand(share.dollars, share.totals))
            unknown = [None] * len(spread)
            own = [*_totals(share.totals, reasons), *unknown, *price, None, None, None]
            writer.writerow([_cell(c) for c in ("model", *about, str(share.key), *begin, *own)])


def series_table(results: Sequence[Result], out: TextIO) -> None:
    """A line for each step of each run; ``time``: seconds at which the step begins."""
    names = [f.name for f in fields(Series) if f.name != "step"]
    writer = csv.writer(out)
    writer.writerow(["run", "label", "time", *names])
    for run in named(results):
        series = run.result.series
        values = zip(
            series.times.tolist(), *(getattr(series, n).tolist() for n in names), strict=True
        )
        label = _cell(run.result.label)
        writer.writerows([run.number, label, *map(_cell, row)] for row in values)


def _reasons(results: Sequence[Result]) -> list[str]:
    return sorted({reason for result in results for reason in result.totals.refused})


def _totals(totals: Totals, reasons: Iterable[str]) -> Iterable[Cell]:
    yield from (getattr(totals, name) for name in _COUNTS)
    yield from (totals.refusals, totals.cold_share, totals.utilisation)
    yield from (totals.refused.get(reason, 0) for reason in reasons)


def _figures(spread: Spread) -> Iterable[Cell]:
    if not spread.count:
        return (None,) * len(_FIGURES)
    return (*(spread.percentile(p) for p in (50, 95, 99)), spread.longest)


def _per_thousand(dollars: float, totals: Totals) -> Cell:
    return 1000 * dollars / totals.answered if totals.answered else None


def _cell(value: Cell) -> str:
    """As it stands in the file: empty where nothing is known."""
    match value:
        case None:
            return ""
        case str():
            text = value.replace("\0", "").encode(errors="replace").decode()
            return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
        case _:
            return str(int(value)) if value == int(value) else f"{value:.9g}"
