"""The replica's side of the data path: pooled connections, answers parsed and passed on."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpResponseParser
from httptools.parser.errors import HttpParserCallbackError, HttpParserError, HttpParserUpgrade

from activator.exchange import REPLICA
from activator.headers import (
    COMMON_CONNECTION,
    CONNECTION,
    CONTENT_LENGTH,
    NOWHERE,
    PLAIN,
    RESPONSE,
    TRANSFER_ENCODING,
    drop_named,
)
from activator.tickets import Ticket
from stoker.vocabulary import Address

if TYPE_CHECKING:
    from activator.exchange import Exchange
    from activator.server import Activator

MAX_HEAD: Final = 64 * 1024

_kind_of = RESPONSE.spellings.get
# Status lines by status and reason phrase; replicas choose the phrase, so it is bounded.
_status_lines: dict[tuple[int, bytes], bytes] = {}
_STATUS_LINES: Final = 256


def _status_line(status: int, reason: bytes) -> bytes:
    line = _status_lines.get((status, reason))
    if line is None:
        line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
        if len(_status_lines) < _STATUS_LINES:
            _status_lines[status, reason] = line
    return line


class _GarbageError(Exception):
    """The replica's answer cannot be passed on."""


class Pool:
    """Connections to one replica. ``idle`` ones are reused, the most recent first: ``pop``."""

    def __init__(self, activator: Activator, address: Address) -> None:
        self.activator = activator
        self.address = address
        self.idle: list[ReplicaConnection] = []
        self.closed = False
        self._connecting: set[asyncio.Task[ReplicaConnection]] = set()

    def connect(self, exchange: Exchange) -> None:
        """Open a connection for ``exchange``; it is told how that ends."""
        assert exchange.model is not None
        timeout = exchange.model.spec.serving.connect_timeout
        task = self.activator.spawn(self._open(timeout))
        self._connecting.add(task)
        task.add_done_callback(partial(self._opened, exchange, exchange.ticket, timeout))

    async def _open(self, timeout: float) -> ReplicaConnection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                lambda: ReplicaConnection(self), self.address.host, self.address.port
            )
        return connection

    def _opened(
        self,
        exchange: Exchange,
        ticket: Ticket | None,
        timeout: float,
        task: asyncio.Task[ReplicaConnection],
    ) -> None:
        # A callback and not the end of the coroutine: a task that is cancelled before its
        # first step never gets as far as its own except clause.
        self._connecting.discard(task)
        error: BaseException | None = None
        if task.cancelled():
            reason = f"{self.address} went away"
        elif (error := task.exception()) is None:
            connection = task.result()
            # Not when it is made: uvloop never tells of the end of one that was made but
            # whose maker was cancelled.
            if not connection.lost:
                self.activator.replica_connections.add(connection)
            if exchange.ticket is not ticket:
                # Whoever asked has left meanwhile; somebody else will want it.
                self.give_back(connection, self.activator.clock.now())
                return
            if not connection.lost:
                exchange.connected(connection)
                return
            reason = f"{self.address} closed the connection at once"
        elif isinstance(error, TimeoutError):
            reason = f"no connection to {self.address} within connect-timeout = {timeout:g} s"
        else:
            cause = error.strerror if isinstance(error, OSError) else None
            reason = f"cannot connect to {self.address}: {cause or error}"
        if exchange.ticket is ticket:
            exchange.connect_failed(reason)

    def give_back(self, connection: ReplicaConnection, now: float) -> None:
        """Keep an idle connection for the next request."""
        if self.closed or connection.lost:
            connection.close()
            return
        connection.reused = True
        connection.idle_since = now
        self.idle.append(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        limit = self.activator.process.pool_idle_timeout
        old = [c for c in self.idle if now - c.idle_since > limit]
        for connection in old:
            self.idle.remove(connection)
            connection.close()

    def close(self) -> None:
        """Close idle connections; busy ones close when their answers end. Idempotent.

        Whoever waits for a connection that is being opened is told that it failed.
        """
        self.closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()
        for task in self._connecting:
            task.cancel()


class ReplicaConnection(asyncio.BufferedProtocol):
    """One connection to a replica, carrying one request at a time."""

    __slots__ = (
        "_connection",
        "_drain",
        "_head",
        "_head_bytes",
        "_out",
        "_parser",
        "_reading_paused",
        "_reason",
        "_view",
        "chunked",
        "complete",
        "content_length",
        "exchange",
        "head_complete",
        "idle_since",
        "keep_alive",
        "lost",
        "poisoned",
        "pool",
        "received",
        "rechunk",
        "request_complete",
        "reused",
        "status",
        "transport",
        "write_paused",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self._parser = HttpResponseParser(self)
        self._view = pool.activator.replica_buffer
        self._out: list[bytes] = []
        self._drain: asyncio.Future[None] | None = None
        self.lost = False
        self.write_paused = False
        self.reused = False
        self.received = False
        self.complete = False
        self.request_complete = True
        self.head_complete = False
        self.poisoned = False
        self.idle_since = 0.0
        self._head_bytes = 0
        self._reading_paused = False

    # --- transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        activator = self.pool.activator
        activator.replica_connections.discard(self)
        activator.connection_closed()
        self._wake_drain()
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            if self in self.pool.idle:
                self.pool.idle.remove(self)
        elif self.head_complete and not self.chunked and self.content_length is None and not exc:
            # Framed by the end of the connection: this is how such an answer ends.
            self._finish(exchange)
        else:
            address = self.pool.address
            what = "mid-answer" if self.head_complete else "before it answered"
            why = f" ({exc})" if exc else ""
            exchange.upstream_lost(
                f"{address} closed the connection {what}{why}",
                stale=self.reused and not self.received,
            )
        del self._parser  # it holds bound methods of this object: a cycle otherwise

    def eof_received(self) -> bool:
        # Nothing more will come. Left to itself the transport would first send what the
        # replica has not read yet, and it may never read it.
        self.transport.abort()
        return False

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.client.pause_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.client.resume_reading()
        self._wake_drain()

    def _wake_drain(self) -> None:
        drain, self._drain = self._drain, None
        if drain is not None and not drain.done():
            drain.set_result(None)

    async def drained(self) -> None:
        """Wait until the replica has taken enough of what was written, or is gone."""
        if self.write_paused and not self.lost:
            self._drain = asyncio.get_running_loop().create_future()
            await self._drain

    def pause_reading(self) -> None:
        if not self.lost and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.lost and self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Break off: the request is given up, the connection cannot be reused."""
        self.exchange = None
        if not self.lost:
            self.transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if not self.lost:
            self.transport.close()

    # --- sending ---

    def start(self, exchange: Exchange, data: bytes, complete: bool) -> None:
        """Send a request's head with what is there of its body."""
        self.exchange = exchange
        self.received = False
        self.complete = False
        self.head_complete = False
        self.request_complete = complete
        self._head_bytes = 0
        if exchange.client.write_paused:
            self.pause_reading()  # its last answer has not been taken yet
        self.transport.write(data)

    def send_body(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    def end_body(self, data: bytes) -> None:
        """The request is complete with ``data`` (the last chunk, or nothing)."""
        self.request_complete = True
        if data and not self.lost:
            self.transport.write(data)

    # --- receiving ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self.exchange
        if exchange is None:
            # An answer nobody asked for, or one that was given up.
            self.transport.abort()
            return
        self.received = True
        error = ""
        try:
            self._parser.feed_data(self._view[:nbytes])
        except HttpParserCallbackError as caught:
            cause = caught.__context__
            if not isinstance(cause, _GarbageError):
                raise
            error = str(cause)
        except HttpParserUpgrade:
            error = "switched protocols unasked"
        except HttpParserError as caught:
            error = f"sent something that is not HTTP/1.1: {caught}"
        out = self._out
        if error or not self.head_complete:
            self._head_bytes += nbytes
            if self._head_bytes > MAX_HEAD and not error and not self.head_complete:
                error = f"sent a head longer than {MAX_HEAD} bytes"
            if error and self.complete:
                self.poisoned = True  # the answer is whole; the connection is not
            elif error:
                out.clear()
                self.abandon()
                exchange.upstream_lost(f"{self.pool.address} {error}", stale=False)
                return
        if out:
            exchange.commit = REPLICA
            exchange.client.transport.write(out[0] if len(out) == 1 else b"".join(out))
            self._out = []
            if not self.complete:
                exchange.note_progress()
        if self.complete:
            self._finish(exchange)

    def on_message_begin(self) -> None:
        if self.complete:
            raise _GarbageError("sent an answer that was not asked for")
        self._head: list[bytes] = [b""]
        self._reason = b""
        self._connection = b""
        self.chunked = False
        self.content_length: bytes | None = None

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = _kind_of(name)
        if kind is None:
            kind = RESPONSE.classify(name)
        if kind is PLAIN:
            self._head += (name, b": ", value, b"\r\n")
        elif self.head_complete:
            return  # a trailer that poses as a header of consequence
        elif kind is CONTENT_LENGTH:
            self.content_length = value.strip()
        elif kind is TRANSFER_ENCODING:
            if value.strip().lower() != b"chunked" or self.chunked:
                raise _GarbageError(f"sent Transfer-Encoding {value!r}")
            self.chunked = True
        elif kind is CONNECTION and value.lower() not in COMMON_CONNECTION:
            self._connection += value + b","

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                raise _GarbageError(f"sent status {status}")
            return  # 100 Continue was sent by us already; hints are not passed on
        exchange = self.exchange
        assert exchange is not None
        self.status = status
        # Asked now: once the message is complete the parser has forgotten.
        self.keep_alive = self._parser.should_keep_alive()
        self.head_complete = True
        head = self._head
        if self._connection:
            del head[0]
            drop_named(head, self._connection)
            head.insert(0, b"")
        # What comes as a header from here on is a trailer: the client was promised none.
        self._head = NOWHERE
        http10 = exchange.http10
        bodiless = exchange.method == b"HEAD" or status in (204, 304)
        self.rechunk = False
        framing = b""
        if status == 204:
            pass  # it has no framing, whatever the replica says
        elif self.chunked:
            if http10:
                exchange.keep_alive = bodiless and exchange.keep_alive
            else:
                self.rechunk = not bodiless
                framing = b"Transfer-Encoding: chunked\r\n"
        elif self.content_length is not None:
            framing = b"Content-Length: " + self.content_length + b"\r\n"
        elif not bodiless:
            # It ends with the connection; our client gets chunks, so that it can keep its
            # own connection and tell an end from a break.
            if http10:
                exchange.keep_alive = False
            else:
                self.rechunk = True
                framing = b"Transfer-Encoding: chunked\r\n"
        if not exchange.body_complete or self.pool.activator.draining:
            exchange.keep_alive = False
        if not exchange.keep_alive:
            framing += b"Connection: close\r\n"
        elif http10:
            framing += b"Connection: keep-alive\r\n"
        head[0] = _status_line(status, self._reason)
        head += (framing, b"\r\n")
        self._out = head
        if bodiless:
            self.complete = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return  # what follows an answer to HEAD
        if self.rechunk:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def on_message_complete(self) -> None:
        if self.head_complete and not self.complete:
            if self.rechunk:
                self._out.append(b"0\r\n\r\n")
            self.complete = True

    def _finish(self, exchange: Exchange) -> None:
        """The answer is complete: give the connection back, then let the exchange end."""
        self.exchange = None
        now = self.pool.activator.clock.now()
        if self.lost:
            if self.rechunk and not exchange.client.closing:
                exchange.client.transport.write(b"0\r\n\r\n")
        else:
            # A connection is used again only where nothing can be left on it. After HEAD
            # something may: llhttp cannot be told that no body follows, nor can we know.
            if (
                self.request_complete
                and not self.write_paused
                and not self.poisoned
                and exchange.method != b"HEAD"
                and self.keep_alive
            ):
                if self._reading_paused:
                    self.resume_reading()
                self.pool.give_back(self, now)
            else:
                # Not close(): that waits until the replica has read what it may never read.
                self.transport.abort()
        exchange.finished(self.status, now)
