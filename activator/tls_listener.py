"""Accepts connections that speak TLS: nobody becomes a client before TLS is agreed.

Until its first byte has come a connection costs its socket and a waiting task; one that says
nothing, speaks plain HTTP or sends rubbish never gets as far as a TLS engine. What is under
way here counts against max-connections like clients do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from activator.http1 import LINGER_SECONDS, TURNED_AWAY, ClientConnection
from activator.responses import error_content, json_answer
from stoker.certificates import Certificates

if TYPE_CHECKING:
    from activator.server import Activator

log = logging.getLogger("stoker.activator")

# Accepted in one go before others get their turn.
ACCEPTS: Final = 64
# Without descriptors or memory to accept with: how long to leave it.
ACCEPT_PAUSE_SECONDS: Final = 0.5
# A client's own end of TLS is waited for this long; it does not matter to anyone.
SHUTDOWN_SECONDS: Final = 2.0
HANDSHAKE_RECORD: Final = 0x16
DISCARD: Final = 64 * 1024

_USE_TLS: Final = json_answer(
    400,
    error_content(400, "this port speaks TLS: use https://", "malformed"),
    keep_alive=False,
)


class TlsListener:
    """One listening socket, which it takes over. New connections get the certificate of the day."""

    def __init__(
        self, activator: Activator, listener: str, sock: socket.socket, certificates: Certificates
    ) -> None:
        self._activator = activator
        self._listener = listener
        self._certificates = certificates
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._again: asyncio.TimerHandle | None = None
        self.pending: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._accept)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it accepts from; nothing once it has stopped."""
        return (self._socket,) if self._socket.fileno() >= 0 else ()

    def stop(self) -> None:
        """Accept nobody any more; who is agreeing on TLS goes on. Idempotent."""
        if self._again is not None:
            self._again.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def close(self) -> None:
        """Accept nobody any more, and end what has not agreed on TLS yet. Idempotent."""
        self.stop()
        for task in self.pending:
            task.cancel()

    def _accept(self) -> None:
        activator = self._activator
        for _ in range(ACCEPTS):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as caught:
                log.error("cannot accept connections for now: %s", caught.strerror or caught)
                self._loop.remove_reader(self._socket.fileno())
                self._again = self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_again)
                return
            peer = address[0] if isinstance(address, tuple) else "unix"
            limit = activator.process.max_connections
            # Some more are let in: to be told in TLS that they are too many.
            if limit and len(activator.connections) + activator.welcoming >= limit + TURNED_AWAY:
                activator.count_refused("max-connections", peer)
                sock.close()
                continue
            sock.setblocking(False)
            self.welcome(sock, peer)

    def welcome(self, sock: socket.socket, peer: str) -> None:
        """Agree on TLS with who was accepted."""
        task = self._activator.spawn(self._welcome(sock, peer))
        self.pending.add(task)
        task.add_done_callback(self._welcomed)
        task.add_done_callback(partial(_close_unstarted, sock))

    def _accept_again(self) -> None:
        self._again = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _welcomed(self, task: asyncio.Task[None]) -> None:
        self.pending.discard(task)

    async def _welcome(self, sock: socket.socket, peer: str) -> None:
        """From accepted to a client's connection, or to its end."""
        activator = self._activator
        timeout = activator.process.tls_handshake_timeout
        ours = True
        try:
            async with asyncio.timeout(timeout):
                first = await self._first_byte(sock)
                if first == HANDSHAKE_RECORD:
                    # From here on a transport closes it: the descriptor may be another's by
                    # the time we would.
                    ours = False
                    await self._loop.connect_accepted_socket(
                        partial(ClientConnection, activator, self._listener),
                        sock,
                        ssl=self._certificates.context,
                        ssl_handshake_timeout=timeout,
                        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                    )
                    return
            activator.count_refused("handshake-left" if first is None else "not-tls", peer)
            if first is not None and chr(first).isupper():
                await self._answer_plainly(sock)
        except TimeoutError:
            activator.count_refused("handshake-timeout", peer, f"within {timeout:g} s")
        except ssl.SSLError as caught:
            activator.count_refused("handshake-failed", peer, caught.reason or str(caught))
        except OSError as caught:
            activator.count_refused("handshake-left", peer, str(caught))
        finally:
            if ours:
                sock.close()

    async def _first_byte(self, sock: socket.socket) -> int | None:
        """The first byte that comes, left where it is; None: it left without one."""
        readable = self._loop.create_future()
        self._loop.add_reader(sock.fileno(), _set, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(sock.fileno())
        data = sock.recv(1, socket.MSG_PEEK)
        return data[0] if data else None

    async def _answer_plainly(self, sock: socket.socket) -> None:
        """Whoever speaks plain HTTP to this port is told, in plain HTTP."""
        with suppress(OSError):
            async with asyncio.timeout(LINGER_SECONDS):
                sock.send(_USE_TLS)
                sock.shutdown(socket.SHUT_WR)
                # What it sent is read: a reset would destroy the answer on its way.
                left = DISCARD
                while left > 0 and (data := await self._loop.sock_recv(sock, 4096)):
                    left -= len(data)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close_unstarted(sock: socket.socket, task: asyncio.Task[None]) -> None:
    """A task that is cancelled before its first step never gets as far as its own finally."""
    if task.cancelled():
        sock.close()
