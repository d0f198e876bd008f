"""A trace keeps its columns together, and refuses those that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simulations.trace import Trace, gathered
from stoker.vocabulary import ModelKey

A, B, C = (ModelKey("default", name) for name in "abc")


def trace(**other: Any) -> Trace:
    """Four arrivals in 10 s for two of three models."""
    columns: dict[str, Any] = {
        "models": (A, B, C),
        "times": np.array([0.0, 1, 4, 10]),
        "which": np.array([0, 1, 1, 0], np.int32),
        "duration": 10.0,
        "service": np.array([0.1, 0.2, 0.3, 0.4]),
        "prompt_tokens": np.array([1, 2, 3, 4], np.int32),
        "began": 100.0,
    }
    return Trace(**(columns | other))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"which": np.zeros(3, np.int32)}, "which: 3 values for 4 arrivals"),
        ({"service": np.zeros(5)}, "service: 5 values for 4 arrivals"),
        ({"duration": float("inf")}, "duration = inf: must be finite"),
        ({"duration": -1.0}, "duration = -1.0: must be finite, 0 s or more"),
        ({"duration": 9.0}, "times from 0.0 to 10.0 s: must ascend within 0 and 9.0 s"),
        ({"times": np.array([0.0, 4, 1, 10])}, "must ascend"),
        ({"times": np.array([0.0, 1, np.nan, 10])}, "must ascend"),
        ({"times": np.array([-1.0, 1, 4, 10])}, "times from -1.0"),
        ({"which": np.array([0, 3, 0, 0], np.int32)}, "which: must point into the 3 models"),
        ({"which": np.array([0, -1, 0, 0], np.int32)}, "which: must point into the 3 models"),
    ],
)
def test_columns_that_do_not_fit(other: dict[str, Any], why: str) -> None:
    """Each is told with its values."""
    with pytest.raises(ValueError, match=why):
        trace(**other)


def test_a_stretch() -> None:
    """From its begin on, without its end; the moment moves along."""
    part = trace().between(1, 10)
    assert (part.times.tolist(), part.which.tolist()) == ([0, 3], [1, 1])
    assert (part.duration, part.began, part.prompt_tokens is not None) == (9, 101, True)
    assert part.output_tokens is None
    assert trace(began=None).between(5, 99).duration == 5
    assert trace(began=None).between(5, 99).began is None
    assert len(trace().between(50, 99)) == 0
    for begin, end in ((-1, 5), (5, 5)):
        with pytest.raises(ValueError, match="must begin at 0 or later, and end after it"):
            trace().between(begin, end)


def test_some_models_and_all_as_one() -> None:
    """Arrivals of others go; places are those in the models that are left."""
    only = trace().only([B, B, C])
    assert (only.models, only.which.tolist(), only.times.tolist()) == ((B, C), [0, 0], [1, 4])
    assert only.service is not None
    assert only.service.tolist() == [0.2, 0.3]
    with pytest.raises(KeyError):
        trace().only([ModelKey("default", "d")])
    one = trace().as_one(C)
    assert (one.models, one.which.tolist(), len(one)) == ((C,), [0, 0, 0, 0], 4)


class Blocks:
    """A source of these blocks."""

    models = (A, B, C)
    duration = 20.0

    def __init__(self, *blocks: Trace) -> None:
        self.given = blocks

    def blocks(self) -> Iterator[Trace]:
        """All of them."""
        return iter(self.given)


def test_blocks_are_gathered() -> None:
    """What one of them does not know is unknown there; nobody's column is none."""
    first = trace()
    second = trace(times=np.array([11.0, 12, 13, 14]), duration=20.0, service=None)
    whole = gathered(Blocks(first, second))
    assert (len(whole), whole.duration, whole.began) == (8, 20, 100)
    assert whole.service is not None
    np.testing.assert_array_equal(whole.service[3:5], [0.4, np.nan])
    assert whole.prompt_tokens is not None
    assert whole.output_tokens is None
    assert gathered(Blocks(first)) is first
    assert gathered(first) is first
    nothing = gathered(Blocks())
    assert (len(nothing), nothing.duration, nothing.began) == (0, 20, None)
