"""Listening sockets, and what to tell people when there are none to be had."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from stoker.errors import ListenError
from stoker.vocabulary import Address

# Connections the kernel completes while the loop is busy: a burst of clients at zero must
# not meet refusals. The kernel cuts it to net.core.somaxconn (4096 by default).
BACKLOG = 4096
# Inherited by what is accepted: a client whose machine or network is gone says nothing, and a
# held request may say nothing to it for minutes. Found out within a minute.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

# Inherited too: so much of what a client sends may lie in the kernel unread at first; doubled
# for its bookkeeping, 32 KiB. It grows as it is read, as always. Linux begins with 128 KiB,
# which ten thousand clients fill before anybody has found out that they have to wait: 108 KB
# each, 29 KB so. Measured with bodies of 1 MB: the same CPU time on kept connections, up to a
# tenth more on new ones.
FIRST_BUFFER: Final = 16 * 1024
# socket.h, since Linux 5.14; Python has no name for it. 0: the kernel may adapt both buffers.
SO_BUF_LOCK: Final = 72


def bind_queues(address: Address, setting: str, count: int) -> list[socket.socket]:
    """``count`` listening TCP sockets of one address (SO_REUSEPORT): the kernel spreads
    connections over their queues. Raises ListenError like ``bind``.

    Processes that listen on one common socket share it badly: measured with 64 connections
    on 4 processes, one got 45 and another none; over queues of their own 13 to 20 each.
    """
    # Without SO_REUSEPORT first: another Stoker of the same user could be joined unnoticed.
    first = bind(address, setting)
    port = first.getsockname()[1]
    first.close()
    queues: list[socket.socket] = []
    try:
        for _ in range(count):
            # Not extend(): it need not keep those before one that fails, which must be closed.
            queues.append(bind(Address(address.host, port), setting, shared=True))  # noqa: PERF401
    except ListenError:
        for sock in queues:
            sock.close()
        raise
    return queues


def bind(address: Address, setting: str, *, shared: bool = False) -> socket.socket:
    """A listening TCP socket, with ``shared`` one of several for the same address.

    Raises ListenError naming the setting to change.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
        _begin_small(sock)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as caught:
        sock.close()
        raise ListenError(
            f"{setting} = {address}: {caught.strerror or caught};"
            f" stop what uses it or set another {setting}"
        ) from None
    return sock


def _begin_small(listening: socket.socket) -> None:
    """Have what is accepted begin with a small receive buffer, free to grow."""
    with suppress(OSError):
        # First as a question: an older kernel could not let it grow, and is left alone.
        listening.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FIRST_BUFFER)
        listening.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)


# struct sock_filter as <linux/filter.h> has it: code, jump if true, jump if false, operand.
# The filter of a TCP socket sees packets from the TCP header on; byte 13 holds the flags.
_FIRST_SYN = (
    (0x30, 0, 0, 13),  # load the byte at 13
    (0x54, 0, 0, 0x12),  # and it with SYN | ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # yes: drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # no: keep all of it
)
_SO_ATTACH_FILTER = 26


def refuse_new(listening: socket.socket) -> bool:
    """Have the kernel ignore new connections while those under way still become complete.

    Whoever tries meanwhile tries again by itself, a second later, and is refused once the
    socket is closed. False: the kernel has no such filters; nothing has changed then.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in _FIRST_SYN))
    filter_ = struct.pack("HP", len(_FIRST_SYN), ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
    except OSError:
        return False
    return True


def take_backlog(listening: socket.socket) -> Iterator[tuple[socket.socket, str]]:
    """Accept what is complete already: sockets that do not block, and who is at their end."""
    while True:
        try:
            sock, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        yield sock, address[0] if isinstance(address, tuple) else "unix"
