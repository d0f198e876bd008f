"""A model server that streams tokens at a fixed pace: ``token_server PORT [PIDFILE]``.

``GET .../stream?n=COUNT`` gets COUNT server-sent events, 100 per second, each with the
monotonic clock's nanoseconds at which it was written, so that a client on the same machine
can tell how long it was on its way. Streams are served in ten groups whose turns are 1 ms
apart, as they would be by servers that know nothing of each other.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERVAL = 0.01
GROUPS = 10
PADDING = b"x" * 100


class Stream(asyncio.Protocol):
    """One connection; its requests are answered one after the other."""

    groups: tuple[set[Stream], ...] = tuple(set() for _ in range(GROUPS))
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.left = 0
        self.group = Stream.groups[Stream.made % GROUPS]
        Stream.made += 1

    def data_received(self, data: bytes) -> None:
        line = data.partition(b"\r\n")[0]
        if b"stream?n=" not in line:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        self.left = int(line.partition(b"?n=")[2].split()[0])
        self.transport.write(HEAD)
        self.group.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.group.discard(self)

    def tick(self) -> None:
        """The next token."""
        event = b"data: %d %b\n\n" % (time.monotonic_ns(), PADDING)
        self.left -= 1
        end = b"" if self.left else b"0\r\n\r\n"
        if not self.left:
            self.group.discard(self)
        self.transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, end))


async def pace() -> None:
    """Each group's turn, on schedule."""
    due = time.monotonic()
    number = 0
    while True:
        for stream in tuple(Stream.groups[number]):
            stream.tick()
        number = (number + 1) % GROUPS
        due += INTERVAL / GROUPS
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def main() -> None:
    """Serve until terminated."""
    server = await asyncio.get_running_loop().create_server(
        Stream, "127.0.0.1", int(sys.argv[1]), backlog=1024
    )
    async with server:
        await pace()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(str(os.getpid()))
    uvloop.run(main())
