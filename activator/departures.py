"""Notices held clients that leave while their socket is not being read.

A paused transport learns of a FIN only when it reads again. One epoll of our own watches
the sockets of paused holds for a hang-up and is itself watched by the event loop.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress

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

        ``half_open``: a peer that only ends its sending side has not left. Nothing is watched
        if the socket is closed already: its owner is about to be told so.
        """
        mask = _RESET if half_open else _LEFT
        try:
            self._epoll.register(fd, mask)
        except FileExistsError:
            self._epoll.modify(fd, mask)
        except OSError:
            return
        self._callbacks[fd] = callback

    def unwatch(self, fd: int, callback: Callable[[], None]) -> None:
        """End the watch that has this callback. Idempotent.

        It may come late: a TLS transport closes its socket one turn of the loop before it says
        that the connection is lost. The kernel has ended the watch by then, and the number may
        be that of another socket, which may be watched too.
        """
        if self._callbacks.get(fd) == callback:
            del self._callbacks[fd]
            with suppress(OSError):
                self._epoll.unregister(fd)

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            if callback is not None:
                self.unwatch(fd, callback)
                callback()

    def __len__(self) -> int:
        return len(self._callbacks)

    def close(self) -> None:
        """Idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._callbacks.clear()
