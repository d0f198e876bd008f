"""A model server that gets ready when told: ``gate_server PORT LIMIT GATE``.

GATE is a FIFO: the server listens once somebody has opened it for writing and closed it
again. Every request gets 200 with, as JSON, the monotonic nanoseconds at which it began to
listen, the bytes of its body, and the most requests that were inside at once; 500 instead
when more than LIMIT are inside, for as long as it lives. An answer takes 2 ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

SERVICE_SECONDS = 0.002


class Inside:
    """What is going on in this server."""

    now = 0
    most = 0
    listening_ns = 0
    limit = 0


class Connection(asyncio.Protocol):
    """One connection of a client that sends one request at a time, with Content-Length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head = b""
        self.left = -1
        self.size = 0

    def data_received(self, data: bytes) -> None:
        if self.left < 0:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.head[:end].lower(), self.head[end + 4 :]
            _, found, rest = head.partition(b"\r\ncontent-length:")
            self.left = self.size = int(rest.split(b"\r\n")[0]) if found else 0
            self.head = b""
            Inside.now += 1
            Inside.most = max(Inside.most, Inside.now)
        self.left -= len(data)
        if self.left == 0:
            self.left = -1
            asyncio.get_running_loop().call_later(SERVICE_SECONDS, self.answer)

    def answer(self) -> None:
        over = Inside.most > Inside.limit
        Inside.now -= 1
        told = {"listening_ns": Inside.listening_ns, "bytes": self.size, "most": Inside.most}
        body = json.dumps(told).encode()
        status = b"500 Internal Server Error" if over else b"200 OK"
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
        )


async def main(port: int) -> None:
    """Serve until terminated."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=1024)
    Inside.listening_ns = time.monotonic_ns()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    Inside.limit = int(sys.argv[2])
    with open(sys.argv[3], "rb") as gate:
        gate.read()
    asyncio.run(main(int(sys.argv[1])))
