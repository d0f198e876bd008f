"""What service is good enough: ``p99<2s, latency p95<10s, cold<1%``. Pure.

A percentile is of all requests, and one that was refused, given up or never answered counts
as one that waited for ever: nobody gets fast by turning people away.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stoker.errors import TuningError
from stoker.quantities import format_duration, parse_duration

GRAMMAR = (
    "terms joined by commas: p99<2s (the wait: latency without the time in a replica),"
    " latency p95<10s, cold<1%; p1 to p99.99; in place of a limit current or knative, which"
    " means no worse than with those settings"
)
_TERM = re.compile(r"(?:(wait|latency)\s+)?(?:p([0-9]{1,2}(?:\.[0-9]{1,2})?)|(cold))\s*<=?\s*(\S+)")


class Seen(Protocol):
    """What is known of how settings did: measured, or estimated."""

    @property
    def cold_share(self) -> float:
        """Of all requests."""

    def percentile(self, latency: bool, percent: float) -> float:
        """Of waits, or of whole latencies; infinity where too many were never answered."""


class Reference(enum.StrEnum):
    """Settings that others are compared with."""

    CURRENT = "current"
    KNATIVE = "knative"


class Of(enum.StrEnum):
    """What a term limits: seconds until the slot, until the answer's end, or the cold share."""

    WAIT = "wait"
    LATENCY = "latency"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Term:
    """``limit``: seconds, a share of 1 for ``Of.COLD``, or whose value it may not exceed."""

    of: Of
    percent: float
    limit: float | Reference

    def measure(self, seen: Seen) -> float:
        """What is limited, of what was seen; infinity where too many were never answered."""
        if self.of is Of.COLD:
            return seen.cold_share
        return seen.percentile(self.of is Of.LATENCY, self.percent)

    def bound(self, references: Mapping[Reference, Seen]) -> float:
        """The limit in figures."""
        if isinstance(self.limit, Reference):
            return self.measure(references[self.limit])
        return self.limit

    def __str__(self) -> str:
        if isinstance(self.limit, Reference):
            limit = self.limit.value
        elif self.of is Of.COLD:
            limit = f"{100 * self.limit:g}%"
        else:
            limit = format_duration(self.limit)
        what = "cold" if self.of is Of.COLD else f"p{self.percent:g}"
        return f"{'latency ' if self.of is Of.LATENCY else ''}{what}<{limit}"


@dataclass(frozen=True, slots=True)
class Slo:
    """All of ``terms`` hold."""

    terms: tuple[Term, ...]

    def met(self, seen: Seen, references: Mapping[Reference, Seen], margin: float = 0.0) -> bool:
        """Whether it was kept, with this share of every limit to spare."""
        return self.excess(seen, references) <= 1.0 - margin

    def excess(self, seen: Seen, references: Mapping[Reference, Seen]) -> float:
        """The worst term's measure by its limit: up to 1 is kept; infinite where nothing
        was allowed and something is there."""
        return max(_ratio(term.measure(seen), term.bound(references)) for term in self.terms)

    @property
    def references(self) -> set[Reference]:
        """Whose values it needs."""
        return {term.limit for term in self.terms if isinstance(term.limit, Reference)}

    def __str__(self) -> str:
        return ", ".join(map(str, self.terms))


def _ratio(value: float, limit: float) -> float:
    if value <= limit:
        # Both may be 0, or without bound where even the reference leaves people unanswered.
        return value / limit if 0 < limit < math.inf else min(value, 1.0)
    return value / limit if limit else math.inf


def parse_slo(text: str) -> Slo:
    """Raises TuningError, which gives the grammar."""
    parts: Sequence[str] = [part.strip() for part in text.split(",")]
    return Slo(tuple(_term(part, text) for part in parts))


def _term(part: str, text: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise TuningError(f"--slo = {text}: {part!r} is not understood; allowed: {GRAMMAR}")
    of, percent, cold, limit = match.groups()
    if cold and of:
        raise TuningError(f"--slo = {text}: cold starts have no {of}; write {cold}<{limit}")
    number = float(percent or 0)
    if not cold and not number:
        raise TuningError(f"--slo = {text}: p{percent} is no percentile; allowed: p1 to p99.99")
    if limit in tuple(Reference):
        return Term(Of(cold or of or "wait"), number, Reference(limit))
    return Term(Of(cold or of or "wait"), number, _limit(bool(cold), limit, text))


def _limit(is_share: bool, limit: str, text: str) -> float:
    if is_share:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?%", limit) or float(limit[:-1]) > 100:
            raise TuningError(f"--slo = {text}: {limit} is no share; allowed: 0% to 100%")
        return float(limit[:-1]) / 100
    try:
        return parse_duration(limit)
    except ValueError as caught:
        raise TuningError(
            f"--slo = {text}: {limit} {caught}; allowed: a duration such as 500ms, 2s, 1m30s"
        ) from None
