"""What is kept of one request's body: in memory up to a limit, else in the spool."""

from __future__ import annotations

import enum
from typing import Final

from activator.spool import BLOCK, Spool, SpoolFile

# More pieces than this are joined: a body that comes in crumbs would cost twenty times its size.
MANY_CHUNKS: Final = 64


class Room(enum.Enum):
    """How much of a body that is held there is room for."""

    ALL = "all"
    SOME = "some"  # it takes it as it comes, as long as there is any
    NONE = "none"


class Replays:
    """Memory for bodies that are passed on and kept beside, so that they can be sent again.

    ``limit`` bytes for all together; no body gets more than a quarter of it.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def lend(self, size: int, lent: int) -> bool:
        """Room for ``size`` bytes more of a body that has been ``lent`` so much already."""
        if self.used + size > self.limit or 4 * (lent + size) > self.limit:
            return False
        self.used += size
        return True


class Body:
    """What has been received of one request's body and is still kept.

    In order: ``chunks`` in memory, then the file, then ``overflow`` (what had been read
    when the budget was found used up; one read at most). A body with a file has nothing in
    ``chunks``. ``replayable`` turns False once something was passed on without being kept.
    ``lent``: bytes of ``chunks`` that count in ``replays``.
    """

    __slots__ = (
        *("_roomless", "chunks", "file", "lent", "overflow", "replayable", "replays", "size"),
    )

    def __init__(self, first: bytes = b"") -> None:
        # The first piece, which is mostly all of it, is taken without a call.
        self.chunks: list[bytes] = [first] if first else []
        self.file: SpoolFile | None = None
        self.overflow: list[bytes] = []
        self.size = len(first)
        self.replayable = True
        self.replays: Replays | None = None
        self.lent = 0
        self._roomless = False  # there was none, neither in memory nor on disk

    @property
    def full(self) -> bool:
        """Nothing more may be taken for now: the disk is behind, or the budget is used up."""
        if self.overflow or self._roomless:
            return True
        return self.file is not None and self.file.busy

    def keep(self, data: bytes) -> None:
        """Keep ``data`` in memory: it is still to be looked at."""
        self.size += len(data)
        self._in_memory(data)

    def _in_memory(self, data: bytes) -> None:
        chunks = self.chunks
        chunks.append(data)
        if len(chunks) > MANY_CHUNKS:
            self.chunks = [b"".join(chunks)]

    def settle(self, expected: int, memory: int, spool: Spool) -> Room:
        """It will stay for a while: find a place for all that is expected of it.

        ``expected``: its whole length, 0 where that is not known. A body without room is left
        in its client beyond what has been read.
        """
        if self.file is not None or 0 < expected <= memory:
            return Room.ALL
        promised = bool(expected) and spool.may_promise(expected)
        if promised:
            self.file = spool.create(expected)
        self.spill(memory, spool)
        if self.file is not None:
            return Room.ALL if promised else Room.SOME
        if promised or self.size > memory or not spool.has_room(memory + BLOCK):
            self._roomless = True
            return Room.NONE
        return Room.SOME

    def hold(self, data: bytes, memory: int, spool: Spool) -> None:
        """Keep ``data``, at most ``memory`` bytes of the body in memory."""
        self.size += len(data)
        if self.file is None:
            if self.size <= memory:
                self._in_memory(data)
                return
            if self.overflow or self._roomless or not self._open(spool):
                self.overflow.append(data)
                return
        self._spool(data)

    def _open(self, spool: Spool) -> bool:
        """Begin with the file, and let it have what is in memory."""
        self.file = spool.create(self.size)
        if self.file is None:
            return False
        self._empty_memory()
        return True

    def _empty_memory(self) -> None:
        chunks, self.chunks = self.chunks, []
        if self.lent:
            self._give_back()
        if chunks:
            self._spool(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _give_back(self) -> None:
        assert self.replays is not None
        self.replays.used -= self.lent
        self.lent = 0

    def _spool(self, data: bytes) -> None:
        assert self.file is not None
        if self.overflow or not self.file.append(data):
            self.overflow.append(data)

    def spill(self, memory: int, spool: Spool) -> None:
        """Move to the file what is in memory, if that is more than ``memory`` bytes."""
        if self.file is not None:
            self._empty_memory()
        elif self.size > memory:
            self._open(spool)

    def pass_on(self, data: bytes, memory: int, replays: Replays) -> None:
        """``data`` goes straight to the replica; keep it too while it is small or there is room."""
        self.size += len(data)
        if not self.replayable:
            return
        if self.size <= memory:
            self._in_memory(data)
        elif replays.lend(len(data), self.lent):
            self.replays = replays
            self.lent += len(data)
            # Not joined: reads are large by now, and a megabyte would be copied for nothing.
            self.chunks.append(data)
        else:
            self.forget()

    def forget(self) -> None:
        """Keep nothing (any more): no retry is possible from here on."""
        self.replayable = False
        self.chunks = []
        self.overflow = []
        self.close()

    def close(self) -> None:
        """Let the file go, and what was lent. Idempotent."""
        if self.lent:
            self._give_back()
            self.replayable = False
            self.chunks = []
        if self.file is not None:
            self.file.close()
            self.file = None
