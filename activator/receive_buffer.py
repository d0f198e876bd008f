"""How much of a held body may lie in the kernel, where nobody counts it.

Left alone the kernel lets a socket that is not read collect what its window has grown to, up
to megabytes. A connection begins with a small one (``stoker.sockets``) and keeps it while it is
not read; one that has carried more is narrowed, best *before* most of a body has come: later
the kernel would have to drop what it has invited, and the sender might pause for minutes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from stoker.sockets import FIRST_BUFFER, SO_BUF_LOCK

# The kernel doubles what is asked for, for its own bookkeeping: 32 KiB each.
NARROW: Final = FIRST_BUFFER
# Doubled: 128 KiB, where Linux begins. What is read goes on at its pace: over loopback, whose
# packets have 64 KB, a smaller window would let one pass every 200 ms.
USUAL: Final = 64 * 1024
# Doubled: 256 KiB; the kernel adapts it from there. With less a sender that has met the small
# window sits out a probe's time (200 ms, measured) before it believes in the large one.
WIDE: Final = 128 * 1024


def narrow(transport: asyncio.Transport, *, much: bool) -> None:
    """Let the kernel collect little: what is sent will have to wait in the sender.

    ``much``: it is going to be read, for the time being.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    if much:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, USUAL)
    elif sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 4 * NARROW:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    # Else it is as small as that, or nearly. Fixed at this size the kernel could not make room
    # for segments that carry little: five of each connection were dropped, and sent again up to
    # 25 s later.


def widen(transport: asyncio.Transport) -> None:
    """The body is read again: back to the kernel's own ways."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
        except OSError:
            # An older kernel: it stays at a size that does not hurt much either.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * WIDE)
