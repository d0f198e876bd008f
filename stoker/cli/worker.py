"""One worker process: an activator whose platform, link and settings are relayed.

Started by ``stoker.cli.crew``; not a command for people.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from activator.arrivals import Tap
from activator.cluster import Cluster
from activator.drain import count_all, drain
from activator.server import Activator, Listening
from stoker.cli import worker_logs
from stoker.cli.forecasts import Forecasts
from stoker.cli.seen import Seen, seen
from stoker.cli.shares import share, without_names, worker_name
from stoker.cli.tapping import Tapping
from stoker.clock import SystemClock
from stoker.errors import StokerError
from stoker.packed_readings import pack
from stoker.platform import ModelEvent, ModelRemoved
from stoker.platforms.relay import messages
from stoker.platforms.relay.channel import Channel
from stoker.platforms.relay.link import RelayedLink
from stoker.platforms.relay.platform import RelayedPlatform
from stoker.telemetry import Reading
from stoker.vocabulary import Address, ModelKey

log = logging.getLogger("stoker.worker")

# The parent is gone and with it the replicas: there is little left to finish.
ORPHANED_SECONDS = 5.0


class Arguments(NamedTuple):
    """The command line, as JSON. ``queues``: listener, number of the queue, file descriptor."""

    number: int
    workers: int
    channel: int
    queues: Sequence[tuple[str, int, int]]


class Look(NamedTuple):
    """How things stand: of each model with something new since the look before this."""

    number: int
    models: dict[ModelKey, Seen]
    connections: int


class Worker:
    """Composition root of a worker. ``run`` returns its exit code."""

    def __init__(self, arguments: Arguments) -> None:
        self.name = worker_name(arguments.number)
        self._arguments = arguments
        self._queues = {
            (listener, queue): socket.socket(fileno=descriptor)
            for listener, queue, descriptor in arguments.queues
        }
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end: asyncio.Future[messages.Retire | messages.Stop | None]
        self._end = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        self.channel = Channel(
            self._take,
            self._orphaned,
            {
                "readings": self._read,
                "look": self._look,
                "explain": self._explain,
                "peers": self._set_peers,
            },
        )
        self.clock = SystemClock()
        self.platform = RelayedPlatform(self.channel)
        self.link = RelayedLink(self.channel)
        self.activator: Activator
        self.cluster: Cluster
        self._tapping: Tapping
        self._linked = False
        self._servers: dict[tuple[str, int], Listening] = {}
        self._listening: tuple[int, ...] = ()
        self._told: dict[ModelKey, Seen] = {}
        self._looks = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until told to end, or until the parent is gone."""
        loop = asyncio.get_running_loop()
        # SIGTERM may be meant for this process alone; where it is for all, the parent has it
        # too and pays no attention to what is said here. SIGINT is the parent's matter.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, self._reopen_logs)
        loop.add_signal_handler(signal.SIGTERM, self.channel.send, messages.Leaving())
        await self.channel.open(socket.socket(fileno=self._arguments.channel))
        await asyncio.wait((self._begun, self._end), return_when=asyncio.FIRST_COMPLETED)
        if not self._begun.done():
            return 0
        self._begun.result()
        await self.activator.start({})
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self.channel.send(messages.Ready(self.cluster.address))
        await self._finish(await self._end)
        return 0

    # --- life ---

    def _compose(self, begin: messages.Begin) -> None:
        """Put everything together. At once: what comes next is about what is put together."""
        process = begin.process
        worker_logs.set_up(self.name, process, self.channel if begin.relay_logs else None)
        self.platform.begin(begin.world)
        forecasts = Forecasts(begin.estimator)
        forecasts.watch(self.platform)
        self.platform.watch_models(self._model_event)
        self.cluster = Cluster(
            self.name,
            Address("127.0.0.1", 0),
            token=begin.token,
            slot_expiry=process.slot_expiry,
            heartbeat=process.peer_heartbeat,
            share_slots=process.peer_share_slots,
            collects_drains=True,
        )
        self.activator = Activator(
            share(process, self._arguments.workers),
            self.platform,
            self.link,
            self.clock,
            name=self.name,
            eta=forecasts.eta,
            cluster=self.cluster,
        )
        tap = Tap(self._arguments.number, shared=True)
        # A channel that is behind gets nothing: the tap counts what it cannot keep meanwhile.
        self._tapping = Tapping(
            self.activator, tap, self.channel.send, lambda: not self.channel.behind
        )
        self._tapping.switch(begin.recording)

    async def _finish(self, end: messages.Retire | messages.Stop | None) -> None:
        left = 0
        if not isinstance(end, messages.Stop):
            drained = asyncio.create_task(self._drain(end))
            hurried = asyncio.create_task(self._hurry.wait())
            await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
            left = drained.result() if drained.done() else len(self.activator.connections)
            for task in (drained, hurried):
                task.cancel()
            await asyncio.gather(drained, hurried, return_exceptions=True)
        await self.activator.close()
        self._tapping.last()
        await self._tapping.close()
        self.activator.reporter.report(self.clock.now())
        readings = tuple(reading for part in self._reading_parts() for reading in part)
        self.channel.send(messages.Goodbye(readings, self._seen(), left))
        self.channel.close()
        await self.channel.wait_closed()

    def _reopen_logs(self) -> None:
        if self._begun.done():
            self.activator.reopen_logs()

    async def _drain(self, end: messages.Retire | None) -> int:
        activator = self.activator
        if end is not None and end.stopping:
            activator.leaving = True
            await asyncio.sleep(activator.process.drain_delay)
        else:
            activator.retiring = True
            self._listen(())
        # What is accepted from has a descriptor of its own. With the last of them a queue
        # ends, and callers are refused at once instead of waiting in vain.
        queues, self._queues = self._queues, {}
        for sock in queues.values():
            sock.close()
        left = await drain(activator, ORPHANED_SECONDS if end is None else end.timeout)
        if end is not None and not end.stopping:
            await count_all(activator)
        return left

    def _orphaned(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    # --- what the parent tells ---

    def _take(self, message: object) -> None:
        if isinstance(message, messages.Begin):
            try:
                self._compose(message)
            except Exception as error:
                self._begun.set_exception(error)
            else:
                self._begun.set_result(None)
            return
        if not self._begun.done() or self.platform.take(message):
            return  # what came before Begin is part of what that says
        match message:
            case messages.Settings(process):
                self.activator.reconfigure(share(process, self._arguments.workers))
            case messages.Peers(members):
                self._set_peers(members)
            case messages.ReopenLogs():
                self.activator.reopen_logs()
            case messages.Record(on):
                self._tapping.switch(on)
            case messages.Listen(queues):
                self._listen(queues)
            case messages.Retire() | messages.Stop():
                self._told_to_end(message)

    def _set_peers(self, members: Mapping[str, Address]) -> None:
        self.cluster.set_peers(members)
        if self.name in members and not self._linked:
            self._linked = True
            self._spawn(self._say_linked())

    async def _say_linked(self) -> None:
        """What is in the replicas is known from the others: first the links, then requests.

        Without an end: two that both serve and do not know of each other would send a replica
        twice what it can take. The parent removes who is dead, and ends who does not get ready.
        """
        while True:
            if self.cluster.settled:
                self.channel.send(messages.Linked())
                return
            await asyncio.sleep(0.005)

    def _told_to_end(self, end: messages.Retire | messages.Stop) -> None:
        if not self._end.done():
            self._end.set_result(end)
        elif isinstance(end, messages.Stop):
            self._hurry.set()

    def _listen(self, queues: Sequence[int]) -> None:
        """Accept from these queues and no others; what is in the others stays there."""
        self._listening = tuple(queues)
        for place in [place for place in self._servers if place[1] not in queues]:
            self.activator.stop_listening(self._servers.pop(place))
        for place, sock in self._queues.items():
            if place[1] in queues and place not in self._servers:
                self._spawn(self._accept(place, sock))

    async def _accept(self, place: tuple[str, int], sock: socket.socket) -> None:
        # A copy of the descriptor: closing it must not end what others listen on.
        server = await self.activator.listen(place[0], sock.dup())
        if place[1] in self._listening and place not in self._servers:
            self._servers[place] = server
        else:
            self.activator.stop_listening(server)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _model_event(self, event: ModelEvent) -> None:
        if isinstance(event, ModelRemoved):
            self._told.pop(event.model, None)

    # --- what the parent asks ---

    def _reading_parts(self) -> Iterator[list[Reading]]:
        for part in self.activator.reading_parts():
            yield list(without_names(part))
        yield list(self.link.readings())

    async def _read(self) -> list[bytes]:
        """The metrics, packed in slices: with thousands of models packing them takes as long as
        many requests, which go on between two slices.
        """
        return await pack([self._reading_parts])

    def _seen(self) -> dict[ModelKey, Seen]:
        return {key: seen(model) for key, model in self.activator.models.items()}

    def _look(self, taken: Mapping[int, int]) -> Look:
        """What is new since the last look: most models are asleep, and 20,000 are many.

        ``taken``: the last look of each worker that arrived. Where the last one of this
        worker did not, it tells everything.
        """
        if taken.get(self._arguments.number, 0) != self._looks:
            self._told = {}
        self._looks += 1
        now = self._seen()
        new = {key: state for key, state in now.items() if self._told.get(key) != state}
        self._told = now
        return Look(self._looks, new, len(self.activator.connections))

    def _explain(self, model: ModelKey) -> dict[str, Any] | None:
        known = self.activator.models.get(model)
        return None if known is None else known.explain(self.clock.now())


def main() -> int:
    """Entry point of the process."""
    number, workers, channel, queues = json.loads(sys.argv[1])
    faulthandler.enable()  # should the parent have to end it: where it was
    with suppress(OSError):  # what ps and top show
        Path("/proc/self/comm").write_text(f"stoker-{number}")

    async def run() -> int:
        return await Worker(Arguments(number, workers, channel, queues)).run()

    try:
        return uvloop.run(run())
    except StokerError as caught:
        print(f"stoker worker {number}: {caught}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # Under its own name: what it sends is looked up by that at the other end.
    from stoker.cli.worker import main as entry

    sys.exit(entry())
