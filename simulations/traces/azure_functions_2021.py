"""Azure Functions 2021: each call of two weeks, ``app,func,end_timestamp,duration``.

Published in Azure/AzurePublicDataset (Zhang et al., Faster and Cheaper Serverless Computing
on Harvested Resources, SOSP'21) as AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt.
Seconds; a call came ``duration`` before its end. Functions are told apart only within their
app. The model is the app, which is loaded as one; or the function.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from simulations.trace import Trace
from simulations.traces.building import Reading, built
from simulations.traces.opening import Part
from simulations.traces.table import Column, Table, names_into, numbers
from stoker.vocabulary import DEFAULT_NAMESPACE, ModelKey

MODEL_BY: Final = ("app", "function")
SECONDS: Final = "must be a finite number of seconds, 0 or more"


def recognise(lines: list[str]) -> bool:
    """By its header."""
    return lines[0].casefold().replace(" ", "").startswith("app,func,end_timestamp,duration")


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """Arrivals with their durations as service times."""
    apps: dict[str, int] = {}
    functions: dict[str, int] = {}
    table = Table(
        [
            Column(("app",), names_into(apps)),
            Column(("func",), names_into(functions)),
            Column(("end_timestamp",), numbers(SECONDS)),
            Column(("duration",), numbers(SECONDS)),
        ],
        reading.faults,
        limit=reading.options.limit,
    )
    for part in parts:
        table.read(part)
        if table.full:
            break
    columns = table.columns()
    if not columns:
        return built(reading, [], np.zeros(0))
    app, function = columns["app"].astype(np.int64), columns["func"]
    app_names, function_names = list(apps), list(functions)
    if reading.options.model_by == "function":
        pairs, which = np.unique(app * len(functions) + function, return_inverse=True)
        models = [
            ModelKey(app_names[pair // len(functions)], function_names[pair % len(functions)])
            for pair in pairs.tolist()
        ]
    else:
        models, which = [ModelKey(DEFAULT_NAMESPACE, name) for name in app_names], app
    times = columns["end_timestamp"] - columns["duration"]
    early = int((times < 0).sum())
    if early:
        reading.notices.append(
            f"{early:,} calls began before second 0: the earliest, {times.min():.3f}, became it"
        )
        times = times - times.min()
    return built(
        reading,
        models,
        times,
        which.astype(np.int32),
        service=columns["duration"],
        by_end=True,
    )
