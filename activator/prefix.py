"""Which replica a key belongs to: a ring of hashes. Pure.

Consistent hashing (Karger et al. 1997): each member stands at many points of a ring; a key
belongs to the next point. When a member comes or goes, only keys of its own move. The same
members give the same ring in every process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, Generic, TypeVar

# With 100 points each, the shares of ten members differ by about a tenth from the average
# (one over the square root of 100).
POINTS: Final = 100
KEY_BYTES: Final = 8

T = TypeVar("T")


def hash_key(*parts: bytes) -> int:
    """64 bits of what a request's prompt begins with; never 0, which means that there is none."""
    digest = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(KEY_BYTES))
        digest.update(part)
    return int.from_bytes(digest.digest()) or 1


class Ring(Generic[T]):
    """Members at ``POINTS`` places each. ``name`` tells them apart, here and elsewhere."""

    __slots__ = ("_hashes", "_members", "_name", "_owners", "_places")

    def __init__(self, name: Callable[[T], str]) -> None:
        self._name = name
        self._members: list[T] = []
        self._places: dict[str, list[int]] = {}
        self._hashes: list[int] = []
        self._owners: list[T] = []

    def set_members(self, members: Sequence[T]) -> None:
        """Rebuild the ring, but only if ``members`` are not those of the last time."""
        # Asked with every request: comparing a list of the same objects takes some
        # nanoseconds each, and needs nobody to say that it changed.
        wanted = list(members)
        if self._members == wanted:
            return
        self._members = wanted
        places = self._places
        self._places = {}
        points: list[tuple[int, str, T]] = []
        for member in wanted:
            name = self._name(member)
            at = places.get(name) or [
                hash_key(name.encode(), number.to_bytes(2)) for number in range(POINTS)
            ]
            self._places[name] = at
            points += [(place, name, member) for place in at]
        points.sort(key=lambda point: point[:2])
        self._hashes = [point[0] for point in points]
        self._owners = [point[2] for point in points]

    def walk(self, key: int) -> Iterator[T]:
        """Every member once, beginning with the one that ``key`` belongs to."""
        owners = self._owners
        count = len(owners)
        start = bisect_left(self._hashes, key)
        left = len(self._members)
        seen: set[int] = set()
        for at in range(start, start + count):
            owner = owners[at % count]
            if id(owner) not in seen:
                yield owner
                left -= 1
                if not left:
                    return
                seen.add(id(owner))
