"""A server that takes and gives bodies: ``body_server PORT ANSWER [PIDFILE]``.

A POST is read to its end, then gets the ANSWER; a GET of a path that ends in ``/SIZE`` gets
SIZE bytes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

import uvloop

BUFFER = 256 * 1024


class Connection(asyncio.BufferedProtocol):
    """One connection; its requests have a Content-Length and come one at a time."""

    answer = b""
    bodies: dict[int, bytes] = {}  # noqa: RUF012 - of all connections together
    buffer = memoryview(bytearray(BUFFER))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head = b""
        self.left = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= nbytes
            if not self.left:
                self._give(self.answer)
            return
        self.head += bytes(self.buffer[:nbytes])
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return
        self.head = b""
        if head.startswith(b"GET"):
            size = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            self._give(Connection.bodies.setdefault(size, b"y" * size))
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        self.left = int(length) - len(rest)
        if not self.left:
            self._give(self.answer)

    def _give(self, body: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def main() -> None:
    """Serve until terminated."""
    Connection.answer = sys.argv[2].encode()
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", int(sys.argv[1]), backlog=1024
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(str(os.getpid()))
    uvloop.run(main())
