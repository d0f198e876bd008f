"""A stream of events in bytes: head, comments, errors, and which answers can join it."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, cast

import pytest

from activator import receive_buffer
from activator.event_stream import (
    LAST_CHUNK,
    MOST_TOLD,
    Aside,
    chunk,
    comment,
    error_event,
    head,
    joins,
)


def fields(**values: str) -> list[bytes]:
    """A head's fields, in turn."""
    found: list[bytes] = []
    for name, value in values.items():
        found += [name.replace("_", "-").encode(), b": ", value.encode(), b"\r\n"]
    return found


def test_head_says_how_the_connection_goes_on() -> None:
    """Chunked, not to be cached or collected by proxies."""
    assert head(True).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    assert head(True).endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    assert head(False) == head(True)[:-2] + b"Connection: close\r\n\r\n"


def test_comments() -> None:
    """A line that clients pass over, and a blank one; an unknown estimate is left out."""
    assert comment("starting", 11.6, 3) == chunk(b": stoker phase=starting eta=12s queued=3\n\n")
    assert comment("asleep", None, 1) == chunk(b": stoker phase=asleep queued=1\n\n")
    assert comment("queued", -0.7, 1) == chunk(b": stoker phase=queued eta=0s queued=1\n\n")
    assert chunk(b"x" * 255) == b"ff\r\n" + b"x" * 255 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_an_error_is_one_line_of_data() -> None:
    """Whatever is in its message."""
    event = error_event({"error": {"message": "a\nb\r\n\nc"}})
    _, data, _ = event.split(b"\r\n")
    first, second, *others = data.split(b"\n")
    assert (first, others) == (b"event: error", [b"", b""])
    assert json.loads(second.removeprefix(b"data: ")) == {"error": {"message": "a\nb\r\n\nc"}}


@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (200, fields(Date="x", content_TYPE=" Text/Event-Stream ;charset=utf-8", Age="1"), True),
        (200, fields(content_type="text/event-stream", content_encoding="identity"), True),
        (200, fields(content_type="text/event-stream", Content_Encoding="gzip"), False),
        (200, fields(content_type="application/json"), False),
        (200, fields(server="x"), False),
        (206, fields(content_type="text/event-stream"), False),
        (503, fields(content_type="text/event-stream"), False),
    ],
)
def test_which_answers_join(status: int, given: list[bytes], expected: bool) -> None:
    """A plain stream of events with 200; nothing else can go on behind comments."""
    assert joins(status, given) is expected


def error(aside: Aside) -> Any:
    data = aside.event().split(b"\r\n")[1]
    content: dict[str, Any] = json.loads(data.split(b"\n")[1].removeprefix(b"data: "))["error"]
    return content


def test_an_answer_of_another_kind_is_told_in_an_event() -> None:
    """Its own error if it is one, else what it was; never more than so much."""
    aside = Aside(429, fields(server="x", content_type="application/json"))
    aside.add(b'{"error": "slow')
    aside.add(b' down"}')
    assert error(aside) == "slow down"
    aside = Aside(500, fields(server="x"))
    for _ in range(3):
        aside.add(b"x" * (MOST_TOLD // 2 + 1))
    told = error(aside)
    assert (told["code"], told["type"], len(str(told["body"]))) == (500, "not-a-stream", MOST_TOLD)
    for text in (b"[1]", b'{"error": null}', b"\xff"):
        aside = Aside(200, fields(content_type="text/plain"))
        aside.add(text)
        assert error(aside)["type"] == "not-a-stream"


# --- the kernel's buffer ---


class OldKernel:
    """A socket that knows nothing of SO_BUF_LOCK."""

    def __init__(self) -> None:
        self.size = 512 * 1024

    def getsockopt(self, level: int, option: int) -> int:
        return self.size

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if option != socket.SO_RCVBUF:
            raise OSError(92, "Protocol not available")
        self.size = value


class Transport:
    def __init__(self, sock: OldKernel | None) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> OldKernel | None:
        return self._sock


def test_receive_buffer_of_an_older_kernel() -> None:
    """It cannot be unlocked: it gets a size that serves. Without a socket nothing is done."""
    sock = OldKernel()
    transport = cast(asyncio.Transport, Transport(sock))
    receive_buffer.narrow(transport, much=False)
    assert sock.size == receive_buffer.NARROW
    receive_buffer.narrow(transport, much=True)
    assert sock.size == receive_buffer.USUAL
    receive_buffer.widen(transport)
    assert sock.size == 4 * receive_buffer.WIDE
    nothing = cast(asyncio.Transport, Transport(None))
    receive_buffer.narrow(nothing, much=False)
    receive_buffer.widen(nothing)
