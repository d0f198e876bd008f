"""Which draining pods nobody has requests in any more: pure.

Every activator says of which draining pods it knows that none of its requests is in them.
A pod may go once all have said so: those that are connected, those whose pods there are
though they are not connected (yet, or for the moment), and those that were lost a moment
ago, whose requests may still be under way. That is level-triggered: who connects again says
all it has to say anew, and what comes in whatever order leads to the same end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

# One that was lost, and whose pod is gone too, had its connections ended by that.
LOST_SECONDS = 5.0


class Emptiness:
    """Pods are known by the part of replicas' ids that all incarnations have in common.

    Each method that may empty a pod returns those that are empty from now on, once each.
    """

    def __init__(self) -> None:
        self._draining: set[str] = set()
        self._told: set[str] = set()
        self._said: dict[str, frozenset[str]] = {}
        self._there: frozenset[str] = frozenset()
        self._lost: dict[str, float] = {}

    def draining(self, pod: str) -> list[str]:
        """A pod gets no new requests from now on."""
        self._draining.add(pod)
        return self._empty()

    def gone(self, pod: str) -> None:
        """Nothing more is to be known of it."""
        self._draining.discard(pod)
        self._told.discard(pod)

    def said(self, activator: str, empty: Iterable[str]) -> list[str]:
        """All draining pods that a connected activator has nothing in."""
        self._lost.pop(activator, None)
        self._said[activator] = frozenset(empty)
        return self._empty()

    def lost(self, activator: str, now: float) -> None:
        """Its connection ended."""
        self._said.pop(activator, None)
        self._lost[activator] = now

    def left(self, activator: str) -> list[str]:
        """It said that it ends, and has ended."""
        self._said.pop(activator, None)
        self._lost.pop(activator, None)
        return self._empty()

    def there(self, activators: Collection[str]) -> list[str]:
        """The activators whose pods there are, connected or not."""
        self._there = frozenset(activators)
        return self._empty()

    def tick(self, now: float) -> list[str]:
        """Time has passed."""
        for name in [name for name, at in self._lost.items() if now - at >= LOST_SECONDS]:
            del self._lost[name]
        return self._empty()

    def _empty(self) -> list[str]:
        waits = (self._there | self._lost.keys()) - self._said.keys()
        if waits:
            return []
        found = [
            pod
            for pod in self._draining - self._told
            if all(pod in empty for empty in self._said.values())
        ]
        self._told.update(found)
        return sorted(found)
