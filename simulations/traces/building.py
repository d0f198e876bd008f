"""From columns as they were read to a trace: in order, from second 0, with what was done told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from simulations.trace import Floats, Source, Trace, Whole
from simulations.traces.faults import TOLERATED, Faults
from simulations.traces.opening import Part
from simulations.traces.sampling import within_seconds
from stoker.vocabulary import ModelKey

DAY: Final = 86_400.0
EPOCH_FROM: Final = 1e8
"""Seconds from which a time counts from 1970 (this is in 1973) and not from a trace's start."""

Values = Literal["counter", "increase", "rate"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a trace is to be read.

    ``seed``: for what has to be drawn. ``tolerate``: share of lines that may be malformed.
    ``limit``: arrivals after which reading ends; None: read all. ``model_by``: what tells the
    model, by format; None: its default. ``values``: what the numbers of a Prometheus range
    are; None: found out. ``name``: what a model is called where the format has no names.
    """

    seed: int = 0
    tolerate: float = TOLERATED
    limit: int | None = None
    model_by: str | None = None
    values: Values | None = None
    name: str = "model"


@dataclass(slots=True)
class Reading:
    """One reading of a trace: its options, what was wrong, what there is to tell."""

    options: Options
    faults: Faults
    notices: list[str]

    def told(self) -> tuple[str, ...]:
        """All there is to tell. Raises TraceError when too many lines were wrong."""
        self.faults.settle()
        return (*self.notices, *self.faults.notices())


Reader = Callable[[Iterable[Part], Reading], Source]


def built(
    reading: Reading,
    models: Sequence[ModelKey],
    times: Floats,
    which: Whole | None = None,
    *,
    service: Floats | None = None,
    prompt_tokens: Whole | None = None,
    output_tokens: Whole | None = None,
    began: float | None = None,
    duration: float = 0.0,
    by_end: bool = False,
) -> Trace:
    """The columns as a trace, sorted if they are not. ``times`` are 0 or more.

    ``models`` without arrivals, as those of malformed lines, are left out. ``duration``: at
    least so many seconds are covered. ``by_end``: lines are in the order in
    which requests ended, so that nobody need be told that they had to be sorted.
    """
    if which is None:
        which = np.zeros(len(times), np.int32)
    asked_for = np.bincount(which, minlength=len(models)) > 0
    which = (np.cumsum(asked_for, dtype=np.int32) - 1)[which]
    last = float(times.max()) if len(times) else 0.0
    backwards = int((np.diff(times) < 0).sum())
    if backwards:
        order = np.argsort(times, kind="stable")
        times, which = times[order], which[order]
        service = None if service is None else service[order]
        prompt_tokens = None if prompt_tokens is None else prompt_tokens[order]
        output_tokens = None if output_tokens is None else output_tokens[order]
        if not by_end:
            reading.notices.append(_sorted(backwards, len(times)))
    return Trace(
        tuple(key for key, asked in zip(models, asked_for.tolist(), strict=True) if asked),
        times,
        which,
        max(last, duration),
        service=service,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        began=began,
    )


def _sorted(backwards: int, count: int) -> str:
    return f"{backwards:,} of {count:,} arrivals came before the one above them: sorted"


def spread_within_seconds(reading: Reading, times: Floats) -> Floats:
    """Times that are whole seconds, spread over their seconds; others as they are.

    A log with a resolution of a second would else seem to be nothing but bursts.
    """
    if len(times) < 2 or (times % 1 != 0).any() or len(np.unique(times)) == len(times):
        return times
    reading.notices.append(
        "times are whole seconds: arrivals are spread over the second that each has"
    )
    # Ranks, so that what comes out belongs to the line it came from.
    order = np.argsort(times, kind="stable")
    spread = np.empty_like(times)
    spread[order] = within_seconds(times[order], np.random.default_rng([reading.options.seed, 2]))
    return spread


def from_first(times: Floats) -> tuple[Floats, float]:
    """``times`` counted from the earliest, and what that was."""
    earliest = float(times.min()) if len(times) else 0.0
    return times - earliest, earliest
