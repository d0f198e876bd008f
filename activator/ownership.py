"""Which member should serve what: one owner for a small model, shares of a large one. Pure.

Rendezvous hashing (Thaler and Ravishankar 1998): each member has a score for each thing,
and the highest has it. A member that joins takes only what it now scores highest for; one
that leaves gives up only what it had. All members that know of the same members and
replicas come to the same result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

# A large model becomes small again below this part of what made it large.
HYSTERESIS: Final = 0.5
# ... and had this many replicas for each member when it became large.
REPLICAS_EACH: Final = 2


def score(thing: str, member: str) -> int:
    """64 bits that ``thing`` and ``member`` determine."""
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    text = f"{len(thing)}:{thing}{member}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def owner(thing: str, members: Collection[str]) -> str:
    """Who of ``members`` (at least one) has ``thing``. Equal scores: the greater name."""
    if len(members) == 1:
        (only,) = members
        return only
    return max(members, key=lambda member: (score(thing, member), member))


def shares(replicas: Iterable[str], members: Collection[str]) -> dict[str, str]:
    """Replica → member, with as many for each as for the others, give or take one.

    Each replica goes to its highest scorer that is not full yet (rendezvous hashing with
    bounded loads). First all members are filled alike; what is left over goes to as many
    members, one each, so that with no fewer replicas than members nobody has none.
    """
    ordered = sorted(set(replicas))
    even = len(ordered) // len(members)
    load = dict.fromkeys(sorted(members), 0)
    held: dict[str, str] = {}
    # In an order that new replicas, which have the greatest ids, enter anywhere.
    for replica in sorted(ordered, key=lambda name: (score(name, ""), name)):
        full = even if len(held) < even * len(load) else even + 1
        member = owner(replica, [name for name, count in load.items() if count < full])
        load[member] += 1
        held[replica] = member
    return held


def is_large(was_large: bool, replicas: int, limit: int, members: int, share_slots: int) -> bool:
    """Whether a model is divided among ``members`` instead of having one owner.

    It becomes large with 2 replicas and ``share_slots`` slots for each member, and small
    again with less than half of either, so that it does not go to and fro.
    """
    if members < 2:
        return False
    part = HYSTERESIS if was_large else 1.0
    return (
        replicas >= part * REPLICAS_EACH * members
        and replicas * limit >= part * share_slots * members
    )


@dataclass(frozen=True, slots=True)
class Place:
    """One model as one member has it: ``owner`` of the model, and the replicas ``mine``.

    Without any of its own a member passes requests on to the owner.
    """

    owner: str
    mine: frozenset[str] = frozenset()


def place(
    model: str, me: str, members: Collection[str], replicas: Collection[str], *, large: bool
) -> Place:
    """What ``me`` should have of ``model``, whose ready ``replicas`` are given."""
    whose = owner(model, members)
    if large:
        held = shares(replicas, members)
        return Place(whose, frozenset(r for r, member in held.items() if member == me))
    return Place(whose, frozenset(replicas) if whose == me else frozenset())


@dataclass(slots=True)
class Largeness:
    """Which models are large. The owner of each decides and tells the others, so that all
    of them divide it, or none; ``said`` is what owners told, by member.
    """

    share_slots: int
    _mine: set[str] = field(default_factory=set)
    _said: dict[str, frozenset[str]] = field(default_factory=dict)

    def decide(self, model: str, replicas: int, limit: int, members: int) -> bool:
        """For a model of one's own. A new owner goes on from what the last one said."""
        was = model in self._mine or any(model in said for said in self._said.values())
        large = is_large(was, replicas, limit, members, self.share_slots)
        if large:
            self._mine.add(model)
        else:
            self._mine.discard(model)
        return large

    def follow(self, model: str, whose: str) -> bool:
        """For a model of another member's: what that said of it."""
        self._mine.discard(model)
        return model in self._said.get(whose, ())

    def hear(self, member: str, models: Iterable[str]) -> set[str]:
        """``member`` says which of its models are large; returns those that changed."""
        before, now = self._said.get(member, frozenset()), frozenset(models)
        self._said[member] = now
        return set(before ^ now)

    def forget(self, member: str) -> None:
        """The member does not belong to the cluster any more. (What one that was lost said
        stays: whoever has its models now goes on from there.)
        """
        self._said.pop(member, None)

    def drop(self, model: str) -> None:
        """The model was removed."""
        self._mine.discard(model)

    @property
    def mine(self) -> frozenset[str]:
        """What to tell the others."""
        return frozenset(self._mine)
