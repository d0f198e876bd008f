"""Parts of the report: numbers, axes, thinning, the choice of the best."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.report import numbers
from simulations.report.chart import HEIGHT, WIDTH, steps
from simulations.report.models import most_expensive
from simulations.report.naming import named
from simulations.report.rows import Better, Row, groups
from simulations.report.thinning import kept, summed
from simulations.report.ticks import decades, nine_ticks, nines, over_time, upward, upward_seconds
from simulations.result import Spread, Totals
from stoker.vocabulary import ModelKey
from tests.simulations.made import HOSTILE, result, several

NAN = float("nan")


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (numbers.count, 0, "0"),
        (numbers.count, 1234567, "1,234,567"),
        (numbers.count, 2.3456, "2.35"),
        (numbers.count, 123.4, "123"),
        (numbers.count, NAN, "–"),
        (numbers.compact, 9500, "9,500"),
        (numbers.compact, 12_000, "12k"),
        (numbers.compact, 1_500_000, "1.5M"),
        (numbers.compact, 2e9, "2G"),
        (numbers.seconds, 0, "0 s"),
        (numbers.seconds, 0.00034, "340 µs"),
        (numbers.seconds, 0.0123, "12.3 ms"),
        (numbers.seconds, 0.9996, "1 s"),
        (numbers.seconds, 4.564, "4.56 s"),
        (numbers.seconds, 59.96, "1 min"),
        (numbers.seconds, 200, "3 min 20 s"),
        (numbers.seconds, 3599.7, "1 h"),
        (numbers.seconds, 7500, "2 h 5 min"),
        (numbers.seconds, 86_399, "1 d"),
        (numbers.seconds, 3 * 86_400 + 4 * 3600, "3 d 4 h"),
        (numbers.seconds, NAN, "–"),
        (numbers.hours, 1500, "0.417 h"),
        (numbers.hours, 3600 * 1234.4, "1,234 h"),
        (numbers.hours, NAN, "–"),
        (numbers.dollars, 0, "$0"),
        (numbers.dollars, 0.001234, "$0.00123"),
        (numbers.dollars, 4.5, "$4.50"),
        (numbers.dollars, 1234.5, "$1,234"),
        (numbers.dollars, NAN, "–"),
        (numbers.percent, 0, "0 %"),
        (numbers.percent, 0.00042, "0.042 %"),
        (numbers.percent, 0.123, "12.3 %"),
        (numbers.percent, 0.9995, "99.95 %"),
        (numbers.percent, 1 - 1e-12, "100 %"),
        (numbers.percent, 1, "100 %"),
        (numbers.percent, NAN, "–"),
    ],
)
def test_numbers_are_written_for_people(write: object, value: float, text: str) -> None:
    """With a unit, thousands apart, three digits; a dash for what is not known."""
    assert callable(write)
    assert write(value) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_printed_of_a_name_cannot_steer_anything(text: str) -> None:
    """No control character, direction mark or lone surrogate is left."""
    assert numbers.printable(text).isprintable()
    assert numbers.printable("Größe-7b (v2)") == "Größe-7b (v2)"
    assert numbers.printable("a\x1b[2Jb") == "a\\x1b[2Jb"


def test_long_names_keep_both_ends() -> None:
    """Their middle is left out, to the length that is allowed."""
    assert numbers.shortened("short", 8) == "short"
    assert numbers.shortened("prefix-of-one", 8) == "pre…-one"


@given(st.floats(1e-6, 1e12), st.booleans())
def test_an_axis_covers_its_values_with_few_marks(highest: float, whole: bool) -> None:
    """From 0 up to the highest value or above it; at most four parts, none of them wasted."""
    end, ticks = upward(highest, whole=whole)
    assert end >= highest * (1 - 1e-6)
    assert 2 <= len(ticks) <= 5
    assert (ticks[0].place, ticks[-1].place) == (0.0, 1.0)
    assert whole or end <= 2.6 * highest


def test_axes_of_whole_numbers_of_nothing_and_of_seconds() -> None:
    """No half replica at a mark; an axis of zeros has a mark at 1; seconds have units."""
    assert [t.text for t in upward(2, whole=True)[1]] == ["0", "1", "2"]
    assert [t.text for t in upward(0.0)[1]] == ["0", "1"]
    assert upward_seconds(150) == (
        180.0,
        ((0.0, "0 min"), (1 / 3, "1 min"), (2 / 3, "2 min"), (1.0, "3 min")),
    )
    assert [t.text for t in upward_seconds(0.0005)[1]][-1] == "0.6 ms"


@pytest.mark.parametrize(
    ("duration", "title", "texts"),
    [
        (0.3, "milliseconds", ["0", "50", "100", "150", "200", "250", "300"]),
        (45, "seconds", ["0", "10", "20", "30", "40"]),
        (300, "minutes", ["0", "1", "2", "3", "4", "5"]),
        (4 * 3600, "hours", ["0", "1", "2", "3", "4"]),
        (14 * 86400, "days", ["0", "3", "6", "9", "12"]),
    ],
)
def test_time_is_in_the_unit_that_suits(duration: float, title: str, texts: list[str]) -> None:
    """From milliseconds to days, at round numbers."""
    axis = over_time(duration, None)
    assert axis.title == title
    assert [tick.text for tick in axis.ticks] == texts


@pytest.mark.parametrize(
    ("duration", "texts"),
    [
        (20, ["22:13:20", "22:13:25", "22:13:30", "22:13:35", "22:13:40"]),
        (3600, ["22:20", "22:30", "22:40", "22:50", "23:00", "23:10"]),
        (4 * 3600, ["23:00", "15 Nov", "01:00", "02:00"]),
        (2 * 86400, ["15 Nov", "12:00", "16 Nov", "12:00"]),
        (14 * 86400, ["16 Nov", "19 Nov", "22 Nov", "25 Nov", "28 Nov"]),
    ],
)
def test_time_is_the_clock_s_where_that_is_known(duration: float, texts: list[str]) -> None:
    """Round moments in UTC; a new day is named."""
    axis = over_time(duration, 1_700_000_000.0)
    assert axis.title == "UTC, from 14 Nov 2023 22:13"
    assert [tick.text for tick in axis.ticks] == texts


@given(st.floats(1e-3, 3e9), st.one_of(st.none(), st.floats(0, 4e9)))
def test_marks_of_time_are_few_and_on_the_axis(duration: float, began: float | None) -> None:
    """At most a handful, in order, within the axis, for any duration up to a century."""
    places = [tick.place for tick in over_time(duration, began).ticks]
    assert len(places) <= 25
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(a < b for a, b in pairwise(places))


def test_logarithmic_axes() -> None:
    """Powers of ten around the values, without minutes; values beyond are at the ends."""
    scale = decades(0.004, 130)
    assert [t.text for t in scale.axis.ticks] == [
        "1 ms",
        "10 ms",
        "100 ms",
        "1 s",
        "10 s",
        "100 s",
        "1,000 s",
    ]
    assert scale.place(1.0) == pytest.approx(0.5)
    assert (scale.place(0.0), scale.place(1e9)) == (0.0, 1.0)
    assert [t.text for t in decades(1e-5, 1e-5).axis.ticks] == ["10 µs", "100 µs"]
    assert len(decades(1e-6, 1e6).axis.ticks) == 7


def test_nines_are_equally_far_apart() -> None:
    """90 %, 99 %, 99.9 % are one step up each; all of them is the top."""
    assert [t.text for t in nine_ticks(3)] == ["0 %", "50 %", "90 %", "99 %", "99.9 %"]
    assert [t.text for t in nine_ticks(2)] == ["0 %", "50 %", "90 %", "99 %"]
    places = [nines(share, 4) for share in (0.0, 0.9, 0.99, 0.9999, 0.999999, 1.0)]
    assert places == pytest.approx([0, 0.25, 0.5, 1, 1, 1])


FLOATS = st.lists(st.floats(0, 1e6), min_size=1, max_size=3000)


@given(FLOATS, st.integers(4, 400))
def test_thinning_keeps_peaks_and_troughs(values: list[float], most: int) -> None:
    """The highest, the lowest, the ends stay, in order; no more are left than allowed."""
    array = np.array(values)
    places = kept(array, most)
    assert len(places) <= most
    assert (np.diff(places) > 0).all()
    assert (places[0], places[-1]) == (0, len(values) - 1)
    assert (array[places].max(), array[places].min()) == (array.max(), array.min())


@given(st.lists(st.integers(0, 1000), max_size=3000), st.integers(1, 200))
def test_joined_bars_still_add_up(values: list[int], most: int) -> None:
    """No request is lost between bars, and there are no more of these than allowed."""
    bars = summed(np.array(values, dtype=np.float64), most)
    assert bars.sum() == sum(values)
    assert len(bars) <= most


def test_outlines_are_steps_without_corners_that_nobody_sees() -> None:
    """Height by height, to the right edge or to its own end; filled ones come back down."""
    assert steps([], []) == ""
    assert steps([0, 0.1, 0.5], [0.5, 0.5, 1]) == f"M0 500H1000V0H{WIDTH}"
    assert steps([0, 0.5], [0.5, 1], end=0.5) == "M0 500H1000V0H1000"
    assert steps([0], [1], filled=True) == f"M0 {HEIGHT}V0H{WIDTH}V{HEIGHT}Z"


def row(better: Better, tolerance: float = 0.0) -> Row:
    """A row of the dollars of runs."""
    return Row("x", lambda r: r.money.dollars, str, better, tolerance)


@pytest.mark.parametrize(
    ("values", "row", "best"),
    [
        ([3, 1, 2], row(Better.LOWER), {1}),
        ([3, 1, 2], row(Better.HIGHER), {0}),
        ([3, 1, 2], row(Better.NEITHER), set()),
        ([1, 1, 2], row(Better.LOWER), {0, 1}),
        ([1, 1.004, 2], row(Better.LOWER, 0.005), {0, 1}),
        ([1, 1.004, 2], row(Better.LOWER), {0}),
        ([2, 2, 2], row(Better.LOWER), set()),
        ([NAN, 4, 5], row(Better.LOWER), {1}),
        ([NAN, 4], row(Better.LOWER), set()),
        ([NAN, NAN], row(Better.LOWER), set()),
        ([7], row(Better.LOWER), set()),
    ],
)
def test_the_best_of_a_row(values: list[float], row: Row, best: set[int]) -> None:
    """The lowest or highest, ties included; none where there is nothing to choose."""
    runs = [result(steps=1) for _ in values]
    for run, value in zip(runs, values, strict=True):
        run.money.dollars = value
    assert row.best(runs) == best


def test_rows_say_a_dash_for_what_a_run_has_not() -> None:
    """A run without an answer: no percentile, price, share; nodes and reasons where they are."""
    run = result(steps=1)
    run.totals, run.waits, run.latencies, run.cold_waits = Totals(), Spread(), Spread(), Spread()
    texts = {row.name: row.text(row.value(run)) for g in groups([run]) for row in g.rows}
    unknown = {"cold share", "utilisation", "$ per 1,000 answered"}
    unknown |= {
        f"{n} {p}" for n in ("wait", "cold wait", "latency") for p in ("p50", "p95", "p99", "max")
    }
    assert {name for name, text in texts.items() if text == "–"} == unknown
    other = result(steps=1)
    other.totals = Totals(node_seconds=7200.0, refused=Counter({"queue\x1b": 3}))
    texts = {row.name: row.text(row.value(other)) for g in groups([run, other]) for row in g.rows}
    assert (texts["node-hours"], texts["  queue\\x1b"], texts["refused"]) == ("2 h", "3", "3")
    assert "node-hours" not in {row.name for g in groups([run]) for row in g.rows}


def test_models_share_the_dollars_by_replica_seconds() -> None:
    """The most expensive first; of equal ones the one that was asked more."""
    run = result(steps=1)
    run.money.dollars = 12.0
    run.models = {
        ModelKey("default", name): Totals(requests=n, replica_seconds=s)
        for name, n, s in (("a", 1, 10.0), ("b", 2, 40.0), ("c", 9, 10.0))
    }
    shares = most_expensive(run)
    assert [share.key.name for share in shares] == ["b", "c", "a"]
    assert [share.dollars for share in shares] == [8.0, 2.0, 2.0]
    run.models = {ModelKey("default", "idle"): Totals()}
    assert [share.dollars for share in most_expensive(run)] == [0.0]


def test_runs_are_told_apart() -> None:
    """Thirty runs have thirty looks; a run without a label has its trace's name, or a number."""
    assert len({run.look for run in named([result(steps=1)] * 30)}) == 30
    first, second = named([result("", steps=1), result("", trace="", steps=1)])
    assert (first.title, second.title) == ("1 AzureLLMInferenceTrace_code.csv", "2 run 2")
    (only,) = named(several(1))
    assert only.title == "scale to zero, 60 s"
