"""The metrics page while what it shows is changing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence

import aiohttp

from stoker import telemetry
from stoker.admin import CONTENT_TYPE, Admin
from stoker.exposition import Exposition, Source
from stoker.telemetry import Histogram, Reading
from stoker.vocabulary import Address


class HeldExposition(Exposition):
    """Rendering begins, and goes on when it is let."""

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(sources)
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.go_on = threading.Event()
        self.thread = 0

    def render_gently(self, readings: Iterable[Reading]) -> bytes:
        self.thread = threading.get_ident()
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go_on.wait(30)
        return super().render_gently(readings)


async def test_counting_goes_on_while_metrics_are_rendered() -> None:
    """Sources are read on the loop; what they hold may change before a thread has rendered it."""
    retries = {"a": 1, "b": 2}
    holds = Histogram((1.0,))
    read_in: list[int] = []

    def source() -> Iterator[Reading]:
        read_in.append(threading.get_ident())
        for model, count in retries.items():
            yield Reading(telemetry.RETRIES, (model,), count)
        yield Reading(telemetry.HOLD_SECONDS, ("a",), holds)

    exposition = HeldExposition([source])
    admin = Admin(
        Address("127.0.0.1", 0),
        exposition,
        models=list,
        explain=lambda model: None,
        ready=lambda: (True, "ready"),
    )
    await admin.start()
    try:
        async with aiohttp.ClientSession() as session:
            page = asyncio.ensure_future(session.get(f"http://{admin.address}/metrics"))
            await asyncio.wait_for(exposition.begun.wait(), 30)
            retries["a"] += 10
            retries["c"] = 3
            holds.add(0.5)
            exposition.go_on.set()
            answer = await page
            text = await answer.text()
    finally:
        exposition.go_on.set()
        await admin.close()
    assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert read_in == [threading.get_ident()]
    assert exposition.thread != threading.get_ident()
    assert 'stoker_retries_total{model="a"} 1.0\n' in text
    assert 'model="c"' not in text
    assert 'stoker_hold_seconds_count{model="a"} 0.0\n' in text
