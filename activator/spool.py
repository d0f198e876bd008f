"""Bodies of held requests: in memory up to a limit, then in a file within a byte budget.

Files are created without a name, so a crash leaves nothing behind. One thread does all
file work, in order: a read that was asked for after a write sees what was written.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO

# Reading stops while this much waits for the disk, so that a fast client and a slow disk
# cannot fill the memory that the spool is there to save.
PENDING_WRITES = 256 * 1024
READ_BLOCK = 256 * 1024


class Spool:
    """The budget and the thread that all spool files of one process share."""

    def __init__(self, directory: str, budget: int) -> None:
        self.directory = directory or tempfile.gettempdir()
        self.budget = budget
        self.used = 0
        self.files = 0
        self.failures = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    def create(self) -> SpoolFile:
        """A new, empty file. Nothing touches the disk before the first ``append``."""
        return SpoolFile(self, self._thread)

    def close(self) -> None:
        """Wait for what is being written and end the thread. Idempotent."""
        self._thread.shutdown(wait=True)


class SpoolFile:
    """One body's file. Must be closed; closing gives its bytes back to the budget.

    ``on_change`` is called on the loop when pending writes have shrunk or failed.
    """

    def __init__(self, spool: Spool, thread: ThreadPoolExecutor) -> None:
        self._spool = spool
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._file: FileIO | None = None
        self._closed = False
        self.size = 0
        self.pending = 0
        self.error: OSError | None = None
        self.on_change: Callable[[], None] | None = None
        spool.files += 1

    def append(self, data: bytes) -> bool:
        """Take ``data``; False, taking nothing, where that would pass the budget."""
        spool = self._spool
        if spool.used + len(data) > spool.budget:
            return False
        spool.used += len(data)
        offset = self.size
        self.size += len(data)
        self.pending += len(data)
        self._thread.submit(self._write, data, offset)
        return True

    @property
    def busy(self) -> bool:
        """So much waits for the disk that reading should stop."""
        return self.pending >= PENDING_WRITES

    async def read(self, offset: int) -> bytes:
        """The next block from ``offset``, empty at the end. Raises OSError."""
        if self.error is not None:
            raise self.error
        length = min(READ_BLOCK, self.size - offset)
        if length <= 0:
            return b""
        future = self._thread.submit(self._read, length, offset)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give the bytes back and let the file go. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.on_change = None
        self._spool.used -= self.size
        self._spool.files -= 1
        self._thread.submit(self._close)

    # --- in the thread ---

    def _write(self, data: bytes, offset: int) -> None:
        error: OSError | None = None
        try:
            if self._file is None:
                # Without a name from the start where the file system can do that.
                directory = self._spool.directory
                self._file = tempfile.TemporaryFile(buffering=0, dir=directory)  # noqa: SIM115
            view = memoryview(data)
            while view:
                written = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[written:], offset + written
        except OSError as caught:
            error = caught
        self._call(len(data), error)

    def _read(self, length: int, offset: int) -> bytes:
        if self._file is None:  # a write failed; the loop has not been told yet
            raise OSError("nothing was written")
        return os.pread(self._file.fileno(), length, offset)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _call(self, written: int, error: OSError | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wrote, written, error)

    # --- on the loop ---

    def _wrote(self, written: int, error: OSError | None) -> None:
        self.pending -= written
        if error is not None and self.error is None:
            self.error = error
            self._spool.failures += 1
        if self.on_change is not None:
            self.on_change()


class Body:
    """What has been received of one request's body and is still kept.

    In order: ``chunks`` in memory, then the file, then ``overflow`` (what had been read
    when the budget was found used up; one read at most). ``replayable`` turns False once
    something was passed on without being kept.
    """

    __slots__ = ("chunks", "file", "overflow", "replayable", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.file: SpoolFile | None = None
        self.overflow: list[bytes] = []
        self.size = 0
        self.replayable = True

    @property
    def full(self) -> bool:
        """Nothing more may be taken for now: the disk is behind, or the budget is used up."""
        return bool(self.overflow) or (self.file is not None and self.file.busy)

    def keep(self, data: bytes) -> None:
        """Keep ``data`` in memory: it is still to be looked at."""
        self.size += len(data)
        self.chunks.append(data)

    def hold(self, data: bytes, memory: int, spool: Spool) -> None:
        """Keep ``data``, at most ``memory`` bytes of the body in memory."""
        self.size += len(data)
        if self.file is None:
            if self.size <= memory:
                self.chunks.append(data)
                return
            self.file = spool.create()
        self._spool(data)

    def _spool(self, data: bytes) -> None:
        assert self.file is not None
        if self.overflow or not self.file.append(data):
            self.overflow.append(data)

    def spill(self, memory: int, spool: Spool) -> None:
        """Move to the file what was kept in memory beyond ``memory`` bytes."""
        if self.size <= memory or self.file is not None:
            return
        self.file = spool.create()
        chunks, self.chunks, size = self.chunks, [], 0
        for data in chunks:
            size += len(data)
            if size <= memory:
                self.chunks.append(data)
            else:
                self._spool(data)

    def pass_on(self, data: bytes, memory: int) -> None:
        """``data`` goes straight to the replica; keep it too while the body is small."""
        self.size += len(data)
        if self.replayable and self.size <= memory:
            self.chunks.append(data)
        elif self.replayable:
            self.forget()

    def forget(self) -> None:
        """Keep nothing (any more): no retry is possible from here on."""
        self.replayable = False
        self.chunks = []
        self.overflow = []
        self.close()

    def close(self) -> None:
        """Let the file go. Idempotent."""
        if self.file is not None:
            self.file.close()
            self.file = None
