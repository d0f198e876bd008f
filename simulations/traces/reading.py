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
from simulations.traces import azure_llm, mooncake, plain, servegen
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
    "azure-llm": Format("Azure LLM inference 2023 and 2024", azure_llm.recognise, azure_llm.read),
    "mooncake": Format("Mooncake, JSON lines or CSV", mooncake.recognise, mooncake.read),
    "servegen": Format("ServeGen client windows", servegen.recognise, servegen.read),
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
) -> Loaded:
    """Read the trace at ``path``: a file, plain or packed, a tar of files, or a folder.

    ``format``: a key of ``FORMATS``; None: by the content. ``seed``: for what the format
    leaves open (times within a minute, ServeGen's gaps). ``tolerate``: the share of lines
    that may be malformed. ``limit``: so many arrivals from the beginning. ``models``: only
    those, by name or pattern (``chunk-*``); ``busiest``: of them, those with the most
    arrivals. ``model_by``: what tells the model, by format (docs/traces.md); ``fixed:NAME``:
    one model for all. Raises TraceError, which says what to do.
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
    notices = reading.told()
    assert isinstance(source, Trace | Windows)
    if limit is not None and isinstance(source, Trace) and len(source) == limit:
        notices = (*notices, f"the first {limit:,} arrivals only, as asked for")
    if not _arrivals(source):
        told = "".join(f"\n  {notice}" for notice in notices)
        raise TraceError(f"{path}: holds no arrivals (read as {found}){told}")
    if fixed is not None:
        source = source.as_one(fixed)
    source, left = _chosen(path, source, models, busiest)
    return Loaded(source, path, found, notices + left)


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
    for kind in kinds:
        if model_by == kind or (
            kind.endswith(":") and len(model_by) > len(kind) > 0 and model_by.startswith(kind)
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


def _chosen(
    path: str, source: Trace | Windows, patterns: Sequence[str], busiest: int | None
) -> tuple[Trace | Windows, tuple[str, ...]]:
    """Those models alone that are wanted, with a notice of how many that were."""
    if not patterns and busiest is None:
        return source, ()
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
    of = len(source.models)
    return source.only(keys), (f"{len(keys):,} of {of:,} models, as asked for",)
