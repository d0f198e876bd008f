"""Clients that ask without pause and keep account of what becomes of every request.

Each kind has its clients, half of which keep their connections; these do what any HTTP
client does when the server closes an idle connection at the moment it is used: try once
more on a new one. That is counted too.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar

import aiohttp

from benchmarks.chaotic.server import EVENTS

LARGE = 2 << 20
EXCHANGES = 20
# Whoever gets no answer for so long has lost its request.
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Account:
    """What became of one kind's requests.

    ``lost``: no answer, or an error, though nothing of an answer had begun. ``broken``: an
    answer that had begun did not come whole. ``wrong``: came whole, with another content.
    """

    sent: int = 0
    whole: int = 0
    lost: int = 0
    broken: int = 0
    wrong: int = 0
    again: int = 0
    latencies: list[float] = field(default_factory=list)
    how: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.lost + self.broken + self.wrong


class LostError(Exception):
    """No answer had begun."""


class BrokenError(Exception):
    """An answer had begun."""


class WrongError(Exception):
    """An answer came whole, with another content than it should have."""


class Traffic:
    """All clients of all kinds, running until told to stop."""

    CLIENTS: ClassVar = {"short": 12, "stream": 6, "socket": 6, "large": 3}

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}/v2/models"
        self.accounts = {kind: Account() for kind in self.CLIENTS}
        self._stop = asyncio.Event()

    async def run(self, seconds: float) -> None:
        """Ask for so long, then let what is under way finish."""
        asks: dict[str, Callable[[aiohttp.ClientSession], Awaitable[None]]] = {
            "short": self._short,
            "stream": self._stream,
            "socket": self._socket,
            "large": self._large,
        }
        async with asyncio.TaskGroup() as group:
            for kind, clients in self.CLIENTS.items():
                for number in range(clients):
                    group.create_task(self._ask(kind, asks[kind], keep=number % 2 == 0))
            await asyncio.sleep(seconds)
            self._stop.set()

    async def _ask(
        self, kind: str, ask: Callable[[aiohttp.ClientSession], Awaitable[None]], keep: bool
    ) -> None:
        account = self.accounts[kind]
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(force_close=not keep)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._stop.is_set():
                account.sent += 1
                began = loop.time()
                try:
                    try:
                        await ask(session)
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                        # The second when a large body was on its way already.
                        if not keep:
                            raise
                        account.again += 1
                        await ask(session)
                    account.whole += 1
                    account.latencies.append(loop.time() - began)
                except BrokenError as error:
                    account.broken += 1
                    account.how[str(error)] += 1
                except WrongError as error:
                    account.wrong += 1
                    account.how[str(error)] += 1
                except (LostError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    account.lost += 1
                    account.how[f"{type(error).__name__}: {error}"[:160]] += 1

    async def _short(self, session: aiohttp.ClientSession) -> None:
        body = random.randbytes(300)
        await self._post(session, "short", body, body)

    async def _large(self, session: aiohttp.ClientSession) -> None:
        await self._post(session, "large", b"x" * LARGE, b"y" * LARGE)

    async def _post(
        self, session: aiohttp.ClientSession, kind: str, body: bytes, expected: bytes
    ) -> None:
        async with session.post(f"{self.base}/{kind}/{kind}", data=body) as response:
            await self._check(response)
            try:
                got = await response.read()
            except (aiohttp.ClientError, OSError) as error:
                raise BrokenError(type(error).__name__) from None
        if got != expected:
            raise WrongError(f"{len(got)} other bytes than the {len(expected)} expected")

    @staticmethod
    async def _check(response: aiohttp.ClientResponse) -> None:
        if response.status != 200:
            text = (await response.text())[:120]
            raise LostError(f"{response.status} {text}")

    async def _stream(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self.base}/stream/stream") as response:
            await self._check(response)
            try:
                got = await response.read()
            except (aiohttp.ClientError, OSError) as error:
                raise BrokenError(type(error).__name__) from None
        if got != b"".join(b"data: %d\n\n" % number for number in range(EVENTS)):
            raise WrongError(f"{got.count(b'data:')} of {EVENTS} events, and no error")

    async def _socket(self, session: aiohttp.ClientSession) -> None:
        try:
            connected = session.ws_connect(f"{self.base}/socket/socket")
            async with connected as socket:
                for number in range(EXCHANGES):
                    text = json.dumps({"number": number})
                    await socket.send_str(text)
                    message = await socket.receive(timeout=PATIENCE_SECONDS)
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        raise BrokenError(f"{message.type.name} {message.data}")
                    if message.data != text:
                        raise WrongError(f"echoed {message.data!r}")
                    await asyncio.sleep(0.02)
        except aiohttp.WSServerHandshakeError as error:
            raise LostError(f"{error.status} to the handshake") from None
        except (ConnectionError, RuntimeError) as error:
            raise BrokenError(type(error).__name__) from None
