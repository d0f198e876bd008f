"""Goes on parsing behind a head that offered an upgrade.

llhttp stops for good at such a head: whatever follows is a tunnel to it. Where the offer is
ignored, as any server may, the same connection carries the request's body and the next
requests. So a new parser is shown a head with the same framing first, which the connection
must not hear of a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpRequestParser

if TYPE_CHECKING:
    from activator.exchange import Exchange
    from activator.http1 import ClientConnection


class _Replacement:
    """The connection's callbacks, deaf until the replayed head is through."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.deaf = True
        self.on_chunk_header = connection.on_chunk_header
        self.on_body = connection.on_body

    def on_message_begin(self) -> None:
        if not self.deaf:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.deaf:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.deaf:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.deaf:
            self._connection.on_headers_complete()

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()


def parser_behind_head(connection: ClientConnection, exchange: Exchange) -> HttpRequestParser:
    """A parser for what follows the head of ``exchange``: its body first, if it has one."""
    replacement = _Replacement(connection)
    parser = HttpRequestParser(replacement)
    framing = b"Content-Length: " + exchange.length
    if exchange.chunked:
        framing = b"Transfer-Encoding: chunked"
    then = b"keep-alive" if exchange.keep_alive else b"close"
    parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\nConnection: " + then + b"\r\n\r\n")
    replacement.deaf = False
    return parser
