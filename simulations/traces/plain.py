"""Stoker's own plain CSV: ``t,model,service_s``, as ``stoker trace generate`` writes it.

A header and a line per request. ``t``: seconds from the beginning, or since 1970. All else
may be absent or empty: ``model`` (NAME or NAMESPACE/NAME), ``service_s`` (seconds in a
replica), ``prompt_tokens``, ``output_tokens``. Lines before the header that begin with # are
comments; ``# duration: 3600`` says how many seconds are covered when that is more than to
the last arrival, ``# began: 1700000000`` when second 0 was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Trace
from simulations.traces.building import EPOCH_FROM, Reading, built
from simulations.traces.opening import Part
from simulations.traces.table import Column, Convert, Table, names_into, numbers, wholes
from stoker.vocabulary import ModelKey

TOKENS = "must be a whole number of tokens, 0 or more, or nothing"


def recognise(lines: list[str]) -> bool:
    """By a column ``t`` in its header."""
    return "t" in [title.strip().casefold() for title in lines[0].split(",")]


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """Times from 1970 on are counted from the first arrival instead."""
    places: dict[str, int] = {}
    table = Table(
        [
            Column(("t",), numbers("must be a finite number of seconds, 0 or more")),
            Column(("model",), _models(places, reading.options.name), needed=False),
            Column(("service_s", "service"), _seconds, needed=False),
            Column(("prompt_tokens",), wholes(TOKENS, unknown=-1), needed=False),
            Column(("output_tokens",), wholes(TOKENS, unknown=-1), needed=False),
        ],
        reading.faults,
        limit=reading.options.limit,
    )
    for part in parts:
        table.read(part)
        if table.full:
            break
    columns = table.columns()
    times = columns.get("t", np.zeros(0))
    said = _said(table.comments)
    began = said.get("began")
    if len(times) and times.min() >= EPOCH_FROM:
        began = float(times.min())
        times = times - began
        reading.notices.append(f"times count from 1970: the first, {began:.3f}, became second 0")
    return built(
        reading,
        [ModelKey.parse(text) for text in places or [reading.options.name]],
        times,
        columns.get("model"),
        service=columns.get("service_s"),
        prompt_tokens=columns.get("prompt_tokens"),
        output_tokens=columns.get("output_tokens"),
        began=began,
        duration=0.0 if reading.options.limit is not None else said.get("duration", 0.0),
    )


def _models(places: dict[str, int], unnamed: str) -> Convert:
    known = names_into(places)

    def convert(texts: Sequence[str]) -> NDArray[Any]:
        return known([text or unnamed for text in texts] if "" in texts else texts)

    return convert


def _seconds(texts: Sequence[str]) -> NDArray[Any]:
    """NaN where nothing is said."""
    known = [text or "0" for text in texts]
    values = numbers("must be a finite number of seconds, 0 or more, or nothing")(known)
    values[[not text for text in texts]] = np.nan
    return values


def _said(comments: Iterable[str]) -> dict[str, float]:
    """``duration`` and ``began`` where comments give them as usable numbers."""
    found = {}
    for comment in comments:
        key, colon, value = comment.partition(":")
        if colon and key.strip() in ("duration", "began"):
            try:
                number = float(value)
            except ValueError:
                continue
            if 0 <= number < 1e11:
                found[key.strip()] = number
    return found
