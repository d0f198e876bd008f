"""Two ends of a channel in one process, for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from stoker.platforms.relay.channel import Channel, Handler

PATIENCE = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until ``condition`` holds; AssertionError when it never does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"not within {PATIENCE:g} s")
        await asyncio.sleep(0)


class End(Channel):
    """Keeps what it was told, and how often it was lost."""

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        take: Callable[[Any], object] = lambda message: None,
    ) -> None:
        super().__init__(self._keep, self._count, handlers)
        self.told: list[Any] = []
        self.losses = 0
        self._taker = take

    def _keep(self, message: Any) -> None:
        self.told.append(message)
        self._taker(message)

    def _count(self) -> None:
        self.losses += 1


@asynccontextmanager
async def connected(one: Channel, other: Channel) -> AsyncIterator[None]:
    """Both ends open; closed at the end."""
    sockets = socket.socketpair()
    for end, sock in zip((one, other), sockets, strict=True):
        await end.open(sock)
    try:
        yield
    finally:
        for end in (one, other):
            end.close()
            await end.wait_closed()
