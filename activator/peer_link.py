"""Connections between members: made, proved, and turned into links or streams of requests."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from activator import peer_wire
from activator.peer_wire import Claim, Frames, WireError
from stoker.vocabulary import Address

INTRODUCTION_SECONDS: Final = 5.0

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Line(asyncio.Protocol):
    """One line at a time, before a connection is something else. Nothing is read beyond one
    line that nobody has asked for: what follows belongs to the next protocol.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._waiter: asyncio.Future[bytes] | None = None
        self._ended = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._look()

    def _look(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        end = self._data.find(b"\n")
        if end >= 0:
            line = bytes(self._data[: end + 1])
            del self._data[: end + 1]
            waiter.set_result(line)
        elif self._ended or len(self._data) > peer_wire.LONGEST_LINE:
            waiter.set_exception(WireError("it closed the connection or sent no line"))

    async def line(self) -> bytes:
        """The next line. Raises WireError."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._look()
        return await self._waiter

    def tell(self, line: bytes) -> None:
        """Send. Raises WireError when the connection has ended: uvloop's transports take writing
        to them then for a mistake (RuntimeError), those of asyncio forget it.
        """
        if self._ended or self.transport.is_closing():
            raise WireError("it closed the connection")
        self.transport.write(line)

    def become(self, protocol: asyncio.BaseProtocol) -> None:
        """From here on the connection is ``protocol``'s. Raises WireError."""
        if self._ended or self.transport.is_closing():
            raise WireError("it closed the connection")
        if self._data and not isinstance(protocol, asyncio.Protocol):
            raise WireError("it sent more than it was asked for")
        # Paused: uvloop chooses how it reads when it begins to.
        self.transport.pause_reading()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._data and isinstance(protocol, asyncio.Protocol):
            # It went on at once; but whoever made the protocol has to know of it first.
            asyncio.get_running_loop().call_soon(protocol.data_received, bytes(self._data))
        if not self.transport.is_closing():
            self.transport.resume_reading()


async def connect(
    address: Address, token: bytes, role: str, name: str, target: str, make: Callable[[], P]
) -> P:
    """Connect to a member's peer port, prove who we are and have it proved.

    Raises OSError, TimeoutError, WireError.
    """
    async with asyncio.timeout(INTRODUCTION_SECONDS):
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(Line, address.host, address.port)
        try:
            nonce = peer_wire.read_challenge(await line.line())
            claim = Claim(role, name, target, secrets.token_hex(16))
            line.tell(peer_wire.introduction(token, nonce, claim))
            peer_wire.check_welcome(token, nonce, claim, await line.line())
            protocol = make()
            line.become(protocol)
            return protocol
        except BaseException:
            line.transport.abort()
            raise


class Accepting(Line):
    """A connection that somebody made to the peer port."""

    def __init__(self, accept: Callable[[Accepting], None]) -> None:
        super().__init__()
        self._accept = accept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._accept(self)

    @property
    def is_local(self) -> bool:
        """Whether it comes from this machine."""
        peer = self.transport.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return True
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)

    async def introduced(self, token: bytes, why_not: Callable[[Claim], str]) -> Claim:
        """Who it is. ``why_not`` says why such a one is not welcome; empty: it is.

        Raises WireError, TimeoutError; it has been told then.
        """
        transport = self.transport
        nonce = secrets.token_hex(16)
        self.tell(peer_wire.challenge(nonce))
        try:
            async with asyncio.timeout(INTRODUCTION_SECONDS):
                claim = peer_wire.read_introduction(token, nonce, await self.line())
            if not token and not self.is_local:
                raise WireError("without peer-token-file only peers on loopback are let in")
            if reason := why_not(claim):
                raise WireError(reason)
        except WireError as caught:
            with suppress(WireError):
                self.tell(peer_wire.refusal(str(caught)))
            transport.close()
            raise
        except BaseException:
            transport.abort()
            raise
        self.tell(peer_wire.welcome(token, nonce, claim))
        return claim


class Link(asyncio.Protocol):
    """The link to one member. ``take`` gets what it says, ``ended`` is called once."""

    def __init__(
        self,
        name: str,
        take: Callable[[Link, list[Any]], None],
        ended: Callable[[Link, str], None],
    ) -> None:
        self.name = name
        self._take = take
        self._ended = ended
        self._frames = Frames()
        self._out: list[Any] = []
        self._why = "it closed the link"
        self.epoch = 0
        self.leaving = False
        self.said_goodbye = False
        # Something came since the last look.
        self.alive = True
        self.silent = 0
        self.over = False
        self.closed = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over:
            self.over = True
            self._ended(self, f"{self._why} ({exc})" if exc else self._why)
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self.alive = True
        if self.over:
            return
        try:
            self._take(self, self._frames.feed(data))
        except WireError as caught:
            self.end(str(caught))

    def say(self, *items: Any) -> None:
        """Send soon, together with what else is said in this turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out += items

    def flush(self) -> None:
        """Send what was said, now."""
        out, self._out = self._out, []
        if out and not self.transport.is_closing():
            self.transport.write(peer_wire.frame(out))

    def end(self, why: str) -> None:
        """Break off, at once for whoever relies on the link."""
        if not self.over:
            self.over = True
            self._ended(self, why)
        self.transport.abort()

    def close(self) -> None:
        """End when what was said has been sent. Its end is no news then."""
        self.over = True
        self.flush()
        self.transport.close()
