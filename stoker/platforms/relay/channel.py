"""Messages between two processes of one Stoker, over a socket that one inherited of the other.

A frame is its length (4 bytes, little-endian) and a pickle. Both ends run the same program
and nobody else can reach the socket, which has no name: what unpickling may do, the other
end could do anyway. It costs a tenth of JSON for the same dataclasses, and needs no schema.

Sending never waits. What need not arrive is offered, and refused while the other end is
behind; what has to arrive ends the channel when the other end is hopelessly behind: it has
hung, and whoever holds the channel treats it as dead.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import pickle
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from stoker.errors import StokerError, WorkerError

log = logging.getLogger(__name__)

LENGTH: Final = struct.Struct("<I")
# Above this much unsent, what is only offered is refused: a second of load reports for
# 20,000 models is 0.6 MB.
BEHIND: Final = 4 * 1024**2
# Above this much unsent the other end has hung: 20,000 models are about 12 MB.
HOPELESS: Final = 256 * 1024**2

Handler = Callable[..., Any]


class Ask(NamedTuple):
    """``what`` is to be done with ``arguments`` and the outcome told."""

    number: int
    what: str
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """The outcome of ``Ask`` number ``number``: a value, or what was raised."""

    number: int
    value: Any
    error: Exception | None


def frame(message: object) -> bytes:
    """What goes over the wire for ``message``; made once for many channels."""
    data = pickle.dumps(message, protocol=5)
    return LENGTH.pack(len(data)) + data


class Channel(asyncio.Protocol):
    """One end. ``on_message`` gets what the other end sends, in order; ``on_lost`` is called
    once, when nothing more will come. ``handlers`` answer what the other end asks: functions
    or coroutine functions by name.
    """

    def __init__(
        self,
        on_message: Callable[[Any], None],
        on_lost: Callable[[], None],
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._handlers = dict(handlers or {})
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None]
        self.lost = False

    async def open(self, sock: socket.socket) -> None:
        """Take over a connected Unix socket."""
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        await loop.create_unix_connection(lambda: self, sock=sock)

    def close(self) -> None:
        """Send what was said so far, then end. Idempotent."""
        if self._transport is not None:
            self._transport.close()

    async def wait_closed(self) -> None:
        """Return when the channel is lost or, after ``close``, all was sent."""
        await asyncio.wait([self._closed])

    # --- sending ---

    def send(self, message: object) -> None:
        """Say what has to arrive. Never blocks; into a lost channel it goes nowhere."""
        self.send_frame(frame(message))

    def send_frame(self, data: bytes) -> None:
        """``send`` for what ``frame`` made."""
        if self.lost or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > HOPELESS:
            log.error("the other process has not read for %d bytes: given up", HOPELESS)
            self._transport.abort()
            return
        self._transport.write(data)

    @property
    def behind(self) -> bool:
        """Whether the other end has much to read still, or is gone: an offer would be vain."""
        transport = self._transport
        return self.lost or transport is None or transport.get_write_buffer_size() > BEHIND

    def offer(self, message: object) -> bool:
        """Say what may be left out. False: it was, because the other end is behind or gone."""
        if self.behind:
            return False
        self.send(message)
        return True

    async def ask(self, what: str, *arguments: Any, timeout: float) -> Any:
        """What the other end's handler returns. Raises what it raised, if a StokerError or a
        ValueError; WorkerError when the channel is lost, TimeoutError after ``timeout`` s.
        """
        if self.lost or self._transport is None:
            raise WorkerError("the other process is gone")
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self.send(Ask(number, what, arguments))
            async with asyncio.timeout(timeout):
                return await future
        finally:
            del self._asked[number]

    # --- receiving ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        begin = 0
        while len(received) - begin >= LENGTH.size:
            (length,) = LENGTH.unpack_from(received, begin)
            end = begin + LENGTH.size + length
            if len(received) < end:
                break
            content = bytes(memoryview(received)[begin + LENGTH.size : end])
            begin = end
            try:
                self._take(pickle.loads(content))
            except Exception:
                log.exception("a message of the other process could not be taken")
        if begin:
            del received[:begin]

    def _take(self, message: Any) -> None:
        if isinstance(message, Ask):
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif isinstance(message, Answer):
            future = self._asked.get(message.number)
            if future is not None and not future.done():
                if message.error is None:
                    future.set_result(message.value)
                else:
                    future.set_exception(message.error)
        else:
            self._on_message(message)

    async def _answer(self, ask: Ask) -> None:
        try:
            value = self._handlers[ask.what](*ask.arguments)
            if inspect.isawaitable(value):
                value = await value
            self.send(Answer(ask.number, value, None))
        except (StokerError, ValueError) as error:
            self.send(Answer(ask.number, None, error))
        except Exception as error:
            log.exception("the other process asked for %s in vain", ask.what)
            self.send(Answer(ask.number, None, WorkerError(f"{ask.what} failed: {error!r}")))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for future in self._asked.values():
            if not future.done():
                future.set_exception(WorkerError("the other process ended"))
        self._closed.set_result(None)
        self._on_lost()
