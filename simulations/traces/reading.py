"""``read_source``: a trace of any known format, recognised by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulations.trace import Trace
from simulations.traces import (
    access_log,
    access_log_json,
    azure_functions_2019,
    azure_functions_2021,
    azure_llm,
    burstgpt,
    mooncake,
    plain,
    prometheus,
    servegen,
)
from simulations.traces.building import Options, Reader, Reading, Values
from simulations.traces.faults import TOLERATED, Faults, shortened
from simulations.traces.opening import parts
from simulations.traces.table import model_name
from simulations.traces.windows import Windows
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey

LOOKED_AT: Final = 20


class Format(NamedTuple):
    """A kind of trace. ``recognise`` gets the first lines of a file, comments left out."""

    title: str
    recognise: Callable[[list[str]], bool]
    read: Reader
    model_by: tuple[str, ...] = ()


FORMATS: Final[dict[str, Format]] = {
    "azure-llm": Format("Azure LLM inference 2023, 2024", azure_llm.recognise, azure_llm.read),
    "azure-functions-2019": Format(
        "Azure Functions 2019: counts per minute",
        azure_functions_2019.recognise,
        azure_functions_2019.read,
        azure_functions_2019.MODEL_BY,
    ),
    "azure-functions-2021": Format(
        "Azure Functions 2021: app, func, end_timestamp, duration",
        azure_functions_2021.recognise,
        azure_functions_2021.read,
        azure_functions_2021.MODEL_BY,
    ),
    "burstgpt": Format(
        "BurstGPT, with or without elapsed times", burstgpt.recognise, burstgpt.read
    ),
    "mooncake": Format("Mooncake, JSON lines or CSV", mooncake.recognise, mooncake.read),
    "servegen": Format("ServeGen client windows", servegen.recognise, servegen.read),
    "prometheus": Format(
        "Prometheus range-query JSON", prometheus.recognise, prometheus.read, prometheus.MODEL_BY
    ),
    "access-log": Format(
        "access log, common or combined", access_log.recognise, access_log.read, access_log.MODEL_BY
    ),
    "access-log-json": Format(
        "access log, a JSON object per line",
        access_log_json.recognise,
        access_log_json.read,
        access_log_json.MODEL_BY,
    ),
    "csv": Format("plain CSV: t,model,service_s", plain.recognise, plain.read),
}
"""In the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A trace that was read: a ``Source``, with what there is to tell of it.

    ``notices``: what was left out, sorted, spread or assumed. ``source``: a ``Trace``, or
    ``Windows`` that are drawn when asked for.
    """

    source: Trace | Windows
    path: str
    format: str
    notices: tuple[str, ...]

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """See ``Source``."""
        return self.source.models

    @property
    def duration(self) -> float:
        """See ``Source``."""
        return self.source.duration

    @property
    def began(self) -> float | None:
        """Seconds since 1970 at second 0; None: not known."""
        return self.source.began

    def blocks(self) -> Iterator[Trace]:
        """See ``Source``."""
        return self.source.blocks()


def read_source(
    path: str,
    format: str | None = None,
    *,
    seed: int = 0,
    tolerate: float = TOLERATED,
    limit: int | None = None,
    models: Sequence[str] = (),
    busiest: int | None = None,
    model_by: str | None = None,
    values: Values | None = None,
    between: tuple[float, float] | None = None,
) -> Loaded:
    """Read the trace at ``path``: a file, plain or packed, a tar of files, or a folder.

    ``format``: a key of ``FORMATS``; None: by the content. ``seed``: for what the format
    leaves open (times within a minute, ServeGen's gaps). ``tolerate``: the share of lines
    that may be malformed. ``limit``: so many arrivals from the beginning. ``between``: only
    from and to which second; where there are windows, whole ones. ``models``: only those, by
    name or pattern (``chunk-*``); ``busiest``: of them, those with the most arrivals.
    ``model_by``: what tells the model, by format (docs/traces.md); ``fixed:NAME``: one model
    for all. ``values``: what a Prometheus range holds. Raises TraceError, which says what to do.
    """
    if limit is not None and limit < 1:
        raise TraceError(f"limit = {limit}: must be 1 or more arrivals")
    if busiest is not None and busiest < 1:
        raise TraceError(f"busiest = {busiest}: must be 1 or more models")
    if seed < 0:
        raise TraceError(f"seed = {seed}: must be 0 or more")
    found = format if format is not None else sniffed(path)
    chosen = FORMATS.get(found)
    if chosen is None:
        raise TraceError(f"format = {found}: unknown; known: {', '.join(FORMATS)}")
    fixed = _fixed(model_by)
    if model_by is not None and fixed is None:
        _check_model_by(found, chosen, model_by)
    options = Options(
        seed=seed,
        limit=limit,
        tolerate=tolerate,
        model_by=None if fixed else model_by,
        values=values,
        name=model_name(_stem(path)),
    )
    reading = Reading(options, Faults(tolerate), [])
    with closing(parts(path)) as files:
        try:
            source = chosen.read(files, reading)
        except TraceError as caught:
            raise _located(path, caught) from None
    notices = list(reading.told())
    assert isinstance(source, Trace | Windows)
    if not _arrivals(source):
        told = "".join(f"\n  {notice}" for notice in notices)
        raise TraceError(f"{path}: holds no arrivals (read as {found}){told}")
    if limit is not None and _arrivals(source) >= limit:
        if isinstance(source, Windows):
            source = source.until(limit)
        notices.append(f"the first {_arrivals(source):,} arrivals only, as asked for")
    if between is not None:
        source = _between(path, source, *between)
        notices.append(f"only {between[0]:g} to {between[1]:g} s, as asked for")
    if fixed is not None:
        source = source.as_one(fixed)
    if models or busiest is not None:
        kept = _chosen(path, source, models, busiest)
        notices.append(f"{len(kept):,} of {len(source.models):,} models, as asked for")
        source = source.only(kept)
    return Loaded(source, path, found, tuple(notices))


def sniffed(path: str) -> str:
    """The format of what is at ``path``, by its content. Raises TraceError where none fits."""
    first = ""
    with closing(parts(path)) as files:
        for part in islice(files, LOOKED_AT):
            head = part.peek()
            if "\0" in head:
                continue
            lines = [line for line in head.split("\n") if line.strip() and line[0] != "#"]
            for name, kind in FORMATS.items():
                if lines and kind.recognise(lines):
                    return name
            first = first or (lines[0] if lines else "")
    if not first:
        raise TraceError(f"{path}: is empty, or not text")
    raise TraceError(
        f"{path}: no known format; it begins with {shortened(first)}. Known, to be named with"
        f" --format: {', '.join(FORMATS)}"
    )


def _located(path: str, caught: TraceError) -> TraceError:
    text = str(caught)
    return caught if text.startswith(path) else TraceError(f"{path}: {text}")


def _stem(path: str) -> str:
    return Path(path).name.partition(".")[0]


def _fixed(model_by: str | None) -> ModelKey | None:
    if model_by is None or not model_by.startswith("fixed:"):
        return None
    name = model_by.removeprefix("fixed:")
    if not name:
        raise TraceError("model-by = fixed: a name is missing; write fixed:NAME")
    return ModelKey.parse(name)


def _check_model_by(name: str, chosen: Format, model_by: str) -> None:
    kinds = (*chosen.model_by, "fixed:")
    if any(
        len(model_by) > len(kind) and model_by.startswith(kind)
        if kind.endswith(":")
        else model_by == kind
        for kind in kinds
    ):
        return
    allowed = ", ".join(f"{kind}…" if kind.endswith(":") else kind for kind in kinds)
    raise TraceError(f"model-by = {model_by}: not for {name}; allowed: {allowed}")


def _arrivals(source: Trace | Windows) -> int:
    return len(source) if isinstance(source, Trace) else source.arrivals


def _per_model(source: Trace | Windows) -> NDArray[np.int64]:
    if isinstance(source, Windows):
        return source.per_model()
    return np.bincount(source.which, minlength=len(source.models))


def _between(path: str, source: Trace | Windows, begin: float, end: float) -> Trace | Windows:
    if not 0 <= begin < min(end, source.duration):
        raise TraceError(
            f"{path}: from {begin:g} to {end:g} s: must be within its {source.duration:g} s"
        )
    part = source.between(begin, end)
    if not _arrivals(part):
        raise TraceError(f"{path}: no arrivals from {begin:g} to {end:g} s")
    return part


def _chosen(
    path: str, source: Trace | Windows, patterns: Sequence[str], busiest: int | None
) -> list[ModelKey]:
    """Those models that are wanted. Raises TraceError when there are none."""
    keys = [
        key
        for key in source.models
        if not patterns
        or any(fnmatchcase(text, p) for p in patterns for text in (key.name, str(key)))
    ]
    if not keys:
        some = ", ".join(map(str, source.models[:10]))
        more = ", …" if len(source.models) > 10 else ""
        raise TraceError(
            f"{path}: no model is called {' or '.join(patterns)}; there are: {some}{more}"
        )
    if busiest is not None:
        counts = dict(zip(source.models, _per_model(source).tolist(), strict=True))
        keys = sorted(keys, key=lambda key: (-counts[key], key))[:busiest]
    return keys
