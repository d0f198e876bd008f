"""Counters of what callers got while, or instead of, being held."""

from __future__ import annotations

from collections.abc import Iterator

from stoker import telemetry
from stoker.telemetry import Reading


class HeldCounts:
    """One model's. Most models never count any of these."""

    __slots__ = ("comments", "error_events", "fallbacks", "placeholders")

    def __init__(self) -> None:
        self.comments = 0
        self.error_events = 0
        self.fallbacks = 0
        self.placeholders = 0

    def readings(self, label: tuple[str]) -> Iterator[Reading]:
        for metric, count in (
            (telemetry.HOLD_COMMENTS, self.comments),
            (telemetry.ERROR_EVENTS, self.error_events),
            (telemetry.FALLBACKS, self.fallbacks),
            (telemetry.PLACEHOLDERS, self.placeholders),
        ):
            if count:
                yield Reading(metric, label, count)
