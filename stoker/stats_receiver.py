"""The link's end at an autoscaler: takes load from any number of activators, over WebSockets.

Whoever connects has to prove by a token who it is, before anything is read of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from stoker import telemetry
from stoker.clock import Clock
from stoker.columns import StatColumns
from stoker.errors import ListenError
from stoker.load_frames import unpack
from stoker.sockets import bind
from stoker.stats_sender import HEARTBEAT_SECONDS, PATH
from stoker.telemetry import Reading
from stoker.vocabulary import Address, ModelKey, Poke

log = logging.getLogger("stoker.stats")

# A report of 100,000 models is 2.8 MB, their names once 5 MB.
LONGEST_MESSAGE: Final = 16 * 1024**2
MOST_ACTIVATORS: Final = 256
# Clocks may differ in speed: by so much the offset between two follows per report.
DRIFT: Final = 0.001
# How long the other end may take to say that it has heard of the end.
LAST_WORDS_SECONDS: Final = 1.0

Authenticate = Callable[[str], Awaitable[str]]
"""Takes a bearer token; returns why its bearer is not let in, "" if it is."""


@dataclass(slots=True)
class Linked:
    """One activator that is connected. ``state`` is what it said of itself last."""

    name: str
    ws: web.WebSocketResponse
    state: Mapping[str, Any] = field(default_factory=dict)
    asked: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    # The least that any report took from there to here, both clocks' difference included.
    offset: float = float("inf")


class StatsReceiver:
    """``on_report`` and ``on_poke`` take the load; ``on_state`` is called when an activator
    connected, or is another than before, and raises ValueError, TypeError or LookupError for a
    state that is none; ``on_lost`` when its link ended. The others may not raise.
    """

    def __init__(
        self,
        address: Address,
        authenticate: Authenticate,
        clock: Clock,
        *,
        on_report: Callable[[StatColumns], None],
        on_poke: Callable[[Poke], None],
        on_state: Callable[[Linked], None],
        on_lost: Callable[[Linked], None],
    ) -> None:
        self.address = address
        self.activators: dict[str, Linked] = {}
        self.refused: Counter[str] = Counter()
        self.taken = 0
        self._authenticate = authenticate
        self._clock = clock
        self._on_report = on_report
        self._on_poke = on_poke
        self._on_state = on_state
        self._on_lost = on_lost
        self._numbers = itertools.count(1)
        self._ending: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind and serve. Raises ListenError."""
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            sock = bind(self.address, "stats")
        except ListenError:
            await self.close()
            raise
        await web.SockSite(self._runner, sock).start()
        self.address = Address(*self._runner.addresses[0][:2])

    async def close(self) -> None:
        """End every link. Idempotent."""
        open_ = [linked.ws for linked in self.activators.values()]
        await asyncio.gather(*(_end(ws) for ws in open_), *self._ending)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def ask(self, what: str, argument: Any = None, timeout: float = 2.0) -> dict[str, Any]:
        """What each activator answers, by name; one that does not answer in time is left out."""
        asked: dict[str, asyncio.Future[Any]] = {}
        number = next(self._numbers)
        for name, linked in tuple(self.activators.items()):
            asked[name] = linked.asked[number] = asyncio.get_running_loop().create_future()
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(timeout):
                    await linked.ws.send_str(json.dumps({"ask": [number, what, argument]}))
        if asked:
            await asyncio.wait(asked.values(), timeout=timeout)
        for linked in self.activators.values():
            linked.asked.pop(number, None)
        return {name: f.result() for name, f in asked.items() if f.done() and not f.cancelled()}

    def readings(self) -> Iterator[Reading]:
        """For ``telemetry.Exposition``."""
        yield Reading(telemetry.STATS_ACTIVATORS, (), len(self.activators))
        yield Reading(telemetry.STATS_TAKEN, (), self.taken)
        for reason, count in self.refused.items():
            yield Reading(telemetry.STATS_REFUSED, (reason,), count)

    # --- one connection ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        name = request.headers.get("Stoker-Activator", "")
        if scheme.lower() != "bearer" or not token.strip():
            return self._refuse(request, "no-token", "send Authorization: Bearer TOKEN")
        if why := await self._authenticate(token.strip()):
            return self._refuse(request, "wrong-token", why)
        if not 0 < len(name) <= 253 or not name.isprintable():
            return self._refuse(request, "no-name", "send Stoker-Activator: NAME", 400)
        if len(self.activators) >= MOST_ACTIVATORS and name not in self.activators:
            why = f"{MOST_ACTIVATORS} activators are linked already"
            return self._refuse(request, "too-many", why, 503)
        ws = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=LONGEST_MESSAGE)
        await ws.prepare(request)
        linked = Linked(name, ws)
        before = self.activators.get(name)
        self.activators[name] = linked
        if before is not None:
            # Not waited for: one whose machine is gone does not answer.
            ending = asyncio.get_running_loop().create_task(_end(before.ws))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        log.info("activator %s is linked, from %s", name, request.remote)
        try:
            async for message in ws:
                try:
                    self._take(linked, message.type, message.data)
                except (ValueError, TypeError, LookupError, AttributeError) as caught:
                    self.refused["bad-message"] += 1
                    log.warning("activator %s: %s; its link is ended", name, caught)
                    await ws.close(code=WSCloseCode.PROTOCOL_ERROR, message=b"no such message")
        finally:
            for future in linked.asked.values():
                future.cancel()
            if self.activators.get(name) is linked:
                del self.activators[name]
                log.info("activator %s is not linked any more", name)
                self._on_lost(linked)
        return ws

    def _refuse(
        self, request: web.Request, reason: str, why: str, status: int = 401
    ) -> web.Response:
        self.refused[reason] += 1
        log.warning("a link from %s was refused: %s", request.remote, why)
        return web.json_response({"error": why}, status=status)

    def _take(self, linked: Linked, kind: WSMsgType, data: Any) -> None:
        """What an activator said. Raises ValueError, TypeError, LookupError for what none
        would say."""
        if self.activators.get(linked.name) is not linked:
            return  # another connection has taken its place
        now = self._clock.now()
        if kind is WSMsgType.BINARY:
            columns = unpack(data, linked.name)
            # Its clock is another: what arrives soonest tells the difference best.
            linked.offset = min(linked.offset + DRIFT, now - columns.time)
            self.taken += 1
            self._on_report(columns._replace(time=columns.time + linked.offset))
            return
        if kind is not WSMsgType.TEXT:
            raise ValueError("it sent neither text nor a report")
        ((verb, value),) = json.loads(data).items()
        match verb:
            case "poke":
                model, queued, active, epoch = value
                key = ModelKey.parse(model)
                counts = int(queued), int(active)
                self._on_poke(Poke(linked.name, int(epoch), key, *counts, now))
            case "state":
                if not isinstance(value, dict):
                    raise ValueError("its state is none")
                linked.state = value
                self._on_state(linked)
            case "answer":
                number, answer = value
                future = linked.asked.get(number)
                if future is not None and not future.done():
                    future.set_result(answer)
            case _:
                raise ValueError(f"it said {str(verb)[:50]!r}")


async def _end(ws: web.WebSocketResponse) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await ws.close(code=WSCloseCode.GOING_AWAY)
