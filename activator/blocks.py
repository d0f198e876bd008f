"""Which blocks of the spool's one file are free. Pure.

The lowest free block is taken first, so that what is in use stays near the beginning and the
tail of the file can be cut off. Blocks are numbers from 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

# A tail shorter than this is not worth a system call.
WORTH_CUTTING = 256


class Blocks:
    """``used`` of them are taken; the file has to be ``length`` blocks long at least."""

    __slots__ = ("_free", "_taken", "used")

    def __init__(self) -> None:
        self._free: list[int] = []  # a heap; some of it may lie behind the end by now
        self._taken = bytearray()
        self.used = 0

    @property
    def length(self) -> int:
        return len(self._taken)

    def take(self) -> int:
        """One more block."""
        self.used += 1
        free, taken = self._free, self._taken
        if free:
            block = heapq.heappop(free)
            taken[block] = 1
            return block
        taken.append(1)
        return len(taken) - 1

    def give_back(self, blocks: Iterable[int]) -> bool:
        """True where so much of the tail is free now that ``length`` has shrunk: cut the file."""
        free, taken = self._free, self._taken
        for block in blocks:
            taken[block] = 0
            heapq.heappush(free, block)
            self.used -= 1
        last = taken.rfind(1) + 1
        tail = len(taken) - last
        # Rebuilding the heap costs its length: at least half of it must be worth it.
        if not tail or (last and (tail < WORTH_CUTTING or 2 * tail < len(free))):
            return False
        del taken[last:]
        self._free = [block for block in free if block < last]
        heapq.heapify(self._free)
        return True
