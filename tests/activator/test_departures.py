"""Noticing that a peer has left a socket that nobody reads."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable

from activator.departures import Departures
from tests.activator.world import until


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other


async def test_peer_leaves() -> None:
    """A close and a reset are noticed once each, unread data notwithstanding."""
    departures = Departures(asyncio.get_running_loop())
    left: list[str] = []
    for how in ("close", "reset", "half-close"):
        near, far = pair()
        far.sendall(b"unread")
        departures.watch(near.fileno(), lambda h=how: left.append(h))  # type: ignore[misc]
        assert len(departures) == 1
        if how == "half-close":
            far.shutdown(socket.SHUT_WR)
        elif how == "reset":
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
        else:
            far.close()
        await until(lambda h=how: h in left)  # type: ignore[misc]
        assert len(departures) == 0
        near.close()
        far.close()
    assert left == ["close", "reset", "half-close"]
    departures.close()


async def test_half_open_peers_have_not_left() -> None:
    """One that ends its side is still there, until it resets the connection."""
    departures = Departures(asyncio.get_running_loop())
    left: list[str] = []
    near, far = pair()
    witness, its_far = pair()
    departures.watch(near.fileno(), lambda: left.append("half-open"), half_open=True)
    departures.watch(witness.fileno(), lambda: left.append("witness"))
    far.shutdown(socket.SHUT_WR)
    its_far.shutdown(socket.SHUT_WR)
    await until(lambda: left)
    assert left == ["witness"]
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    await until(lambda: len(left) == 2)
    assert left == ["witness", "half-open"]
    assert len(departures) == 0
    for sock in (near, witness, its_far):
        sock.close()
    departures.close()


async def test_unwatched_peers_may_leave() -> None:
    """Nobody is told; watching and unwatching twice does nothing."""
    departures = Departures(asyncio.get_running_loop())
    left: list[str] = []
    near, far = pair()
    other, its_far = pair()

    def second() -> None:
        left.append("second")

    departures.watch(near.fileno(), lambda: left.append("first"))
    departures.watch(near.fileno(), second)
    departures.unwatch(near.fileno(), second)
    departures.unwatch(near.fileno(), second)
    far.close()
    departures.watch(other.fileno(), lambda: left.append("other"))
    its_far.close()
    await until(lambda: left)
    assert left == ["other"]
    near.close()
    other.close()
    departures.close()


async def test_the_last_callback_counts() -> None:
    """Watching again replaces it."""
    departures = Departures(asyncio.get_running_loop())
    left: list[str] = []
    near, far = pair()
    departures.watch(near.fileno(), lambda: left.append("first"))
    departures.watch(near.fileno(), lambda: left.append("second"))
    far.close()
    await until(lambda: left)
    assert left == ["second"]
    near.close()
    departures.close()


async def test_many_at_once_and_one_that_unwatches_another() -> None:
    """A callback may end the watch of a socket that is reported in the same breath."""
    departures = Departures(asyncio.get_running_loop())
    pairs = [pair() for _ in range(50)]
    left: list[int] = []
    watches: dict[int, Callable[[], None]] = {}
    for near, _ in pairs:

        def callback(fd: int = near.fileno()) -> None:
            left.append(fd)
            if len(left) == 1:
                for one, _ in pairs[25:]:
                    departures.unwatch(one.fileno(), watches[one.fileno()])

        watches[near.fileno()] = callback
        departures.watch(near.fileno(), callback)
    for _, far in pairs:
        far.close()
    await until(lambda: len(departures) == 0)
    assert len(left) in (25, 26)
    for near, _ in pairs:
        near.close()
    departures.close()
    departures.close()


async def test_an_end_of_a_watch_that_comes_late() -> None:
    """Once the socket is closed it does no harm, nor to the socket that got its number."""
    departures = Departures(asyncio.get_running_loop())
    left: list[str] = []

    def late() -> None:
        left.append("late")

    def other() -> None:
        left.append("other")

    near, far = pair()
    another, anothers_far = pair()
    closed, its_far = pair()
    fd = near.detach()
    departures.watch(fd, late)
    os.dup2(another.fileno(), fd)
    departures.watch(fd, other)
    departures.unwatch(fd, late)
    anothers_far.close()
    await until(lambda: left)
    assert left == ["other"]
    fds = [closed.fileno(), fd]
    departures.watch(closed.fileno(), late)
    closed.close()
    os.close(fd)
    for fd in fds:
        departures.watch(fd, late)  # nor does a watch that begins late
        departures.unwatch(fd, late)
    assert len(departures) == 0
    for sock in (another, far, its_far):
        sock.close()
    departures.close()
