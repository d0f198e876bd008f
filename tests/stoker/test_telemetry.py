"""Readings are taken once, and rendered as they were then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from stoker import telemetry
from stoker.exposition import Exposition
from stoker.telemetry import Histogram, Reading


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Name and label values (the model first) → value, as a Prometheus parser understands it."""
    return {
        (sample.name, *sorted(sample.labels.values(), reverse=True)): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


class Source:
    """Counters and a histogram by model that go on changing."""

    def __init__(self) -> None:
        self.retries = Counter({"a": 1, "b": 2})
        self.holds = Histogram((0.1, 1.0))
        self.holds.add(0.5)

    def __call__(self) -> Iterator[Reading]:
        for model, count in self.retries.items():
            yield Reading(telemetry.RETRIES, (model,), count)
        yield Reading(telemetry.HOLD_SECONDS, ("a",), self.holds)


def test_what_was_read_does_not_change() -> None:
    """Neither what a source counts later nor new series change what is rendered."""
    source = Source()
    exposition = Exposition([source])
    readings = exposition.collect_readings()
    before = exposition.render()
    source.retries["a"] += 10
    source.retries["c"] = 1
    source.holds.add(0.05)
    assert exposition.render(readings) == before
    assert samples(before) == {
        ("stoker_retries_total", "a"): 1,
        ("stoker_retries_total", "b"): 2,
        ("stoker_hold_seconds_bucket", "a", "0.1"): 0,
        ("stoker_hold_seconds_bucket", "a", "1.0"): 1,
        ("stoker_hold_seconds_bucket", "a", "+Inf"): 1,
        ("stoker_hold_seconds_count", "a"): 1,
        ("stoker_hold_seconds_sum", "a"): 0.5,
    }
    now = samples(exposition.render())
    assert now["stoker_retries_total", "c"] == 1
    assert now["stoker_hold_seconds_count", "a"] == 2


def test_one_family_of_many_sources() -> None:
    """A metric that several sources offer is declared once."""
    exposition = Exposition(
        [lambda name=name: [Reading(telemetry.QUEUED, (name,), 1)] for name in "ab"]  # type: ignore[misc]
    )
    text = exposition.render()
    assert text.count(b"# TYPE stoker_queued_requests gauge") == 1
    assert set(samples(text)) == {("stoker_queued_requests", name) for name in "ab"}


def test_nothing_to_tell() -> None:
    """Rendering no readings does not ask the sources."""
    assert Exposition([Source()]).render([]) == b""


def test_a_copied_histogram() -> None:
    """It has the same in it, and is another."""
    histogram = Histogram((1.0, 2.0))
    histogram.add(1.5)
    copy = histogram.copy()
    histogram.add(3.0)
    assert (copy.bounds, copy.counts, copy.total, copy.count) == ((1.0, 2.0), [0, 1, 0], 1.5, 1)
    assert (histogram.counts, histogram.total) == ([0, 1, 1], 4.5)
