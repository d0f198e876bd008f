"""Bodies in memory and in files: budget, order, what is given back."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from activator import spool as spool_module
from activator.body import MANY_CHUNKS, Body, Replays, Room
from activator.spool import (
    BLOCK,
    PENDING_WRITES,
    READ_BLOCK,
    Spool,
    SpoolFile,
)
from tests.activator.world import until

BUDGET = 32 * BLOCK


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A spool with a budget of a megabyte, of which nothing is left in use."""
    made = Spool(str(tmp_path), BUDGET)
    yield made
    assert (made.used, made.promised, made.files) == (0, 0, 0)
    await until(lambda: made.pending == 0)
    made.close()
    assert os.listdir(tmp_path) == []


def new_file(spool: Spool, expected: int = 0) -> SpoolFile:
    file = spool.create(expected)
    assert file is not None
    return file


async def everything(file: SpoolFile) -> bytes:
    content = b""
    while block := await file.read(len(content)):
        assert len(block) <= READ_BLOCK
        content += block
    return content


async def kept(body: Body) -> bytes:
    """All that a body still has, in order."""
    in_file = await everything(body.file) if body.file is not None else b""
    return b"".join(body.chunks) + in_file + b"".join(body.overflow)


async def test_file_gives_back_what_was_written(spool: Spool) -> None:
    """A read sees every write that was asked for before it."""
    file = new_file(spool)
    pieces = [bytes([number]) * 10_000 for number in range(50)]
    for piece in pieces:
        assert file.append(piece)
    assert await everything(file) == b"".join(pieces)
    assert file.append(b"more")
    assert await file.read(500_000) == b"more"
    assert spool.used == 16 * BLOCK
    file.close()
    file.close()


async def test_budget_is_shared_and_given_back(spool: Spool) -> None:
    """What does not fit is not taken, not even in part."""
    one, two = new_file(spool), new_file(spool)
    assert one.append(b"x" * 20 * BLOCK)
    assert not two.append(b"y" * 13 * BLOCK)
    assert two.size == 0
    assert two.append(b"y" * 12 * BLOCK)
    assert spool.create() is None
    one.close()
    assert two.append(b"z" * 20 * BLOCK)
    assert await everything(two) == b"y" * 12 * BLOCK + b"z" * 20 * BLOCK
    two.close()


async def test_what_was_promised_is_kept_for_it(spool: Spool) -> None:
    """A body once begun comes in full: others find no room in what is set aside for it."""
    one = new_file(spool, 20 * BLOCK - 5)
    assert (spool.used, spool.promised) == (0, 20 * BLOCK)
    assert spool.create(13 * BLOCK) is None
    two = new_file(spool, 10 * BLOCK)
    three = new_file(spool)
    assert three.append(b"c" * 2 * BLOCK)
    assert not three.append(b"c")
    assert one.append(b"a" * (20 * BLOCK - 5))
    assert two.append(b"b" * BLOCK)
    assert (spool.used, spool.promised) == (23 * BLOCK, 9 * BLOCK)
    two.close()
    assert three.append(b"c")
    one.close()
    three.close()


async def test_many_bodies_take_one_descriptor(spool: Spool) -> None:
    """Ten thousand held bodies must not need as many open files."""
    before = len(os.listdir("/proc/self/fd"))
    files = [new_file(spool) for _ in range(20)]
    for number, file in enumerate(files):
        assert file.append(bytes([number]) * 1000)
    for number, file in enumerate(files):
        assert await file.read(0) == bytes([number]) * 1000
    assert len(os.listdir("/proc/self/fd")) == before + 1
    for file in files:
        file.close()


async def test_disk_is_given_back(spool: Spool) -> None:
    """An empty spool's file is empty."""
    file = new_file(spool)
    assert file.append(b"x" * 10 * BLOCK)
    await until(lambda: not file.pending)
    assert spool._file is not None
    descriptor = spool._file.fileno()
    assert os.fstat(descriptor).st_size == 10 * BLOCK
    file.close()
    await until(lambda: os.fstat(descriptor).st_size == 0)


async def test_blocks_of_one_body_do_not_show_in_the_next(spool: Spool) -> None:
    """Blocks are used again, at odd offsets too; nobody reads beyond his own."""
    for number in range(20):
        first, second = new_file(spool), new_file(spool)
        for _ in range(7):
            assert first.append(bytes([number]) * (BLOCK // 3 + number))
            assert second.append(bytes([100 + number]) * 5001)
        assert await everything(first) == bytes([number]) * 7 * (BLOCK // 3 + number)
        first.close()
        third = new_file(spool)
        assert third.append(b"3" * 100_000)
        assert await everything(second) == bytes([100 + number]) * 7 * 5001
        assert await everything(third) == b"3" * 100_000
        second.close()
        third.close()


async def test_busy_until_the_disk_has_caught_up(spool: Spool) -> None:
    """The owner is told when it has."""
    file = new_file(spool)
    changes: list[int] = []
    file.on_change = lambda: changes.append(file.pending)
    file.append(b"x" * PENDING_WRITES)
    assert file.busy
    await until(lambda: changes)
    assert (changes, file.busy) == ([0], False)
    file.close()


async def test_what_waits_for_the_disk_is_bounded_over_all_bodies(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients at once must not fill the memory; each is told when it may go on."""
    monkeypatch.setattr(spool_module, "PENDING_IN_ALL", 100_000)
    go_on = threading.Event()
    spool._thread.submit(go_on.wait)  # a slow disk
    files = [new_file(spool) for _ in range(8)]
    told: list[int] = []
    for number, file in enumerate(files):
        file.on_change = partial(told.append, number)
        assert file.append(b"x" * 20_000)
    assert [file.busy for file in files] == [False] * 4 + [True] * 4
    go_on.set()
    await until(lambda: len(told) == 4)
    assert told == [4, 5, 6, 7]
    assert not any(file.busy for file in files)
    for file in files:
        file.close()


async def test_all_that_wait_are_woken_even_if_none_brings_more(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Woken a few at a time, with no write of theirs to wake the next."""
    monkeypatch.setattr(spool_module, "PENDING_IN_ALL", 2 * 65_536)
    go_on = threading.Event()
    spool._thread.submit(go_on.wait)
    big = new_file(spool)
    assert big.append(b"x" * 2 * 65_536)
    files = [new_file(spool) for _ in range(9)]
    told: list[int] = []
    for number, file in enumerate(files):
        file.on_change = partial(told.append, number)
        assert file.append(b"x")
        assert file.busy
    files[3].close()
    go_on.set()
    await until(lambda: len(told) == 8)
    assert told == [0, 1, 2, 4, 5, 6, 7, 8]
    for file in (big, *files):
        file.close()


async def test_nobody_is_told_after_the_end(spool: Spool) -> None:
    """A file that was closed calls nobody back."""
    file = new_file(spool)
    told: list[None] = []
    file.on_change = lambda: told.append(None)
    file.append(b"x" * PENDING_WRITES)
    file.close()
    other = new_file(spool)
    other.append(b"y")
    assert await other.read(0) == b"y"
    other.close()
    await until(lambda: spool.pending == 0)
    assert told == []


async def test_unwritable_directory(tmp_path: Path) -> None:
    """The error is kept for the owner and raised at each read."""
    spool = Spool(str(tmp_path / "missing"), 1_000_000)
    file = new_file(spool)
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


async def test_a_failed_write_never_shows_another_body(spool: Spool) -> None:
    """The block had been somebody else's: no byte of it is read by its next owner."""
    first = new_file(spool)
    assert first.append(b"secret" * 100)
    await until(lambda: not first.pending)
    first.close()
    second = new_file(spool)
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", _raises(error))
        assert second.append(b"x" * 100)
        with pytest.raises(OSError, match="nothing was written"):
            await second.read(0)
        await until(lambda: second.error)
    assert second.error is error
    second.close()


def _raises(error: OSError) -> Callable[..., int]:
    def pwrite(*_: object) -> int:
        raise error

    return pwrite


async def test_a_file_that_got_shorter_is_an_error(spool: Spool) -> None:
    """Somebody truncated it: better no body than one with a hole."""
    file = new_file(spool)
    assert file.append(b"x" * 1000)
    await until(lambda: not file.pending)
    assert spool._file is not None
    os.ftruncate(spool._file.fileno(), 10)
    with pytest.raises(OSError, match="shorter"):
        await file.read(0)
    file.close()


async def test_default_directory() -> None:
    """Without a setting files go where the system keeps temporary ones."""
    spool = Spool("", BLOCK)
    file = new_file(spool)
    assert file.append(b"0123456789")
    assert await file.read(3) == b"3456789"
    file.close()
    spool.close()
    spool.close()


# --- bodies ---


async def test_body_in_order(spool: Spool) -> None:
    """Memory first, then all of it in the file, then what no longer fitted."""
    body = Body()
    for number in range(2):
        body.hold(b"%d" % number * 100, 250, spool)
    assert [len(chunk) for chunk in body.chunks] == [100, 100]
    for number in range(2, 10):
        body.hold(b"%d" % number * 100, 250, spool)
        assert not body.full
    assert body.chunks == []
    body.hold(b"!" * 2_000_000, 250, spool)
    assert body.full
    body.hold(b"?", 250, spool)
    expected = b"".join(b"%d" % n * 100 for n in range(10)) + b"!" * 2_000_000 + b"?"
    assert await kept(body) == expected
    assert body.size == len(expected)
    body.close()
    body.close()


async def test_body_without_a_budget(tmp_path: Path) -> None:
    """Everything beyond memory is overflow."""
    spool = Spool(str(tmp_path), 0)
    body = Body()
    body.hold(b"xx", 1, spool)
    assert (body.full, body.overflow) == (True, [b"xx"])
    body.hold(b"yy", 1, spool)
    assert await kept(body) == b"xxyy"
    body.close()
    assert spool.files == 0
    spool.close()


async def test_a_body_in_crumbs_costs_no_more_memory(spool: Spool) -> None:
    """Two bytes at a time would be twenty times their size in objects."""
    body = Body()
    for _ in range(1000):
        body.hold(b"xy", 10_000, spool)
        assert len(body.chunks) <= MANY_CHUNKS
    for _ in range(1000):
        body.keep(b"z!")
    assert await kept(body) == b"xy" * 1000 + b"z!" * 1000
    assert len(body.chunks) <= MANY_CHUNKS


async def test_spill(spool: Spool) -> None:
    """What was kept to be looked at moves to the file, if it is too much."""
    body = Body()
    for piece in (b"a" * 100, b"b" * 100, b"c" * 100):
        body.keep(piece)
    body.spill(300, spool)
    assert body.file is None
    body.spill(150, spool)
    assert body.chunks == []
    assert await kept(body) == b"a" * 100 + b"b" * 100 + b"c" * 100
    body.hold(b"d", 10_000, spool)
    assert (body.chunks, body.size) == ([], 301)
    body.close()


async def test_settling_a_body_whose_length_is_known(spool: Spool) -> None:
    """It gets room for all of it, or stays small in memory and in its client."""
    small, fits, not_any_more = Body(), Body(), Body()
    assert small.settle(1000, 1000, spool) is Room.ALL
    assert small.file is None
    fits.keep(b"x" * 500)
    assert fits.settle(2 * BLOCK, 1000, spool) is Room.ALL
    assert (fits.chunks, spool.promised) == ([], BLOCK)
    assert fits.settle(2 * BLOCK, 1000, spool) is Room.ALL
    other = new_file(spool, 30 * BLOCK)
    not_any_more.keep(b"y" * 500)
    assert not_any_more.settle(BLOCK, 1000, spool) is Room.NONE
    assert not_any_more.full
    not_any_more.hold(b"y", 1000, spool)
    assert not_any_more.overflow == []
    not_any_more.hold(b"y" * 1000, 1000, spool)
    assert await kept(not_any_more) == b"y" * 1501
    other.close()
    fits.close()


async def test_settling_a_body_of_any_length(spool: Spool) -> None:
    """It takes room as it comes, as long as there is any."""
    endless, huge, late = Body(), Body(), Body()
    assert endless.settle(0, 1000, spool) is Room.SOME
    endless.hold(b"x" * 2000, 1000, spool)
    assert huge.settle(BUDGET, 1000, spool) is Room.SOME
    huge.hold(b"x" * 2000, 1000, spool)
    assert (endless.file is not None, huge.file is not None) == (True, True)
    assert spool.promised == 0
    other = new_file(spool, 30 * BLOCK)
    assert late.settle(0, 1000, spool) is Room.NONE
    late.hold(b"x" * 501, 1000, spool)
    assert (late.full, late.file) == (True, None)
    begun = Body()
    begun.keep(b"y" * 2000)
    assert begun.settle(BUDGET, 1000, spool) is Room.NONE
    assert begun.full
    for one in (endless, huge, other):
        one.close()


async def test_passing_on_keeps_small_bodies(spool: Spool) -> None:
    """Until it is too much: then nothing is kept and no retry is possible."""
    body, none = Body(), Replays(0)
    body.pass_on(b"x" * 50, 100, none)
    body.pass_on(b"y" * 50, 100, none)
    assert (body.replayable, len(body.chunks)) == (True, 2)
    body.pass_on(b"z", 100, none)
    assert (body.replayable, body.chunks) == (False, [])
    body.pass_on(b"z", 100, none)
    assert body.chunks == []


async def test_passing_on_keeps_large_bodies_while_there_is_room(spool: Spool) -> None:
    """Room is shared: a quarter each at most; what is over gives back what it had."""
    replays = Replays(4000)
    first, second = Body(), Body()
    for body in (first, second):
        body.pass_on(b"x" * 100, 100, replays)
        body.pass_on(b"y" * 1000, 100, replays)
        assert (body.replayable, body.size, body.lent) == (True, 1100, 1000)
    assert replays.used == 2000
    first.pass_on(b"z", 100, replays)  # more than a quarter
    assert (first.replayable, first.chunks, replays.used) == (False, [], 1000)
    second.close()
    second.close()
    assert (second.replayable, second.chunks, replays.used) == (False, [], 0)
    replays.used = 3999
    third = Body()
    third.pass_on(b"x" * 101, 100, replays)  # more than there is
    assert (third.replayable, replays.used) == (False, 3999)


async def test_what_was_kept_beside_goes_to_the_spool_when_it_has_to_wait(spool: Spool) -> None:
    """Its replica died and no other is there: the memory is somebody else's again."""
    replays = Replays(40_000)
    body = Body()
    body.pass_on(b"x" * 5000, 100, replays)
    body.hold(b"y" * 10, 100, spool)
    assert (replays.used, body.lent, body.chunks) == (0, 0, [])
    assert body.file is not None
    assert await body.file.read(0) == b"x" * 5000 + b"y" * 10
    body.close()
