"""How an activator stops without losing a request.

Readiness says no at once; for ``delay`` seconds connections are accepted as ever, because
whoever sends them learns of it late. Then new ones are no longer let in, those that the
kernel had already completed are taken, and what is under way finishes. A client's kept-open
connection is told with its next answer, or closed once it has been quiet for a moment: at
once it could be closed just as its next request arrives. Tunnels end by their activity.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from activator.http1 import ClientConnection
from activator.tls_listener import TlsListener
from stoker.sockets import refuse_new, take_backlog

if TYPE_CHECKING:
    from activator.server import Activator, Listening

# Between refusing new connections and closing: longer than a handshake under way takes
# between continents.
SETTLE_SECONDS: Final = 0.2
# How long a connection without a request is watched for one before it is closed.
QUIET_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 0.05
# The same for one listener that goes while all else stays: nobody waits for that.
RETIRE_SECONDS: Final = 0.25


async def drain(activator: Activator, timeout: float, delay: float = 0.0) -> int:
    """Stop as described above, within ``delay`` and then ``timeout`` seconds; returns how many
    connections had not ended by then.
    """
    activator.leaving = True
    if delay:
        await asyncio.sleep(delay)
    activator.draining = True
    if activator.cluster is not None:
        activator.cluster.leave()
    begun = activator.clock.now()
    await stop_accepting(activator)
    quiet_since: dict[ClientConnection, float] = {}
    while activator.connections or activator.welcoming:
        now = activator.clock.now()
        if now - begun >= timeout:
            break
        _close_quiet(activator.connections, quiet_since, now)
        idle = activator.process.tunnel_drain_idle
        for tunnel in list(activator.tunnels):
            if now - tunnel.last_activity >= idle:
                tunnel.close()
        await asyncio.sleep(CHECK_SECONDS)
    return len(activator.connections)


async def count_all(activator: Activator) -> None:
    """Wait until all that is over is counted, for whoever is told the last counts afterwards:
    of a tunnel it may take some seconds to learn whether its replica had died.
    """
    while True:
        if not activator.has_undecided_tunnels():
            return
        await asyncio.sleep(CHECK_SECONDS)


async def retire(activator: Activator, listener: str) -> None:
    """A listener is no more: end each of its connections with its next answer, or once it has
    been quiet for a moment. Returns when none is left, or when all of the activator drains.
    """
    quiet_since: dict[ClientConnection, float] = {}
    while not activator.draining:
        left = [c for c in activator.connections if c.listener == listener]
        if not left:
            return
        for connection in left:
            connection.retired = True
        _close_quiet(left, quiet_since, activator.clock.now())
        await asyncio.sleep(RETIRE_SECONDS)


async def stop_accepting(
    activator: Activator, which: Sequence[tuple[Listening, str]] | None = None
) -> None:
    """Let nobody new in (at ``which`` of the listeners; None: at all), and take everybody
    whose connection was complete before.
    """
    queues = []
    chosen = activator.listening() if which is None else which
    for listening, listener in chosen:
        for sock in listening.sockets:
            # A copy: closing the server leaves the queue behind it alive.
            queue = socket.socket(fileno=socket.dup(sock.fileno()))
            queue.setblocking(False)
            queues.append((listening, listener, queue))
    try:
        filtered = [refuse_new(queue) for _, _, queue in queues]
        if any(filtered):
            await asyncio.sleep(SETTLE_SECONDS)
        for listening, _ in chosen:
            activator.stop_listening(listening)
        for listening, listener, queue in queues:
            await _take_rest(activator, listening, listener, queue)
    finally:
        for _, _, queue in queues:
            queue.close()


async def _take_rest(
    activator: Activator, listening: object, listener: str, queue: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    for sock, peer in take_backlog(queue):
        if isinstance(listening, TlsListener):
            listening.welcome(sock, peer)
            continue
        try:
            await loop.connect_accepted_socket(partial(ClientConnection, activator, listener), sock)
        except OSError:  # it has left already
            sock.close()


def _close_quiet(
    connections: Collection[ClientConnection],
    quiet_since: dict[ClientConnection, float],
    now: float,
) -> None:
    for connection in list(connections):
        if not connection.is_idle:
            quiet_since.pop(connection, None)
        elif now - quiet_since.setdefault(connection, now) >= QUIET_SECONDS:
            connection.close_if_idle()
    for gone in [c for c in quiet_since if c not in connections]:
        del quiet_since[gone]
