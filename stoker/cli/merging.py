"""One answer out of several processes' answers to the same question. Pure.

Works on JSON-ready documents of one shape, whatever they contain: numbers add up, lists of
what happened become one in the order of time, what is true for one is true for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Numbers that several processes know of one thing: no sum of them means anything.
SHARED_NUMBERS = frozenset({"ready_replicas", "limit", "ejected_for", "time"})
# How many entries a merged list of what happened keeps: as many as each process does.
KEPT_EVENTS = 16
_AGE = "seconds_ago"
_NAME = "replica"


def merged(documents: Sequence[Any], key: str = "") -> Any:
    """The documents as one. ``key`` is the name under which they were found."""
    there = [document for document in documents if document is not None]
    if not there:
        return None
    first = there[0]
    if isinstance(first, dict):
        names = dict.fromkeys(name for document in there for name in document)
        return {name: merged([d[name] for d in there if name in d], name) for name in names}
    if isinstance(first, list):
        return _merged_list([item for document in there for item in document])
    if isinstance(first, bool):
        return any(there)
    if isinstance(first, int | float):
        return max(there) if key in SHARED_NUMBERS else sum(there)
    return next((text for text in there if text), first)


def _merged_list(items: list[Any]) -> list[Any]:
    if all(isinstance(item, dict) and _AGE in item for item in items):
        # The latest are kept, told in the order in which they happened.
        return sorted(items, key=lambda item: -float(item[_AGE]))[-KEPT_EVENTS:]
    if all(isinstance(item, dict) and _NAME in item for item in items):
        by_name: dict[Any, list[Any]] = {}
        for item in items:
            by_name.setdefault(item[_NAME], []).append(item)
        return [merged(same) for same in by_name.values()]
    return items
