"""What a client's bytes mean: the parser's callbacks, and what it must not let pass.

llhttp parses; what it lets pass and a proxy must not (several Hosts, odd transfer codings,
both framings in 1.0, oversized heads and chunk extensions) is refused here. One object with
``activator.http1`` by inheritance because each call from one object to another costs every
request.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Final

from httptools import HttpRequestParser

from activator.headers import (
    COMMON_CONNECTION,
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    PLAIN,
    REQUEST,
    TRANSFER_ENCODING,
    USER_AGENT,
    Field,
    drop_named,
)

if TYPE_CHECKING:
    from activator.exchange import Exchange
    from activator.server import Activator
    from stoker.settings import ProcessConfig

NEVER: Final = float("inf")
# A chunk's own line may take this much before the difference between bytes read and
# bytes of body counts as an attack by chunk extensions.
CHUNK_LINE: Final = 32
# "#" and "/" as numbers: looking for one byte is cheaper than for a text of one.
FRAGMENT: Final = 0x23
SLASH: Final = 0x2F

_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#@]+)((?:[/?].*)?)", re.DOTALL)
# What a host and port may consist of (RFC 3986, 3.2.2 and 3.2.3). Whoever is behind Stoker
# may take other characters for the end of the name.
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
# Host fields as they came and the hosts they name; looking one up is cheaper than a check.
_hosts: dict[bytes, bytes] = {}
_HOSTS: Final = 1024

_kind_of = REQUEST.spellings.get
_host_of = _hosts.get


class MalformedError(Exception):
    """The request is refused with this status and the connection closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.head_only = False  # who is told asked for an answer without a body


class EnoughError(Exception):
    """More requests were pipelined than may wait: what follows is not looked at."""


class Parsing(asyncio.BufferedProtocol):
    """The understanding half of a client connection; see ``ClientConnection``."""

    __slots__ = (
        "_at_chunk",
        "_body_due",
        "_chunks",
        "_fed",
        "_head",
        "_next",
        "_parser",
        "_received",
        "_receiving",
        "_view",
        "activator",
        "deadline",
        "exchange",
        "trusted",
    )

    activator: Activator
    exchange: Exchange | None
    deadline: float
    trusted: bool
    _receiving: Exchange | None
    _next: deque[Exchange] | None
    _parser: HttpRequestParser
    # A deque that keeps nothing once the head is complete; both take += alike.
    _head: list[bytes]
    _view: memoryview
    _fed: int
    _received: int
    _chunks: int
    _at_chunk: int
    _body_due: float

    # --- between reads ---

    def _check_size(self, receiving: Exchange) -> None:
        """Bound what no callback shows or has shown yet: unfinished lines, chunk extensions."""
        process = self.activator.process
        limit = process.max_head_bytes
        if not receiving.head_complete:
            # What was fed counts a read's worth too much where a request ended in it.
            if self._fed > limit and (
                self._fed > limit + len(self._view) or receiving.head_size() > limit
            ):
                raise _long_head(limit)
            if not receiving.arrived:
                receiving.arrived = self.activator.clock.now()
                if self.exchange is None:
                    self.deadline = receiving.arrived + process.head_timeout
            return
        self._body_due = self.activator.clock.now() + process.body_timeout
        if receiving.chunked:
            self._check_chunks(receiving, process)

    def _check_chunks(self, receiving: Exchange, process: ProcessConfig) -> None:
        """Bound what a chunked body has besides its chunks."""
        if receiving.trailers:
            self._check_trailers(receiving)
        framed = self._received + CHUNK_LINE * self._chunks
        if not receiving.counted:
            # The read that the head ended in: nobody knows where in it the body began.
            receiving.counted = True
            self._fed = framed
            return
        allowed = process.max_chunk_extension_bytes + CHUNK_LINE
        if self._fed - framed <= allowed:
            return
        if not self._chunks or self._received != self._at_chunk:
            limit = process.max_chunk_extension_bytes
            message = f"more chunk extensions than max-chunk-extension-bytes = {limit}"
            raise MalformedError(400, message)
        # Behind a chunk's line there is no end of one: it was the last, these are trailers.
        if self._fed - framed > allowed + process.max_head_bytes:
            raise _long_trailers(process.max_head_bytes)

    def _check_trailers(self, receiving: Exchange) -> None:
        process, trailers = self.activator.process, receiving.trailers
        if len(trailers) > 4 * process.max_headers:
            raise MalformedError(431, f"more trailers than max-headers = {process.max_headers}")
        if sum(map(len, trailers)) > process.max_head_bytes:
            raise _long_trailers(process.max_head_bytes)

    # --- callbacks ---

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
            # A trailer that poses as a header of consequence; counted in _check_chunks.
            return
        # The three that nearly every request has are dealt with here: calls cost.
        if kind is USER_AGENT:
            x.agent = value
            self._head += (name, b": ", value, b"\r\n")
        elif kind is HOST:
            if x.host is not None:
                raise MalformedError(400, "more than one Host header")
            host = _host_of(value)
            x.host = _checked_host(value) if host is None else host
        elif kind is CONTENT_LENGTH:
            x.content_length = int(value)  # llhttp let only digits through, once
            x.length = value.rstrip()
        else:
            self._special(x, kind, name, value.strip())

    def _special(self, x: Exchange, kind: Field, name: bytes, value: bytes) -> None:
        x.specials += 1
        x.specials_size += len(name) + len(value)
        if kind is TRANSFER_ENCODING:
            if value.lower() != b"chunked" or x.chunked:
                raise MalformedError(400, f"Transfer-Encoding is not just chunked: {value!r}")
            x.chunked = True
            x.trailers = []
        elif kind is CONNECTION:
            x.http10 = True  # it may be: the version is asked for below
            if value.lower() not in COMMON_CONNECTION:
                x.connection += value + b","
        elif kind is Field.EXPECT:
            if value.lower() != b"100-continue":
                raise MalformedError(417, f"Expect: {value!r} is not known")
            x.expects_continue = True
        elif kind is Field.UPGRADE:
            x.upgrade += b"," + value if x.upgrade else value
        elif kind is Field.TE:
            if b"trailers" in value.lower().replace(b" ", b"").split(b","):
                x.hop = b"Connection: TE\r\nTE: trailers\r\n"
        elif kind is Field.TRAILER:
            x.trailer = b"%b, %b" % (x.trailer, value) if x.trailer else value
        elif kind is Field.PROBE:
            x.is_probe = True
        elif kind is Field.STOKER_MODEL or kind is Field.CONTROL:
            self._control(x, name.lower(), value)
        elif kind is Field.FORWARDED and self.trusted and self._believes():
            if x.forwarded is None:
                x.forwarded = []
            x.forwarded.append((name.lower(), value))

    def _believes(self) -> bool:
        return self.activator.process.trust_forwarded_headers

    def _control(self, x: Exchange, name: bytes, value: bytes) -> None:
        """A stoker-* field: obeyed if its peer is trusted, never passed on."""
        if not self.trusted:
            x.distrusted = True
            self.activator.ignored_controls += 1
            return
        again = x.model_header if name == b"stoker-model" else name in (x.controls or ())
        if again:
            raise MalformedError(400, f"more than one {name.decode('latin-1')} header")
        if name == b"stoker-model":
            x.model_header = value
        elif x.controls is None:
            x.controls = {name: value}
        else:
            x.controls[name] = value

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
        x.fields, self._head = x.head, x.trailers
        if self._fed > process.max_head_bytes and x.head_size() > process.max_head_bytes:
            raise _long_head(process.max_head_bytes)
        if len(x.fields) > 4 * (process.max_headers - x.specials):
            raise MalformedError(431, f"more headers than max-headers = {process.max_headers}")
        if x.host is None:
            if not x.http10:
                raise MalformedError(400, "no Host header")
            x.host = b""
        target = x.target
        if not target or target[0] != SLASH:
            _absolute(x)
        if FRAGMENT in target:
            # Some servers end the path there, others do not: nobody can say what is asked for.
            raise MalformedError(400, f"a fragment in the request target {x.target[:200]!r}")
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
        self._at_chunk = self._received

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
        if x.trailers:
            self._check_trailers(x)
        x.body_complete = True
        self._receiving = None
        # Of the read that this is in something may be left, for the next head to count.
        self._fed = len(self._view)


def _checked_host(value: bytes) -> bytes:
    """The host that a Host field or an absolute target names. Raises MalformedError."""
    host = value.rstrip()
    if _HOST.fullmatch(host) is None:
        raise MalformedError(400, f"cannot be a host: {host[:200]!r}")
    if len(_hosts) < _HOSTS and len(value) < 256:
        _hosts[value] = host
    return host


def _long_trailers(limit: int) -> MalformedError:
    return MalformedError(431, f"the trailers are longer than max-head-bytes = {limit}")


def _long_head(limit: int) -> MalformedError:
    return MalformedError(431, f"the head is longer than max-head-bytes = {limit}")


def _absolute(x: Exchange) -> None:
    """``http://host/path`` names the host, whatever the Host header says (RFC 9112, 3.2.2)."""
    if x.method == b"CONNECT":
        raise MalformedError(405, "CONNECT is not served here")
    match = _ABSOLUTE.fullmatch(x.target)
    if match is not None:
        path = match[2]
        x.host = _checked_host(match[1])
        x.target = path if path.startswith(b"/") else b"/" + path
    elif x.target != b"*" or x.method != b"OPTIONS":
        raise MalformedError(400, f"cannot use the request target {x.target[:200]!r}")
