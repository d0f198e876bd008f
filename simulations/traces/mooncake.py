"""Mooncake's traces: arrivals in milliseconds, lengths of prompt and answer.

Published in kvcache-ai/Mooncake (Qin et al., FAST'25) as JSON lines ``{"timestamp": 27482,
"input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}``, one per request to one
service. The same as CSV, ``timestamp_ms,input_length,output_length``, is read too, whatever
columns follow. What prompts have in common (hash_ids) is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from simulations.trace import Trace
from simulations.traces.building import Reading, built
from simulations.traces.json_lines import Rows, field
from simulations.traces.opening import Part
from simulations.traces.table import LARGEST_COUNT, LAST_SECOND, Column, Table, numbers, wholes
from stoker.vocabulary import ModelKey

TOKENS = "must be a whole number of tokens, 0 or more"
TIME = "must be a number of milliseconds, 0 or more"
NAMES = ("timestamp_ms", "input_length", "output_length")


def recognise(lines: list[str]) -> bool:
    """By its header, or by the keys of its first object."""
    if lines[0].casefold().startswith(",".join(NAMES)):
        return True
    try:
        found = json.loads(lines[0])
    except ValueError:
        return False
    return isinstance(found, dict) and {"timestamp", *NAMES[1:]} <= found.keys()


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """All as one model; times as they are, the first is 0 in what is published."""
    table = Table(
        [
            Column(NAMES[:1], numbers(TIME, high=LAST_SECOND * 1e3)),
            Column(NAMES[1:2], wholes(TOKENS)),
            Column(NAMES[2:], wholes(TOKENS)),
        ],
        reading.faults,
        limit=reading.options.limit,
    )
    rows = Rows(_row, reading)
    for part in parts:
        if part.peek().startswith("{"):
            rows.read(part)
        else:
            table.read(part)
        if table.full or rows.full:
            break
    columns = table.columns()
    if not columns:
        values = np.array(rows.found, dtype=np.float64).reshape(-1, 3)
        columns = dict(zip(NAMES, (values[:, 0], *values[:, 1:].T.astype(np.int32)), strict=True))
    return built(
        reading,
        (ModelKey.parse(reading.options.name),),
        columns[NAMES[0]] / 1e3,
        prompt_tokens=columns[NAMES[1]],
        output_tokens=columns[NAMES[2]],
    )


def _row(found: dict[str, Any]) -> tuple[float, float, float]:
    """Raises ValueError, which names the key."""
    return (
        field(found, "timestamp", TIME, LAST_SECOND * 1e3),
        field(found, "input_length", TOKENS, LARGEST_COUNT, whole=True),
        field(found, "output_length", TOKENS, LARGEST_COUNT, whole=True),
    )
