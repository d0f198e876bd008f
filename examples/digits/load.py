"""Clients of the digits model that keep count of every request."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

INFER = "/v2/models/digits/infer"
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image as a request body, and the digit it is known to show."""

    body: bytes
    label: int

    @classmethod
    def of(cls, pixels: Sequence[float], label: int) -> Sample:
        tensor = {"name": "image", "datatype": "FP64", "shape": [1, 64], "data": list(pixels)}
        request = {"inputs": [tensor], "outputs": [{"name": "label"}]}
        return cls(json.dumps(request).encode(), label)


@dataclass(slots=True)
class Tally:
    """What became of the requests. What was neither answered nor is under way is lost."""

    sent: int = 0
    right: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.right + self.wrong

    @property
    def lost(self) -> int:
        return self.sent - self.answered

    def percentile(self, percent: int) -> float:
        """Seconds; of the requests that were answered, two at least."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[percent - 1]


async def ask(session: aiohttp.ClientSession, url: str, sample: Sample, tally: Tally) -> int | None:
    """One request, never repeated; returns the digit the model sees, None when lost."""
    tally.sent += 1
    began = time.perf_counter()
    try:
        async with session.post(
            f"{url}{INFER}", data=sample.body, headers=_HEADERS, timeout=_TIMEOUT
        ) as response:
            text = await response.read()
            if response.status != 200:
                raise ValueError(f"{response.status}: {text[:200]!r}")
            digit = int(json.loads(text)["outputs"][0]["data"][0])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError) as error:
        tally.failures.append(f"{type(error).__name__}: {error}")
        return None
    tally.seconds.append(time.perf_counter() - began)
    if digit == sample.label:
        tally.right += 1
    else:
        tally.wrong += 1
    return digit


async def crowd(
    url: str, samples: Sequence[Sample], clients: int, until: asyncio.Event, tally: Tally
) -> None:
    """So many clients at once, each asking again as soon as it is answered, until the event.

    What is under way then is waited for.
    """
    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client(number: int) -> None:
            turn = number
            while not until.is_set():
                await ask(session, url, samples[turn % len(samples)], tally)
                turn += clients

        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(client(number))
