"""Readiness: is the replica there yet? Asked often, because each wait is cold start."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from stoker.vocabulary import Address

ANSWER_TIMEOUT = 5.0
# What a server may say after its status line before the probe hangs up on it.
FAREWELL_TIMEOUT = 1.0

SHORTEST_WAIT = 0.001
LONGEST_WAIT = 0.05
WAIT_SHARE = 0.01


def wait_before_next(elapsed: float) -> float:
    """Seconds between two probes, when the replica has been starting for ``elapsed``.

    One hundredth of the time it took so far: what a probe adds to a cold start is then
    0.5 % on average and 1 % at most, whether it takes 100 ms or 10 s. A refused loopback
    connect costs some 30 µs, so even the shortest wait leaves its core alone.
    """
    return min(max(elapsed * WAIT_SHARE, SHORTEST_WAIT), LONGEST_WAIT)


async def probe_until_ready(
    address: Address,
    path: str,
    *,
    on_ready: Callable[[], None],
    on_outcome: Callable[[str], None],
) -> None:
    """Probe until one passes, then call ``on_ready`` at once; each failure goes to
    ``on_outcome`` in words.

    With a ``path``, an HTTP GET has to be answered 2xx; without, a connection be accepted.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    request = (
        f"GET /{path.removeprefix('/')} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: stoker-probe\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("latin-1", "replace")
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await _connect(sock, address)
                    outcome = await _ask(sock, request) if path else ""
            except TimeoutError:
                outcome = f"no answer within {ANSWER_TIMEOUT:g} s"
            except OSError as error:
                outcome = os.strerror(error.errno or errno.EIO).lower()
            if not outcome:
                on_ready()
                # Hanging up on a half-sent answer makes some servers log an error.
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(FAREWELL_TIMEOUT):
                        while path and await loop.sock_recv(sock, 65536):
                            pass
                return
        on_outcome(outcome)
        await asyncio.sleep(wait_before_next(loop.time() - began))


async def _connect(sock: socket.socket, address: Address) -> None:
    """Connect. On loopback the kernel knows the outcome at once: no turn of the loop needed."""
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0 and not _is_connected(sock):  # the listener's backlog is full
            await asyncio.get_running_loop().sock_connect(sock, address)
    if number:
        raise OSError(number, os.strerror(number))
    if sock.getsockname() == sock.getpeername():  # TCP simultaneous open with ourselves
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def _ask(sock: socket.socket, request: bytes) -> str:
    """Empty if the answer is 2xx; else what came instead."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    head = b""
    while len(head) < 12:  # "HTTP/1.1 200"
        chunk = await loop.sock_recv(sock, 4096)
        if not chunk:
            return "connection closed without an answer"
        head += chunk
    version, _, rest = head.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        return "answer is not HTTP/1.1"
    return "" if status.startswith(b"2") else f"HTTP {status.decode()}"
