"""The activator: listeners, models, timers. Wires the package's parts together."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from activator.admission import Admission
from activator.agents import Agents
from activator.arrivals import Tap
from activator.body import Replays
from activator.claims import make_tenants
from activator.cluster import Cluster
from activator.departures import Departures
from activator.drain import drain
from activator.exchange import Exchange
from activator.http1 import ClientConnection
from activator.models import Model
from activator.observer import Observer, make_observer, tapped
from activator.pool import Pool
from activator.replica_tls import Contexts
from activator.reporter import Reporter
from activator.request import Request
from activator.router import Builtin, Router
from activator.spool import Spool
from activator.throttler import furthest
from activator.tickets import Reason, Refusal, State, Ticket
from activator.timers import every
from activator.tls_listener import TlsListener
from activator.trust import TrustedPeers
from activator.tunnel import Tunnel
from activator.upstream import ReplicaConnection
from activator.waits import cause_of
from stoker import __version__, telemetry
from stoker.certificates import Certificates
from stoker.clock import Clock
from stoker.errors import ListenError, SettingsError
from stoker.link import StatSink
from stoker.log_limit import Hidden, LogLimit
from stoker.logs import tell
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
from stoker.vocabulary import Address, ModelKey, Phase, Replica

log = logging.getLogger("stoker.activator")

DEFAULT_LISTENER: Final = ""
BUFFER: Final = 64 * 1024
EXPIRY_SECONDS: Final = 0.05
# How long clients have for taking a refusal when all ends.
LAST_WORDS_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 0.5
# How often the files of the certificate are looked at.
CERTIFICATE_SECONDS: Final = 1.0
# Models that have series of their own in the metrics: a scrape must stay affordable.
METRIC_MODELS: Final = 2000
# Looked at in one go when those with traffic are picked: about a third of a millisecond.
MODELS_PER_SLICE: Final = 1000

_T = TypeVar("_T")
Eta = Callable[[ModelKey, float], float | None]


class Listening(Protocol):
    """What accepts connections from a socket until it is closed."""

    @property
    def sockets(self) -> Sequence[Any]: ...

    def close(self) -> None: ...


class Activator:
    """The data path of one process.

    ``link`` takes load reports; the data path works without anyone at its other end.
    ``eta`` estimates the seconds until a model that is starting can serve, or None.
    ``cluster``: other activators that serve the same replicas; None: there are none.
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
        cluster: Cluster | None = None,
    ) -> None:
        now = clock.now()
        self.process = process
        self.platform = platform
        self.clock = clock
        self.agents = Agents(process.probe_agents)
        self.router = Router()
        self.cluster = cluster
        self.admission = Admission(
            process.max_queued_requests,
            process.max_queued_bytes,
            eta,
            None if cluster is None else cluster.make_slots,
        )
        self._tenant_secret = secrets.token_bytes(32)
        self._set_tenancy(process)
        self.reporter = Reporter(name, int(clock.wall() * 1000), self.admission, link, now)
        self.spool = Spool(process.spool_directory, process.spool_bytes)
        self.replays = Replays(process.replay_bytes)
        self.models: dict[ModelKey, Model] = {}
        self.connections: set[ClientConnection] = set()
        self.replica_connections: set[ReplicaConnection] = set()
        self.pools: set[Pool] = set()
        self.tunnels: set[Tunnel] = set()
        self.tls_contexts = Contexts()
        self.client_buffer = memoryview(bytearray(BUFFER))
        self.replica_buffer = memoryview(bytearray(BUFFER))
        self.leaving = False  # readiness says no; drain has begun, if only its delay
        self.draining = False  # each answer says that it is the connection's last
        self.late_requests = 0
        self.retiring = False  # draining, but another activator goes on in its place
        # Access log, spans, lines about requests that went well; None while none is wanted.
        self.observer: Observer | None = None
        self.tap: Tap | None = None
        self.access_log_dropped = 0
        # Of lines about refusals and failures, by model and reason.
        self._log_limit: LogLimit[tuple[str, str]] = LogLimit(process.log_lines_per_second)
        self.malformed: Counter[int] = Counter()
        self.refused_connections: Counter[str] = Counter()
        self.turning_away = 0  # connections that are one too many and are being told so
        self.cut_pipelines = 0
        self.ignored_controls = 0
        self.trusted_peers = TrustedPeers(process.trusted_peers)
        self.addresses: dict[str, Address] = {}
        self._replicas: dict[str, Replica] = {}
        self._starting: dict[ModelKey, dict[str, Replica]] = {}
        # Removed, but with requests still in their replicas.
        self._removed: list[Model] = []
        self._servers: dict[Listening, str] = {}
        self.certificates: Certificates | None = None
        self._unsubscribe: list[Unsubscribe] = []
        self._timers: list[asyncio.Task[None]] = []
        self._quiet = asyncio.Event()
        self._watching = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.departures: Departures

    # --- life ---

    async def start(self, sockets: Mapping[str, socket.socket] | None = None) -> None:
        """Bind (or take over ``sockets``, listener name → socket) and serve.

        Raises ListenError, CertificateError, and SettingsError for an access log that cannot be
        opened.
        """
        loop = asyncio.get_running_loop()
        self.observer = make_observer(self)
        if self.process.tls_certificate:
            self.certificates = self._certificates()
        if sockets is None:
            sockets = self._bind()
        self.departures = Departures(loop)
        if self.cluster is not None:
            await self.cluster.start(self)
            self.reporter.own_load = self.cluster.own_load
        self._unsubscribe.append(self.platform.watch_models(self._model_event))
        self._watching = True
        self._set_routes()
        self._unsubscribe.append(self.platform.watch_replicas(self._replica_event))
        for listener, sock in sockets.items():
            await self.listen(listener, sock)
        self._timers = [
            loop.create_task(every(EXPIRY_SECONDS, self._expire)),
            loop.create_task(every(SWEEP_SECONDS, self._sweep)),
            loop.create_task(every(self.process.report_interval, self._report)),
        ]
        if self.certificates is not None:
            self._timers.append(loop.create_task(self._watch_certificates(self.certificates)))

    async def listen(self, listener: str, sock: socket.socket, *, plain: bool = False) -> Listening:
        """Accept from ``sock`` too, until the server that is returned is closed. ``plain``:
        without TLS, whatever the settings say.
        """
        server: Listening
        plain = plain or listener in self.process.plain_listeners
        if self.certificates is not None and not plain:
            server = TlsListener(self, listener, sock, self.certificates)
        else:
            server = await asyncio.get_running_loop().create_server(
                partial(ClientConnection, self, listener), sock=sock, backlog=BACKLOG
            )
        host, port = server.sockets[0].getsockname()[:2]
        self.addresses[listener] = Address(host, port)
        self._servers[server] = listener
        return server

    def _certificates(self) -> Certificates:
        process = self.process
        return Certificates(process.tls_certificate, process.tls_key, process.tls_min_version)

    @staticmethod
    async def _watch_certificates(certificates: Certificates) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            await asyncio.to_thread(certificates.refresh)

    def reopen_logs(self) -> None:
        """Open the access log anew: it may have been moved away."""
        if self.observer is not None:
            self.observer.reopen()

    def reconfigure(self, process: ProcessConfig) -> None:
        """New process settings; in force for what comes (addresses need a restart)."""
        self.process = process
        self.agents = Agents(process.probe_agents)
        self.trusted_peers = TrustedPeers(process.trusted_peers)
        self.admission.max_requests = process.max_queued_requests
        self.admission.max_bytes = process.max_queued_bytes
        self._set_tenancy(process)
        if self.cluster is not None:
            self.cluster.reconfigure(process)
        self.spool.budget = process.spool_bytes
        self.replays.limit = process.replay_bytes
        self._log_limit.each = process.log_lines_per_second
        try:
            self.observer = make_observer(self, self.observer)
        except SettingsError as caught:
            log.error("the access log goes on as before: %s", caught)

    def record(self, tap: Tap | None) -> None:
        """Tell ``tap`` of arrivals from now on; None: nobody records them any more."""
        self.tap = tap
        self.observer = tapped(self)

    def _set_tenancy(self, process: ProcessConfig) -> None:
        self.tenants = make_tenants(process.tenancy, process.tenant_header, self._tenant_secret)
        self.admission.set_weights(dict(process.tenant_weights))

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
        """Stop accepting, after drain-delay; let holds and answers finish; returns how many did
        not in ``timeout`` seconds. See ``activator.drain``.
        """
        return await drain(self, timeout, self.process.drain_delay)

    def has_undecided_tunnels(self) -> bool:
        """Whether a tunnel that is over has yet to be counted; for FATE_SECONDS at most."""
        now = self.clock.now()
        models = (*self.models.values(), *self._removed)
        return any(model.has_undecided_tunnels(now) for model in models)

    def listening(self) -> list[tuple[Listening, str]]:
        """What accepts connections now, and the name of its listener."""
        return [(server, name) for server, name in self._servers.items() if server.sockets]

    @property
    def welcoming(self) -> int:
        """Connections that are agreeing on TLS."""
        return sum(len(s.pending) for s in self._servers if isinstance(s, TlsListener))

    def forget_listener(self, server: Listening) -> None:
        """It accepts no more, and others may get its address."""
        self.addresses.pop(self._servers.pop(server, ""), None)

    @staticmethod
    def stop_listening(server: Listening) -> None:
        """Accept nobody any more from this one; who is agreeing on TLS with it goes on."""
        if isinstance(server, TlsListener):
            server.stop()
        else:
            server.close()

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
        if self.cluster is not None:
            await self.cluster.close()
        refusal = Refusal(Reason.SHUTDOWN, "Stoker is stopping", 1.0)
        for connection in list(self.connections):
            connection.end(refusal)
        for model in (*self.models.values(), *self._removed):
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
        _tell_hidden(self._log_limit.rest())
        observer, self.observer = self.observer, None
        if observer is not None:
            await asyncio.to_thread(observer.close)
        self._timers, self._servers, self._unsubscribe = [], {}, []

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
                model.replace(spec)
            self._set_routes()
            self.dispatch(granted, now)
        elif (model := self.models.pop(event.model, None)) is not None:
            del self._starting[event.model]
            if model.throttler.active:
                self._removed.append(model)
            else:
                model.drop_pools()
            # Before the refusals: whoever is refused may have pipelined his next request.
            self._set_routes()
            if self.cluster is not None:
                self.cluster.model_removed(event.model)
            self.dispatch(self.admission.remove_model(event.model, now), now)

    def _set_routes(self) -> None:
        if self._watching:  # before that there come models by the thousand
            self.router.set_models(lambda: [model.spec for model in self.models.values()])

    def _replica_event(self, event: ReplicaEvent) -> None:
        now = self.clock.now()
        if isinstance(event, ModelOutage):
            model = self.models.get(event.model)
            if model is not None:
                self.dispatch(self.admission.outage(model.throttler, event.outage, now), now)
            return
        if self.cluster is not None:
            self.cluster.replica_event(event)
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
            self.admission.progressed(throttler, furthest(starting.values()), now)
        elif replica.address is not None:
            model.starts.setdefault(replica.id, replica)
            granted = self.admission.replica_ready(throttler, replica.id, replica.address, now)
            self.dispatch(granted, now)

    def _replica_going(self, event: ReplicaChanged | ReplicaGone) -> None:
        replica, now = event.replica, self.clock.now()
        # A model that was removed and has come back has several lives; the replica is of one.
        lives = [model for model in self._removed if model.spec.key == replica.model]
        if (current := self.models.get(replica.model)) is not None:
            lives.append(current)
        gone = isinstance(event, ReplicaGone) or replica.phase is Phase.FAILED
        empty = True
        for model in lives:
            if replica.phase is Phase.FAILED:
                model.replica_crashed(replica.id, now)
            if gone:
                model.starts.pop(replica.id, None)
                model.throttler.remove_replica(replica.id)
                model.drop_pool(replica.id)
            else:
                empty = model.throttler.drain_replica(replica.id) and empty
        if not gone and empty:
            for model in lives:
                model.drop_pool(replica.id)
            self._drained(replica.id)

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

    def held(self, request: Request, model: Model, now: float) -> None:
        """A request has to wait: somebody should do something about it."""
        ticket, throttler = request.ticket, model.throttler
        assert ticket is not None
        request.cause = cause_of(throttler, ticket, now)
        if not request.cause.ready and (model.activated is None or throttler.queued == 1):
            model.activated = now
        self.reporter.poke(throttler, now)

    def count_refused(self, reason: str, peer: str, detail: str = "") -> None:
        """A connection was closed before it got as far as a request."""
        self.refused_connections[reason] += 1
        log.debug("connection refused reason=%s client=%s detail=%r", reason, peer, detail)

    def count_malformed(self, status: int, message: str, peer: str) -> None:
        self.malformed[status] += 1
        if self._log_limit.allows(("", f"malformed {status}"), self.clock.now()):
            tell(
                *(log, logging.INFO, "malformed request"),
                status=status,
                client=peer,
                detail=message,
            )

    def count_late(self, peer: str) -> None:
        """A request came on a connection just half-closed for being quiet while draining. Its
        client has our end of file, and asks again elsewhere, as HTTP clients do.
        """
        self.late_requests += 1
        if self._log_limit.allows(("", "late"), self.clock.now()):
            tell(log, logging.INFO, "request on a connection that is being closed", client=peer)

    def count_unrouted(self, message: str, peer: str) -> None:
        self.malformed[404] += 1
        if self._log_limit.allows(("", "model-not-found"), self.clock.now()):
            tell(log, logging.INFO, "no such model", client=peer, detail=message)

    def log_refused(self, model: Model, refusal: Refusal, peer: str) -> None:
        """A line about a request that was refused or given up, unless there are too many."""
        name, reason = str(model.spec.key), refusal.reason.value
        if self._log_limit.allows((name, reason), self.clock.now()):
            tell(
                *(log, logging.INFO, "refused"),
                model=name,
                reason=reason,
                client=peer,
                detail=refusal.detail or None,
            )

    def log_replica_failed(self, model: Model, replica: str, why: str) -> None:
        """A line about a replica that failed a request before its answer began."""
        name = str(model.spec.key)
        if self._log_limit.allows((name, "replica-failed"), self.clock.now()):
            tell(
                *(log, logging.INFO, "replica failed a request"),
                model=name,
                replica=replica,
                detail=why,
            )

    def log_spool_failed(self, error: OSError) -> None:
        """A body could not be written to disk; as long as that is so, none can."""
        if self._log_limit.allows(("", "spool"), self.clock.now()):
            log.error("cannot write to spool-directory: %s", error)

    def replica_drained(self, model: Model, replica_id: str) -> None:
        """The last request in a draining replica has ended."""
        model.drop_pool(replica_id)
        self._drained(replica_id)

    def _drained(self, replica_id: str) -> None:
        """None of our requests is left in a draining replica."""
        if self.cluster is None or self.cluster.collects_drains:
            self.platform.drained(replica_id)
        # Else: the cluster says it, for all its members.

    @property
    def _takes_traffic(self) -> bool:
        return self.retiring or not (self.leaving or self.draining)

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
            content = {"ready": self._takes_traffic}
        status = 503 if content == {"ready": False} else 200
        return status, content

    def answer_probe(self, model: Model) -> tuple[object, int]:
        """A probe or scrape asks for a model: content and status. It neither wakes the model
        nor keeps it awake, so no replica is asked: whether one could answer is what is told.
        """
        model.probes += 1
        throttler = model.throttler
        content = {"model": model.spec.key.name, "ready_replicas": throttler.ready_replicas}
        if throttler.ready_replicas:
            return content | {"state": "ready"}, 200
        if throttler.outage is not None:
            return content | {"state": "cannot start", "why": throttler.outage.reason}, 503
        return content | {"state": "starting" if self._starting[model.spec.key] else "asleep"}, 200

    # --- timers ---

    def _expire(self) -> None:
        if self.admission.held or self.admission.displaced:
            now = self.clock.now()
            self.dispatch(self.admission.expire(now), now)

    def _sweep(self) -> None:
        now = self.clock.now()
        _tell_hidden(self._log_limit.due(now))
        if self.observer is not None:
            self.observer.sweep()
        for connection in list(self.connections):
            connection.check(now)
        for tunnel in list(self.tunnels):
            tunnel.check(now)
        for pool in self.pools:
            if pool.idle:
                pool.sweep(now)
        for model in [model for model in self._removed if not model.throttler.active]:
            self._removed.remove(model)
            model.drop_pools()

    def _report(self) -> None:
        self.reporter.report(self.clock.now())

    def connection_closed(self) -> None:
        """A connection ended; ``drain`` or ``close`` may be waiting for the last."""
        if self.draining:
            self._quiet.set()

    # --- to see ---

    def readings(self) -> Iterator[Reading]:
        """The activator's metrics now, by model for METRIC_MODELS; those with traffic first."""
        for part in self.reading_parts():
            yield from part

    def reading_parts(self) -> Iterator[list[Reading]]:
        """The same, one list per model: between them other things may happen."""
        yield list(self._own_readings())
        busy: list[Model] = []
        idle: list[Model] = []
        for number, model in enumerate(list(self.models.values())):
            if not number % MODELS_PER_SLICE:
                yield []
            (idle if _is_idle(model) else busy).append(model)
        if len(self.models) <= METRIC_MODELS:
            busy, idle = list(self.models.values()), []
        for model in itertools.islice(itertools.chain(busy, idle), METRIC_MODELS):
            yield list(model.readings())

    def _own_readings(self) -> Iterator[Reading]:
        yield Reading(telemetry.CONNECTIONS, (), len(self.connections))
        for reason, count in self.refused_connections.items():
            yield Reading(telemetry.REFUSED_CONNECTIONS, (reason,), count)
        if self.certificates is not None:
            for outcome, count in self.certificates.loads.items():
                yield Reading(telemetry.CERTIFICATE_LOADS, (outcome,), count)
        yield Reading(telemetry.CUT_PIPELINES, (), self.cut_pipelines)
        yield Reading(telemetry.IGNORED_CONTROLS, (), self.ignored_controls)
        yield Reading(telemetry.SPOOL_BYTES, (), self.spool.used)
        yield Reading(telemetry.LATE_REQUESTS, (), self.late_requests)
        if self.cluster is not None:
            yield from self.cluster.readings()
        access_log = None if self.observer is None else self.observer.access_log
        if access_log is not None or self.access_log_dropped:
            dropped = self.access_log_dropped + (0 if access_log is None else access_log.dropped)
            yield Reading(telemetry.ACCESS_LOG_DROPPED, (), dropped)
        for status, count in self.malformed.items():
            yield Reading(telemetry.MALFORMED, (str(status),), count)


def _tell_hidden(hidden: Iterable[Hidden[tuple[str, str]]]) -> None:
    """The lines that were too many, summed up."""
    for each in hidden:
        name, reason = each.key or ("", "")
        tell(
            *(log, logging.INFO, "not logged one by one"),
            model=name or None,
            reason=reason or None,
            count=each.count,
        )


def _is_idle(model: Model) -> bool:
    """Whether no request has ever been for it."""
    return not (any(model.codes) or model.throttler.queued or model.throttler.active)
