"""The client's side of the data path: HTTP/1.1 in, answers out, on one connection.

What the bytes mean is found out in ``activator.parsing``; here is the life of the connection.
Requests that were pipelined are answered in order: one is served at a time, the others
wait parsed, and reading stops meanwhile, so a connection never holds more than one read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpRequestParser
from httptools.parser.errors import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
)

from activator.exchange import Exchange
from activator.parsing import NEVER, EnoughError, MalformedError, Parsing
from activator.request import REPLICA
from activator.responses import error_content, json_answer
from activator.resumption import parser_behind_head
from activator.tickets import Refusal
from activator.trust import UNIX
from activator.tunnel import tunnelled
from stoker.settings.process_rows import HalfClose
from stoker.vocabulary import ModelKey

if TYPE_CHECKING:
    from activator.request import Request
    from activator.server import Activator

# So much of a refused request's body is read and thrown away to keep the connection.
DISCARDED_BODY: Final = 256 * 1024
# What still comes behind a last answer is thrown away: until nothing has for so long, and
# not longer than that (50 MB over 20 Mbit/s).
LINGER_SECONDS: Final = 2.0
LINGER_SECONDS_CAP: Final = 20.0
# What those are told who came while there were too many connections.
RETRY_AFTER: Final = 1.0
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
# So many of those that are one too many are told so at a time; the others are just closed.
TURNED_AWAY: Final = 128


class ClientConnection(Parsing):
    """One client connection. Created by a listener."""

    __slots__ = (
        "_dismissed",
        "_ended",
        "_linger_until",
        "_lingering",
        "_paused",
        "_serving",
        "_spoiled",
        "_turned_away",
        "closing",
        "fd",
        "forwarded",
        "listener",
        "peer",
        "retired",
        "scheme",
        "transport",
        "write_paused",
    )

    is_peer = False  # see activator.peer_requests

    def route(self, exchange: Exchange) -> ModelKey | None:
        """Of a peer: the model that it says a request is for."""
        raise NotImplementedError

    def __init__(self, activator: Activator, listener: str) -> None:
        self.activator = activator
        self.listener = listener
        self.exchange = None
        self._receiving = None
        self._next = None
        self._parser = HttpRequestParser(self)
        # One buffer for all connections: what is read is parsed before the next read, so
        # an idle or held connection keeps no buffer of its own (52 KB each otherwise).
        self._view = activator.client_buffer
        self._paused = False
        self._fed = 0
        self._chunks = 0
        self._received = 0
        self._at_chunk = 0  # what had come of the body at its last chunk's line
        self._body_due = NEVER
        self._ended = False  # the client ended its side and is served all the same
        self._turned_away = False
        self._lingering = False
        self._dismissed = False  # closed for being quiet
        self.retired = False  # its listener is no more; its next answer is its last
        self._serving = False
        # What is wrong with what came behind requests that are still to be answered.
        self._spoiled: MalformedError | None = None
        self.closing = False
        self.write_paused = False

    # --- transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else UNIX
        secure = transport.get_extra_info("sslcontext") is not None
        self.scheme = b"https" if secure else b"http"
        known = (self.peer.encode(), self.scheme)
        self.forwarded = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % known
        sock = transport.get_extra_info("socket")
        self.fd = -1 if sock is None else sock.fileno()
        activator = self.activator
        self.trusted = activator.trusted_peers.trusts(self.peer)
        self.deadline = activator.clock.now() + activator.process.head_timeout
        limit = activator.process.max_connections
        full = limit and len(activator.connections) - activator.turning_away >= limit
        activator.connections.add(self)
        if full and not self.is_peer:
            self._turn_away(limit)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.activator.connections.discard(self)
        self.activator.connection_closed()
        self.activator.departures.unwatch(self.fd, self.departed)
        if self._turned_away:
            self.activator.turning_away -= 1
        exchange, self.exchange, self._receiving = self.exchange, None, None
        pipelined, self._next = self._next, None
        if exchange is not None:
            exchange.client_left()
        for waiting in pipelined or ():
            waiting.client_left()
        del self._parser  # it holds bound methods of this object: a cycle otherwise

    def _turn_away(self, limit: int) -> None:
        """One connection too many: say so, unless too many are being told already."""
        activator = self.activator
        activator.count_refused("max-connections", self.peer)
        if activator.turning_away >= TURNED_AWAY:
            self.closing = True
            activator.connections.discard(self)
            self.transport.abort()
            return
        self._turned_away = True
        activator.turning_away += 1
        message = f"Stoker has max-connections = {limit} clients already"
        content = error_content(503, message, "max-connections")
        self.transport.write(json_answer(503, content, keep_alive=False, retry_after=RETRY_AFTER))
        self._linger()

    def eof_received(self) -> bool:
        """The client ended its sending side, or left: that looks alike here."""
        receiving, exchange = self._receiving, self.exchange
        if self.closing or self._lingering:
            self.close()
        elif receiving is not None and (
            not receiving.head_complete if exchange is None else self._serves_ended()
        ):
            self._ended = not self._is_secure()
            self.refuse(400, "the client ended its side before its request was complete")
            return self._ended and not self.closing
        elif exchange is None:
            self.close()
        elif self._serves_ended():
            # From now on only a reset tells that it left: answer what it asked, then close.
            self._ended = True
            (self._next[-1] if self._next else exchange).keep_alive = False
            self.pause_reading()
            return True
        else:
            # Like most proxies: a held request of a client that left must free its place.
            self.departed()
        return False

    def _serves_ended(self) -> bool:
        """Whether a client that ends its side is answered: never with TLS, which has no half."""
        return self.activator.process.half_close is HalfClose.SERVE and not self._is_secure()

    def _is_secure(self) -> bool:
        return self.scheme == b"https"

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
            if not self._ended:
                self.transport.pause_reading()
            half_open = self._serves_ended()
            self.activator.departures.watch(self.fd, self.departed, half_open=half_open)

    def resume_reading(self) -> None:
        """Read on, unless there is still no place for what would be read."""
        if not self._paused or self.closing or self._ended:
            return
        exchange = self.exchange
        if not self._lingering and (
            self._next
            or self._spoiled is not None
            or (self.write_paused if exchange is None else not exchange.takes_more())
        ):
            return
        self._paused = False
        self.activator.departures.unwatch(self.fd, self.departed)
        self._body_due = self.activator.clock.now() + self.activator.process.body_timeout
        self.transport.resume_reading()

    def departed(self) -> None:
        """The client left, or only ended its side and is taken to have left."""
        exchange = self.exchange
        if exchange is not None and exchange.answer_began:
            self.break_off()  # if it is there after all it can tell that this is not all
        elif not self.closing:
            self.transport.abort()

    def hand_over(self, end: asyncio.BufferedProtocol) -> None:
        """From here on the connection is one end of a tunnel. It stays unread until it says."""
        self._parser = cast(HttpRequestParser, None)
        self.activator.departures.unwatch(self.fd, self.departed)
        self.transport.set_protocol(end)

    def close(self) -> None:
        """Close when what was written has been sent, or could have been for long enough."""
        if not self.closing:
            self.closing = True
            activator = self.activator
            self.deadline = activator.clock.now() + activator.process.client_idle_timeout
            self.transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is under way, be it only its head.

        Half of it first, where that can be: a client whose next request is on its way then
        finds the end of the connection before it, and not a reset.
        """
        if not self.is_idle:
            return
        if self.transport.can_write_eof():
            self._dismissed = True
            self._linger()
        else:
            self.close()

    @property
    def is_idle(self) -> bool:
        """Open, and without a request, be it only the beginning of one."""
        busy = self.exchange is not None or self._receiving is not None
        return not (busy or self._lingering or self.closing)

    def end(self, refusal: Refusal) -> None:
        """Close at once: refuse what can be refused, break off what has been begun."""
        exchange = self.exchange
        if exchange is not None and exchange.commit is not REPLICA and exchange.model is not None:
            exchange.refuse(refusal)
        elif exchange is not None:
            self.break_off()
        self.close()

    # --- reading ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing or self._lingering:
            if self._dismissed:
                self._dismissed = False
                self.activator.count_late(self.peer)
            if not self.closing:
                now = self.activator.clock.now()
                self.deadline = min(now + LINGER_SECONDS, self._linger_until)
            return
        self._fed += nbytes
        offer: HttpParserUpgrade | None = None
        try:
            self._parser.feed_data(self._view[:nbytes])
            if self._receiving is None:
                self._fed = 0
            else:
                self._check_size(self._receiving)
        except HttpParserUpgrade as upgrade:
            offer = upgrade
        except HttpParserError as caught:
            self._stopped(caught)
        except MalformedError as caught:
            self.refuse(caught.status, caught.message)
        if offer is not None:
            # Not above: where one exception is dealt with already, the next is taken to be
            # due to it, and what a callback raised would be lost.
            self._decline(offer, self._view[:nbytes])
        exchange = self.exchange
        if exchange is not None:
            exchange.advance()
            if self._next and not self._paused:
                self.pause_reading()

    def _stopped(self, why: HttpParserError) -> None:
        """The parser goes no further, for a reason of its own or of our callbacks."""
        last = self._next[-1] if self._next else self.exchange
        if isinstance(why, HttpParserCallbackError):
            cause = why.__context__
            if isinstance(cause, MalformedError):
                self.refuse(cause.status, cause.message)
            elif last is None or last.keep_alive or self._receiving is not None:
                raise why
            # Else: it was enough, or still is. See _cut_pipeline.
            return
        if last is None or last.keep_alive or self._receiving is not None:
            self.refuse(400, f"not HTTP/1.1: {why}")
        # Else: bytes behind a request that said Connection: close are not our business.

    def _decline(self, offer: HttpParserUpgrade, data: memoryview) -> None:
        """llhttp stopped behind a head with an upgrade: leave it to the replica, or go on.

        As any server may, Stoker goes on as if none had been offered where it is to HTTP/2,
        comes with a body, or comes in HTTP/1.0, where it means nothing (RFC 9110, 7.8).
        """
        while True:
            last = self._next[-1] if self._next else self.exchange
            assert last is not None
            # llhttp takes the body for the beginning of a tunnel and has called it complete.
            last.body_complete = False
            self._receiving = last
            if last.method == b"CONNECT":
                self.refuse(405, "CONNECT is not served here")
                return
            data = data[offer.args[0] :]
            self._parser = parser_behind_head(self, last)
            if last.body_complete and not last.http10:
                last.offer = tunnelled(last.upgrade)
            if last.offer:
                last.hop = b"Connection: Upgrade\r\nUpgrade: " + last.offer + b"\r\n"
                last.early = bytes(data)
                if data:
                    # If it comes to no tunnel, nobody can say what these bytes are.
                    last.keep_alive = False
                # One read's worth at most is kept of what comes before the answer.
                self.pause_reading()
                return
            try:
                self._parser.feed_data(data)
                if self._receiving is not None:
                    self._check_size(self._receiving)  # nothing more of its body may come
                return
            except HttpParserUpgrade as another:
                offer = another
            except HttpParserError as caught:
                self._stopped(caught)
                return
            except MalformedError as caught:
                self.refuse(caught.status, caught.message)
                return

    # --- parser callbacks ---

    def on_message_begin(self) -> None:
        if self._next and len(self._next) >= self.activator.process.max_pipelined:
            self._cut_pipeline(self._next[-1])
        receiving = self._receiving = Exchange(self)
        self._head = receiving.head
        self._chunks = self._received = 0

    def _cut_pipeline(self, last: Exchange) -> None:
        """Look at nothing more: those that wait are answered, then the connection ends."""
        if last.keep_alive:
            last.keep_alive = False
            self.activator.cut_pipelines += 1
        raise EnoughError

    # --- answering ---

    def finished(self, exchange: Request, now: float) -> None:
        """The exchange is answered in full: on to the next, or wait for it."""
        if self.exchange is not exchange or self.closing:
            return
        self.exchange = None
        activator = self.activator
        if not exchange.keep_alive or activator.draining or self.retired:
            if self._ended or (exchange.body_complete and not self._paused and not self._next):
                self.close()
            else:
                self._linger()
            return
        # Where its body has not come in full, the rest is thrown away: see can_discard.
        self.deadline = now + activator.process.client_idle_timeout
        if self._next or self._paused or self.write_paused:
            self._serve_next()

    def can_discard(self, exchange: Request) -> bool:
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
        if self._ended:
            self.close()  # it sends nothing more that could be in the way
            return
        self._lingering = True
        pipelined, self._next = self._next, None
        for waiting in pipelined or ():
            waiting.client_left()
        now = self.activator.clock.now()
        self.deadline = now + LINGER_SECONDS
        self._linger_until = now + LINGER_SECONDS_CAP
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def break_off(self) -> None:
        """End visibly in the middle of an answer: with a reset, never with a clean end."""
        if not self.closing:
            self.closing = True
            self._reset()

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def check(self, now: float) -> None:
        """Called now and then: enforce the time limits of this connection."""
        exchange, receiving = self.exchange, self._receiving
        if exchange is not None and not self.closing:
            if receiving is None or not receiving.head_complete or self._paused:
                exchange.check(now)
            elif receiving is exchange and exchange.commit is REPLICA:
                exchange.check(now)  # both speak at once, and the replica does: see idle-timeout
            elif now >= self._body_due:
                limit = self.activator.process.body_timeout
                self.refuse(408, f"nothing of the body came for body-timeout = {limit:g} s")
            elif receiving is not exchange or not exchange.awaits_body(now):
                exchange.check(now)
        elif now >= self.deadline:
            if self.closing:
                self._reset()  # a part of an answer is lost: it must not look like all of it
            elif receiving is None or receiving.head_complete or self._lingering or self._next:
                self.close()  # those that wait: for their client to take what it was answered
            else:
                self.refuse(408, "the head did not arrive within head-timeout")

    def refuse(self, status: int, message: str) -> None:
        """Answer a malformed request, in its turn, and close; break off if one has begun."""
        self.activator.count_malformed(status, message, self.peer)
        why = MalformedError(status, message)
        why.head_only = self._asks_for_head()
        exchange = self.exchange
        if exchange is not None and exchange.body_complete:
            # It is what came behind that is wrong. First things first.
            behind = self._next
            self._account(behind.pop() if behind and not behind[-1].body_complete else None, why)
            self._receiving = None
            self._spoiled = why
            self.pause_reading()
            return
        self.exchange = None
        self._account(exchange, why)
        if exchange is not None and exchange.answer_began:
            self.break_off()
            return
        self._say_goodbye(why)

    def _account(self, exchange: Exchange | None, why: MalformedError) -> None:
        """Let go of a malformed request; None: no more of it than a part of its head is known."""
        size = len(_goodbye(why))
        if exchange is not None:
            exchange.malformed(why.status, why.message, size)
        elif self.activator.observer is not None:
            self.activator.observer.malformed(why.status, self.peer, size)

    def _asks_for_head(self) -> bool:
        """Whether what is being received is a HEAD: a body would be taken for another answer."""
        receiving = self._receiving
        if receiving is None or receiving.head_complete:
            return receiving is not None and receiving.method == b"HEAD"
        return bool(receiving.target) and self._parser.get_method() == b"HEAD"

    def _say_goodbye(self, why: MalformedError) -> None:
        self.transport.write(_goodbye(why))
        self._linger()


def _goodbye(why: MalformedError) -> bytes:
    content = error_content(why.status, why.message, "malformed")
    return json_answer(why.status, content, keep_alive=False, head_only=why.head_only)
