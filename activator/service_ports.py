"""Ports that come and go while the activator runs: one for each port of a Service it serves.

Behind a Service the Host that callers send is their own business, so the port says which
model a request is for. See ``stoker.platforms.kubernetes.traffic``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from activator.drain import retire, stop_accepting
from stoker import telemetry
from stoker.errors import ListenError
from stoker.sockets import bind
from stoker.telemetry import Reading
from stoker.vocabulary import Address, ModelKey

if TYPE_CHECKING:
    from activator.server import Activator, Listening

log = logging.getLogger("stoker.activator")

# A port that is wanted no more is accepted on for so long: proxies on nodes learn of it late.
LINGER_SECONDS: Final = 10.0
# Pauses between two tries of a port that another process has.
RETRY_SECONDS: Final = 0.5
RETRY_SECONDS_CAP: Final = 30.0
# Opened or closed in one go: about a millisecond.
PORTS_PER_SLICE: Final = 20
LONGEST_PAUSE: Final = 3600.0


@dataclass(slots=True)
class _Port:
    """``due``: when there is something to do; ``ending``: it is wanted no more."""

    number: int
    model: ModelKey
    due: float
    ending: bool = False
    server: Listening | None = None
    served: ModelKey | None = None
    listener: str = ""
    failures: int = 0


class ServicePorts:
    """Accepts on whatever ports it is told to. A port that is taken is tried again and again.

    ``host``: the address that all are bound to. ``on_change`` is called when ``accepting`` is
    another: it names a port only once connections to it are accepted, and no longer as soon
    as it is not to be named to anybody any more.
    """

    def __init__(
        self,
        activator: Activator,
        host: str,
        on_change: Callable[[], None] = lambda: None,
        *,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self.accepting: frozenset[int] = frozenset()
        self.failures = 0
        self._activator = activator
        self._host = host
        self._on_change = on_change
        self._linger = linger
        self._ports: dict[int, _Port] = {}
        # Which model a connection is for, by listener: of those too that accept no more.
        self._models: dict[str, ModelKey] = {}
        self._opened = 0
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to open and close. Before that ``set`` only takes note."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def set(self, ports: Mapping[int, ModelKey]) -> None:
        """All ports there should be, with the model that each is for. Returns at once; the
        same mapping again changes nothing.
        """
        now = self._activator.clock.now()
        for number, model in ports.items():
            port = self._ports.get(number)
            if port is None:
                self._ports[number] = _Port(number, model, now)
            elif port.ending or port.model != model:
                port.model, port.ending, port.due = model, False, now
        for number in self._ports.keys() - ports.keys():
            port = self._ports[number]
            if not port.ending:
                port.ending, port.due = True, now + self._linger
        self._announce()
        self._stir.set()

    async def close(self) -> None:
        """Open and close none any more; those that are open are the activator's. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def readings(self) -> Iterator[Reading]:
        """For ``telemetry.Exposition``."""
        ports = self._ports.values()
        ending = sum(port.ending for port in ports)
        failing = sum(port.failures > 0 and not port.ending for port in ports)
        for state, count in (
            ("accepting", len(self.accepting)),
            ("failing", failing),
            ("ending", ending),
        ):
            yield Reading(telemetry.SERVICE_PORTS, (state,), count)
        yield Reading(telemetry.SERVICE_PORT_FAILURES, (), self.failures)

    # --- opening and closing ---

    async def _run(self) -> None:
        activator = self._activator
        while True:
            self._stir.clear()
            now = activator.clock.now()
            due = [port for port in self._ports.values() if port.due <= now]
            for number, port in enumerate(due):
                if not activator.leaving:
                    await self._proceed(port, now)
                if number % PORTS_PER_SLICE == PORTS_PER_SLICE - 1:
                    await asyncio.sleep(0)
            self._announce()
            waits = [port.due - now for port in self._ports.values() if port.due > now]
            pause = min([*waits, LONGEST_PAUSE])
            timer = asyncio.get_running_loop().call_later(pause, self._stir.set)
            try:
                await self._stir.wait()
            finally:
                timer.cancel()

    async def _proceed(self, port: _Port, now: float) -> None:
        """Do what is due; once it is as it should be there is nothing until ``set``."""
        port.due = float("inf")
        old = port.server
        if port.ending:
            del self._ports[port.number]
            if old is not None:
                self._activator.spawn(self._close(old, port.listener))
        elif old is None:
            try:
                sock = bind(Address(self._host, port.number), "port of a Service")
            except ListenError as caught:
                self._failed(port, caught, now)
                return
            if port.failures:
                log.info("port %d for %s: accepting at last", port.number, port.model)
            port.failures = 0
            await self._serve(port, sock)
        elif port.served != port.model:
            # The queue stays, its server is another: who came for another model goes on with
            # that one, under the name that the listener had for it.
            listener, sock = port.listener, _copy(old)
            self._activator.stop_listening(old)
            await self._serve(port, sock)
            self._activator.spawn(self._see_out(old, listener))

    async def _serve(self, port: _Port, sock: socket.socket) -> None:
        self._opened += 1
        port.listener = f"port-{port.number}-{self._opened}"
        self._models[port.listener] = port.served = port.model
        self._activator.router.set_ports(self._models)
        port.server = await self._activator.listen(port.listener, sock, plain=True)

    async def _close(self, server: Listening, listener: str) -> None:
        await stop_accepting(self._activator, [(server, listener)])
        await self._see_out(server, listener)

    async def _see_out(self, server: Listening, listener: str) -> None:
        """Nobody new comes in: see those out who are there, then forget the listener."""
        self._activator.forget_listener(server)
        await retire(self._activator, listener)
        if not self._activator.draining:
            del self._models[listener]
            self._activator.router.set_ports(self._models)

    def _failed(self, port: _Port, error: ListenError, now: float) -> None:
        self.failures += 1
        port.failures += 1
        pause = min(RETRY_SECONDS * 2.0 ** (port.failures - 1), RETRY_SECONDS_CAP)
        port.due = now + pause * random.uniform(0.5, 1.0)
        level = logging.WARNING if port.failures == 1 else logging.DEBUG
        log.log(level, "port %d for %s: %s; trying again", port.number, port.model, error)

    def _announce(self) -> None:
        accepting = frozenset(
            p.number
            for p in self._ports.values()
            if p.server is not None and p.served == p.model and not p.ending
        )
        if accepting != self.accepting:
            self.accepting = accepting
            self._on_change()


def _copy(server: Listening) -> socket.socket:
    """The queue of what is listening, for another to accept from."""
    (listening,) = server.sockets
    sock = socket.socket(fileno=socket.dup(listening.fileno()))
    sock.setblocking(False)
    return sock
