"""Where bodies of held requests are on disk, within a byte budget.

All bodies share one file without a name, in blocks: 10,000 of them would else be 10,000
descriptors, and a crash leaves nothing behind. One thread does all file work, in order: a
read that was asked for after a write sees what was written, and a block that one body gave
back is written for the next only after the first one's reads.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from typing import Final

from activator.blocks import Blocks

BLOCK: Final = 32 * 1024
# Reading stops while this much of one body, or of all, waits for the disk: a fast client and
# a slow disk must not fill the memory that the spool is there to save.
PENDING_WRITES: Final = 256 * 1024
PENDING_IN_ALL: Final = 16 * 1024 * 1024
# What one read of a client may bring.
ONE_READ: Final = 64 * 1024
# A replayed body is in memory by so much at a time, and many may be replayed at once.
READ_BLOCK: Final = 128 * 1024
# Longer bodies are not promised room for all of themselves: a length is quickly claimed.
LARGEST_PROMISE: Final = 16


class Spool:
    """The budget, the file and the thread that all spooled bodies of one process share.

    ``used`` counts bytes of whole blocks, ``promised`` what is set aside for the rest of
    bodies whose length is known; together they stay within ``budget``.
    """

    def __init__(self, directory: str, budget: int) -> None:
        self.directory = directory or tempfile.gettempdir()
        self.budget = budget
        self.promised = 0
        self.pending = 0
        self.files = 0
        self.failures = 0
        self._blocks = Blocks()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._file: FileIO | None = None  # the thread's
        # Who stopped because of PENDING_IN_ALL. Dicts for sets: first come, first served.
        self._waiting: dict[SpoolFile, None] = {}

    @property
    def used(self) -> int:
        return self._blocks.used * BLOCK

    def create(self, expected: int = 0) -> SpoolFile | None:
        """Room for one more body; None where there is none for ``expected`` bytes of it.

        What is expected is set aside, so that a body once begun comes in full and can be
        replayed. Nothing touches the disk before the first ``append``.
        """
        promise = -(-expected // BLOCK) * BLOCK
        if not self.has_room(max(promise, BLOCK)):
            return None
        self.promised += promise
        return SpoolFile(self, promise)

    def has_room(self, size: int) -> bool:
        """Whether ``size`` bytes more could be taken, and are not promised to others."""
        return self.used + self.promised + size <= self.budget

    def may_promise(self, size: int) -> bool:
        """Whether a body of ``size`` bytes is one of many that fit into the budget."""
        return size * LARGEST_PROMISE <= self.budget

    def close(self) -> None:
        """Wait for what is being written and end the thread. Idempotent."""
        self._thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    # --- what its files ask ---

    def _take(self, count: int, promised: int) -> list[int] | None:
        """``count`` blocks, ``promised`` bytes of them set aside before; None: no room."""
        if self.used + self.promised - promised + count * BLOCK > self.budget:
            return None
        self.promised -= promised
        return [self._blocks.take() for _ in range(count)]

    def _give_back(self, blocks: array[int]) -> None:
        if self._blocks.give_back(blocks):
            self._thread.submit(self._cut, self._blocks.length * BLOCK)

    def _wake(self) -> None:
        """Let as many read on as there is room for what they will bring."""
        room = PENDING_IN_ALL - self.pending
        while self._waiting and room >= ONE_READ:
            room -= ONE_READ
            file = next(iter(self._waiting))
            del self._waiting[file]
            file._tell()
        if self._waiting and not self.pending:
            # Nothing will be written that could wake the next, unless these bring something.
            asyncio.get_running_loop().call_soon(self._wake)

    # --- in the thread ---

    def _write(self, data: bytes, blocks: list[int], begin: int) -> None:
        """Put ``data`` at ``begin`` of the first of ``blocks`` and on through the others."""
        if self._file is None:
            # Without a name from the start where the file system can do that.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self.directory)  # noqa: SIM115
        descriptor = self._file.fileno()
        view = memoryview(data)
        for block in blocks:
            piece, view = view[: BLOCK - begin], view[BLOCK - begin :]
            while piece:
                written = os.pwrite(descriptor, piece, block * BLOCK + begin)
                piece, begin = piece[written:], begin + written
            begin = 0

    def _read(self, blocks: list[int], begin: int, length: int) -> bytes:
        assert self._file is not None
        pieces = []
        for block in blocks:
            size = min(BLOCK - begin, length)
            piece = os.pread(self._file.fileno(), size, block * BLOCK + begin)
            if len(piece) != size:
                raise OSError("the spool's file is shorter than what was written")
            pieces.append(piece)
            begin, length = 0, length - size
        return b"".join(pieces)

    def _cut(self, length: int) -> None:
        if self._file is not None:
            os.ftruncate(self._file.fileno(), length)


class SpoolFile:
    """One body's part of the file. Must be closed; closing gives its bytes back.

    ``on_change`` is called on the loop when writing may go on after ``busy``, or failed.
    """

    __slots__ = (
        "_blocks",
        "_broken",
        "_closed",
        "_loop",
        "_promised",
        "_spool",
        "_stopped",
        "error",
        "on_change",
        "pending",
        "size",
    )

    def __init__(self, spool: Spool, promised: int) -> None:
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._blocks = array("I")
        self._promised = promised
        self._closed = False
        self._stopped = False
        self._broken = False  # set by the thread: what is in the blocks may be anybody's
        self.size = 0
        self.pending = 0
        self.error: OSError | None = None
        self.on_change: Callable[[], None] | None = None
        spool.files += 1

    def append(self, data: bytes) -> bool:
        """Take ``data``; False, taking nothing, where that would pass the budget."""
        spool, blocks, length = self._spool, self._blocks, len(data)
        first, begin = divmod(self.size, BLOCK)
        count = -(-(self.size + length) // BLOCK) - len(blocks)
        if count:
            promised = min(self._promised, count * BLOCK)
            more = spool._take(count, promised)
            if more is None:
                return False
            self._promised -= promised
            blocks.extend(more)
        self.size += length
        self.pending += length
        spool.pending += length
        spool._thread.submit(self._write, data, blocks[first:].tolist(), begin)
        self._stopped = self._stopped or self.pending >= PENDING_WRITES
        if spool.pending >= PENDING_IN_ALL and not self._stopped:
            self._stopped = True
            spool._waiting[self] = None
        return True

    @property
    def busy(self) -> bool:
        """So much waits for the disk that reading should stop."""
        return self._stopped

    async def read(self, offset: int) -> bytes:
        """The next bytes from ``offset``, empty at the end. Raises OSError."""
        if self.error is not None:
            raise self.error
        length = min(READ_BLOCK, self.size - offset)
        if length <= 0:
            return b""
        first, begin = divmod(offset, BLOCK)
        blocks = self._blocks[first : (offset + length - 1) // BLOCK + 1].tolist()
        future = self._spool._thread.submit(self._read, blocks, begin, length)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give the bytes back. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.on_change = None
        spool, blocks = self._spool, self._blocks
        spool._waiting.pop(self, None)
        spool.promised -= self._promised
        spool.files -= 1
        self._blocks = array("I")
        spool._give_back(blocks)

    # --- in the thread ---

    def _write(self, data: bytes, blocks: list[int], begin: int) -> None:
        error: OSError | None = None
        try:
            self._spool._write(data, blocks, begin)
        except OSError as caught:
            self._broken = True
            error = caught
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wrote, len(data), error)

    def _read(self, blocks: list[int], begin: int, length: int) -> bytes:
        if self._broken:  # a write failed; the loop has not been told yet
            raise OSError("nothing was written")
        return self._spool._read(blocks, begin, length)

    # --- on the loop ---

    def _wrote(self, written: int, error: OSError | None) -> None:
        spool = self._spool
        self.pending -= written
        spool.pending -= written
        if error is not None and self.error is None:
            self.error = error
            spool.failures += 1
            self._tell()
        elif self._stopped and self.pending < PENDING_WRITES and not self._closed:
            # Its own are on the disk; now it is a matter of everybody's.
            spool._waiting[self] = None
        spool._wake()

    def _tell(self) -> None:
        self._stopped = False
        if self.on_change is not None:
            self.on_change()
