"""Distributions of seconds, and the way a user writes them. Pure.

``0.5s`` · ``exponential(0.5s)`` · ``uniform(1s, 3s)`` · ``lognormal(mean=2s, cv=0.5)`` ·
``gamma(mean=2s, cv=0.5)`` · ``empirical(0.8s, 1.1s, 1.4s)``

Means and coefficients of variation (standard deviation over mean) are what people measure,
so they are what is asked for; the parameters of the distributions follow from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoker.quantities import format_duration, parse_duration

Floats = NDArray[np.float64]

GRAMMAR = (
    "a duration such as 0.5s, exponential(MEAN), uniform(LOW, HIGH), lognormal(mean=, cv=),"
    " gamma(mean=, cv=) or empirical(D, D, ...)"
)


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    seconds: float

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        return np.full(count, self.seconds)

    @property
    def mean(self) -> float:
        return self.seconds

    def __str__(self) -> str:
        return shown(self.seconds)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Memoryless, with this mean."""

    mean: float

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.exponential(self.mean, count)

    def __str__(self) -> str:
        return f"exponential({shown(self.mean)})"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything from ``low`` to ``high`` alike."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.uniform(self.low, self.high, count)

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return f"uniform({shown(self.low)}, {shown(self.high)})"


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Its logarithm is normal: sigma² = ln(1 + cv²), mu = ln(mean) - sigma²/2."""

    mean: float
    cv: float

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        if not self.mean:
            return np.zeros(count)
        variance = math.log1p(self.cv**2)
        return rng.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), count)

    def __str__(self) -> str:
        return f"lognormal(mean={shown(self.mean)}, cv={self.cv:g})"


@dataclass(frozen=True, slots=True)
class Gamma:
    """Shape 1/cv², scale mean·cv²; cv 1 is the exponential. ``cv`` must be above 0."""

    mean: float
    cv: float

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        return rng.gamma(1 / self.cv**2, self.mean * self.cv**2, count)

    def __str__(self) -> str:
        return f"gamma(mean={shown(self.mean)}, cv={self.cv:g})"


@dataclass(frozen=True, slots=True)
class Empirical:
    """One of the values that were measured, each as likely as the others."""

    values: tuple[float, ...]

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        return np.asarray(self.values)[rng.integers(0, len(self.values), count)]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    def __str__(self) -> str:
        if len(self.values) <= 8:
            return f"empirical({', '.join(map(shown, self.values))})"
        return f"empirical({len(self.values)} values, mean {shown(self.mean)})"


Known = Constant | Exponential | Uniform | Lognormal | Gamma | Empirical


def shown(seconds: float) -> str:
    """Seconds as a user would write them, to the microsecond."""
    return format_duration(round(seconds, 6))


def parse_draw(text: str) -> Known:
    """A distribution as the module's docstring writes it. Raises ValueError saying what is
    wrong with it; the caller names the option.
    """
    text = text.strip()
    call = re.fullmatch(r"([a-z]+)\((.*)\)", text, re.DOTALL)
    if call is None:
        return Constant(_duration(text))
    name, arguments = call[1], [part.strip() for part in call[2].split(",")]
    make = _MAKERS.get(name)
    if make is None:
        raise ValueError(f"{name} is no distribution; allowed: {GRAMMAR}")
    named: dict[str, str] = {}
    plain: list[str] = []
    for argument in filter(None, arguments):
        key, equals, value = argument.partition("=")
        if equals:
            named[key.strip()] = value.strip()
        else:
            plain.append(argument)
    return make(plain, named)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {error}; allowed: {GRAMMAR}") from None


def _only(name: str, plain: Sequence[str], named: Mapping[str, str], count: int) -> list[float]:
    if named or len(plain) != count:
        raise ValueError(f"{name} takes {count} durations; allowed: {GRAMMAR}")
    return [_duration(value) for value in plain]


def _exponential(plain: Sequence[str], named: Mapping[str, str]) -> Known:
    return Exponential(*_only("exponential", plain, named, 1))


def _uniform(plain: Sequence[str], named: Mapping[str, str]) -> Known:
    low, high = _only("uniform", plain, named, 2)
    if low > high:
        raise ValueError(f"uniform({plain[0]}, {plain[1]}): the first must not exceed the second")
    return Uniform(low, high)


def _empirical(plain: Sequence[str], named: Mapping[str, str]) -> Known:
    if named or not plain:
        raise ValueError(f"empirical takes one or more durations; allowed: {GRAMMAR}")
    return Empirical(tuple(_duration(value) for value in plain))


def _mean_and_cv(name: str, plain: Sequence[str], named: Mapping[str, str]) -> tuple[float, float]:
    if plain or set(named) != {"mean", "cv"}:
        raise ValueError(f"{name} takes mean= and cv=; allowed: {GRAMMAR}")
    try:
        cv = float(named["cv"])
    except ValueError:
        raise ValueError(f"cv={named['cv']} is not a number") from None
    low = 0.001 if name == "gamma" else 0.0
    if not low <= cv <= 100:
        raise ValueError(f"cv={named['cv']} is out of range; allowed: [{low:g}, 100]")
    return _duration(named["mean"]), cv


_MAKERS: dict[str, Callable[[Sequence[str], Mapping[str, str]], Known]] = {
    "exponential": _exponential,
    "uniform": _uniform,
    "empirical": _empirical,
    "lognormal": lambda plain, named: Lognormal(*_mean_and_cv("lognormal", plain, named)),
    "gamma": lambda plain, named: Gamma(*_mean_and_cv("gamma", plain, named)),
}
