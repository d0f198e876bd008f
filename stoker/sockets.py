"""Listening sockets, and what to tell people when there are none to be had."""

from __future__ import annotations

import socket

from stoker.errors import ListenError
from stoker.vocabulary import Address

# Connections the kernel completes while the loop is busy: a burst of clients at zero must
# not meet refusals. The kernel cuts it to net.core.somaxconn (4096 by default).
BACKLOG = 4096


def bind(address: Address, setting: str) -> socket.socket:
    """A listening TCP socket. Raises ListenError naming the setting to change."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
