"""Clients that wait: thousands of connections, each with one request and its answer."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from typing import Any, cast

# What is left of a paused body must wait in the sender, not in the kernel.
SEND_BUFFER = 4096
# Ethernet's, not loopback's 64 KB: a receiver with a window below one segment is sent nothing
# until a timer of 200 ms runs out, again and again. No real network has such segments.
SEGMENT = 1448


def allow_descriptors(count: int) -> None:
    """Raises RuntimeError, with the limit, when that many files may not be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard < count:
        raise RuntimeError(f"{count} open files are needed, the hard limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Holder(asyncio.Protocol):
    """One request. ``status`` 0: the connection ended without a whole answer."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answer = b""
        self.first_byte_ns = 0
        self.status = 0
        self.told: dict[str, Any] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.answer:
            self.first_byte_ns = time.monotonic_ns()
        self.answer += data
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if length and len(body) >= int(length):
            self.status = int(head.split(b" ")[1])
            self.told = json.loads(body) if self.status == 200 else {}
            self.transport.abort()
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def request_bytes(model: str, size: int) -> bytes:
    """A POST to the model with ``size`` bytes of body."""
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: holds.localhost\r\n"
        "User-Agent: holds\r\nAccept: application/json\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + b"x" * size


async def hold(port: int, request: bytes, count: int) -> list[Holder]:
    """Open ``count`` connections and send the request on each, as far as it is taken."""
    loop = asyncio.get_running_loop()
    holders = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        # All share the one request: a sender's copy of each would be what is measured.
        _, holder = await loop.create_connection(lambda: Holder(request), sock=sock)
        holders.append(holder)
    return holders
