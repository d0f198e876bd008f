"""A file that is answered at once while a model is asleep."""

from __future__ import annotations

import logging
import mimetypes
import os
from http import HTTPStatus
from typing import Final

from activator.responses import status_line

log = logging.getLogger("stoker.activator")

# How often it is asked whether the file has changed.
LOOK_SECONDS: Final = 1.0
LARGEST: Final = 1024 * 1024


class Placeholder:
    """One model's placeholder; read when first needed, and again when it has changed.

    While it cannot be read what was read last stays in force; without that there is none.
    """

    def __init__(self, path: str, status: int) -> None:
        self.path = path
        self.status = status
        kind, _ = mimetypes.guess_type(path)
        kind = kind or "application/octet-stream"
        self._kind = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        self._content: bytes | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._looked = -LOOK_SECONDS
        self._trouble = ""

    def same_as(self, other: Placeholder) -> bool:
        return (self.path, self.status) == (other.path, other.status)

    def content(self, now: float) -> bytes | None:
        """The file as it is, or was when it could last be read; None: it never could be."""
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            try:
                self._look()
                self._trouble = ""
            except OSError as caught:
                why = caught.strerror or str(caught)
                if why != self._trouble:
                    self._trouble = why
                    log.error("cannot read placeholder = %s: %s", self.path, why)
        return self._content

    def _look(self) -> None:
        found = os.stat(self.path)
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == self._stamp:
            return
        with open(self.path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OSError(f"it is longer than {LARGEST} bytes")
        self._content, self._stamp = content, stamp

    def answer(
        self, content: bytes, retry_after: float, *, keep_alive: bool, head_only: bool
    ) -> bytes:
        """The whole answer."""
        parts = [
            status_line(self.status),
            f"Content-Type: {self._kind}\r\nContent-Length: {len(content)}\r\n".encode(),
            b"Cache-Control: no-store\r\n",
        ]
        if self.status >= HTTPStatus.BAD_REQUEST or self.status == HTTPStatus.ACCEPTED:
            parts.append(b"Retry-After: %d\r\n" % retry_after)
        parts.append(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
        if not head_only:
            parts.append(content)
        return b"".join(parts)
