"""Notices held clients that leave while their socket is not being read.

A paused transport learns of a FIN only when it reads again. One epoll of our own watches
the sockets of paused holds for a hang-up and is itself watched by the event loop.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

_RESET = select.EPOLLHUP | select.EPOLLERR
_LEFT = select.EPOLLRDHUP | _RESET


class Departures:
    """Calls back, once, when a watched socket's peer has left."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def watch(self, fd: int, callback: Callable[[], None], *, half_open: bool = False) -> None:
        """Watch ``fd`` until ``unwatch``. Watching it again replaces the callback.

        ``half_open``: a peer that only ends its sending side has not left.
        """
        if fd not in self._callbacks:
            self._epoll.register(fd, _RESET if half_open else _LEFT)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Idempotent. Must come before the socket is closed: the number may be reused."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            self.unwatch(fd)
            if callback is not None:
                callback()

    def __len__(self) -> int:
        return len(self._callbacks)

    def close(self) -> None:
        """Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._callbacks.clear()
