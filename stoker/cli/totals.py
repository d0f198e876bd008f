"""Metrics of several processes as if of one: counters and histograms add up, also of those
that have ended, so that none goes backwards; gauges are those of the living. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stoker.telemetry import Histogram, Kind, MetricSpec, Reading
from stoker.vocabulary import ModelKey

_Series = tuple[MetricSpec, tuple[str, ...]]


class Totals:
    """Sums readings by series. Processes are known by number."""

    def __init__(self) -> None:
        self._living: dict[int, tuple[Reading, ...]] = {}
        # Of the processes that have ended, counters and histograms only.
        self._kept: dict[_Series, float | Histogram] = {}

    def update(self, process: int, readings: Iterable[Reading]) -> None:
        """All that the process says now; it takes the place of what it said before."""
        self._living[process] = tuple(readings)

    def ended(self, process: int) -> None:
        """The process is gone: what it counted stays, what it had is over. Idempotent."""
        for spec, labels, value in self._living.pop(process, ()):
            if spec.kind is not Kind.GAUGE:
                _add(self._kept, (spec, labels), value)

    def forget(self, model: ModelKey) -> None:
        """The model was removed, and its series with it."""
        label = str(model)
        for series in [s for s in self._kept if _model_of(s) == label]:
            del self._kept[series]

    def readings(self) -> Iterator[Reading]:
        """One reading for each series."""
        sums: dict[_Series, float | Histogram] = {}
        for series, value in self._kept.items():
            _add(sums, series, value)
        for readings in self._living.values():
            for spec, labels, value in readings:
                _add(sums, (spec, labels), value)
        for (spec, labels), value in sums.items():
            yield Reading(spec, labels, value)


def _model_of(series: _Series) -> str:
    spec, labels = series
    return labels[0] if spec.labels[:1] == ("model",) else ""


def _add(sums: dict[_Series, float | Histogram], series: _Series, value: float | Histogram) -> None:
    before = sums.get(series)
    if isinstance(value, Histogram):
        if isinstance(before, Histogram) and before.bounds == value.bounds:
            before.counts = [a + b for a, b in zip(before.counts, value.counts, strict=True)]
            before.total += value.total
        else:
            sums[series] = value.copy()
    else:
        assert not isinstance(before, Histogram)
        sums[series] = value if before is None else before + value
