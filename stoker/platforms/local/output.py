"""What a replica printed: its last bytes, kept within a bound, read without blocking."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from contextlib import suppress

READ_BYTES = 64 * 1024
# A full read means more is waiting. The pause bounds what a flooding replica may take of
# the loop: 64 KiB each 2 ms are 32 MB/s, for about 1 % of a core.
FLOOD_PAUSE = 0.002

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")


class OutputRing:
    """The last ``limit`` bytes of a stream of chunks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size > self._limit:
            surplus = self._size - self._limit
            first = self._chunks.popleft()
            self._size -= len(first)
            if len(first) > surplus:
                rest = first[surplus:]
                self._chunks.appendleft(rest)
                self._size += len(rest)
        # Thousands of tiny writes would cost more in objects than in bytes.
        if len(self._chunks) > 256:
            self._chunks = deque((b"".join(self._chunks),))

    def text(self) -> str:
        """All of it, undecodable bytes replaced."""
        return b"".join(self._chunks).decode("utf-8", "replace")

    def last_lines(self, lines: int = 6, characters: int = 1000) -> str:
        """The last non-empty lines, without terminal escapes; empty if nothing was printed."""
        text = _ESCAPES.sub("", self.text()[-4 * characters :])
        kept = [_UNPRINTABLE.sub(" ", line).rstrip() for line in text.splitlines()]
        return "\n".join([line for line in kept if line][-lines:])[-characters:]


class OutputReader:
    """Reads one pipe into a ring on the running loop. Owns the file descriptor."""

    def __init__(self, fd: int, ring: OutputRing) -> None:
        os.set_blocking(fd, False)
        self.ring = ring
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._read)

    @property
    def closed(self) -> bool:
        """The pipe has ended, or was let go."""
        return self._fd < 0

    def close(self) -> None:
        """Take what is still in the pipe (at most what a pipe holds), then let it go."""
        if self.closed:
            return
        for _ in range(16):
            if self._read_once() <= 0:
                break
        self._release()

    def _read(self) -> None:
        count = self._read_once()
        if count == 0:
            self._release()
        elif count == READ_BYTES:
            self._loop.remove_reader(self._fd)
            self._resume = self._loop.call_later(FLOOD_PAUSE, self._continue)

    def _continue(self) -> None:
        self._resume = None
        self._loop.add_reader(self._fd, self._read)

    def _read_once(self) -> int:
        """Bytes read; 0 at the end, -1 if there is nothing for now."""
        with suppress(BlockingIOError):
            chunk = os.read(self._fd, READ_BYTES)
            if chunk:
                self.ring.add(chunk)
            return len(chunk)
        return -1

    def _release(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
