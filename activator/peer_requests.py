"""Requests between members: passed on to the owner of a model's slots, and taken in there.

They travel as HTTP/1.1 over connections that a member has proved itself on, so what such a
connection says of a request (``stoker-*`` fields, X-Forwarded-*) is believed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from activator.arrivals import ARRIVAL
from activator.claims import DEADLINE, TENANT
from activator.http1 import ClientConnection
from activator.peer_link import connect
from activator.peer_wire import REQUESTS, WireError
from activator.pool import Pool
from activator.request import CONNECTING
from activator.upstream import ReplicaConnection
from stoker.vocabulary import Address, ModelKey, ServingConfig

if TYPE_CHECKING:
    from activator.cluster import Cluster
    from activator.exchange import Exchange
    from activator.server import Activator

# A request is passed on by the member it came to, and once more if the model went to
# another owner while it was held.
MOST_HOPS: Final = 2
HOP: Final = b"stoker-hop"


class PeerPool(Pool):
    """Connections for requests to one member; those of all models share them."""

    def __init__(self, activator: Activator, cluster: Cluster, member: str, address: Address):
        super().__init__(activator, address)
        self.peer = member
        self._cluster = cluster

    async def _open(self, serving: ServingConfig) -> ReplicaConnection:
        cluster = self._cluster
        try:
            async with asyncio.timeout(serving.connect_timeout):
                return await connect(
                    *(self.address, cluster.token, REQUESTS, cluster.name, self.member),
                    lambda: ReplicaConnection(self),
                )
        except WireError as caught:
            raise OSError(str(caught)) from None

    @property
    def member(self) -> str:
        assert self.peer is not None
        return self.peer

    def failed_to_open(self, exchange: Exchange, reason: str) -> None:
        """Nothing was sent, and it is no replica that failed: try again, if not at once."""
        ticket = exchange.ticket
        assert ticket is not None
        assert ticket.backend is not None
        ticket.backend.failed(self.activator.clock.now())
        exchange.upstream_lost(f"member {self.peer}: {reason}", stale=True)

    def moved(self, exchange: Exchange) -> None:
        """It has not got the model (any more): ask again when our view has caught up."""
        ticket = exchange.ticket
        assert ticket is not None
        assert ticket.backend is not None
        self._cluster.moved += 1
        exchange.stage = CONNECTING  # it has begun with nothing: as if it had not been asked
        ticket.backend.failed(self.activator.clock.now())

    def may_have(self, exchange: Exchange) -> bool:
        """Whether the request may be passed on: not in a circle, not for ever."""
        hops = hops_of(exchange)
        return len(hops) < MOST_HOPS and self.member.encode() not in hops

    def lines(self, exchange: Exchange) -> bytes:
        """Header lines that tell the member what this one knows of the request."""
        cluster = self._cluster
        cluster.count_forwarded(self.member)
        model, ticket = exchange.model, exchange.ticket
        assert model is not None
        assert ticket is not None
        hops = b",".join((*hops_of(exchange), cluster.name.encode()))
        lines = [b"stoker-model: %b\r\n%b: %b\r\n" % (str(model.spec.key).encode(), HOP, hops)]
        for name, value in (exchange.controls or {}).items():
            if name == DEADLINE and ticket.hard_deadline is not None:
                left = ticket.hard_deadline - self.activator.clock.now()
                lines.append(b"%b: %.3f\r\n" % (DEADLINE, left))
            elif name not in (HOP, TENANT, ARRIVAL):
                lines.append(b"%b: %b\r\n" % (name, value))
        if ticket.tenant:
            lines.append(b"%b: %b\r\n" % (TENANT, ticket.tenant.encode("latin-1")))
        if self.activator.tap is not None:
            lines.append(self.activator.tap.line(exchange))
        return b"".join(lines)

    def end_unanswered(self) -> None:
        """The member is lost: who has had nothing of an answer yet need not wait for it."""
        for connection in list(self.activator.replica_connections):
            if connection.pool is self and not connection.received:
                connection.transport.abort()


def hops_of(exchange: Exchange) -> tuple[bytes, ...]:
    """The members that passed the request on, the first first."""
    # A client may say what it likes; only members are believed.
    said = (exchange.controls or {}).get(HOP, b"") if exchange.client.is_peer else b""
    return tuple(name.strip() for name in said.split(b",") if name.strip())


class PeerConnection(ClientConnection):
    """Requests that another member passes on."""

    is_peer = True

    def __init__(self, activator: Activator, member: str) -> None:
        super().__init__(activator, "")
        self.member = member

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.trusted = True

    def _believes(self) -> bool:
        return True

    def route(self, exchange: Exchange) -> ModelKey | None:
        """The model that the other member says it is for; None: it is not known here (yet)."""
        key = ModelKey.parse(exchange.model_header.decode("utf-8", "replace").strip())
        return key if key in self.activator.models else None
