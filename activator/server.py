"""The activator: listeners, models, timers. Wires the package's parts together."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from activator.admission import Admission
from activator.departures import Departures
from activator.exchange import Exchange
from activator.http1 import ClientConnection
from activator.models import Model
from activator.reporter import Reporter
from activator.router import Builtin, Router
from activator.spool import Spool
from activator.tickets import Reason, Refusal, State, Ticket
from activator.upstream import ReplicaConnection
from stoker import __version__, telemetry
from stoker.clock import Clock
from stoker.errors import ListenError
from stoker.link import StatSink
from stoker.platform import (
    ModelChanged,
    ModelEvent,
    ModelOutage,
    Platform,
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    Unsubscribe,
)
from stoker.settings import ProcessConfig
from stoker.sockets import BACKLOG, bind
from stoker.telemetry import Reading
from stoker.vocabulary import PHASES_BEFORE_READY, Address, ModelKey, Phase, Replica

log = logging.getLogger("stoker.activator")

DEFAULT_LISTENER: Final = ""
BUFFER: Final = 64 * 1024
EXPIRY_SECONDS: Final = 0.05
# How long clients have for taking a refusal when all ends.
LAST_WORDS_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.5
# Models that have series of their own in the metrics: a scrape must stay affordable.
METRIC_MODELS: Final = 2000

_T = TypeVar("_T")
Eta = Callable[[ModelKey, float], float | None]


class Activator:
    """The data path of one process.

    ``link`` takes load reports; the data path works without anyone at its other end.
    ``eta`` estimates the seconds until a model that is starting can serve, or None.
    """

    def __init__(
        self,
        process: ProcessConfig,
        platform: Platform,
        link: StatSink,
        clock: Clock,
        *,
        name: str = "activator",
        eta: Eta | None = None,
    ) -> None:
        now = clock.now()
        self.process = process
        self.platform = platform
        self.clock = clock
        self.probe_agents = tuple(agent.encode() for agent in process.probe_agents)
        self.router = Router()
        self.admission = Admission(process.max_queued_requests, process.max_queued_bytes, eta)
        self.reporter = Reporter(name, int(clock.wall() * 1000), self.admission, link, now)
        self.spool = Spool(process.spool_directory, process.spool_bytes)
        self.models: dict[ModelKey, Model] = {}
        self.connections: set[ClientConnection] = set()
        self.replica_connections: set[ReplicaConnection] = set()
        self.client_buffer = memoryview(bytearray(BUFFER))
        self.replica_buffer = memoryview(bytearray(BUFFER))
        self.draining = False
        self.malformed: Counter[int] = Counter()
        self.addresses: dict[str, Address] = {}
        self._replicas: dict[str, Replica] = {}
        self._starting: dict[ModelKey, dict[str, Replica]] = {}
        # Removed, but with requests still in their replicas.
        self._removed: dict[ModelKey, Model] = {}
        self._servers: list[asyncio.Server] = []
        self._unsubscribe: list[Unsubscribe] = []
        self._timers: list[asyncio.Task[None]] = []
        self._quiet = asyncio.Event()
        self._watching = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.departures: Departures

    # --- life ---

    async def start(self, sockets: Mapping[str, socket.socket] | None = None) -> None:
        """Bind (or take over ``sockets``, listener name → socket) and serve.

        Raises ListenError.
        """
        loop = asyncio.get_running_loop()
        if sockets is None:
            sockets = self._bind()
        self.departures = Departures(loop)
        self._unsubscribe.append(self.platform.watch_models(self._model_event))
        self._watching = True
        self._set_routes()
        self._unsubscribe.append(self.platform.watch_replicas(self._replica_event))
        for listener, sock in sockets.items():
            server = await loop.create_server(
                partial(ClientConnection, self, listener), sock=sock, backlog=BACKLOG
            )
            host, port = server.sockets[0].getsockname()[:2]
            self.addresses[listener] = Address(host, port)
            self._servers.append(server)
        self._timers = [
            loop.create_task(self._every(EXPIRY_SECONDS, self._expire)),
            loop.create_task(self._every(SWEEP_SECONDS, self._sweep)),
            loop.create_task(self._every(self.process.report_interval, self._report)),
        ]

    def reconfigure(self, process: ProcessConfig) -> None:
        """New process settings; in force for what comes (addresses need a restart)."""
        self.process = process
        self.probe_agents = tuple(agent.encode() for agent in process.probe_agents)
        self.admission.max_requests = process.max_queued_requests
        self.admission.max_bytes = process.max_queued_bytes
        self.spool.budget = process.spool_bytes

    def _bind(self) -> dict[str, socket.socket]:
        sockets: dict[str, socket.socket] = {}
        try:
            sockets[DEFAULT_LISTENER] = bind(self.process.listen, "listen")
            for listener, address in self.process.listeners:
                sockets[listener] = bind(address, f"listeners.{listener}")
        except ListenError:
            for sock in sockets.values():
                sock.close()
            raise
        return sockets

    async def drain(self, timeout: float) -> int:
        """Stop accepting, let holds and answers finish; returns how many did not in time."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        await self._emptied(self.connections, timeout)
        return len(self.connections)

    async def _emptied(self, connections: Collection[object], timeout: float) -> None:
        """Wait until all of ``connections`` have ended, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while connections:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """End everything now: holds are refused, answers broken off. Idempotent."""
        self.draining = True
        for server in self._servers:
            server.close()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._timers, return_exceptions=True)
        refusal = Refusal(Reason.SHUTDOWN, "Stoker is stopping", 1.0)
        for connection in list(self.connections):
            connection.end(refusal)
        for model in (*self.models.values(), *self._removed.values()):
            model.drop_pools()
        for replica in list(self.replica_connections):
            replica.abandon()
        await self._emptied(self.connections, LAST_WORDS_SECONDS)
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._emptied(self.connections, LAST_WORDS_SECONDS)
        await self._emptied(self.replica_connections, LAST_WORDS_SECONDS)
        if hasattr(self, "departures"):
            self.departures.close()
        self.spool.close()
        self._timers, self._servers, self._unsubscribe = [], [], []

    # --- what the world tells ---

    def _model_event(self, event: ModelEvent) -> None:
        now = self.clock.now()
        if isinstance(event, ModelChanged):
            spec = event.spec
            throttler, granted = self.admission.set_model(spec, now)
            model = self.models.get(spec.key)
            if model is None:
                self.models[spec.key] = Model(self, spec, throttler)
                self._starting[spec.key] = {}
            else:
                model.spec = spec
            self._set_routes()
            self.dispatch(granted, now)
        elif (model := self.models.pop(event.model, None)) is not None:
            del self._starting[event.model]
            if model.throttler.active:
                self._removed[event.model] = model
            else:
                model.drop_pools()
            # Before the refusals: whoever is refused may have pipelined his next request.
            self._set_routes()
            self.dispatch(self.admission.remove_model(event.model, now), now)

    def _set_routes(self) -> None:
        if self._watching:  # before that there come models by the thousand
            self.router.set_models(model.spec for model in self.models.values())

    def _replica_event(self, event: ReplicaEvent) -> None:
        now = self.clock.now()
        if isinstance(event, ModelOutage):
            model = self.models.get(event.model)
            if model is not None:
                self.dispatch(self.admission.outage(model.throttler, event.outage, now), now)
            return
        replica = event.replica
        starting = self._starting.get(replica.model, {})
        starting.pop(replica.id, None)
        going = isinstance(event, ReplicaGone) or replica.phase in (Phase.FAILED, Phase.DRAINING)
        if going:
            self._replica_going(event)
            return
        model = self.models.get(replica.model)
        if model is None:
            return
        throttler = model.throttler
        if replica.phase is not Phase.READY:
            starting[replica.id] = replica
            throttler.made_progress(self._furthest(starting), now)
        elif replica.address is not None:
            granted = self.admission.replica_ready(throttler, replica.id, replica.address, now)
            self.dispatch(granted, now)

    def _replica_going(self, event: ReplicaChanged | ReplicaGone) -> None:
        replica = event.replica
        # A model that was removed and has come back has two lives; the replica is of one.
        lives = (self.models.get(replica.model), self._removed.get(replica.model))
        gone = isinstance(event, ReplicaGone) or replica.phase is Phase.FAILED
        empty = True
        for model in lives:
            if model is None:
                continue
            if gone:
                model.throttler.remove_replica(replica.id)
                model.drop_pool(replica.id)
            else:
                empty = model.throttler.drain_replica(replica.id) and empty
        if not gone and empty:
            for model in lives:
                if model is not None:
                    model.drop_pool(replica.id)
            self.platform.drained(replica.id)

    @staticmethod
    def _furthest(starting: Mapping[str, Replica]) -> str:
        furthest = max(starting.values(), key=lambda r: PHASES_BEFORE_READY.index(r.phase))
        return f"{furthest.phase.value} ({furthest.reason})" if furthest.reason else furthest.phase

    # --- what exchanges ask ---

    def spawn(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run it beside everything else; ``close`` waits until it has ended."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def dispatch(self, tickets: Iterable[Ticket], now: float) -> None:
        """Tell the owners of tickets that were granted or refused."""
        for ticket in tickets:
            exchange = ticket.owner
            assert isinstance(exchange, Exchange)
            if ticket.state is State.GRANTED:
                exchange.granted(now)
            elif ticket.refusal is not None:
                exchange.refuse(ticket.refusal)

    def held(self, model: Model, now: float) -> None:
        """A request has to wait: somebody should do something about it."""
        self.reporter.poke(model.throttler, now)

    def count_malformed(self, status: int, message: str, peer: str) -> None:
        self.malformed[status] += 1
        log.info("malformed request status=%d client=%s detail=%r", status, peer, message)

    def count_unrouted(self, message: str, peer: str) -> None:
        self.malformed[404] += 1
        log.info("no such model client=%s detail=%r", peer, message)

    def replica_drained(self, model: Model, replica_id: str) -> None:
        """The last request in a draining replica has ended."""
        model.drop_pool(replica_id)
        self.platform.drained(replica_id)

    def builtin(self, which: Builtin) -> tuple[int, object]:
        """The answer for the whole set of models: status and content."""
        content: object
        if which is Builtin.V1_MODELS:
            names = sorted({model.spec.key.name for model in self.models.values()})
            content = {
                "object": "list",
                "data": [{"id": n, "object": "model", "owned_by": "stoker"} for n in names],
            }
        elif which is Builtin.V2_METADATA:
            content = {"name": "stoker", "version": __version__, "extensions": []}
        elif which is Builtin.V2_LIVE:
            content = {"live": True}
        else:
            content = {"ready": not self.draining}
        status = 503 if which is Builtin.V2_READY and self.draining else 200
        return status, content

    def answer_probe(self, model: Model) -> object:
        """A probe or scrape asks for a model: it is told yes, and the model sleeps on."""
        model.probes += 1
        return {"model": model.spec.key.name, "stoker": "asleep or awake"}

    # --- timers ---

    @staticmethod
    async def _every(seconds: float, what: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                what()
            except Exception:
                log.exception("a timer failed; going on")

    def _expire(self) -> None:
        if self.admission.held:
            now = self.clock.now()
            self.dispatch(self.admission.expire(now), now)

    def _sweep(self) -> None:
        now = self.clock.now()
        for connection in list(self.connections):
            connection.check(now)
        for model in self.models.values():
            for pool in model.pools.values():
                if pool.idle:
                    pool.sweep(now)
        for key in [key for key, model in self._removed.items() if not model.throttler.active]:
            self._removed.pop(key).drop_pools()

    def _report(self) -> None:
        self.reporter.report(self.clock.now())

    def connection_closed(self) -> None:
        """A connection ended; ``drain`` or ``close`` may be waiting for the last."""
        if self.draining:
            self._quiet.set()

    # --- to see ---

    def readings(self) -> Iterator[Reading]:
        """The activator's metrics now, by model for METRIC_MODELS; those with traffic first."""
        yield Reading(telemetry.CONNECTIONS, (), len(self.connections))
        yield Reading(telemetry.SPOOL_BYTES, (), self.spool.used)
        for status, count in self.malformed.items():
            yield Reading(telemetry.MALFORMED, (str(status),), count)
        models = list(self.models.values())
        if len(models) > METRIC_MODELS:
            models.sort(key=_is_idle)
        for model in models[:METRIC_MODELS]:
            yield from model.readings()


def _is_idle(model: Model) -> bool:
    """Whether no request has ever been for it."""
    return not (any(model.codes) or model.throttler.queued or model.throttler.active)
