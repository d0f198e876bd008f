"""The scrape's text as Prometheus reads it, and how it is made beside requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stoker import exposition
from stoker.exposition import Exposition, slices
from stoker.telemetry import Histogram, Kind, MetricSpec, Reading

COUNT = MetricSpec("a_count", Kind.COUNTER, 'Counts "things" \\ and\nmore', ("model",))
LEVEL = MetricSpec("a_level", Kind.GAUGE, "A level")
TIMES = MetricSpec("a_time", Kind.HISTOGRAM, "Times", ("model", "phase"))
BARE_TIMES = MetricSpec("b_time", Kind.HISTOGRAM, "Times")


def histogram(*values: float) -> Histogram:
    made = Histogram((0.1, 1.0))
    for value in values:
        made.add(value)
    return made


def _le_last(label: tuple[str, str]) -> tuple[bool, str]:
    return label[0] == "le", label[0]


def parsed(text: bytes) -> dict[tuple[str, ...], float]:
    """Name and label values → value, as a Prometheus parser understands it."""
    return {
        (sample.name, *(v for _, v in sorted(sample.labels.items(), key=_le_last))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_kind_is_read_as_it_was_meant() -> None:
    """Counters, gauges, histograms with and without labels."""
    text = Exposition([]).render(
        [
            Reading(COUNT, ("a",), 3),
            Reading(LEVEL, (), 2.5),
            Reading(COUNT, ("b",), 1),
            Reading(TIMES, ("a", "total"), histogram(0.05, 0.5, 0.5, 7.0)),
            Reading(BARE_TIMES, (), histogram(0.25)),
        ]
    )
    assert parsed(text) == {
        ("a_count_total", "a"): 3,
        ("a_count_total", "b"): 1,
        ("a_level",): 2.5,
        ("a_time_bucket", "a", "total", "0.1"): 1,
        ("a_time_bucket", "a", "total", "1.0"): 3,
        ("a_time_bucket", "a", "total", "+Inf"): 4,
        ("a_time_count", "a", "total"): 4,
        ("a_time_sum", "a", "total"): 8.05,
        ("b_time_bucket", "0.1"): 0,
        ("b_time_bucket", "1.0"): 1,
        ("b_time_bucket", "+Inf"): 1,
        ("b_time_count",): 1,
        ("b_time_sum",): 0.25,
    }
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert families["a_count"].documentation == 'Counts "things" \\ and\nmore'
    assert families["a_time"].type == "histogram"
    assert text.count(b"# TYPE a_count_total counter\n") == 1


@given(st.text(), st.floats(allow_nan=False))
def test_no_label_breaks_the_text(label: str, value: float) -> None:
    """Whatever a label holds, and whatever the number, one line tells both."""
    label = label.encode("utf-8", "replace").decode()
    text = b"".join(slices([Reading(COUNT, (label,), value)])).decode()
    assert len(text.split("\n")) == 4
    if "\r" not in label and not set(label) & set("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        assert parsed(text.encode()) == {("a_count_total", label): value}


def test_what_is_large_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces end with whole lines and together are the same text; the thread rests between."""
    readings = [Reading(COUNT, (f"m{n}",), n) for n in range(2000)]
    pieces = list(slices(readings))
    assert len(pieces) == 2000 // exposition.SLICE_LINES + 1
    assert all(piece.endswith(b"\n") for piece in pieces)
    rests: list[float] = []
    monkeypatch.setattr("stoker.exposition.time.sleep", rests.append)
    made = Exposition([])
    assert made.render_gently(readings) == made.render(readings) == b"".join(pieces)
    assert len(rests) == len(pieces)


async def test_others_get_their_turn_between_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that gives lists is left between them; one of single readings never is."""
    monkeypatch.setattr(exposition, "SLICE_SECONDS", -1.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    seen: list[int] = []

    def in_lists() -> Iterator[list[Reading]]:
        for n in range(5):
            seen.append(turns)
            yield [Reading(COUNT, (f"m{n}",), n)]

    def one_by_one() -> Iterator[Reading]:
        for n in range(5):
            seen.append(turns)
            yield Reading(LEVEL, (), n)

    task = asyncio.ensure_future(others())
    await asyncio.sleep(0)
    readings = await Exposition([in_lists, one_by_one]).collect_in_slices()
    task.cancel()
    assert len(readings) == 10
    assert len(set(seen[:5])) == 5
    assert len(set(seen[5:])) == 1


async def test_taking_in_slices_and_at_once_tell_the_same() -> None:
    """And neither changes with what is counted later."""
    times = histogram(0.5)

    def source() -> Iterator[Reading | list[Reading]]:
        yield [Reading(TIMES, ("a", "b"), times), Reading(COUNT, ("a",), 1)]
        yield Reading(LEVEL, (), 1)

    made = Exposition([source])
    at_once, in_slices = made.collect_readings(), await made.collect_in_slices()
    before = made.render()
    times.add(0.5)
    assert made.render(at_once) == made.render(in_slices) == before
    assert made.render() != before
