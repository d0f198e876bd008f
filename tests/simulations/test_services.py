"""How long requests are in a replica, by what is known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulations.draws import Constant, Exponential
from simulations.services import AnyService, Drawn, Recorded, Tokens, fitting, parse_service
from tests.simulations.runs import trace

RNG = np.random.default_rng


def tokens(prompt: list[int] | None, output: list[int] | None) -> dict[str, Any]:
    return {
        "prompt_tokens": None if prompt is None else np.array(prompt, np.int32),
        "output_tokens": None if output is None else np.array(output, np.int32),
    }


def test_drawn_whatever_the_trace_says() -> None:
    """The distribution alone."""
    source = trace(1.0, 2.0, service=np.array([9.0, 9.0]))
    assert Drawn(Constant(0.5)).seconds(source, RNG(1)).tolist() == [0.5, 0.5]
    assert Drawn(Constant(0.5)).slowdown(10) == 1.0


def test_recorded_where_the_trace_says_something() -> None:
    """And a distribution where it does not."""
    source = trace(1.0, 2.0, service=np.array([9.0, np.nan]))
    assert Recorded(Constant(0.5)).seconds(source, RNG(1)).tolist() == [9.0, 0.5]
    assert Recorded(Constant(0.5)).seconds(trace(1.0), RNG(1)).tolist() == [0.5]
    assert Recorded().slowdown(10) == 1.0


def test_tokens_take_their_time() -> None:
    """8,000 of a prompt at 8,000/s and 100 of an answer at 50/s: 1 s and 2 s."""
    source = trace(1.0, **tokens([8000], [100]))
    assert Tokens(8000, 50).seconds(source, RNG(1)).tolist() == [3.0]


def test_tokens_that_are_not_known_are_drawn() -> None:
    """A prompt of 1,000 and an answer of 200 on average: 0.125 s + 4 s."""
    source = trace(*([1.0] * 50_000))
    assert Tokens(8000, 50).seconds(source, RNG(1)).mean() == pytest.approx(4.125, rel=0.02)
    source = trace(1.0, 2.0, **tokens([800, -1], None))
    seconds = Tokens(8000, 1e9).seconds(source, RNG(1))
    assert seconds[0] == pytest.approx(0.1, abs=1e-3)
    assert seconds[1] > 0


def test_a_batch_slows_down_by_its_size() -> None:
    """2 % each: 51 together take twice as long as one."""
    assert (Tokens(batch=0.02).slowdown(1), Tokens(batch=0.02).slowdown(51)) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("trace", Recorded()),
        ("0.5s", Drawn(Constant(0.5))),
        ("exponential(1s)", Drawn(Exponential(1.0))),
        ("tokens", Tokens()),
        ("tokens(prefill=100/s, batch=5%)", Tokens(100.0, 50.0, 0.05)),
    ],
)
def test_what_is_written_is_read(text: str, service: AnyService) -> None:
    """In the words of the command line; and each says what it is."""
    assert parse_service(text) == service
    assert str(service)


def test_a_service_in_words_can_be_read_back() -> None:
    """Tokens with all three figures, a distribution as it is."""
    for service in (Tokens(100.0, 20.0, 0.05), Drawn(Exponential(0.25))):
        assert parse_service(str(service)) == service


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens(speed=1/s)", "'speed=1/s' is not understood; allowed: trace, tokens"),
        ("tokens(decode=fast)", "'decode=fast' is not understood"),
        ("tokens(decode=0/s)", "must be above 0 tokens per second"),
        ("sometimes", "is not a duration"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=message):
        parse_service(text)


def test_a_trace_says_which_service_fits_it() -> None:
    """Its times (and their mean for those that are missing), its tokens, or a guess."""
    assert fitting(trace(1.0, 2.0, service=np.array([4.0, np.nan]))) == Recorded(Exponential(4.0))
    assert fitting(trace(1.0, service=np.array([np.nan]))) == Recorded(Exponential(0.5))
    assert fitting(trace(1.0, **tokens([1], None))) == Tokens()
    assert fitting(trace(1.0, **tokens(None, [1]))) == Tokens()
    assert fitting(trace(1.0)) == Drawn(Exponential(0.5))
