"""Bodies in memory and in files: budget, order, what is given back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activator.spool import PENDING_WRITES, READ_BLOCK, Body, Spool, SpoolFile
from tests.activator.world import until


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A spool with a budget of a megabyte, of which nothing is left in use."""
    made = Spool(str(tmp_path), 1_000_000)
    yield made
    assert (made.used, made.files) == (0, 0)
    made.close()
    assert os.listdir(tmp_path) == []


async def everything(file: SpoolFile) -> bytes:
    content = b""
    while block := await file.read(len(content)):
        assert len(block) <= READ_BLOCK
        content += block
    return content


async def test_file_gives_back_what_was_written(spool: Spool) -> None:
    """A read sees every write that was asked for before it."""
    file = spool.create()
    pieces = [bytes([number]) * 10_000 for number in range(50)]
    for piece in pieces:
        assert file.append(piece)
    assert await everything(file) == b"".join(pieces)
    assert file.append(b"more")
    assert await file.read(500_000) == b"more"
    assert spool.used == 500_004
    file.close()
    file.close()


async def test_budget_is_shared_and_given_back(spool: Spool) -> None:
    """What does not fit is not taken, not even in part."""
    one, two = spool.create(), spool.create()
    assert one.append(b"x" * 600_000)
    assert not two.append(b"y" * 500_000)
    assert two.size == 0
    assert two.append(b"y" * 400_000)
    one.close()
    assert two.append(b"z" * 600_000)
    assert await everything(two) == b"y" * 400_000 + b"z" * 600_000
    two.close()


async def test_busy_until_the_disk_has_caught_up(spool: Spool) -> None:
    """The owner is told when it has."""
    file = spool.create()
    changes: list[int] = []
    file.on_change = lambda: changes.append(file.pending)
    file.append(b"x" * PENDING_WRITES)
    assert file.busy
    await until(lambda: changes)
    assert (changes, file.busy) == ([0], False)
    file.close()


async def test_nobody_is_told_after_the_end(spool: Spool) -> None:
    """A file that was closed calls nobody back."""
    file = spool.create()
    told: list[None] = []
    file.on_change = lambda: told.append(None)
    file.append(b"x" * 1000)
    file.close()
    other = spool.create()
    other.append(b"y")
    assert await other.read(0) == b"y"
    other.close()
    await asyncio.sleep(0)
    assert told == []


async def test_unwritable_directory(tmp_path: Path) -> None:
    """The error is kept for the owner and raised at each read."""
    spool = Spool(str(tmp_path / "missing"), 1_000_000)
    file = spool.create()
    told = asyncio.Event()
    file.on_change = told.set
    assert file.append(b"x")
    with pytest.raises(OSError, match="nothing was written"):
        await file.read(0)
    await told.wait()
    assert isinstance(file.error, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        await file.read(0)
    assert spool.failures == 1
    file.close()
    spool.close()


async def test_default_directory() -> None:
    """Without a setting files go where the system keeps temporary ones."""
    spool = Spool("", 10)
    file = spool.create()
    assert file.append(b"0123456789")
    assert await file.read(3) == b"3456789"
    file.close()
    spool.close()
    spool.close()


async def test_body_in_order(spool: Spool) -> None:
    """Memory first, then the file, then what no longer fitted."""
    body = Body()
    for number in range(10):
        body.hold(b"%d" % number * 100, 250, spool)
        assert not body.full
    assert [len(chunk) for chunk in body.chunks] == [100, 100]
    assert body.file is not None
    body.hold(b"!" * 2_000_000, 250, spool)
    assert body.full
    body.hold(b"?", 250, spool)
    content = b"".join(body.chunks) + await everything(body.file) + b"".join(body.overflow)
    assert content == b"".join(b"%d" % n * 100 for n in range(10)) + b"!" * 2_000_000 + b"?"
    assert body.size == len(content)
    body.close()
    body.close()


async def test_body_without_a_budget(tmp_path: Path) -> None:
    """Everything beyond memory is overflow."""
    spool = Spool(str(tmp_path), 0)
    body = Body()
    body.hold(b"xx", 1, spool)
    assert (body.full, body.overflow) == (True, [b"xx"])
    body.close()
    assert spool.files == 0
    spool.close()


async def test_spill(spool: Spool) -> None:
    """What was kept to be looked at moves to the file, as far as it is too much."""
    body = Body()
    for piece in (b"a" * 100, b"b" * 100, b"c" * 100):
        body.keep(piece)
    body.spill(300, spool)
    assert body.file is None
    body.spill(150, spool)
    assert body.chunks == [b"a" * 100]
    assert body.file is not None
    assert await everything(body.file) == b"b" * 100 + b"c" * 100
    body.spill(0, spool)
    body.hold(b"d", 10_000, spool)
    assert (body.chunks, body.size) == ([b"a" * 100], 301)
    body.close()


async def test_passing_on_keeps_small_bodies(spool: Spool) -> None:
    """Until it is too much: then nothing is kept and no retry is possible."""
    body = Body()
    body.pass_on(b"x" * 50, 100)
    body.pass_on(b"y" * 50, 100)
    assert (body.replayable, len(body.chunks)) == (True, 2)
    body.pass_on(b"z", 100)
    assert (body.replayable, body.chunks) == (False, [])
    body.pass_on(b"z", 100)
    assert body.chunks == []
