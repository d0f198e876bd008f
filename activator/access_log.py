"""The access log: a line per request, written by a thread of its own.

The request path formats a line and appends it to a list. Once that is long enough, or has
waited long enough, it is handed to the thread, which writes it with one call per batch of
whole lines (so several processes may share a file opened for appending). What the disk does
not take in time is bounded: lines beyond the bound are dropped, counted and told.
"""

from __future__ import annotations

import logging
import os
import queue
import stat
import threading
from typing import Final

log = logging.getLogger("stoker.activator")

STDOUT: Final = "-"
BATCH_BYTES: Final = 64 * 1024
# What may wait for the disk: 80,000 lines of 200 bytes, or eight seconds at 10,000 a second.
WAITING_BYTES: Final = 16 * 1024 * 1024
LAST_FLUSH_SECONDS: Final = 2.0


class AccessLog:
    """Lines to ``path``, or to stdout for ``-``. Raises OSError if it cannot be opened.

    Not thread-safe: ``add``, ``flush`` and ``close`` belong to the event loop.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines = 0
        self.error: OSError | None = None
        self._told = 0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        # Each is written by one thread only, so no lock is needed to compare them.
        self._handed = 0
        self._written = 0
        self._overflowed = 0
        self._failed = 0
        self._reopen = False
        self._fd = _open(path)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Take one line, its end included."""
        self._batch.append(line)
        self._batch_bytes += len(line)
        if self._batch_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what there is to the thread; to be called now and then."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        size, self._batch_bytes = self._batch_bytes, 0
        if self._handed - self._written + size > WAITING_BYTES:
            self._overflowed += len(batch)
            return
        self.lines += len(batch)
        self._handed += size
        self._queue.put(b"".join(batch))

    @property
    def dropped(self) -> int:
        """Lines that were not written: too many waited, or writing failed."""
        return self._overflowed + self._failed

    def newly_dropped(self) -> int:
        """Lines dropped since this was asked last."""
        new, self._told = self.dropped - self._told, self.dropped
        return new

    def reopen(self) -> None:
        """Open the file anew before the next line: it may have been moved away."""
        self._reopen = True

    def close(self) -> None:
        """Write what is left, if that can be done soon. Idempotent."""
        self.flush()
        self._queue.put(None)
        self._thread.join(LAST_FLUSH_SECONDS)

    # --- in the thread ---

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._follow()
                _write(self._fd, batch)
                self.error = None
            except OSError as caught:
                self._failed += batch.count(b"\n")
                if self.error is None:
                    log.error("access-log = %s: %s", self.path, caught.strerror or caught)
                self.error = caught
            self._written += len(batch)
        if self.path != STDOUT:
            os.close(self._fd)

    def _follow(self) -> None:
        """Open the file anew where its name means another one by now, or none."""
        if self.path == STDOUT:
            return
        if not self._reopen:
            try:
                here, there = os.fstat(self._fd), os.stat(self.path)
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return
            except FileNotFoundError:
                pass
        self._reopen = False
        new = _open(self.path)
        os.close(self._fd)
        self._fd = new


def _open(path: str) -> int:
    if path == STDOUT:
        return 1
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o640)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    # A FIFO or a terminal: whoever reads may be slow, which is the thread's to wait for.
    os.set_blocking(fd, True)
    return fd


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
