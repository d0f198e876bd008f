"""Readiness: is the replica there yet? Asked often, because each wait is cold start."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from stoker.platforms.local.pauses import Probed, pause_before_next
from stoker.vocabulary import Address

ANSWER_TIMEOUT = 5.0
# What a server may say after its status line before the probe hangs up on it.
FAREWELL_TIMEOUT = 1.0


async def probe_until_ready(
    address: Address,
    path: str,
    *,
    expected: tuple[float, float] | None = None,
    probing: Probed,
    on_ready: Callable[[], None],
    on_outcome: Callable[[str], None],
) -> None:
    """Probe until one passes, then call ``on_ready`` at once; each failure goes to
    ``on_outcome`` in words.

    With a ``path``, an HTTP GET has to be answered 2xx; without, a connection be accepted.
    ``expected`` and ``probing``: see ``pause_before_next``.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    request = (
        f"GET /{path.removeprefix('/')} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: stoker-probe\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("latin-1", "replace")
    probing.now += 1
    try:
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                outcome, took = await _probe(sock, address, request if path else b"")
                if not outcome:
                    on_ready()
                    if path:
                        await _farewell(sock)
                    return
            on_outcome(outcome)
            elapsed = loop.time() - began
            await asyncio.sleep(pause_before_next(elapsed, expected, took, probing.now))
    finally:
        probing.now -= 1


async def _probe(sock: socket.socket, address: Address, request: bytes) -> tuple[str, float]:
    """One probe: empty if it passes, else what came instead; and how long an answer took."""
    loop = asyncio.get_running_loop()
    try:
        # Mostly it is refused at once: a timeout would cost as much again.
        connected = _connect(sock, address)
        if connected and not request:
            return "", 0.0
        async with asyncio.timeout(ANSWER_TIMEOUT):
            if not connected:
                await loop.sock_connect(sock, address)
                _refuse_oneself(sock)
            asked = loop.time()
            outcome = await _ask(sock, request) if request else ""
            return outcome, loop.time() - asked
    except TimeoutError:
        return f"no answer within {ANSWER_TIMEOUT:g} s", 0.0
    except OSError as error:
        return os.strerror(error.errno or errno.EIO).lower(), 0.0


async def _farewell(sock: socket.socket) -> None:
    """Hear the answer to its end: hanging up on half of it makes some servers log an error."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(FAREWELL_TIMEOUT):
            while await loop.sock_recv(sock, 65536):
                pass


def _connect(sock: socket.socket, address: Address) -> bool:
    """Connect. On loopback the kernel knows the outcome at once: no turn of the loop needed.

    False if it does not (the listener's backlog is full). Raises OSError if it is refused.
    """
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0 and not _is_connected(sock):
            return False
    if number:
        raise OSError(number, os.strerror(number))
    _refuse_oneself(sock)
    return True


def _refuse_oneself(sock: socket.socket) -> None:
    """Raises OSError after a TCP simultaneous open: nobody listens but ourselves."""
    if sock.getsockname() == sock.getpeername():
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
