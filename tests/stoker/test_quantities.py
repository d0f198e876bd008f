"""Durations and sizes: what is read, what is refused, and that both ways agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        ("2h45m0.5s", 9900.5),
        ("7us", 7e-6),
        ("3ns", 3e-9),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    """Every unit, fractions and combinations come out in seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a duration"),
        ("60", "has no unit; seconds are written 60s"),
        ("1.5", "has no unit"),
        ("-5s", "is not a duration"),
        ("5 s", "is not a duration"),
        ("5sec", "is not a duration"),
        ("1d", "is not a duration"),
        ("s", "is not a duration"),
        ("30s1m", "large to small"),
        ("1s1s", "large to small"),
        ("9999999999999999999s", "too many digits"),
        ("0.0000000001s", "finer than a nanosecond"),
        ("nan", "is not a duration"),
        ("inf", "is not a duration"),
        ("\u0661s", "is not a duration"),
    ],
)
def test_bad_durations_are_refused(text: str, message: str) -> None:
    """What Go would refuse is refused, and so is what was probably not meant."""
    with pytest.raises(ValueError, match=message):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_durations_survive_a_round_trip(nanos: int) -> None:
    """What is shown is read back as the same number of seconds."""
    seconds = nanos / 1e9
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (60, "1m"), (90, "1m30s"), (0.25, "250ms"), (3661.5, "1h1m1s500ms")],
)
def test_durations_are_shown_shortly(seconds: float, text: str) -> None:
    """Units that are zero are left out."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("64Ki", 65536), ("100M", 10**8), ("1Gi", 2**30), ("2k", 2000)],
)
def test_sizes_are_read_as_kubernetes_reads_them(text: str, size: int) -> None:
    """Binary and decimal suffixes come out in bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a size"),
        ("-1", "is not a size"),
        ("1.5Gi", "is not a size"),
        ("1 Gi", "is not a size"),
        ("64KB", "unknown suffix KB"),
        ("64kb", "unknown suffix kb"),
        ("1234567890123456789", "too many digits"),
    ],
)
def test_bad_sizes_are_refused(text: str, message: str) -> None:
    """Fractions, signs and other tools' suffixes are refused."""
    with pytest.raises(ValueError, match=message):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**17))
def test_sizes_survive_a_round_trip(size: int) -> None:
    """What is shown is read back as the same number of bytes."""
    assert parse_size(format_size(size)) == size


def test_sizes_are_shown_shortly() -> None:
    """The shortest exact form wins."""
    assert [format_size(n) for n in (0, 65536, 2**30, 10**8, 1000, 1025)] == [
        *("0", "64Ki", "1Gi", "100M", "1k", "1025"),
    ]
