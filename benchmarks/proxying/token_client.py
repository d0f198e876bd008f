"""Reads many token streams at once: ``token_client PORT STREAMS TOKENS``.

Prints one line of JSON: streams that came whole, tokens, and how long tokens were on
their way (µs, as a sorted sample).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import cast

import uvloop

from benchmarks.proxying.token_server import INTERVAL

PATIENCE_SECONDS = 15.0


class Reader(asyncio.Protocol):
    """One stream, from its request to the last chunk."""

    delays: list[int] = []  # noqa: RUF012 - of all streams together

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.rest = b""
        self.tokens = 0
        self.whole = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self.rest + data
        parts = data.split(b"data: ")
        # The last one may go on in the next read.
        complete = parts[-1].endswith(b"\r\n")
        self.rest = b"" if complete else b"data: " + parts.pop()
        for part in parts[1:]:
            self.tokens += 1
            Reader.delays.append((now - int(part.partition(b" ")[0])) // 1000)
        if data.endswith(b"\r\n0\r\n\r\n") and not self.whole.done():
            self.whole.set_result(True)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.whole.done():
            self.whole.set_result(False)


async def main() -> None:
    """Run all streams to their ends."""
    port, streams, tokens = (int(word) for word in sys.argv[1:4])
    path = f"/v2/models/bench/stream?n={tokens}"
    request = f"GET {path} HTTP/1.1\r\nHost: bench.localhost\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    readers = []
    for _ in range(streams):
        _, reader = await loop.create_connection(lambda: Reader(request), "127.0.0.1", port)
        readers.append(reader)
    # Who cannot keep up is waited for, but not without end: what is missing then is lost.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(tokens * INTERVAL + PATIENCE_SECONDS):
            await asyncio.wait([reader.whole for reader in readers])
    whole = [reader.whole.done() and reader.whole.result() for reader in readers]
    for reader in readers:
        reader.transport.abort()
    print(
        json.dumps(
            {
                "whole": sum(whole),
                "tokens": sum(reader.tokens for reader in readers),
                "delays_us": sorted(Reader.delays)[:: max(1, len(Reader.delays) // 10_000)],
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
