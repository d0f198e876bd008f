"""Distributions: their means and spreads, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.draws import (
    Constant,
    Empirical,
    Exponential,
    Gamma,
    Known,
    Lognormal,
    Uniform,
    parse_draw,
)

COUNT = 200_000


@pytest.mark.parametrize(
    ("draw", "cv"),
    [
        (Constant(2.0), 0.0),
        (Exponential(2.0), 1.0),
        (Uniform(1.0, 3.0), 1 / 12**0.5),  # (3-1)/sqrt(12) over 2
        (Lognormal(2.0, 0.5), 0.5),
        (Gamma(2.0, 1.5), 1.5),
        (Empirical((1.0, 3.0)), 0.5),
    ],
)
def test_mean_and_spread_are_what_was_asked_for(draw: Known, cv: float) -> None:
    """Of many values, to a few percent; none is negative."""
    values = draw.sample(np.random.default_rng(1), COUNT)
    assert len(values) == COUNT
    assert values.min() >= 0
    assert draw.mean == 2.0
    assert values.mean() == pytest.approx(2.0, rel=0.02)
    assert values.std() / values.mean() == pytest.approx(cv, rel=0.03, abs=1e-9)


def test_a_lognormal_without_a_mean_is_zero() -> None:
    """Its logarithm would be nothing."""
    assert Lognormal(0.0, 1.0).sample(np.random.default_rng(1), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "draw"),
    [
        ("500ms", Constant(0.5)),
        (" exponential(2s) ", Exponential(2.0)),
        ("uniform(1s, 3s)", Uniform(1.0, 3.0)),
        ("lognormal(mean=2s, cv=0.5)", Lognormal(2.0, 0.5)),
        ("gamma(cv=1.5,mean=2s)", Gamma(2.0, 1.5)),
        ("empirical(1s, 3s)", Empirical((1.0, 3.0))),
    ],
)
def test_what_is_written_is_read_and_written_again(text: str, draw: Known) -> None:
    """And a distribution in words can be read back."""
    assert parse_draw(text) == draw
    assert parse_draw(str(draw)) == draw


def test_many_values_are_summed_up_in_words() -> None:
    """Nobody reads a thousand of them."""
    assert str(Empirical((1.0,) * 1000)) == "empirical(1000 values, mean 1s)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "has no unit; seconds are written 2s"),
        ("-1s", "is not a duration"),
        ("normal(1s)", "normal is no distribution"),
        ("exponential(1s, 2s)", "exponential takes 1 durations"),
        ("exponential(mean=1s)", "exponential takes 1 durations"),
        ("uniform(3s, 1s)", "the first must not exceed the second"),
        ("empirical()", "empirical takes one or more durations"),
        ("lognormal(2s)", "lognormal takes mean= and cv="),
        ("lognormal(mean=2s, cv=x)", "cv=x is not a number"),
        ("gamma(mean=2s, cv=0)", r"cv=0 is out of range; allowed: \[0.001, 100\]"),
        ("lognormal(mean=2s, cv=nan)", r"cv=nan is out of range; allowed: \[0, 100\]"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=message):
        parse_draw(text)
