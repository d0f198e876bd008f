"""Whose requests are only probes or scrapes, by what they say they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable

# They come from clients: what they send must not grow a table without bound.
KNOWN_AGENTS = 1024
LONGEST_KNOWN = 256


class Agents(dict[bytes, bool]):
    """Whether a User-Agent is one of the settings' ``probe-agents``, by its value; an empty
    one is not.

    A table, since looking a value up takes a fifth of comparing it with each beginning.
    """

    def __init__(self, beginnings: Iterable[str]) -> None:
        super().__init__()
        self._beginnings = tuple(beginning.encode() for beginning in beginnings)

    def __missing__(self, agent: bytes) -> bool:
        known = bool(agent) and agent.startswith(self._beginnings)
        if len(self) < KNOWN_AGENTS and len(agent) <= LONGEST_KNOWN:
            self[agent] = known
        return known
