"""An open loop: every request at its time, whatever became of those before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
import uvloop

from simulations.trace import Floats

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: monotonic seconds at which it should have been sent, was, and was answered.

    ``answered`` None: no answer with status 200 came. ``cold``: it says that it waited for a
    model that was asleep.
    """

    due: float
    sent: float
    answered: float | None
    cold: bool
    service: float

    @property
    def latency(self) -> float:
        """Seconds from sending to the answer's end, of an answered one."""
        assert self.answered is not None
        return self.answered - self.sent


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests for one model: times (s from the common begin) and the service of each (s)."""

    port: int
    model: str
    times: Floats
    service: Floats


def send(streams: Iterable[Stream], begin: float) -> list[list[Sent]]:
    """Send all of them, counted from ``begin`` (monotonic), and wait for the answers."""
    return uvloop.run(_send(list(streams), begin))


async def _send(streams: list[Stream], begin: float) -> list[list[Sent]]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        return [
            await sending
            for sending in [
                asyncio.gather(
                    *(
                        _ask(session, stream, begin + at, service)
                        for at, service in zip(stream.times, stream.service, strict=True)
                    )
                )
                for stream in streams
            ]
        ]


async def _ask(session: aiohttp.ClientSession, stream: Stream, due: float, service: float) -> Sent:
    await asyncio.sleep(due - time.monotonic())
    url = f"http://127.0.0.1:{stream.port}/{service:.6f}"
    sent = time.monotonic()
    answered, cold = None, False
    try:
        async with session.get(url, headers={"Host": f"{stream.model}.localhost"}) as response:
            await response.read()
            if response.status == 200:
                answered = time.monotonic()
            cold = "stoker-cold-start" in response.headers
    except (aiohttp.ClientError, TimeoutError):
        pass
    return Sent(due, sent, answered, cold, service)
