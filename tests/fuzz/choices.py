"""Decisions of a run, read from bytes: the same bytes are the same run, whoever made them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Choices:
    """When the bytes are used up everything is 0: the first, the plainest, the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """At most ``count`` bytes as they are."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def number(self, below: int) -> int:
        """0 <= number < below, for at most 65536."""
        return int.from_bytes(self.take(1 if below <= 256 else 2), "big") % below

    def one(self, of: Sequence[_T]) -> _T:
        return of[self.number(len(of))]

    def chance(self, one_in: int) -> bool:
        """True once in so many times; never when the bytes are used up."""
        return self.number(one_in) == 1

    def rest(self) -> bytes:
        return self.take(len(self._data))
