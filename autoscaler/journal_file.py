"""The journal on disk: JSON lines in files of bounded size. Nothing here breaks a tick."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Line = dict[str, object]

MAX_BACKLOG = 100_000
"""Lines that may wait for a slow disk; what comes then is dropped and counted."""

_ROTATE = b""


class JournalFile:
    """Writes ``path``; at half of ``max_bytes`` it becomes ``path.1`` and a new one begins.

    Each file begins with a snapshot, so that it can be replayed without the one before; the
    snapshots come on top of ``max_bytes``. What an earlier run left in ``path`` becomes
    ``path.1`` as well. ``write`` and ``rotate_if_full`` are called where decisions are made
    and only keep lines; ``flush`` does the I/O and may run in a thread.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.failures = 0
        self.dropped = 0
        self._half = max(1, max_bytes // 2)
        self._bytes = self._half
        self._backlog: deque[bytes] = deque()
        self._file: BinaryIO | None = None

    def write(self, line: Line) -> None:
        """Keep a line for the next ``flush``."""
        self._append(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def rotate_if_full(self, snapshot: Callable[[], Line]) -> None:
        """Begin a new file, with a snapshot taken now, when the present one is full (or none
        has been begun). To be called between the inputs of a planner, not within one."""
        if self._bytes < self._half:
            return
        self._append(_ROTATE)
        self.write({"kind": "snapshot", **snapshot()})
        self._bytes = 0

    def flush(self) -> None:
        """Write what was kept. Failures are counted; the lines concerned are lost."""
        while self._backlog:
            line = self._backlog.popleft()
            try:
                if line == _ROTATE:
                    self._rotate()
                elif self._file is not None:
                    self._file.write(line)
                else:
                    self.dropped += 1
            except OSError:
                self.failures += 1
        try:
            if self._file is not None:
                self._file.flush()
        except OSError:
            self.failures += 1

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        self._close()

    def _append(self, line: bytes) -> None:
        if len(self._backlog) >= MAX_BACKLOG:
            self.dropped += 1
            return
        self._bytes += len(line)
        self._backlog.append(line)

    def _rotate(self) -> None:
        self._close()
        if self.path.exists():
            os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("wb")

    def _close(self) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError:
            self.failures += 1
        self._file = None
