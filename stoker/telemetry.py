"""Every metric's name, help text and labels; how readings become an exposition.

Shells count in plain integers on the hot path. At a scrape each offers its ``readings()``
and ``Exposition`` turns them into prometheus-client families, so that nothing is paid per
request for a label look-up. Taking the readings belongs on the event loop, whose callbacks
change what they are taken from; rendering them may be done anywhere.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """One metric. Names of counters are given without ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Histogram:
    """Cumulative-on-read histogram with fixed bounds (seconds). Adding costs one bisect."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> Histogram:
        """The same, unmoved by what is added to this one from now on."""
        copy = Histogram.__new__(Histogram)
        copy.bounds, copy.counts, copy.total = self.bounds, self.counts.copy(), self.total
        return copy


class Reading(NamedTuple):
    """One series' value at the moment of a scrape."""

    spec: MetricSpec
    labels: tuple[str, ...]
    value: float | Histogram


LATENCY_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)

_M = ("model",)

# activator
REQUESTS = MetricSpec(
    "stoker_requests",
    Kind.COUNTER,
    "Requests answered, by model and class of the status code",
    ("model", "code"),
)
REFUSALS = MetricSpec(
    "stoker_refusals",
    Kind.COUNTER,
    "Requests that Stoker itself refused or gave up, by reason",
    ("model", "reason"),
)
QUEUED = MetricSpec("stoker_queued_requests", Kind.GAUGE, "Requests held right now", _M)
ACTIVE = MetricSpec("stoker_active_requests", Kind.GAUGE, "Requests in replicas right now", _M)
HELD_BYTES = MetricSpec(
    "stoker_held_bytes", Kind.GAUGE, "Bytes of request bodies held right now, memory and spool", _M
)
HOLD_SECONDS = MetricSpec(
    "stoker_hold_seconds", Kind.HISTOGRAM, "How long requests that had to wait were held", _M
)
REQUEST_SECONDS = MetricSpec(
    "stoker_request_seconds",
    Kind.HISTOGRAM,
    "From the request's head to the answer's last byte, holds included",
    _M,
)
RETRIES = MetricSpec(
    "stoker_retries", Kind.COUNTER, "Requests sent again after a replica failed them", _M
)
EJECTIONS = MetricSpec(
    "stoker_ejections", Kind.COUNTER, "Replicas taken out of balancing after connect errors", _M
)
CONNECTIONS = MetricSpec("stoker_client_connections", Kind.GAUGE, "Client connections open now")
MALFORMED = MetricSpec(
    "stoker_malformed_requests",
    Kind.COUNTER,
    "Requests refused before a model was known, by status code",
    ("code",),
)
SPOOL_BYTES = MetricSpec("stoker_spool_bytes", Kind.GAUGE, "Bytes in body spool files right now")
LOST_REPORTS = MetricSpec(
    "stoker_lost_reports",
    Kind.COUNTER,
    "Load reports and pokes that no autoscaler was there to take",
    ("kind",),
)

# autoscaler
DESIRED = MetricSpec("stoker_desired_replicas", Kind.GAUGE, "Replicas decided on", _M)
REPLICAS = MetricSpec(
    "stoker_replicas", Kind.GAUGE, "Replicas there are, by phase", ("model", "phase")
)
PANIC = MetricSpec("stoker_panic_mode", Kind.GAUGE, "1 while the model is in panic mode", _M)
STABLE_CONCURRENCY = MetricSpec(
    "stoker_stable_concurrency", Kind.GAUGE, "Average load over the stable window", _M
)
PANIC_CONCURRENCY = MetricSpec(
    "stoker_panic_concurrency", Kind.GAUGE, "Average load over the panic window", _M
)
TICK_SECONDS = MetricSpec("stoker_tick_seconds", Kind.HISTOGRAM, "Time one decision tick took")
SCALE_COMMANDS = MetricSpec(
    "stoker_scale_commands", Kind.COUNTER, "Scale commands, by outcome", ("model", "outcome")
)
STALE_REPORTS = MetricSpec(
    "stoker_stale_reports",
    Kind.COUNTER,
    "Load reports dropped, by reason (old epoch, old sequence ...)",
    ("reason",),
)

# platform
COLD_START_SECONDS = MetricSpec(
    "stoker_cold_start_seconds",
    Kind.HISTOGRAM,
    "How long replicas took to get ready, by phase",
    ("model", "phase"),
)
REPLICA_EXITS = MetricSpec(
    "stoker_replica_exits", Kind.COUNTER, "Replicas that ended, by cause", ("model", "cause")
)

# settings
CONFIG_RELOADS = MetricSpec(
    "stoker_config_reloads", Kind.COUNTER, "Times the settings file was read anew", ("outcome",)
)

METRICS: tuple[MetricSpec, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, MetricSpec)
)

Source = Callable[[], Iterable[Reading]]


class Exposition:
    """All sources of one process as one Prometheus scrape target."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    def collect_readings(self) -> list[Reading]:
        """What all sources say now; nothing in it changes later. To be called on the loop."""
        return [
            reading._replace(value=reading.value.copy())
            if isinstance(reading.value, Histogram)
            else reading
            for source in self._sources
            for reading in source()
        ]

    def render(self, readings: Iterable[Reading] | None = None) -> bytes:
        """The text exposition format, UTF-8, of ``readings`` or else of what is read now.

        With ``readings`` it touches nothing of the sources and may be called in any thread.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Readings(self.collect_readings() if readings is None else readings))
        return generate_latest(registry)


class _Readings(Collector):
    """Readings as what prometheus-client takes."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for spec, labels, value in self._readings:
            family = families.get(spec.name)
            if family is None:
                family = families[spec.name] = _family(spec)
            _add(family, labels, value)
        return iter(families.values())


def _family(spec: MetricSpec) -> Metric:
    match spec.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)


def _add(family: Metric, labels: tuple[str, ...], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        assert isinstance(family, HistogramMetricFamily)
        running, buckets = 0, []
        for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
            running += count
            buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(running)))
        family.add_metric(labels, buckets, value.total)
    else:
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        family.add_metric(labels, value)
