"""Azure Functions 2019: how often each function was called, minute by minute.

Published in Azure/AzurePublicDataset (Shahrad et al., Serverless in the Wild, ATC'20), one
file per day, invocations_per_function_md.anon.d01.csv to d14::

    HashOwner,HashApp,HashFunction,Trigger,1,2,…,1440

and beside them function_durations_percentiles.anon.d01.csv with each function's execution
times in ms (Average, Count, percentile_Average_0, _1, _25, _50, _75, _99, _100), which are
used where they are given too: a folder or a tar may hold both. Within its minute an arrival
is anywhere. The model is the app, which Azure loads and unloads as one; or the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Floats, Whole
from simulations.traces.building import Reading
from simulations.traces.mixture import Mixture
from simulations.traces.opening import Part
from simulations.traces.table import LARGEST_COUNT, Column, Table, names_into, numbers
from simulations.traces.windows import Windows, even
from stoker.errors import TraceError
from stoker.vocabulary import DEFAULT_NAMESPACE, ModelKey

MINUTE: Final = 60.0
MINUTES: Final = 1440
MOST_CELLS: Final = 50_000_000
LEVELS: Final = (0, 1, 25, 50, 75, 99, 100)
MODEL_BY: Final = ("app", "function")

_COUNTS: Final = "hashowner,hashapp,hashfunction,trigger,"
_DURATIONS: Final = "hashowner,hashapp,hashfunction,average,"
_DAY: Final = re.compile(r"\.d([0-9]{2})\.")


class _Cells(NamedTuple):
    """Minute, function and count of each minute in which a function was called."""

    minutes: Whole
    functions: Whole
    counts: Whole


def recognise(lines: list[str]) -> bool:
    """By the first columns of either kind of file."""
    return lines[0].casefold().startswith((_COUNTS, _DURATIONS))


def read(parts: Iterable[Part], reading: Reading) -> Windows:
    """Counts per minute as windows of 60 s; days in a row from the first one that is there."""
    functions: dict[str, int] = {}
    cells: list[_Cells] = []
    days: list[int] = []
    times = _Durations(reading)
    for part in parts:
        heading = part.peek().partition("\n")[0].casefold()
        if heading.startswith(_DURATIONS):
            times.read(part)
        elif heading.startswith(_COUNTS):
            found = _DAY.search(part.name)
            day = int(found[1]) if found else len(days) + 1
            if day in days:
                raise TraceError(f"{part.name}: day {day} is there already")
            days.append(day)
            cells += _day(part, reading, functions, day * MINUTES)
            if sum(len(chunk.minutes) for chunk in cells) > MOST_CELLS:
                raise TraceError(
                    f"{part.name}: more than {MOST_CELLS:,} minutes with calls; read fewer days"
                )
    if not days:
        raise TraceError("no file of invocations per minute, only of durations; name both's folder")
    first = min(days)
    empty = np.zeros(0, np.int32)
    minutes, called, counts = (
        np.concatenate([empty, *(chunk[column] for chunk in cells)]) for column in range(3)
    )
    models, of_function = _models(functions, reading.options.model_by or "app")
    source = even(
        models,
        MINUTE,
        (max(days) - first + 1) * MINUTES,
        (minutes - first * MINUTES, of_function[called], counts.astype(np.float64)),
        reading.options.seed,
    )
    if not times.known:
        return source
    weights = np.bincount(called, counts, minlength=len(functions)).astype(np.float64)
    levels = np.array(LEVELS) / 100
    mixture = Mixture.of(of_function, weights, times.quantiles(functions), levels)
    return replace(source, service=mixture)


def _day(part: Part, reading: Reading, functions: dict[str, int], base: int) -> list[_Cells]:
    """One file; ``functions`` (app/function) grows. Minutes count from day 0."""
    found: list[_Cells] = []
    width = 0
    for first, texts in part.lines():
        minutes: list[NDArray[np.int64]] = []
        counts: list[Whole] = []
        called: list[tuple[int, int]] = []
        for number, text in enumerate(texts, first):
            if not width:
                width = text.count(",") - 3
                continue
            if not text or text.isspace():
                continue
            try:
                app_function, values = _line(text, width)
            except ValueError as caught:
                reading.faults.add(part.name, number, text, str(caught))
                continue
            busy = np.flatnonzero(values)
            place = functions.setdefault(app_function, len(functions))
            minutes.append(busy + base)
            counts.append(values[busy])
            called.append((place, len(busy)))
        reading.faults.seen(len(texts))
        if called:
            places, sizes = np.array(called).T
            found.append(
                _Cells(
                    np.concatenate(minutes).astype(np.int32),
                    np.repeat(places, sizes).astype(np.int32),
                    np.concatenate(counts),
                )
            )
    if not 1 <= width <= MINUTES:
        raise TraceError(f"{part.name}: {width} minutes in a day; there must be 1 to {MINUTES:,}")
    return found


def _line(text: str, width: int) -> tuple[str, Whole]:
    """Raises ValueError, which says what is wrong."""
    _, _, rest = text.partition(",")
    app, function, _, *counts = rest.split(",")
    if len(counts) != width:
        raise ValueError(f"{len(counts)} minutes instead of {width}")
    try:
        values = np.array(list(map(int, counts)), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("a count is not a whole number") from None
    if not app or not function:
        raise ValueError("no app or no function")
    if values.min() < 0 or values.max() > LARGEST_COUNT:
        raise ValueError(f"a count is not in 0 to {LARGEST_COUNT:,}")
    return f"{app}/{function}", values.astype(np.int32)


def _models(functions: dict[str, int], by: str) -> tuple[tuple[ModelKey, ...], Whole]:
    """The models, and the place among them of each function."""
    if by == "function":
        keys = [ModelKey(*text.split("/")) for text in functions]
        return tuple(keys), np.arange(len(keys), dtype=np.int32)
    apps: dict[str, int] = {}
    places = [apps.setdefault(text.partition("/")[0], len(apps)) for text in functions]
    return tuple(ModelKey(DEFAULT_NAMESPACE, app) for app in apps), np.array(places, dtype=np.int32)


class _Durations:
    """Percentiles of execution times by function; of several days the last one's."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.known: dict[str, list[float]] = {}

    def read(self, part: Part) -> None:
        """One file."""
        apps: dict[str, int] = {}
        functions: dict[str, int] = {}
        millis = numbers("must be a number of milliseconds, 0 or more")
        names = [f"percentile_Average_{level}" for level in LEVELS]
        table = Table(
            [
                Column(("HashApp",), names_into(apps)),
                Column(("HashFunction",), names_into(functions)),
                *(Column((name,), millis) for name in names),
            ],
            self._reading.faults,
        )
        table.read(part)
        columns = table.columns()
        if not columns:
            return
        values = np.maximum.accumulate(np.array([columns[name] for name in names]).T / 1e3, axis=1)
        app_names, function_names = list(apps), list(functions)
        for app, function, row in zip(
            columns["HashApp"].tolist(),
            columns["HashFunction"].tolist(),
            values.tolist(),
            strict=True,
        ):
            self.known[f"{app_names[app]}/{function_names[function]}"] = row

    def quantiles(self, functions: dict[str, int]) -> Floats:
        """Seconds by function and level; NaN for functions that nothing is known of."""
        unknown = [float("nan")] * len(LEVELS)
        return np.array([self.known.get(text, unknown) for text in functions], dtype=np.float64)
