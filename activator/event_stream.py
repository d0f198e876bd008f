"""An answer as a stream of events that Stoker begins and a replica goes on with.

The format is that of the HTML standard's server-sent events; a line that begins with a colon
is a comment, which clients pass over. Everything is chunked: only HTTP/1.1 callers get here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

CONTENT_TYPE: Final = b"content-type"
KIND: Final = b"text/event-stream"
# X-Accel-Buffering: nginx would keep the comments to itself.
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n"
)
LAST_CHUNK: Final = b"0\r\n\r\n"
# Of an answer that is no stream so much is told in the event.
MOST_TOLD: Final = 64 * 1024


def head(keep_alive: bool) -> bytes:
    """The head of the answer, before its first comment."""
    return _HEAD + (b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def comment(phase: str, eta: float | None, queued: int) -> bytes:
    """``: stoker phase=starting eta=12s queued=3``, as a chunk. ``eta``: seconds, None: unknown."""
    about = "" if eta is None else f" eta={max(0, round(eta))}s"
    return chunk(f": stoker phase={phase}{about} queued={queued}\n\n".encode())


def error_event(content: Any) -> bytes:
    """``content`` as an event that ends the stream in error, as a chunk."""
    return chunk(b"event: error\ndata: " + json.dumps(content).encode() + b"\n\n")


def joins(status: int, fields: Sequence[bytes]) -> bool:
    """Whether a replica's answer can go on where the comments end.

    ``fields``: name, b": ", value, b"\\r\\n" in turn. An encoded body (gzip) cannot: what
    was sent is not encoded.
    """
    kind = b""
    for at in range(0, len(fields), 4):
        name = fields[at].lower()
        if name == CONTENT_TYPE:
            kind = fields[at + 2]
        elif name == b"content-encoding" and fields[at + 2].strip().lower() != b"identity":
            return False
    return status == 200 and kind.partition(b";")[0].strip().lower() == KIND


class Aside:
    """An answer that cannot be passed on any more: what is told of it instead."""

    __slots__ = ("_body", "_kind", "_size", "_status")

    def __init__(self, status: int, fields: Sequence[bytes]) -> None:
        self._status = status
        self._kind = b""
        for at in range(0, len(fields), 4):
            if fields[at].lower() == CONTENT_TYPE:
                self._kind = fields[at + 2]
        self._body: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """More of its body; what is beyond MOST_TOLD is dropped."""
        data = data[: MOST_TOLD - self._size]
        if data:
            self._size += len(data)
            self._body.append(data)

    def event(self) -> bytes:
        """Its error as the replica put it, else what it was."""
        text = b"".join(self._body).decode("utf-8", "replace")
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not (isinstance(content, dict) and content.get("error")):
            kind = self._kind.decode("latin-1") or "no content type"
            message = f"the replica answered {self._status} ({kind}), not a stream of events"
            error = {"message": message, "type": "not-a-stream", "code": self._status}
            content = {"error": {**error, "body": text}}
        return error_event(content)
