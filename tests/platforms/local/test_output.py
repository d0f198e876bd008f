"""The bounded ring of a replica's output, and its reader."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.platforms.local import output
from stoker.platforms.local.output import READ_BYTES, OutputReader, OutputRing
from stoker.testing import FakePlatform, poll_until


@given(st.lists(st.binary(max_size=40), max_size=400), st.integers(0, 100))
def test_ring_keeps_exactly_the_last_bytes(chunks: list[bytes], limit: int) -> None:
    """However the stream was cut, what is kept is its end, within the limit."""
    ring = OutputRing(limit)
    for chunk in chunks:
        ring.add(chunk)
        assert len(ring) <= limit
    whole = b"".join(chunks)
    kept = whole[max(0, len(whole) - limit) :]
    assert len(ring) == len(kept)
    assert ring.text() == kept.decode("utf-8", "replace")


def test_ring_of_many_tiny_writes_holds_few_objects() -> None:
    """A byte at a time must not cost an object a byte."""
    ring = OutputRing(10_000)
    for _ in range(20_000):
        ring.add(b"x")
    assert len(ring) == 10_000
    assert len(ring._chunks) <= 257


@pytest.mark.parametrize(
    ("printed", "last"),
    [
        (b"", ""),
        (b"one\n\n  \ntwo\n", "one\ntwo"),
        (b"a\nb\nc\nd", "c\nd"),
        (b"\x1b[31mred\x1b[0m \x07bell\n", "red  bell"),
        (b"caf\xc3\xa9 \xff\n", "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{REPLACEMENT CHARACTER}"),
        (b"x" * 500, "x" * 100),
    ],
)
def test_last_lines_are_fit_for_a_reason(printed: bytes, last: str) -> None:
    """Only what is worth reading: no empty lines, no escapes, bounded in length."""
    ring = OutputRing(10_000)
    ring.add(printed)
    assert ring.last_lines(lines=2, characters=100) == last


async def test_reader_follows_a_pipe_to_its_end() -> None:
    """Chunks arrive as they are written; the end of the pipe releases it."""
    read_end, write_end = os.pipe()
    ring = OutputRing(100)
    reader = OutputReader(read_end, ring)
    os.write(write_end, b"one ")
    await poll_until(FakePlatform(), lambda: ring.text() == "one ")
    os.write(write_end, b"two")
    os.close(write_end)
    await poll_until(FakePlatform(), lambda: reader.closed)
    assert ring.text() == "one two"
    reader.close()


async def test_reader_takes_the_rest_when_closed() -> None:
    """What lies in the pipe at the end is not lost, even with a writer still there."""
    read_end, write_end = os.pipe()
    ring = OutputRing(100)
    reader = OutputReader(read_end, ring)
    os.write(write_end, b"last words")
    reader.close()
    assert (ring.text(), reader.closed) == ("last words", True)
    with pytest.raises(BrokenPipeError):
        os.write(write_end, b"x")
    os.close(write_end)


async def test_flood_is_read_in_turns() -> None:
    """A full pipe is read, then left alone for a moment, then read on."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    ring = OutputRing(3 * READ_BYTES)
    reader = OutputReader(read_end, ring)
    for round in (1, 2):
        assert os.write(write_end, b"x" * READ_BYTES) == READ_BYTES
        expected = round * READ_BYTES
        await poll_until(FakePlatform(), lambda expected=expected: len(ring) == expected)  # type: ignore[misc]
    reader.close()
    os.close(write_end)


async def test_flood_leaves_the_loop_alone_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the pause nothing is read; closing takes what has come since."""
    monkeypatch.setattr(output, "FLOOD_PAUSE", 3600.0)
    read_end, write_end = os.pipe()
    ring = OutputRing(3 * READ_BYTES)
    reader = OutputReader(read_end, ring)
    os.write(write_end, b"x" * READ_BYTES)
    await poll_until(FakePlatform(), lambda: len(ring) == READ_BYTES)
    os.write(write_end, b"y")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(ring) == READ_BYTES
    reader.close()
    os.close(write_end)
    assert len(ring) == READ_BYTES + 1
