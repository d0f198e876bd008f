"""The client's side of the data path: HTTP/1.1 in, answers out, on one connection.

llhttp parses; what it lets pass and a proxy must not (several Hosts, odd transfer
codings, both framings in 1.0, oversized heads and chunk extensions) is refused here.
Requests that were pipelined are answered in order: one is served at a time, the others
wait parsed, and reading stops meanwhile, so a connection never holds more than one read.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpRequestParser
from httptools.parser.errors import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
)

from activator.exchange import Exchange
from activator.headers import (
    COMMON_CONNECTION,
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    NOWHERE,
    PLAIN,
    REQUEST,
    TRANSFER_ENCODING,
    USER_AGENT,
    Field,
    drop_named,
)
from activator.responses import error_content, json_answer
from activator.resumption import parser_behind_head
from activator.tickets import Refusal

if TYPE_CHECKING:
    from activator.server import Activator

NEVER: Final = float("inf")
# A chunk's own line may take this much before the difference between bytes read and
# bytes of body counts as an attack by chunk extensions.
CHUNK_LINE: Final = 32
CHUNK_EXTENSIONS: Final = 16 * 1024
# So much of a refused request's body is read and thrown away to keep the connection.
DISCARDED_BODY: Final = 256 * 1024
LINGER_SECONDS: Final = 2.0
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#@]+)((?:[/?].*)?)", re.DOTALL)
_kind_of = REQUEST.spellings.get


class MalformedError(Exception):
    """The request is refused with this status and the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ClientConnection(asyncio.BufferedProtocol):
    """One client connection. Created by a listener."""

    __slots__ = (
        "_chunks",
        "_fed",
        "_head",
        "_lingering",
        "_next",
        "_parser",
        "_paused",
        "_received",
        "_receiving",
        "_serving",
        "_spoiled",
        "_view",
        "activator",
        "closing",
        "deadline",
        "exchange",
        "fd",
        "forwarded",
        "listener",
        "peer",
        "transport",
        "write_paused",
    )

    # A deque that keeps nothing once the head is complete; both take += alike.
    _head: list[bytes]

    def __init__(self, activator: Activator, listener: str) -> None:
        self.activator = activator
        self.listener = listener
        self.exchange: Exchange | None = None
        self._receiving: Exchange | None = None
        self._next: deque[Exchange] | None = None
        self._parser = HttpRequestParser(self)
        # One buffer for all connections: what is read is parsed before the next read, so
        # an idle or held connection keeps no buffer of its own (52 KB each otherwise).
        self._view = activator.client_buffer
        self._paused = False
        self._fed = 0
        self._chunks = 0
        self._received = 0
        self._lingering = False
        self._serving = False
        # What is wrong with what came behind requests that are still to be answered.
        self._spoiled: MalformedError | None = None
        self.closing = False
        self.write_paused = False

    # --- transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else "unix"
        self.forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\n" % self.peer.encode()
        sock = transport.get_extra_info("socket")
        self.fd = -1 if sock is None else sock.fileno()
        activator = self.activator
        activator.connections.add(self)
        self.deadline = activator.clock.now() + activator.process.head_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.activator.connections.discard(self)
        self.activator.connection_closed()
        self.activator.departures.unwatch(self.fd)
        exchange, self.exchange, self._receiving = self.exchange, None, None
        pipelined, self._next = self._next, None
        if exchange is not None:
            exchange.client_left()
        for waiting in pipelined or ():
            waiting.client_left()
        del self._parser  # it holds bound methods of this object: a cycle otherwise

    def eof_received(self) -> bool:
        # Half-closed and gone look alike here. Like most proxies we take it as gone: a
        # held request of a client that left must free its place at once.
        if self.exchange is not None:
            self.transport.abort()
        else:
            self.close()
        return False

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.client_write_paused()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.client_write_resumed()
        elif self._paused:
            self._serve_next()

    def pause_reading(self) -> None:
        if not self._paused and not self.closing:
            self._paused = True
            self.transport.pause_reading()
            self.activator.departures.watch(self.fd, self.departed)

    def resume_reading(self) -> None:
        """Read on, unless there is still no place for what would be read."""
        if not self._paused or self.closing:
            return
        exchange = self.exchange
        if not self._lingering and (
            self._next
            or self._spoiled is not None
            or (self.write_paused if exchange is None else not exchange.takes_more())
        ):
            return
        self._paused = False
        self.activator.departures.unwatch(self.fd)
        self.transport.resume_reading()

    def departed(self) -> None:
        """The client left while nothing was read from it."""
        if not self.closing:
            self.transport.abort()

    def close(self) -> None:
        """Close when what was written has been sent, or could have been for long enough."""
        if not self.closing:
            self.closing = True
            activator = self.activator
            self.deadline = activator.clock.now() + activator.process.client_idle_timeout
            self.transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is under way, be it only its head."""
        if self.exchange is None and self._receiving is None:
            self.close()

    def end(self, refusal: Refusal) -> None:
        """Close at once: refuse what can be refused, break off what has been begun."""
        exchange = self.exchange
        if exchange is not None and not exchange.answer_began and exchange.model is not None:
            exchange.refuse(refusal)
        elif exchange is not None:
            self.break_off()
        self.close()

    # --- reading ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing or self._lingering:
            return
        self._fed += nbytes
        try:
            self._parser.feed_data(self._view[:nbytes])
            if self._receiving is None:
                self._fed = 0
            else:
                self._check_size(self._receiving)
        except HttpParserUpgrade as upgrade:
            self._decline(upgrade, self._view[:nbytes])
        except HttpParserError as caught:
            self._stopped(caught)
        except MalformedError as caught:
            self.refuse(caught.status, caught.message)
        exchange = self.exchange
        if exchange is not None:
            exchange.advance()
            if self._next and not self._paused:
                self.pause_reading()

    def _check_size(self, receiving: Exchange) -> None:
        """Bound what no callback shows or has shown yet: unfinished lines, chunk extensions."""
        limit = self.activator.process.max_head_bytes
        if not receiving.head_complete:
            # What was fed counts a read's worth too much where a request ended in it.
            if self._fed > limit and (
                self._fed > limit + len(self._view) or receiving.head_size() > limit
            ):
                raise _long_head(limit)
            if not receiving.arrived:
                receiving.arrived = self.activator.clock.now()
                if self.exchange is None:
                    self.deadline = receiving.arrived + self.activator.process.head_timeout
        elif receiving.chunked:
            overhead = self._fed - self._received - CHUNK_LINE * self._chunks
            if overhead > limit + len(self._view) + CHUNK_EXTENSIONS:
                raise MalformedError(400, "chunk extensions or trailers are too long")

    def _stopped(self, why: HttpParserError) -> None:
        """The parser goes no further, for a reason of its own or of our callbacks."""
        if isinstance(why, HttpParserCallbackError):
            cause = why.__context__
            if not isinstance(cause, MalformedError):
                raise why
            self.refuse(cause.status, cause.message)
            return
        last = self._next[-1] if self._next else self.exchange
        if last is None or last.keep_alive or self._receiving is not None:
            self.refuse(400, f"not HTTP/1.1: {why}")
        # Else: bytes behind a request that said Connection: close are not our business.

    def _decline(self, offer: HttpParserUpgrade, data: memoryview) -> None:
        """Go on as if no upgrade had been offered, as any server may, if it is to HTTP/2."""
        while True:
            last = self._next[-1] if self._next else self.exchange
            assert last is not None
            # llhttp takes the body for the beginning of a tunnel and has called it complete.
            last.body_complete = False
            self._receiving = last
            if last.upgrade.lower() != b"h2c":
                self.refuse(501, "Stoker does not tunnel upgraded connections")
                return
            self._parser = parser_behind_head(self, last)
            data = data[offer.args[0] :]
            try:
                self._parser.feed_data(data)
                return
            except HttpParserUpgrade as another:
                offer = another
            except HttpParserError as caught:
                self._stopped(caught)
                return

    # --- parser callbacks ---

    def on_message_begin(self) -> None:
        receiving = self._receiving = Exchange(self)
        self._head = receiving.head
        self._chunks = self._received = 0

    def on_url(self, url: bytes) -> None:
        receiving = self._receiving
        assert receiving is not None
        receiving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = _kind_of(name)
        if kind is PLAIN:
            self._head += (name, b": ", value, b"\r\n")
            return
        x = self._receiving
        assert x is not None
        if kind is None:
            kind = REQUEST.classify(name)
            if kind is PLAIN:
                self._head += (name, b": ", value, b"\r\n")
                return
        if x.head_complete:
            return  # a trailer that poses as a header of consequence
        # The three that nearly every request has are dealt with here: calls cost.
        if kind is USER_AGENT:
            x.agent = value
            self._head += (name, b": ", value, b"\r\n")
        elif kind is HOST:
            if x.host is not None:
                raise MalformedError(400, "more than one Host header")
            x.host = value.rstrip()
        elif kind is CONTENT_LENGTH:
            x.content_length = int(value)  # llhttp let only digits through, once
            x.length = value.rstrip()
        else:
            self._special(x, kind, name, value.strip())

    def _special(self, x: Exchange, kind: Field, name: bytes, value: bytes) -> None:
        if kind is TRANSFER_ENCODING:
            if value.lower() != b"chunked" or x.chunked:
                raise MalformedError(400, f"Transfer-Encoding is not just chunked: {value!r}")
            x.chunked = True
        elif kind is CONNECTION:
            x.http10 = True  # it may be: the version is asked for below
            if value.lower() not in COMMON_CONNECTION:
                x.connection += value + b","
        elif kind is Field.EXPECT:
            if value.lower() != b"100-continue":
                raise MalformedError(417, f"Expect: {value!r} is not known")
            x.expects_continue = True
        elif kind is Field.UPGRADE:
            x.upgrade = value
        elif kind is Field.STOKER_MODEL:
            x.model_header = value
        elif kind is Field.FORWARDED and self.activator.process.trust_forwarded_headers:
            x.forwarded += name + b": " + value + b"\r\n"

    def on_headers_complete(self) -> None:
        x = self._receiving
        assert x is not None
        parser = self._parser
        process = self.activator.process
        x.method = parser.get_method()
        x.keep_alive = parser.should_keep_alive()
        # Without a Connection field only 1.1 keeps alive; asking makes a string each time.
        if x.http10 or not x.keep_alive:
            self._check_version(x, parser.get_http_version())
        x.head_complete = True
        x.arrived = self.activator.clock.now()
        # What comes as a header from here on is a trailer; it must not join the head.
        x.fields, self._head = x.head, NOWHERE
        if self._fed > process.max_head_bytes and x.head_size() > process.max_head_bytes:
            raise _long_head(process.max_head_bytes)
        if len(x.fields) > 4 * process.max_headers:
            raise MalformedError(431, f"more headers than max-headers = {process.max_headers}")
        if x.host is None:
            if not x.http10:
                raise MalformedError(400, "no Host header")
            x.host = b""
        if not x.target.startswith(b"/"):
            _absolute(x)
        limit = process.max_body_bytes
        if limit and x.content_length > limit:
            raise MalformedError(413, f"the body is longer than max-body-bytes = {limit}")
        if x.connection:
            drop_named(x.fields, x.connection)
        if self.exchange is None:
            self.exchange = x
            self.deadline = NEVER
        else:
            if self._next is None:
                self._next = deque()
            self._next.append(x)

    def _check_version(self, x: Exchange, version: str) -> None:
        x.http10 = version == "1.0"
        if x.http10:
            x.expects_continue = False  # RFC 9110, 10.1.1
            if x.chunked:
                raise MalformedError(400, "chunked framing in HTTP/1.0")
        elif version != "1.1":
            raise MalformedError(505, f"HTTP/{version} is not spoken here")

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        self._received += len(data)
        x = self._receiving
        assert x is not None
        limit = self.activator.process.max_body_bytes
        if limit and self._received > limit:
            raise MalformedError(413, f"the body is longer than max-body-bytes = {limit}")
        x.receive(data)

    def on_message_complete(self) -> None:
        x = self._receiving
        assert x is not None
        x.body_complete = True
        self._receiving = None
        # Of the read that this is in something may be left, for the next head to count.
        self._fed = len(self._view)

    # --- answering ---

    def finished(self, exchange: Exchange, now: float) -> None:
        """The exchange is answered in full: on to the next, or wait for it."""
        if self.exchange is not exchange or self.closing:
            return
        self.exchange = None
        activator = self.activator
        if not exchange.keep_alive or activator.draining:
            if exchange.body_complete and not self._paused and not self._next:
                self.close()
            else:
                self._linger()
            return
        # Where its body has not come in full, the rest is thrown away: see can_discard.
        self.deadline = now + activator.process.client_idle_timeout
        if self._next or self._paused or self.write_paused:
            self._serve_next()

    def can_discard(self, exchange: Exchange) -> bool:
        """Whether what is missing of a body is soon read and thrown away."""
        missing = exchange.content_length - self._received
        return not exchange.chunked and not exchange.expects_continue and missing <= DISCARDED_BODY

    def _serve_next(self) -> None:
        """Serve what was pipelined, in a loop: one call deep however many there are.

        No faster than the client takes the answers, which may be many times longer.
        """
        if self._serving:
            return
        self._serving = True
        while self._next and self.exchange is None and not (self.write_paused or self.closing):
            self.exchange = self._next.popleft()
            self.deadline = NEVER
            self.exchange.advance()
        self._serving = False
        if self.closing or self._lingering:
            return
        if self.exchange is None and self.write_paused:
            self.pause_reading()
        elif self.exchange is None and self._spoiled is not None:
            self._say_goodbye(self._spoiled)
        else:
            self.resume_reading()

    def _linger(self) -> None:
        """Close, but read on for a while: a reset would destroy the answer on its way."""
        if self.closing or self._lingering:
            return
        self._lingering = True
        pipelined, self._next = self._next, None
        for waiting in pipelined or ():
            waiting.client_left()
        self.deadline = self.activator.clock.now() + LINGER_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def break_off(self) -> None:
        """End visibly in the middle of an answer: with a reset, never with a clean end."""
        if not self.closing:
            self.closing = True
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()

    def check(self, now: float) -> None:
        """Called now and then: enforce the time limits of this connection."""
        exchange = self.exchange
        if exchange is not None and not self.closing:
            exchange.check(now)
        elif now >= self.deadline:
            receiving = self._receiving
            if self.closing:
                self.transport.abort()
            elif receiving is None or receiving.head_complete or self._lingering:
                self.close()
            else:
                self.refuse(408, "the head did not arrive within head-timeout")

    def refuse(self, status: int, message: str) -> None:
        """Answer a malformed request, in its turn, and close; break off if one has begun."""
        self.activator.count_malformed(status, message, self.peer)
        why = MalformedError(status, message)
        exchange = self.exchange
        if exchange is not None and exchange.body_complete:
            # It is what came behind that is wrong. First things first.
            if self._next and not self._next[-1].body_complete:
                self._next.pop().client_left()
            self._receiving = None
            self._spoiled = why
            self.pause_reading()
            return
        if exchange is not None:
            self.exchange = None
            exchange.client_left(message)
            if exchange.answer_began:
                self.break_off()
                return
        self._say_goodbye(why)

    def _say_goodbye(self, why: MalformedError) -> None:
        content = error_content(why.status, why.message, "malformed")
        self.transport.write(json_answer(why.status, content, keep_alive=False))
        self._linger()


def _long_head(limit: int) -> MalformedError:
    return MalformedError(431, f"the head is longer than max-head-bytes = {limit}")


def _absolute(x: Exchange) -> None:
    """``http://host/path`` names the host, whatever the Host header says (RFC 9112, 3.2.2)."""
    if x.method == b"CONNECT":
        raise MalformedError(405, "CONNECT is not served here")
    match = _ABSOLUTE.fullmatch(x.target)
    if match is not None:
        x.host, x.target = match[1], match[2] if match[2].startswith(b"/") else b"/" + match[2]
    elif x.target != b"*" or x.method != b"OPTIONS":
        raise MalformedError(400, f"cannot use the request target {x.target[:200]!r}")
