"""The figures of a trace are those that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.trace import Trace
from simulations.traces.generators import Shape, generated
from simulations.traces.summary import huge_gaps, info
from simulations.traces.windows import Windows, even
from stoker.vocabulary import ModelKey

A, B, C = (ModelKey("default", name) for name in "abc")


def small() -> Trace:
    """Six arrivals in 1,000 s, of two of three models."""
    return Trace(
        (A, B, C),
        np.array([100.0, 100.5, 110, 110, 510, 800]),
        np.array([0, 0, 1, 0, 0, 1], np.int32),
        1000.0,
        np.array([0.5, 1.5, np.nan, np.nan, np.nan, np.nan]),
        np.array([10, -1, 30, -1, -1, -1], np.int32),
        began=5.0,
    )


def test_a_small_trace() -> None:
    """Rates, peaks, silences with where they are, sleep with the ends of the trace."""
    found = info(small())
    assert (found.arrivals, found.duration, found.models, found.began) == (6, 1000, 3, 5)
    flow = found.flow
    assert (flow.rate, flow.peak_second, flow.peak_minute) == (0.006, 2, 4 / 60)
    assert (flow.silence, flow.silent_from) == (400, 110)
    gaps = np.array([0.5, 9.5, 0, 400, 290])
    assert flow.cv == pytest.approx(gaps.std() / gaps.mean())
    # Silences 100, 400, 290, 200 s and short ones: what is left after 60 and 300 s in each.
    np.testing.assert_allclose(flow.idle, (0.75, 0.1))
    counts = np.zeros(1000)
    counts[[100, 110, 510, 800]] = [2, 2, 1, 1]
    assert flow.dispersion_second == pytest.approx(counts.var() / counts.mean())
    whole = np.array([0, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
    assert flow.dispersion_minute == pytest.approx(whole.var() / whole.mean())


def test_models_of_a_small_trace() -> None:
    """The busiest first; sleep of each, averaged; one without arrivals sleeps all the time."""
    found = info(small())
    assert [(str(key), flow.arrivals) for key, flow in found.busiest] == [
        ("default/a", 4),
        ("default/b", 2),
        ("default/c", 0),
    ]
    (_, a), (_, b), (_, c) = found.busiest
    assert (a.silence, b.silence, c.silence) == (490, 690, 1000)
    assert (a.silent_from, c.silent_from) == (510, 0)
    for place in range(2):
        mean = (a.idle[place] + b.idle[place] + c.idle[place]) / 3
        assert found.asleep[place] == pytest.approx(mean)
    assert b.cv == 0  # one gap does not vary
    assert np.isnan(c.cv)


def test_columns_of_a_small_trace() -> None:
    """Of those values that are known, and how many those are."""
    found = info(small())
    assert found.service is not None
    assert found.service.known == pytest.approx(2 / 6)
    assert found.service.mean == 1
    assert found.prompt_tokens is not None
    assert found.prompt_tokens.p50 == 20
    assert found.prompt_tokens.known == pytest.approx(2 / 6)
    assert found.output_tokens is None
    assert len(found.bars) == 60
    assert sum(found.bars) * 1000 / 60 == pytest.approx(6)


def test_one_arrival_and_none() -> None:
    """Nothing is divided by nothing; what cannot be known is NaN."""
    one = info(Trace((A,), np.zeros(1), np.zeros(1, np.int32), 0.0))
    assert (one.arrivals, one.flow.silence, one.asleep, one.bars) == (1, 0, (0, 0), ())
    assert np.isnan([one.flow.cv, one.flow.rate, one.flow.dispersion_second]).all()
    none = info(Trace((A,), np.zeros(0), np.zeros(0, np.int32), 10.0))
    assert (none.arrivals, none.flow.silence, none.flow.peak_second) == (0, 10, 0)
    assert np.isnan(none.flow.dispersion_second)
    assert info(Trace((), np.zeros(0), np.zeros(0, np.int32), 10.0)).asleep == (0, 0)
    assert none.notices == ()


def test_a_huge_silence_is_noticed() -> None:
    """It may be a time that is wrong."""
    (notice,) = info(small()).notices
    assert notice.startswith("nothing arrives for 400 s from 110 s on, 40% of the time")
    steady = generated("poisson", Shape(rate=1), 5000, np.random.default_rng(1))
    assert info(steady).notices == ()


def test_poisson_looks_like_poisson() -> None:
    """CV and both dispersions are 1."""
    flow = info(generated("poisson", Shape(rate=4), 86_400, np.random.default_rng(1))).flow
    assert flow.cv == pytest.approx(1, abs=0.02)
    assert flow.dispersion_second == pytest.approx(1, abs=0.02)
    assert flow.dispersion_minute == pytest.approx(1, abs=0.1)


def busy(windows: int = 100) -> Windows:
    """Two models at 2 and 1 requests/s in windows of 100 s, the first idle for 40 of them."""
    index = np.concatenate([np.arange(windows), np.arange(windows)]).astype(np.int32)
    which = np.repeat([0, 1], windows).astype(np.int32)
    counts = np.repeat([200.0, 100.0], windows)
    counts[30:70] = 0
    some = counts > 0
    return even((A, B), 100.0, windows, (index[some], which[some], counts[some]), seed=1)


def test_windows_are_counted_in_full_and_looked_at_in_part() -> None:
    """Rates, bars and idle windows are exact; the rest is of windows that were drawn."""
    whole, part = info(busy()), info(busy(), most=4000)
    for found in (whole, part):
        assert found.arrivals == 60 * 200 + 100 * 100
        assert found.flow.rate == pytest.approx(2.2)
        (_, first), (_, second) = found.busiest
        assert (first.arrivals, second.arrivals) == (12_000, 10_000)
        assert 4000 <= first.silence < 4010
        assert second.silence < 20
        assert found.bars[0] == pytest.approx(3)
        assert found.bars[20] == pytest.approx(1)
    assert (whole.looked_at, whole.seconds, whole.notices) == (22_000, 10_000, ())
    assert 2000 < part.looked_at < 6000
    assert part.seconds == pytest.approx(1800)
    assert part.notices == (
        "bursts and sleep are those of 18 of 100 windows of 100 s, drawn at random",
    )
    assert part.busiest[0][1].silent_from == 3000
    # Of 10,000 s the first model could sleep 4,000 less 60.
    assert whole.busiest[0][1].idle[0] == pytest.approx(0.394, abs=0.002)
    none = info(even((A,), 1.0, 0, (np.zeros(0, np.int32),) * 2 + (np.zeros(0),), seed=0))
    assert (none.arrivals, none.bars) == (0, ())


def test_a_huge_gap_is_remarked() -> None:
    """Of 100 s: 60 without arrivals, also before the first; not 20, and not of no time at all."""

    def said(*times: float, seconds: float = 100.0) -> list[str]:
        return huge_gaps(Trace((A,), np.array(times), np.zeros(len(times), np.int32), seconds))

    (between,) = said(0, 20, 80, 100)
    assert between.startswith("nothing arrives for 60 s from 20 s on, 60% of the time;")
    (before,) = said(60, 80, 100)
    assert before.startswith("nothing arrives for 60 s from 0 s on")
    assert said(0, 20, 40, 60, 80, 100) == said(50) == said(0, 0, seconds=0.0) == []
    assert info(Trace((A,), np.zeros(2), np.zeros(2, np.int32), 0.0)).notices == ()
