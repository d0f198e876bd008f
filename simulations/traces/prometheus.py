"""Answers of Prometheus to range queries: ``/api/v1/query_range``, resultType matrix.

``{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {labels},
"values": [[seconds, "value"], …]}, …]}}``, or what is under ``data`` alone.

What the values are is told or found out: a ``counter`` of requests, whose increase from
sample to sample is when they came (a fall is a restart from 0, a missing sample spreads what
came over the steps it covers); a ``rate`` per second; or an ``increase``, over the step. Of
the last two a sample stands for the step that ends with it. Arrivals are anywhere in their
step. Series of one model are added up. The model is the label ``model``, or the one that
``model_by`` names as ``label:NAME``; without either the labels in which the series differ.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from simulations.trace import Floats
from simulations.traces.building import Reading, Values
from simulations.traces.json_lines import number
from simulations.traces.opening import Part
from simulations.traces.windows import Windows, even
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey

MODEL_BY: Final = ("label:",)
MOST_BYTES: Final = 1 << 29
MOST_STEPS: Final = 10_000_000
VALUES: Final[tuple[Values, ...]] = ("counter", "increase", "rate")


class Series(NamedTuple):
    """One series: its labels, and samples in the order of time."""

    labels: dict[str, str]
    times: Floats
    values: Floats


def recognise(lines: list[str]) -> bool:
    """By how its first object begins; it may be all of one line or of many."""
    head = "".join(lines)[:4096]
    known = '"resultType"' in head or ('"metric"' in head and '"values"' in head)
    return head.lstrip()[:1] == "{" and known


def read(parts: Iterable[Part], reading: Reading) -> Windows:
    """Windows of one step each."""
    series = [one for part in parts for one in _series(part, reading)]
    if not series:
        return even((), 1.0, 0, _cells([], np.zeros(0, np.int32)), reading.options.seed)
    kind = reading.options.values or _kind(series)
    step = _step(series)
    if kind == "counter":
        begin = min(float(one.times[0]) for one in series)
    else:
        begin = min(float(one.times[0]) for one in series) - step
    windows = round((max(float(one.times[-1]) for one in series) - begin) / step)
    if windows > MOST_STEPS:
        raise TraceError(
            f"{windows:,} steps of {step:g} s from the first sample to the last: at most"
            f" {MOST_STEPS:,}; ask for a shorter range or a longer step"
        )
    models: dict[str, int] = {}
    names = _names(series, reading)
    which = np.array([models.setdefault(name, len(models)) for name in names], dtype=np.int32)
    falls = 0
    cells = []
    for one in series:
        at = np.rint((one.times - begin) / step).astype(np.int64)
        if kind == "counter":
            cells.append(_increases(at, one.values))
            falls += int((np.diff(one.values) < 0).sum())
        else:
            cells.append((at - 1, one.values * step if kind == "rate" else one.values))
    reading.notices.append(
        f"values were taken as {'an' if kind == 'increase' else 'a'} {kind}, steps as {step:g} s:"
        " arrivals are spread within each"
    )
    if falls:
        reading.notices.append(f"falls of counters, taken as restarts from 0: {falls:,}")
    return even(
        tuple(ModelKey.parse(name) for name in models),
        step,
        windows,
        _cells(cells, which),
        reading.options.seed,
        began=begin if begin >= 0 else None,
    )


def _cells(found: Sequence[tuple[Any, Any]], which: Any) -> tuple[Any, Any, Floats]:
    """Windows, models and expected counts of all series behind each other, idle ones left out."""
    index = np.concatenate([np.zeros(0, np.int64), *(at for at, _ in found)])
    expected = np.concatenate([np.zeros(0), *(values for _, values in found)])
    models = np.repeat(which, [len(at) for at, _ in found])
    busy = expected > 0
    return index[busy].astype(np.int32), models[busy].astype(np.int32), expected[busy]


def _series(part: Part, reading: Reading) -> list[Series]:
    """Raises TraceError where the document is something else."""
    try:
        document = json.loads(part.whole(MOST_BYTES))
    except (ValueError, RecursionError) as caught:
        raise TraceError(f"{part.name}: not JSON: {caught}") from None
    data = document.get("data", document) if isinstance(document, dict) else None
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(result, list):
        said = document.get("error", "") if isinstance(document, dict) else ""
        raise TraceError(
            f"{part.name}: no data.result in it{f' but: {said}' if said else ''};"
            " it must be the answer to a range query"
        )
    if data.get("resultType") != "matrix":
        raise TraceError(
            f"{part.name}: resultType = {data.get('resultType')}: must be matrix; ask"
            " /api/v1/query_range, with start, end and step"
        )
    found = [_one(part.name, place, entry, reading) for place, entry in enumerate(result)]
    return [one for one in found if len(one.times)]


def _one(name: str, place: int, entry: Any, reading: Reading) -> Series:
    at = f"{name}, result {place}"
    labels = entry.get("metric") if isinstance(entry, dict) else None
    values = entry.get("values") if isinstance(entry, dict) else None
    if not isinstance(labels, dict) or not isinstance(values, list):
        raise TraceError(f"{at}: must have metric and values")
    good = []
    for sample in values:
        pair = [number(one) for one in sample] if isinstance(sample, list) else []
        right = [one for one in pair if one is not None and 0 <= one < np.inf]
        if len(right) == len(pair) == 2:
            good.append(right)
        else:
            what = "must be [seconds, value], both finite, 0 or more"
            reading.faults.add(at, 0, json.dumps(sample), what)
    reading.faults.seen(len(values))
    samples = np.array(sorted(good), dtype=np.float64).reshape(-1, 2)
    fresh = np.diff(samples[:, 0], prepend=-1) > 0
    reading.faults.leave_out("samples that repeat a time, left out", int((~fresh).sum()))
    samples = samples[fresh]
    return Series({str(k): str(v) for k, v in labels.items()}, samples[:, 0], samples[:, 1])


def _kind(series: Sequence[Series]) -> Values:
    """Counters have a name that says so, or only ever grow in whole numbers."""
    names = {one.labels.get("__name__", "") for one in series}
    if all(name.endswith(("_total", "_count")) for name in names):
        return "counter"
    grow = all((np.diff(one.values) >= 0).all() for one in series)
    whole = all((one.values % 1 == 0).all() for one in series)
    more = any(len(one.values) > 2 and one.values[-1] > one.values[0] for one in series)
    return "counter" if grow and whole and more else "rate"


def _step(series: Sequence[Series]) -> float:
    """The distance of samples that is most common; 60 s where no series has two."""
    gaps: Counter[float] = Counter()
    for one in series:
        gaps.update(np.round(np.diff(one.times), 3).tolist())
    if not gaps:
        return 60.0
    return max(gaps, key=lambda gap: (gaps[gap], -gap)) or 1e-3


def _increases(at: Any, values: Floats) -> tuple[Any, Floats]:
    """Windows and what came in them; what came between two samples is spread over all there."""
    grown = np.diff(values)
    grown = np.where(grown < 0, values[1:], grown)
    steps = np.maximum(1, np.diff(at))
    windows = np.repeat(at[:-1], steps)
    offset = np.arange(len(windows)) - np.repeat(np.cumsum(steps) - steps, steps)
    return windows + offset, np.repeat(grown / steps, steps)


def _names(series: Sequence[Series], reading: Reading) -> list[str]:
    """What each series' model is called."""
    by = reading.options.model_by
    if by is not None:
        label = by.removeprefix("label:")
        missing = sum(label not in one.labels for one in series)
        if missing:
            there = ", ".join(sorted({key for one in series for key in one.labels})) or "none"
            raise TraceError(
                f"model-by = {by}: {missing} of {len(series)} series have no such label;"
                f" labels: {there}"
            )
        return [one.labels[label] or reading.options.name for one in series]
    if all(one.labels.get("model") for one in series):
        return [one.labels["model"] for one in series]
    keys = sorted({key for one in series for key in one.labels})
    differing = [key for key in keys if len({one.labels.get(key) for one in series}) > 1]
    return [
        "-".join(one.labels.get(key, "") for key in differing) or reading.options.name
        for one in series
    ]
