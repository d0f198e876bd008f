"""Azure's LLM inference traces: ``TIMESTAMP,ContextTokens,GeneratedTokens``.

Published in Azure/AzurePublicDataset as AzureLLMInferenceTrace_code.csv and _conv.csv
(2023; Patel et al., Splitwise, ISCA'24), and for a week of 2024 in the same columns. A line
per request to one service: when it came, to 100 ns, tokens of its prompt and of its answer.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simulations.trace import Trace
from simulations.traces.building import Reading, built
from simulations.traces.opening import Part
from simulations.traces.table import Column, Table, stamps, wholes
from stoker.vocabulary import ModelKey

TOKENS = "must be a whole number of tokens, 0 or more"


def recognise(lines: list[str]) -> bool:
    """By its header."""
    return lines[0].casefold().replace(" ", "").startswith("timestamp,contexttokens,gener")


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """All as one model."""
    table = Table(
        [
            Column(("TIMESTAMP",), stamps),
            Column(("ContextTokens",), wholes(TOKENS)),
            Column(("GeneratedTokens",), wholes(TOKENS)),
        ],
        reading.faults,
        limit=reading.options.limit,
    )
    for part in parts:
        table.read(part)
        if table.full:
            break
    columns = table.columns()
    nanos = columns.get("TIMESTAMP", np.zeros(0, np.int64))
    first = int(nanos.min()) if len(nanos) else 0
    return built(
        reading,
        (ModelKey.parse(reading.options.name),),
        (nanos - first) / 1e9,
        prompt_tokens=columns.get("ContextTokens"),
        output_tokens=columns.get("GeneratedTokens"),
        began=first / 1e9,
    )
