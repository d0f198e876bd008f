"""A result as JSON and back: what is saved of runs, to be compared with later ones.

Names are those of ``simulations.result``; docs/report.md explains each. What can be worked
out from the rest (percentiles, shares) is written for readers, and ignored when read back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from simulations.result import BINS, Money, Result, Series, Spread, Totals
from stoker.errors import Problem, ResultsError
from stoker.vocabulary import ModelKey

VERSION = 1
"""Grows when a reader of the last version would misread what is written; new fields alone
do not count."""

LATEST = 4_102_444_800
"""2100, in seconds since 1970: later than any trace began."""
LONGEST = 3_155_760_000
"""A hundred years in seconds: longer than any trace."""

Number = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Column = list[Number]


_Bin = Annotated[  # JSON has no tuples
    tuple[Annotated[int, Field(ge=0, lt=BINS)], Annotated[int, Field(ge=1, lt=2**52)]],
    Field(strict=False),
]


class _Part(BaseModel):
    """Unknown fields are a newer version's, or figures that follow from the others."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Totals(_Part):
    requests: NonNegativeInt
    answered: NonNegativeInt
    refused: dict[str, NonNegativeInt]
    abandoned: NonNegativeInt
    unfinished: NonNegativeInt
    tries: NonNegativeInt
    retries: NonNegativeInt
    cold: NonNegativeInt
    activations: NonNegativeInt
    starts: NonNegativeInt
    crashes: NonNegativeInt
    replica_seconds: NonNegativeFloat
    ready_seconds: NonNegativeFloat
    busy_seconds: NonNegativeFloat
    slot_seconds: NonNegativeFloat
    node_seconds: NonNegativeFloat
    peak_replicas: NonNegativeInt

    def totals(self) -> Totals:
        values = {f.name: getattr(self, f.name) for f in fields(Totals)}
        return Totals(**{**values, "refused": Counter(self.refused)})


class _Model(_Totals):
    namespace: str
    name: str


class _Spread(_Part):
    total: NonNegativeFloat
    squares: NonNegativeFloat
    longest: NonNegativeFloat
    bins: list[_Bin]

    def spread(self) -> Spread:
        spread = Spread()
        for place, count in self.bins:
            spread.counts[place] += count
        spread.count = int(spread.counts.sum())
        spread.total, spread.squares, spread.longest = self.total, self.squares, self.longest
        return spread


class _Series(_Part):
    step: Annotated[float, Field(gt=0)]
    arrivals: Column
    active: Column
    queued: Column
    ready: Column
    starting: Column
    desired: Column
    cold: Column
    refused: Column
    wait_max: Column

    def series(self) -> Series:
        """Raises ValueError where columns are not equally long."""
        columns = {f.name: getattr(self, f.name) for f in fields(Series) if f.name != "step"}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its columns differ in length: {lengths}")
        arrays = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
        return Series(self.step, **arrays)


class _Money(_Part):
    dollars: NonNegativeFloat
    gpu_hours: NonNegativeFloat


class _Run(_Part):
    label: str
    trace: str
    seed: int
    began: Annotated[float, Field(ge=0, le=LATEST)] | None
    duration: Annotated[float, Field(ge=0, le=LONGEST)]
    decisions: NonNegativeInt
    wall_seconds: NonNegativeFloat
    totals: _Totals
    waits: _Spread
    latencies: _Spread
    cold_waits: _Spread
    series: _Series
    money: _Money
    models: list[_Model]
    settings: dict[str, str]
    assumptions: list[str]


def as_json(result: Result) -> dict[str, Any]:
    """What ``json.dumps`` takes. The same result always gives the same document."""
    return {
        "label": result.label,
        "trace": result.trace,
        "seed": result.seed,
        "began": result.began,
        "duration": float(result.duration),
        "decisions": result.decisions,
        "wall_seconds": float(result.wall_seconds),
        "totals": _told_totals(result.totals),
        "waits": _told_spread(result.waits),
        "latencies": _told_spread(result.latencies),
        "cold_waits": _told_spread(result.cold_waits),
        "money": {
            "dollars": float(result.money.dollars),
            "gpu_hours": float(result.money.gpu_hours),
            "dollars_per_thousand": result.dollars_per_thousand,
        },
        "settings": dict(sorted(result.settings.items())),
        "assumptions": list(result.assumptions),
        "models": [
            {"namespace": key.namespace, "name": key.name, **_told_totals(totals)}
            for key, totals in sorted(result.models.items())
        ],
        "series": {
            "step": float(result.series.step),
            **{
                f.name: getattr(result.series, f.name).tolist()
                for f in fields(Series)
                if f.name != "step"
            },
        },
    }


def _told_totals(totals: Totals) -> dict[str, Any]:
    told: dict[str, Any] = {f.name: getattr(totals, f.name) for f in fields(Totals)}
    told = {n: float(v) if n.endswith("_seconds") else v for n, v in told.items()}
    refused = dict(sorted(totals.refused.items()))
    return {
        **told,
        "refused": refused,
        "cold_share": totals.cold_share,
        "utilisation": totals.utilisation,
    }


def _told_spread(spread: Spread) -> dict[str, Any]:
    used = np.flatnonzero(spread.counts)
    return {
        "count": spread.count,
        "mean": spread.mean,
        "p50": spread.percentile(50),
        "p95": spread.percentile(95),
        "p99": spread.percentile(99),
        "longest": float(spread.longest),
        "total": float(spread.total),
        "squares": float(spread.squares),
        "bins": [[place, int(spread.counts[place])] for place in used.tolist()],
    }


def from_json(document: object, source: str = "result") -> Result:
    """The result that ``as_json`` wrote. Raises ResultsError, which names ``source``, the
    field, what was found there and what is allowed.
    """
    try:
        run = _Run.model_validate(document)
    except ValidationError as error:
        raise ResultsError(source, [_problem(e) for e in error.errors()[:5]]) from None
    try:
        series = run.series.series()
    except ValueError as error:
        raise ResultsError(source, [Problem("series", "", str(error))]) from None
    return Result(
        label=run.label,
        trace=run.trace,
        seed=run.seed,
        duration=run.duration,
        totals=run.totals.totals(),
        waits=run.waits.spread(),
        latencies=run.latencies.spread(),
        cold_waits=run.cold_waits.spread(),
        series=series,
        money=Money(run.money.dollars, run.money.gpu_hours),
        models={ModelKey(model.namespace, model.name): model.totals() for model in run.models},
        settings=run.settings,
        assumptions=run.assumptions,
        decisions=run.decisions,
        wall_seconds=run.wall_seconds,
        began=run.began,
    )


def _problem(error: Any) -> Problem:
    where = ".".join(str(part) for part in error["loc"]) or "the run"
    given = error["input"]
    value = "" if isinstance(given, dict | list) else repr(given)[:80]
    return Problem(where, value, error["msg"][:1].lower() + error["msg"][1:])
