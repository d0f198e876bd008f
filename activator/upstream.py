"""The replica's side of the data path: one connection, its answers parsed and passed on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpResponseParser
from httptools.parser.errors import HttpParserCallbackError, HttpParserError, HttpParserUpgrade

from activator.event_stream import LAST_CHUNK, Aside, joins
from activator.headers import (
    COMMON_CONNECTION,
    CONNECTION,
    CONTENT_LENGTH,
    NOWHERE,
    PLAIN,
    RESPONSE,
    TOLD,
    TRANSFER_ENCODING,
    UPGRADE,
    drop_named,
    trailer_lines,
)
from activator.request import COMMENTS, NOTHING, REPLICA
from activator.tunnel import is_offered

if TYPE_CHECKING:
    from activator.exchange import Exchange
    from activator.pool import Pool

# Of an answer: its head with all interim answers before it, or its trailers.
MAX_HEAD: Final = 64 * 1024
# Before one answer. A server that says 102 every 20 s for half an hour stays below it.
MAX_INTERIM: Final = 100

_kind_of = RESPONSE.spellings.get
# Status lines by status and reason phrase; replicas choose the phrase, so it is bounded.
_status_lines: dict[tuple[int, bytes], bytes] = {}
_STATUS_LINES: Final = 256
_PHRASE: Final = re.compile(rb"[\t -~\x80-\xff]*")


def _status_line(status: int, reason: bytes) -> bytes:
    line = _status_lines.get((status, reason))
    if line is None:
        # A phrase that must not be one (llhttp lets NUL pass) is left out: nobody acts on it.
        phrase = reason if _PHRASE.fullmatch(reason) else b""
        line = b"HTTP/1.1 %d %b\r\n" % (status, phrase)
        if len(_status_lines) < _STATUS_LINES:
            _status_lines[status, reason] = line
    return line


class _GarbageError(Exception):
    """The replica's answer cannot be passed on."""


class _MovedError(_GarbageError):
    """The member of a cluster that was asked does not have the model."""


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
        "aside",
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
        "switching",
        "transport",
        "upgrade",
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
        self.switching = b""
        self.upgrade = b""
        self.aside: Aside | None = None  # takes in what is no stream where one was begun
        self.idle_since = 0.0
        self._head_bytes = 0
        self._reading_paused = False

    # --- transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self.exchange
        unread = exc is not None and exchange is not None and not self._reading_paused
        # Not for an offer: a tunnel might begin whose one end is gone already.
        if unread and exchange is not None and not exchange.offer:
            self._salvage()
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

    def _salvage(self) -> None:
        """Read what has arrived, although writing failed.

        A replica that answers early (413) and closes with a part of the request unread resets
        the connection. Whichever write meets the reset ends the transport, and the answer
        would be lost that lies in the socket.
        """
        if self.transport.get_extra_info("sslcontext") is not None:
            return  # what lies in the socket is not plain
        fd = self.transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while self.exchange is not None and (size := os.readv(fd, [self._view])):
                self.buffer_updated(size)

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
        if self.lost:
            return
        if self.transport.get_write_buffer_size():
            # A rest of a request that was answered before it had been read, and maybe never
            # will be: close() would wait for that.
            self.transport.abort()
        else:
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
            try:
                self._parser.feed_data(self._view[:nbytes])
            except HttpParserUpgrade as stop:  # behind 101, see _check_switch
                self.exchange = None
                exchange.switched(self, self.switching, bytes(self._view[stop.args[0] : nbytes]))
                return
        except HttpParserCallbackError as caught:
            cause = caught.__context__
            if not isinstance(cause, _GarbageError):
                raise
            if isinstance(cause, _MovedError):
                self.abandon()
                self.pool.moved(exchange)
                exchange.upstream_lost(f"{self.pool.address} {cause}", stale=True)
                return
            error = str(cause)
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
                self._give_up(exchange, error)
                return
        if out:
            exchange.commit = REPLICA
            data = out[0] if len(out) == 1 else b"".join(out)
            exchange.sent_out += len(data)
            exchange.client.transport.write(data)
            self._out = []
            if not self.complete:
                self._head_bytes = 0
                exchange.note_progress()
        elif self.head_complete and not self.complete and self.aside is None:
            # Chunk extensions, trailers, or one of their lines without an end.
            self._head_bytes += nbytes
            if self._head_bytes > MAX_HEAD:
                self._give_up(exchange, f"sent {MAX_HEAD} bytes that are no part of a body")
                return
        if self.complete:
            self._finish(exchange)

    def _give_up(self, exchange: Exchange, error: str) -> None:
        """Nothing sensible comes from this replica."""
        self._out.clear()
        self.abandon()
        exchange.upstream_lost(f"{self.pool.address} {error}", stale=False)

    def on_message_begin(self) -> None:
        if self.complete:
            raise _GarbageError("sent an answer that was not asked for")
        self._head: list[bytes] = [b""]
        self._reason = b""
        self._connection = b""
        self.upgrade = b""
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
            # A trailer that poses as a header of consequence. llhttp is taken in by this one.
            if kind is CONNECTION and b"close" in value.lower():
                self.poisoned = True
        elif kind is CONTENT_LENGTH:
            self.content_length = value.strip()
        elif kind is TRANSFER_ENCODING:
            if value.strip().lower() != b"chunked" or self.chunked:
                raise _GarbageError(f"sent Transfer-Encoding {value!r}")
            self.chunked = True
        elif kind is CONNECTION and value.lower() not in COMMON_CONNECTION:
            self._connection += value + b","
        elif kind is UPGRADE:
            self.upgrade = value.strip()
        elif kind is TOLD and self.pool.peer is not None:
            self._head += (name, b": ", value, b"\r\n")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._interim(status)
            return
        exchange = self.exchange
        assert exchange is not None
        if status == 421 and self.pool.peer is not None and self._reason == b"Moved":
            raise _MovedError("has not got the model any more")
        self.status = status
        # Asked now: once the message is complete the parser has forgotten.
        self.keep_alive = self._parser.should_keep_alive()
        self.head_complete = True
        head = self._head
        if self._connection:
            del head[0]
            drop_named(head, self._connection)
            head.insert(0, b"")
        # What comes as a header from here on is a trailer.
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
                self._head = []
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
        client = exchange.client
        if not exchange.body_complete or client.retired or client.activator.draining:
            exchange.keep_alive = False
        if not exchange.keep_alive:
            framing += b"Connection: close\r\n"
        elif http10:
            framing += b"Connection: keep-alive\r\n"
        if exchange.marked:
            if exchange.commit is COMMENTS:
                self._join(exchange, status, head[1:], bodiless)
                return
            now = self.pool.activator.clock.now()
            framing += exchange.answer_lines(now, from_member=self.pool.peer is not None)
        reason = self._reason
        head[0] = _status_lines.get((status, reason)) or _status_line(status, reason)
        head += (framing, b"\r\n")
        self._out = head
        if bodiless:
            self.complete = True

    def _join(self, exchange: Exchange, status: int, fields: list[bytes], bodiless: bool) -> None:
        """The client has a head and comments already: a stream of events goes on from there."""
        exchange.joined()
        self._head = NOWHERE  # no trailers: the head has announced none
        self.rechunk = True
        if joins(status, fields) and not bodiless:
            return
        assert exchange.model is not None
        exchange.model.held_counts.error_events += 1
        self.aside = Aside(status, fields)
        self.keep_alive = False
        if bodiless:
            self._out = [self.aside.event(), LAST_CHUNK]
            self.complete = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            return  # what follows an answer to HEAD
        if self.rechunk:
            if self.aside is not None:
                self.aside.add(data)
                return
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def on_message_complete(self) -> None:
        if self.head_complete and not self.complete:
            if self.rechunk:
                trailers = self._head
                if trailers:
                    lines = trailer_lines(trailers, self._connection)
                    self._out.append(b"0\r\n%b\r\n" % lines)
                elif self.aside is not None:
                    self._out += (self.aside.event(), LAST_CHUNK)
                else:
                    self._out.append(LAST_CHUNK)
            self.complete = True

    # --- interim answers, upgrades ---

    def _interim(self, status: int) -> None:
        """The head of an interim answer (1xx) is complete: pass it on, or switch protocols."""
        exchange = self.exchange
        assert exchange is not None
        if status < 100:
            raise _GarbageError(f"sent status {status}")
        if status == 101:
            self._check_switch(exchange)
            return
        exchange.interim += 1
        if exchange.interim > MAX_INTERIM:
            raise _GarbageError(f"sent more than {MAX_INTERIM} interim answers")
        # 100 Continue was sent by us already; 1.0 knows none of them (RFC 9110, 15.2).
        if status != 100 and not exchange.http10 and exchange.commit is NOTHING:
            head = self._interim_head(status)
            exchange.client.transport.write(head + b"\r\n")

    def _interim_head(self, status: int) -> bytes:
        head = self._head[1:]
        if self._connection:
            drop_named(head, self._connection)
        return _status_line(status, self._reason) + b"".join(head)

    def _check_switch(self, exchange: Exchange) -> None:
        if not exchange.offer:
            raise _GarbageError("switched protocols unasked")
        if not self._parser.should_upgrade():
            raise _GarbageError("switched protocols without saying to which")
        if not is_offered(self.upgrade, exchange.offer):
            raise _GarbageError(f"switched to {self.upgrade[:99]!r}, which it was not offered")
        if exchange.commit is not NOTHING:
            raise _GarbageError("switched protocols when an answer had begun")
        lines = b""
        if exchange.marked:
            now = self.pool.activator.clock.now()
            lines = exchange.answer_lines(now, from_member=self.pool.peer is not None)
        named = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % self.upgrade
        self.switching = self._interim_head(101) + lines + named

    def hand_over(self, end: asyncio.BufferedProtocol) -> None:
        """From here on the connection is one end of a tunnel."""
        self._parser = cast(HttpResponseParser, None)
        self.transport.set_protocol(end)

    def _finish(self, exchange: Exchange) -> None:
        """The answer is complete: give the connection back, then let the exchange end."""
        self.exchange = None
        now = self.pool.activator.clock.now()
        if self.lost:
            if self.rechunk and not exchange.client.closing:
                end = LAST_CHUNK if self.aside is None else self.aside.event() + LAST_CHUNK
                exchange.client.transport.write(end)
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
