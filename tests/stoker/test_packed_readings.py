"""Readings sent from one process to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from stoker.exposition import Exposition
from stoker.packed_readings import SLICE_READINGS, pack, unpack
from stoker.telemetry import HOLD_SECONDS, RETRIES, Histogram, Reading


async def test_what_arrives_is_what_was_sent() -> None:
    """Counters and histograms of more models than one slice holds, in order."""
    times = Histogram((0.1, 1.0))
    times.add(0.5)

    def source() -> Iterator[list[Reading]]:
        for n in range(SLICE_READINGS):
            label = (f"m{n}",)
            yield [Reading(RETRIES, label, n), Reading(HOLD_SECONDS, label, times)]

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    packed = await pack([source])
    task.cancel()
    assert len(packed) == 2
    assert turns >= 2
    made = Exposition([source])
    assert made.render(unpack(packed)) == made.render()
    assert unpack([]) == []
