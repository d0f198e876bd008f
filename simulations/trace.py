"""Arrivals: when, for which model, and what is known of each request's work. Pure.

A ``Trace`` holds them as columns. A ``Source`` gives them in blocks, so that a hundred
million need never be in memory at once; a trace is a source with one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stoker.vocabulary import ModelKey

Floats = NDArray[np.float64]
Whole = NDArray[np.int32]


class Source(Protocol):
    """Where arrivals come from."""

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """Every model that may be asked for; blocks point into it."""

    @property
    def duration(self) -> float:
        """Seconds covered, from 0 on; no arrival is later."""

    def blocks(self) -> Iterator[Trace]:
        """Its arrivals in consecutive stretches of time, each with this source's ``models``.

        Times count from the source's beginning in every block; its ``duration`` is where its
        stretch ends. A second call gives the same.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Arrivals in the order of time; columns of equal length n.

    ``times``: seconds from the beginning, ascending, 0 to ``duration``. ``which``: places
    in ``models``. ``service``: seconds in a replica, NaN where not known. ``prompt_tokens``
    and ``output_tokens``: -1 where not known. A column that says nothing is None. ``began``:
    seconds since 1970 at second 0; None: not known.
    """

    models: tuple[ModelKey, ...]
    times: Floats
    which: Whole
    duration: float
    service: Floats | None = None
    prompt_tokens: Whole | None = None
    output_tokens: Whole | None = None
    began: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where columns do not fit together or times are out of order."""
        for name in ("which", "service", "prompt_tokens", "output_tokens"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.times):
                raise ValueError(f"{name}: {len(column)} values for {len(self.times)} arrivals")
        if not 0 <= self.duration < float("inf"):
            raise ValueError(f"duration = {self.duration}: must be finite, 0 s or more")
        if not len(self.times):
            return
        first, last = float(self.times[0]), float(self.times[-1])
        if not (first >= 0 and last <= self.duration and (np.diff(self.times) >= 0).all()):
            raise ValueError(
                f"times from {first} to {last} s: must ascend within 0 and {self.duration} s"
            )
        if not (self.which.min() >= 0 and self.which.max() < len(self.models)):
            raise ValueError(f"which: must point into the {len(self.models)} models")

    def __len__(self) -> int:
        return len(self.times)

    def blocks(self) -> Iterator[Trace]:
        """See ``Source``: all of it at once."""
        yield self

    def between(self, begin: float, end: float) -> Trace:
        """The arrivals in [begin, end), counted from ``begin``. Raises ValueError on none."""
        if not 0 <= begin < end:
            raise ValueError(f"from {begin} to {end} s: must begin at 0 or later, and end after it")
        low, high = np.searchsorted(self.times, (begin, end)).tolist()
        part = self._taken(slice(low, high))
        return replace(
            part,
            times=part.times - begin,
            duration=max(0.0, min(end, self.duration) - begin),
            began=None if self.began is None else self.began + begin,
        )

    def only(self, models: Iterable[ModelKey]) -> Trace:
        """The arrivals for these models alone. Raises KeyError for one that is not there."""
        chosen = tuple(dict.fromkeys(models))
        places = {key: place for place, key in enumerate(self.models)}
        renamed = np.full(len(self.models), -1, dtype=np.int32)
        for place, key in enumerate(chosen):
            renamed[places[key]] = place
        which = renamed[self.which]
        part = self._taken(np.flatnonzero(which >= 0))
        return replace(part, models=chosen, which=which[which >= 0])

    def as_one(self, key: ModelKey) -> Trace:
        """The same arrivals, all for one model."""
        return replace(self, models=(key,), which=np.zeros_like(self.which))

    def _taken(self, at: slice | NDArray[np.int64]) -> Trace:
        return replace(
            self,
            times=self.times[at],
            which=self.which[at],
            service=None if self.service is None else self.service[at],
            prompt_tokens=None if self.prompt_tokens is None else self.prompt_tokens[at],
            output_tokens=None if self.output_tokens is None else self.output_tokens[at],
        )


def gathered(source: Source) -> Trace:
    """All blocks of a source as one trace: for what needs to see everything at once."""
    blocks = list(source.blocks())
    if len(blocks) == 1:
        return blocks[0]
    return Trace(
        source.models,
        np.concatenate([np.zeros(0), *(block.times for block in blocks)]),
        np.concatenate([np.zeros(0, np.int32), *(block.which for block in blocks)]),
        source.duration,
        _joined([(len(b), b.service) for b in blocks], np.nan, np.float64),
        _joined([(len(b), b.prompt_tokens) for b in blocks], -1, np.int32),
        _joined([(len(b), b.output_tokens) for b in blocks], -1, np.int32),
        blocks[0].began if blocks else None,
    )


_Kind = TypeVar("_Kind", np.float64, np.int32)


def _joined(
    columns: Sequence[tuple[int, NDArray[_Kind] | None]], unknown: float, kind: type[_Kind]
) -> NDArray[_Kind] | None:
    """The columns behind each other; None where none of them says anything."""
    if all(column is None for _, column in columns):
        return None
    return np.concatenate(
        [np.full(n, unknown, dtype=kind) if column is None else column for n, column in columns]
    )
