"""The link's end at an activator: load to every autoscaler there is, over WebSockets.

All of them hear it, not only the one that leads: whoever leads next has warm windows. What
cannot be sent is dropped and counted, never waited for: the data path goes on without any
autoscaler. What an activator is (its addresses, ports, what it has emptied) is sent as a
whole whenever it changes, and again on each new connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import aiohttp

from stoker import telemetry
from stoker.clock import Clock
from stoker.columns import ColumnEncoder
from stoker.load_frames import pack
from stoker.telemetry import Reading
from stoker.vocabulary import Address, Poke, StatReport

log = logging.getLogger("stoker.stats")

PATH: Final = "/stats/v1"
# Names are looked up so often: an autoscaler that comes is found within that.
LOOK_UP_SECONDS: Final = 5.0
RECONNECT_SECONDS: Final = 0.2
RECONNECT_SECONDS_CAP: Final = 10.0
CONNECT_SECONDS: Final = 5.0
# A connection that says nothing for one and a half of these is given up.
HEARTBEAT_SECONDS: Final = 5.0
# What may wait for one autoscaler: older reports make room, they are outdated anyway.
WAITING_REPORTS: Final = 2
WAITING_POKES: Final = 1000
LONGEST_MESSAGE: Final = 1024 * 1024

State = Mapping[str, Any]
Answerer = Callable[[str, Any], Any]
Token = Callable[[], Awaitable[str]]


class StatsSender:
    """Implements ``stoker.link.StatSink``. ``targets``: host names, each of which may have
    several addresses, and ports. ``state`` tells what this activator is, ``answer`` what
    autoscalers ask (by word, with one argument); both JSON-ready. ``token`` is asked for at
    each connection.
    """

    def __init__(
        self,
        name: str,
        targets: Sequence[Address],
        token: Token,
        state: Callable[[], State],
        answer: Answerer,
        clock: Clock,
    ) -> None:
        self.name = name
        self.lost_reports = 0
        self.lost_pokes = 0
        self.reconnects = 0
        self._targets = tuple(targets)
        self._token = token
        self._state = state
        self._answer = answer
        self._clock = clock
        self._epoch = 0
        self._session: aiohttp.ClientSession | None = None
        self._links: dict[Address, _Link] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for autoscalers."""
        self._session = aiohttp.ClientSession()
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """End every link. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await asyncio.gather(*(link.close() for link in self._links.values()))
        if self._session is not None:
            await self._session.close()

    @property
    def up(self) -> int:
        """How many autoscalers hear this activator now."""
        return sum(link.up for link in self._links.values())

    def report(self, report: StatReport) -> None:
        links = [link for link in self._links.values() if link.up]
        if not links:
            self.lost_reports += 1
        for link in links:
            if len(link.reports) == WAITING_REPORTS:
                self.lost_reports += 1
            link.reports.append(report)
            link.stir.set()

    def poke(self, poke: Poke) -> None:
        links = [link for link in self._links.values() if link.up]
        if not links:
            self.lost_pokes += 1
        for link in links:
            if len(link.pokes) == WAITING_POKES:
                self.lost_pokes += 1
            link.pokes.append(poke)
            link.stir.set()

    def changed(self) -> None:
        """``state`` is another: tell all."""
        for link in self._links.values():
            link.stale = True
            link.stir.set()

    def readings(self) -> Iterator[Reading]:
        """For ``telemetry.Exposition``."""
        yield Reading(telemetry.LOST_REPORTS, ("report",), self.lost_reports)
        yield Reading(telemetry.LOST_REPORTS, ("poke",), self.lost_pokes)
        yield Reading(telemetry.STATS_LINKS, (), self.up)
        yield Reading(telemetry.STATS_RECONNECTS, (), self.reconnects)

    def next_epoch(self) -> int:
        """Each connection begins one: its numbering of models is its own."""
        self._epoch = max(self._epoch + 1, int(self._clock.wall() * 1000))
        return self._epoch

    # --- who there is ---

    async def _look(self) -> None:
        told = ""
        while True:
            found: set[Address] = set()
            failed = ""
            for target in self._targets:
                try:
                    found |= await _addresses(target)
                except OSError as caught:
                    failed = f"{target.host}: {caught.strerror or caught}"
            if failed != told and failed:
                log.warning("no autoscaler found: %s; requests go on, load is not told", failed)
            told = failed
            if not failed:  # else those that are known may be there all the same
                for address in self._links.keys() - found:
                    await self._links.pop(address).close()
            for address in found - self._links.keys():
                assert self._session is not None
                self._links[address] = _Link(self, address, self._session)
            await asyncio.sleep(LOOK_UP_SECONDS * random.uniform(0.8, 1.2))


async def _addresses(target: Address) -> set[Address]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return {Address(str(entry[4][0]), int(entry[4][1])) for entry in found}


class _Link:
    """What is kept of one autoscaler, and the task that is connected to it."""

    def __init__(
        self, sender: StatsSender, address: Address, session: aiohttp.ClientSession
    ) -> None:
        self.up = False
        self.stale = False
        self.reports: deque[StatReport] = deque(maxlen=WAITING_REPORTS)
        self.pokes: deque[Poke] = deque(maxlen=WAITING_POKES)
        self.answers: deque[tuple[int, Any]] = deque()
        self.stir = asyncio.Event()
        self._sender = sender
        self._address = address
        self._session = session
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause, told = RECONNECT_SECONDS, ""
        while True:
            try:
                await self._connected()
                pause, told, why = RECONNECT_SECONDS, "", "it ended the link"
                log.warning("autoscaler %s: %s", self._address, why)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as caught:
                why = str(caught) or "no answer"
                if self.up:
                    pause = RECONNECT_SECONDS
                if why != told:
                    log.warning("no link to autoscaler %s: %s", self._address, why)
                    told = why
            finally:
                self.up = False
            self._sender.reconnects += 1
            # Spread: after a restart of one all activators call at once.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, RECONNECT_SECONDS_CAP)

    async def _connected(self) -> None:
        """Be connected, and return when the other end ends that."""
        async with asyncio.timeout(CONNECT_SECONDS):
            token = await self._sender._token()
            ws = await self._session.ws_connect(
                f"ws://{self._address}{PATH}",
                headers={"Authorization": f"Bearer {token}", "Stoker-Activator": self._sender.name},
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=LONGEST_MESSAGE,
            )
        async with ws:
            self.reports.clear()
            self.pokes.clear()
            self.answers.clear()
            self.up = self.stale = True
            log.info("linked to autoscaler %s", self._address)
            loop = asyncio.get_running_loop()
            both = [loop.create_task(self._send(ws)), loop.create_task(self._receive(ws))]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _receive(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(json.loads(message.data))

    async def _send(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        sender, encoder, epoch = self._sender, ColumnEncoder(), self._sender.next_epoch()
        while True:
            if self.stale:
                self.stale = False
                await ws.send_str(_json({"state": sender._state()}))
            while self.pokes:
                poke = self.pokes.popleft()
                told = [str(poke.model), poke.queued, poke.active, epoch]
                await ws.send_str(_json({"poke": told}))
            while self.reports:
                report = self.reports.popleft()._replace(epoch=epoch)
                await ws.send_bytes(pack(encoder.encode(report)))
            while self.answers:
                await ws.send_str(_json({"answer": self.answers.popleft()}))
            if not (self.stale or self.pokes or self.reports or self.answers):
                self.stir.clear()
                await self.stir.wait()

    def _take(self, message: Any) -> None:
        """What an autoscaler asks. Raises ValueError for what none would."""
        try:
            number, what, argument = message["ask"]
        except (TypeError, KeyError, ValueError):
            raise ValueError("it sent something no autoscaler would send") from None
        self.answers.append((number, self._sender._answer(what, argument)))
        self.stir.set()


def _json(message: object) -> str:
    return json.dumps(message, separators=(",", ":"))
