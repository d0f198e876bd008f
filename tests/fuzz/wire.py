"""One end of a connection as the activator has it; the other end is held by whoever tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from tests.fuzz.loop import SteppedLoop

# No descriptor of this process is so high: a system call on one fails.
NO_DESCRIPTOR = 1_000_000


class Socket:
    """What is asked of the socket below a transport."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # As of a connection that has carried much.
        self.options: dict[tuple[int, int], object] = {
            (socket.SOL_SOCKET, socket.SO_RCVBUF): 1 << 20
        }

    def fileno(self) -> int:
        return self.fd

    def getsockopt(self, level: int, option: int) -> object:
        return self.options[level, option]

    def setsockopt(self, level: int, option: int, value: object) -> None:
        self.options[level, option] = value


class Watch:
    """Stands in for ``Departures``: who is told of whose leaving."""

    def __init__(self) -> None:
        self.watched: dict[int, tuple[Callable[[], None], bool]] = {}

    def watch(self, fd: int, callback: Callable[[], None], *, half_open: bool = False) -> None:
        self.watched[fd] = (callback, half_open)

    def unwatch(self, fd: int, callback: Callable[[], None]) -> None:
        if self.watched.get(fd, (None, False))[0] == callback:
            del self.watched[fd]

    def left(self, fd: int, *, ended_only: bool) -> bool:
        """Tell of it, once. Returns whether somebody wanted to know."""
        callback, half_open = self.watched.get(fd, (None, False))
        if callback is None or (ended_only and half_open):
            return False
        self.unwatch(fd, callback)
        callback()
        return True

    def close(self) -> None:
        pass


class Wire(asyncio.Transport):
    """``incoming``: sent to the activator and not read yet; ``outgoing``: written by it and not
    taken yet, ``taken`` what has been. Strict where asyncio and uvloop differ.
    """

    def __init__(
        self,
        loop: SteppedLoop,
        watch: Watch,
        number: int,
        *,
        high: int,
        secure: bool = False,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__()
        self.number = number
        self.socket = Socket(NO_DESCRIPTOR + number)
        self.secure = secure
        self.address = address
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.taken = bytearray()
        self.written = bytearray()  # all of it, be it taken, yet to be taken or lost
        self.delivered = bytearray()
        self.at_once = True
        self.ending = ""  # what the peer has done: "eof", "reset"
        self.complete = False  # it did end its sending, whatever came then
        self.eof_told = False
        self.eof_written = False
        self.reading = True
        self.open = True  # the peer takes what is written
        self.closing = False
        self.aborted = False
        self.lost = False
        self.losing: BaseException | None = None
        self.on_write: Callable[[Wire], None] = lambda wire: None
        self._loop = loop
        self._watch = watch
        self._high = high
        self._full = False
        self.protocol: Any = None

    # --- what the activator asks ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": (self.address, 1), "socket": self.socket}
        return (self if self.secure else None) if name == "sslcontext" else known.get(name)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self.protocol)

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert isinstance(data, bytes), "a view of a shared buffer would change later"
        if self.eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self.closing or not data:
            return
        if self.ending == "reset":
            self._lose_soon(BrokenPipeError(32, "Broken pipe"))
            return
        self.on_write(self)
        self.written += data
        self.outgoing += data
        self._flow()
        if len(self.outgoing) > self._high and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.outgoing)

    def can_write_eof(self) -> bool:
        return not self.secure

    def write_eof(self) -> None:
        assert not self.secure
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self.closing and not self.lost

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._flow()

    def abort(self) -> None:
        self.aborted = True
        self.closing = True
        self.outgoing.clear()
        self._lose_soon(None)

    # --- what the peer does ---

    def send(self, data: bytes) -> None:
        if not self.ending:
            self.incoming += data

    def end(self) -> None:
        """No more will come; what has been sent is read first."""
        self.ending = self.ending or "eof"
        self.complete = self.complete or self.ending == "eof"

    def reset(self, *, at_once: bool = True) -> None:
        """The connection is gone. What has been sent is read first, as Linux has it, or
        (``at_once``) is lost, but to whoever looks once more when writing failed.
        """
        self.ending = "reset"
        self.at_once = at_once

    def take(self, count: int = 1_000_000_000) -> None:
        """Take up to so many bytes of what is written."""
        self.taken += self.outgoing[:count]
        del self.outgoing[:count]
        self._after_taking()

    def read(self, limit: int = 1_000_000) -> bool:
        """Let the activator read once, up to ``limit`` bytes. Returns whether it could."""
        if self.lost or self.losing is not None:
            return False
        readable = self.incoming and self.reading and not self.at_once and not self.closing
        if self.ending == "reset" and not readable:
            if not self.reading and not self.outgoing:
                return self._watch.left(self.socket.fd, ended_only=False)
            self._lose(ConnectionResetError(104, "Connection reset by peer"))
            return True
        if self.closing or self.eof_told:
            return False
        if not self.reading:
            return self.ending == "eof" and self._watch.left(self.socket.fd, ended_only=True)
        if self.incoming:
            view = self.protocol.get_buffer(-1)
            size = min(limit, len(view), len(self.incoming))
            assert size, "no room to read into"
            view[:size] = self.incoming[:size]
            self.delivered += self.incoming[:size]
            del self.incoming[:size]
            self.protocol.buffer_updated(size)
            return True
        if self.ending == "eof":
            self.eof_told = True
            if not self.protocol.eof_received():
                self.close()
            return True
        return False

    def rescued(self, into: memoryview) -> int:
        """What ``os.readv`` gives somebody who looks once more when the connection is lost."""
        size = min(len(into), len(self.incoming))
        if not (size or self.complete):
            raise ConnectionResetError(104, "Connection reset by peer")
        into[:size] = self.incoming[:size]
        self.delivered += self.incoming[:size]
        del self.incoming[:size]
        return size

    @property
    def over(self) -> bool:
        """Nothing more will be taken: the activator has ended its sending, or all of it."""
        return self.lost or (self.eof_written and not self.outgoing)

    @property
    def ended_cleanly(self) -> bool:
        """As the peer sees it: an end of file behind what it took, and no reset.

        An aborted transport is closed like any other; a reset needs SO_LINGER, or something
        that was not read.
        """
        linger = (socket.SOL_SOCKET, socket.SO_LINGER) in self.socket.options
        unread = self.lost and bool(self.incoming)
        return self.over and not (linger or unread or self.ending == "reset")

    # --- in between ---

    def _flow(self) -> None:
        if self.open:
            self.taken += self.outgoing
            self.outgoing.clear()
        self._after_taking()

    def _after_taking(self) -> None:
        if self._full and not self.outgoing:
            self._loop.call_soon(self._drained)
        if self.closing and not self.outgoing:
            self._lose_soon(None)

    def _drained(self) -> None:
        if self._full and not self.lost and not self.outgoing:
            self._full = False
            self.protocol.resume_writing()

    def _lose_soon(self, why: BaseException | None) -> None:
        if not self.lost and self.losing is None:
            self.closing = True
            self.losing = why or asyncio.CancelledError()
            self._loop.call_soon(self._lose, why)

    def _lose(self, why: BaseException | None) -> None:
        if not self.lost:
            self.closing = True
            self.losing = why or asyncio.CancelledError()
            self.outgoing.clear()
            self.protocol.connection_lost(why)
            self.lost = True
