"""Readings on their way from one process of Stoker to another, in slices.

Both ends run the same program and trust each other: it is pickle, as on the rest of that way.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable, Sequence
from typing import Final

from stoker.exposition import Exposition, Source
from stoker.telemetry import Reading

# About a third of a millisecond's work each.
SLICE_READINGS: Final = 200


async def pack(sources: Sequence[Source]) -> list[bytes]:
    """All that the sources say; the event loop goes on between two slices."""
    readings = await Exposition(sources).collect_in_slices()
    packed = []
    for at in range(0, len(readings), SLICE_READINGS):
        packed.append(pickle.dumps(readings[at : at + SLICE_READINGS], protocol=5))
        await asyncio.sleep(0)
    return packed


def unpack(packed: Iterable[bytes]) -> list[Reading]:
    """What ``pack`` packed."""
    return [reading for piece in packed for reading in pickle.loads(piece)]
