"""BurstGPT: requests to ChatGPT and GPT-4 on a campus, with their tokens.

Published in HPMLL/BurstGPT (Wang et al., KDD'25), in two forms::

    Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
    Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type

Seconds from a midnight, mostly whole. ``Elapsed time``, where it is given and not 0, is
taken as the time in a replica. Requests without response tokens are those that failed: they
are arrivals all the same, and counted in a notice.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simulations.trace import Trace
from simulations.traces.building import DAY, Reading, built, spread_within_seconds
from simulations.traces.opening import Part
from simulations.traces.table import Column, Table, names_into, numbers, wholes
from stoker.vocabulary import ModelKey

TOKENS = "must be a whole number of tokens, 0 or more"
SECONDS = "must be a finite number of seconds, 0 or more"


def recognise(lines: list[str]) -> bool:
    """By its columns."""
    there = {title.strip().casefold() for title in lines[0].split(",")}
    return {"timestamp", "model", "request tokens", "response tokens"} <= there


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """Times count from the midnight before the first request."""
    models: dict[str, int] = {}
    table = Table(
        [
            Column(("Timestamp",), numbers(SECONDS)),
            Column(("Model",), names_into(models)),
            Column(("Request tokens",), wholes(TOKENS)),
            Column(("Response tokens",), wholes(TOKENS)),
            Column(("Elapsed time",), numbers(SECONDS), needed=False),
        ],
        reading.faults,
        limit=reading.options.limit,
    )
    for part in parts:
        table.read(part)
        if table.full:
            break
    columns = table.columns()
    times = columns.get("Timestamp", np.zeros(0))
    if len(times):
        times = times - times.min() // DAY * DAY
    answered = columns.get("Response tokens")
    failed = 0 if answered is None else int((answered == 0).sum())
    reading.faults.leave_out("requests without an answer (0 response tokens), kept", failed)
    service = columns.get("Elapsed time")
    if service is not None:
        service = np.where(service > 0, service, np.nan)
    return built(
        reading,
        [ModelKey.parse(name) for name in models],
        spread_within_seconds(reading, times),
        columns.get("Model"),
        service=service,
        prompt_tokens=columns.get("Request tokens"),
        output_tokens=answered,
    )
