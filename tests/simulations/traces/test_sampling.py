"""What is drawn has the counts it must have exactly, and the spread of its family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.trace import Floats, gathered
from simulations.traces.mixture import Mixture
from simulations.traces.sampling import in_order, placed, whole_counts, within_seconds
from simulations.traces.windows import Windows, even
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey

KEYS = (ModelKey("default", "a"), ModelKey("default", "b"))


def gaps(shape: float, weibull: bool, rng: np.random.Generator) -> Floats:
    """The gaps of 100,000 arrivals in one window."""
    _, shares = placed(
        np.array([100_000], np.int32),
        np.array([shape], np.float32),
        np.array([weibull]),
        rng,
    )
    return np.diff(shares)


@pytest.mark.parametrize(
    ("shape", "weibull", "cv"),
    [
        (1.0, False, 1.0),
        (1.0, True, 1.0),
        (0.25, False, 2.0),
        (4.0, False, 0.5),
        # sqrt(Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 - 1) at k = 0.5 and 2.
        (0.5, True, 5**0.5),
        (2.0, True, 0.5227),
    ],
)
def test_gaps_have_the_family_s_variation(shape: float, weibull: bool, cv: float) -> None:
    """Mean 1/n of the window, and the CV that the family has for its shape."""
    drawn = gaps(shape, weibull, np.random.default_rng(5))
    assert drawn.mean() == pytest.approx(1e-5, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.03)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.floats(1e-3, 1e4), st.booleans()), min_size=0, max_size=9
    ),
    st.integers(0, 2**32),
)
def test_every_row_gets_its_count(rows: list[tuple[int, float, bool]], seed: int) -> None:
    """Within its window, ascending, however odd the shape."""
    counts = np.array([count for count, _, _ in rows], np.int32)
    row, shares = placed(
        counts,
        np.array([shape for _, shape, _ in rows], np.float32),
        np.array([weibull for _, _, weibull in rows], np.bool_),
        np.random.default_rng(seed),
    )
    assert np.bincount(row, minlength=len(rows)).tolist() == counts.tolist()
    assert (np.diff(row) >= 0).all()
    assert ((shares >= 0) & (shares < 1)).all()
    assert (np.diff(shares)[np.diff(row) == 0] >= 0).all()


def test_arrivals_are_put_in_order() -> None:
    """By time; models stay with their arrivals; nothing moves by more than 2^-43."""
    rng = np.random.default_rng(2)
    shares = rng.random(10_000)
    which = rng.integers(0, 1 << 20, 10_000).astype(np.int32)
    ordered, times = in_order(which, shares)
    expected = np.argsort(shares, kind="stable")
    np.testing.assert_allclose(times, shares[expected], rtol=0, atol=2.0**-43)
    np.testing.assert_array_equal(ordered, which[expected])


def test_broken_counts_keep_their_totals() -> None:
    """Each model's sum is right to one, each window's to one; whole ones stay."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 5, 1000).astype(np.int32)
    expected = rng.random(1000) * 3
    counts = whole_counts(expected, which, np.random.default_rng(4))
    assert (abs(counts - expected) < 1).all()
    for model in range(5):
        assert abs(counts[which == model].sum() - expected[which == model].sum()) < 1
    means = np.mean(
        [whole_counts(expected, which, np.random.default_rng(seed)) for seed in range(2000)], axis=0
    )
    np.testing.assert_allclose(means, expected, atol=0.06)
    whole = np.array([3.0, 0, 5])
    assert whole_counts(whole, which[:3], rng).tolist() == [3, 0, 5]
    tenths = whole_counts(np.full(10, 0.1), np.zeros(10, np.int32), rng)
    assert tenths.sum() == 1


def test_whole_seconds_are_spread() -> None:
    """Each stays in its second; in order."""
    times = np.repeat([3.0, 4.0, 10.0], 100)
    spread = within_seconds(times, np.random.default_rng(1))
    np.testing.assert_array_equal(np.floor(spread), times)
    assert (np.diff(spread) >= 0).all()


def windows(seed: int = 1, block: int = 1_000_000) -> Windows:
    """Three windows of 10 s; the middle one is idle, as is the last of four."""
    return Windows(
        KEYS,
        10.0,
        4,
        np.array([0, 0, 2], np.int32),
        np.array([0, 1, 1], np.int32),
        np.array([30, 5, 40], np.int64),
        np.array([1, 0.5, 2], np.float32),
        np.array([False, False, True]),
        seed,
        block=block,
        began=1000.0,
    )


def test_blocks_are_the_same_however_they_are_cut() -> None:
    """One block or many, twice: the same arrivals in the same windows."""
    whole = gathered(windows())
    parts = list(windows(block=1).blocks())
    assert [len(part) for part in parts] == [35, 40]
    assert [part.duration for part in parts] == [10, 30]
    for again in (gathered(windows(block=1)), gathered(windows())):
        np.testing.assert_array_equal(again.times, whole.times)
        np.testing.assert_array_equal(again.which, whole.which)
    assert (whole.duration, windows().arrivals, whole.began) == (40, 75, 1000)
    assert np.bincount((whole.times // 10).astype(int)).tolist() == [35, 0, 40]
    assert (gathered(windows(seed=2)).times != whole.times).any()


def test_a_stretch_of_windows_has_the_arrivals_it_had() -> None:
    """Cutting draws nothing anew: the same times, from the new beginning on."""
    whole, part = gathered(windows()), windows().between(15, 25)
    assert (part.windows, part.began, part.duration) == (2, 1010, 20)
    np.testing.assert_allclose(gathered(part).times, whole.times[35:] - 10, atol=1e-9)
    again = part.between(10, 20)
    np.testing.assert_allclose(gathered(again).times, whole.times[35:] - 20, atol=1e-9)
    assert (windows().until(1).windows, windows().until(36).windows) == (1, 3)
    assert windows().until(1000).windows == 4
    with pytest.raises(ValueError, match="must begin at 0 or later"):
        windows().between(5, 5)
    nothing = windows().between(30, 40)
    assert (nothing.arrivals, list(nothing.blocks())) == (0, [])


def test_some_models_all_as_one_some_windows() -> None:
    """What is chosen keeps its counts."""
    only = windows().only([KEYS[1]])
    assert (only.models, only.per_model().tolist()) == ((KEYS[1],), [45])
    assert set(gathered(only).which.tolist()) == {0}
    with pytest.raises(KeyError):
        windows().only([ModelKey("default", "c")])
    one = windows().as_one(ModelKey("default", "all"))
    assert (one.arrivals, one.per_window().tolist()) == (75, [35, 0, 40, 0])
    half = windows().some(0.5)
    assert (half.windows, half.duration) == (2, 20)
    assert half.arrivals in (0, 35, 40, 75)
    assert windows().some(0).windows == 1


def test_idle_windows_are_found() -> None:
    """The longest run without arrivals of each model, at the ends too."""
    assert windows().idle().tolist() == [[1, 3], [1, 1]]
    busy = even(
        (*KEYS, ModelKey("default", "c")),
        1.0,
        5,
        (np.array([4, 0], np.int32), np.array([0, 1], np.int32), np.array([2.0, 1.0])),
        seed=0,
    )
    assert busy.idle().tolist() == [[0, 4], [1, 4], [0, 5]]


def test_widened_to_many_models() -> None:
    """Copies are shifted around the clock, and their total is scaled."""
    wide = windows().widened(5, 1500, np.random.default_rng(1))
    assert (len(wide.models), wide.windows) == (5, 4)
    assert wide.arrivals == pytest.approx(1500, abs=5)
    assert (np.diff(wide.index) >= 0).all()
    counts = wide.per_model()
    assert counts[0] == pytest.approx(counts[2], abs=1)
    assert counts[1] / counts[0] == pytest.approx(45 / 30, rel=0.05)
    assert len(gathered(wide)) == wide.arrivals


def test_too_many_models() -> None:
    """Refused, and told what to do."""
    few = windows()
    with pytest.raises(TraceError, match="1,048,577 models: at most 1,048,576; choose some"):
        Windows(
            *(KEYS[:1] * ((1 << 20) + 1), 1.0, 4, few.index, few.which, few.counts),
            *(few.shapes, few.weibull, 0),
        )


def mixture() -> Mixture:
    """Model 0: a part of 1 to 2 s (3 of 4 calls) and one of 10 s; model 1: nothing is known."""
    return Mixture.of(
        np.array([0, 1, 0], np.int32),
        np.array([3.0, 5.0, 1.0]),
        np.array([[1.0, 1.5, 2.0], [np.nan] * 3, [10.0, 10.0, 10.0]]),
        np.array([0, 0.5, 1]),
    )


def test_service_times_are_drawn_from_a_model_s_parts() -> None:
    """By their weights and straight between percentiles; unknown stays unknown."""
    rng = np.random.default_rng(8)
    seconds = mixture()(np.zeros(20_000, np.int32), rng)
    short = seconds[seconds < 5]
    assert len(short) / len(seconds) == pytest.approx(0.75, abs=0.02)
    assert (short.min() >= 1, short.max() <= 2) == (True, True)
    assert short.mean() == pytest.approx(1.5, abs=0.02)
    assert np.isnan(mixture()(np.ones(9, np.int32), rng)).all()
    swapped = mixture().only(np.array([1, 0], np.int32))
    assert np.isnan(swapped(np.zeros(9, np.int32), rng)).all()
    one = mixture().as_one()(np.zeros(20_000, np.int32), rng)
    assert np.isnan(one).mean() == pytest.approx(5 / 9, abs=0.02)
    assert mixture()(np.zeros(0, np.int32), rng).shape == (0,)


def test_windows_with_service_times() -> None:
    """Drawn with their arrivals, the same in any cut, and for models that are chosen."""
    source = replace(windows(), service=mixture())
    whole = gathered(source)
    assert whole.service is not None
    np.testing.assert_array_equal(np.isnan(whole.service), whole.which == 1)
    again = gathered(replace(source, block=1))
    np.testing.assert_array_equal(again.service, whole.service)
    only = gathered(source.only([KEYS[1]]))
    assert only.service is not None
    assert np.isnan(only.service).all()
    one = gathered(source.as_one(KEYS[0]))
    assert one.service is not None
    assert 0 < np.isnan(one.service).mean() < 1
