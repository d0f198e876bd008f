"""Connections to one replica: opened when needed, kept for the next request, closed when idle."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from activator.replica_tls import why
from activator.tickets import Ticket
from activator.upstream import ReplicaConnection
from stoker.vocabulary import Address, ServingConfig

if TYPE_CHECKING:
    from activator.exchange import Exchange
    from activator.server import Activator

FRESH_SECONDS: Final = 1.0
# So long the first connection to a new replica has the loop to itself. Of 20 requests that a
# replica's start lets go at once the first is in the replica 2 ms sooner, while the others
# connect; where a connection takes longer than that, they do not wait for it.
HEAD_START_SECONDS: Final = 0.005


class Pool:
    """Connections to one replica. ``idle`` ones are reused, the most recent first: ``pop``.

    ``peer``: it is no replica but that other member of a cluster; None: it is a replica.
    """

    peer: str | None = None

    def __init__(self, activator: Activator, address: Address) -> None:
        self.activator = activator
        self.address = address
        self.idle: list[ReplicaConnection] = []
        self.closed = False
        self._connecting: set[asyncio.Task[ReplicaConnection]] = set()
        self._head_start: asyncio.TimerHandle | None = None
        # Who waits for it to end; None: it has.
        self._behind: list[tuple[Exchange, Ticket | None]] | None = []
        activator.pools.add(self)

    def connect(self, exchange: Exchange) -> None:
        """Open a connection for ``exchange``; it is told how that ends."""
        behind = self._behind
        if behind is None:
            self._begin(exchange)
        elif self._head_start is None:
            loop = asyncio.get_running_loop()
            self._head_start = loop.call_later(HEAD_START_SECONDS, self._follow)
            self._begin(exchange).add_done_callback(self._follow)
        else:
            behind.append((exchange, exchange.ticket))

    def _follow(self, _: object = None) -> None:
        """The head start is over: whoever waits for that connects too. Idempotent."""
        behind, self._behind = self._behind, None
        if self._head_start is not None:
            self._head_start.cancel()
        for exchange, ticket in behind or ():
            if exchange.ticket is ticket:  # else it has left meanwhile
                self._begin(exchange)

    def _begin(self, exchange: Exchange) -> asyncio.Task[ReplicaConnection]:
        assert exchange.model is not None
        serving = exchange.model.spec.serving
        task = self.activator.spawn(self._open(serving))
        self._connecting.add(task)
        task.add_done_callback(partial(self._opened, exchange, exchange.ticket, serving))
        return task

    async def _open(self, serving: ServingConfig) -> ReplicaConnection:
        loop = asyncio.get_running_loop()
        tls = None
        if self.peer is None:
            tls = self.activator.tls_contexts.for_replica(serving, self.address)
        async with asyncio.timeout(serving.connect_timeout):
            _, connection = await loop.create_connection(
                lambda: ReplicaConnection(self),
                *(self.address.host, self.address.port),
                ssl=None if tls is None else tls.context,
                server_hostname=None if tls is None else tls.server_name,
            )
        return connection

    def _opened(
        self,
        exchange: Exchange,
        ticket: Ticket | None,
        serving: ServingConfig,
        task: asyncio.Task[ReplicaConnection],
    ) -> None:
        # A callback and not the end of the coroutine: a task that is cancelled before its
        # first step never gets as far as its own except clause.
        self._connecting.discard(task)
        error: BaseException | None = None
        if task.cancelled():
            # The pool was closed: no failure of the replica's.
            if exchange.ticket is ticket:
                exchange.upstream_lost(f"{self.address} went away", stale=True)
            return
        if (error := task.exception()) is None:
            connection = task.result()
            # Not when it is made: uvloop never tells of the end of one that was made but
            # whose maker was cancelled.
            if not connection.lost:
                self.activator.replica_connections.add(connection)
            if exchange.ticket is not ticket:
                # Whoever asked has left meanwhile; somebody else will want it.
                self.give_back(connection, self.activator.clock.now())
                return
            if not connection.lost:
                exchange.connected(connection)
                return
            reason = f"{self.address} closed the connection at once"
        elif isinstance(error, TimeoutError):
            limit = f"connect-timeout = {serving.connect_timeout:g} s"
            reason = f"no connection to {self.address} within {limit}"
        else:
            reason = f"cannot connect to {self.address}: {why(error, serving)}"
        if exchange.ticket is ticket:
            self.failed_to_open(exchange, reason)

    def failed_to_open(self, exchange: Exchange, reason: str) -> None:
        """Tell who asked for a connection that there is none."""
        exchange.connect_failed(reason)

    def has_fresh(self) -> bool:
        """Whether there is a connection on which even what cannot be sent twice may be risked.

        A server closes what has been idle for its keep-alive time, 2 s and more in those we
        know; one that was used within FRESH_SECONDS is not about to be closed for that.
        """
        return self.activator.clock.now() - self.idle[-1].idle_since < FRESH_SECONDS

    # --- of pools to other members of a cluster: see activator.peer_requests ---

    def may_have(self, exchange: Exchange) -> bool:
        """Whether the request may be sent there."""
        return True

    def lines(self, exchange: Exchange) -> bytes:
        """Header lines that only another member gets."""
        return b""

    def moved(self, exchange: Exchange) -> None:
        """The member does not have the model any more."""

    def give_back(self, connection: ReplicaConnection, now: float) -> None:
        """Keep an idle connection for the next request."""
        if self.closed or connection.lost:
            connection.close()
            return
        connection.reused = True
        connection.idle_since = now
        self.idle.append(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        limit = self.activator.process.pool_idle_timeout
        # The most recent is taken first and put back last: the oldest is always in front.
        while self.idle and now - self.idle[0].idle_since > limit:
            self.idle.pop(0).close()

    def close(self) -> None:
        """Close idle connections; busy ones close when their answers end. Idempotent.

        Whoever waits for a connection that is being opened is told that it failed.
        """
        self.closed = True
        self.activator.pools.discard(self)
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()
        self._follow()  # they are told as those that are under way
        for task in self._connecting:
            task.cancel()
