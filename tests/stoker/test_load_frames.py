"""Reports of load as bytes and back; bytes that are none are refused, whatever they are."""

from __future__ import annotations

import struct
from array import array
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.columns import ColumnEncoder, StatColumns
from stoker.load_frames import FrameError, pack, unpack
from stoker.vocabulary import ModelKey, Stat, StatReport

names = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
keys = st.builds(ModelKey, names, names)
loads = st.floats(0, 1e6)
counts = st.integers(0, 10**6)
stats = st.builds(Stat, keys, loads, loads, counts, counts)


def columns(*rows: Stat, known: int = 0) -> StatColumns:
    encoder = ColumnEncoder()
    report = StatReport("r", 7, 3, 12.5, 1.0, rows)
    return encoder.encode(report)._replace(known=known)


@given(st.lists(stats, unique_by=lambda stat: stat.model, max_size=5), st.integers(1, 2**60))
def test_what_was_packed_comes_out_again(rows: list[Stat], epoch: int) -> None:
    """Every number as it was; the reporter is whoever speaks."""
    made = columns(*rows)._replace(epoch=epoch)
    back = unpack(pack(made), "me")
    assert back[1:7] == made[1:7]
    assert back.reporter == "me"
    assert [list(column) for column in back[7:]] == [list(column) for column in made[7:]]


def test_counts_that_do_not_fit_are_cut() -> None:
    """To what no second has."""
    made = columns(Stat(ModelKey("a", "b"), 1.0, 1.0, 2**40, 2**50))
    assert list(unpack(pack(made), "r").arrivals) == [2**32 - 1]


ONE = columns(Stat(ModelKey("a", "b"), 1.0, 2.0, 3, 4))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin"),
        (b"SL2\n" + pack(ONE)[4:], "does not begin"),
        (pack(ONE)[:-1], "bytes of columns"),
        (pack(ONE) + b"\0", "bytes of columns"),
        (pack(ONE._replace(time=float("nan"))), "no time"),
        (pack(ONE._replace(interval=0.0)), "no time"),
        (pack(ONE)[:50], "ends within a name"),
        (pack(ONE)[:49], "ends within a name"),
        (pack(ONE._replace(new_models=(ModelKey("a", "b" * 2000),))), "a name"),
        (pack(ONE).replace(b"a/b", b"\xff\xfe\xfd"), "no UTF-8"),
        (pack(ONE._replace(ids=array("q", [1]))), "not named"),
        (pack(ONE._replace(queued=array("d", [-1.0]))), "a load"),
        (pack(ONE._replace(active=array("d", [float("nan")]))), "a load"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, why: str) -> None:
    """With the reason."""
    with pytest.raises(FrameError, match=why):
        unpack(data, "r")


def test_one_model_twice_is_refused() -> None:
    """A sum would count it twice."""
    two = columns(
        Stat(ModelKey("a", "b"), 1.0, 2.0, 3, 4), Stat(ModelKey("a", "c"), 1.0, 2.0, 3, 4)
    )
    with pytest.raises(FrameError, match="two of one"):
        unpack(pack(two._replace(ids=array("q", [1, 1]))), "r")


@given(st.binary(max_size=200))
def test_noise_is_refused_in_an_orderly_way(noise: bytes) -> None:
    """Nothing else is ever raised; nor where the noise follows a right beginning."""
    for data in (noise, struct.pack("<4sQQddIII", b"SL1\n", 1, 1, 1.0, 1.0, 9, 1, 1) + noise):
        with suppress(FrameError):
            unpack(data, "r")
