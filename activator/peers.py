"""Links to the other members: who is there. Says so, and passes on what they say.

Of two members the one whose name comes first connects, again and again; the other accepts.
Both send a sign of life with every heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from activator.peer_link import Accepting, Link, connect
from activator.peer_wire import LINK, Claim, WireError
from stoker.sockets import BACKLOG, bind
from stoker.vocabulary import Address

log = logging.getLogger("stoker.peers")

# A member is lost when it has been silent for so many heartbeats.
MISSED_BEATS: Final = 3
RECONNECT_SECONDS: Final = 0.05
RECONNECT_SECONDS_CAP: Final = 2.0
CLOSE_SECONDS: Final = 1.0


class Listener(Protocol):
    """Who is told what happens on the links."""

    def hello(self) -> dict[str, Any]:
        """What to say first on a link."""

    def link_up(self, link: Link, hello: Mapping[str, Any]) -> None:
        """A member said hello. Raises LookupError, TypeError, ValueError for what is none."""

    def link_lost(self, link: Link) -> None:
        """The link of a member that was up has ended."""

    def heard(self, link: Link, item: Any) -> None:
        """A member said something. Raises LookupError, TypeError, ValueError likewise."""

    def requests_from(self, member: str) -> asyncio.BaseProtocol:
        """A member has connected to pass on requests: who takes them."""


class Peers:
    """All links of one member. ``links`` are those that are up, by the other's name."""

    def __init__(
        self,
        name: str,
        listen: Address | socket.socket,
        token: bytes,
        listener: Listener,
    ) -> None:
        self.name = name
        self.token = token
        self.addresses: dict[str, Address] = {}
        self.links: dict[str, Link] = {}
        self._listen = listen
        self._listener = listener
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._dialing: dict[str, asyncio.Task[None]] = {}
        self._accepting: set[asyncio.Task[None]] = set()
        self._meeting: set[Link] = set()  # connected, but not greeted yet
        self._closed = False

    def bind(self) -> Address:
        """Bind the peer port. Idempotent. Raises ListenError."""
        if self._socket is None:
            listen = self._listen
            if not isinstance(listen, socket.socket):
                listen = bind(listen, "peer-listen")
            self._socket = listen
        return self.address

    @property
    def address(self) -> Address:
        """The peer port, once bound."""
        assert self._socket is not None, "not bound yet"
        return Address(*self._socket.getsockname()[:2])

    async def start(self) -> None:
        """Accept connections. Raises ListenError."""
        self.bind()
        assert self._socket is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Accepting(self._accept), sock=self._socket, backlog=BACKLOG
        )

    def set(self, addresses: Mapping[str, Address]) -> list[str]:
        """Who the others are. Returns those that were let go: gone, or at another address."""
        before, self.addresses = self.addresses, dict(addresses)
        changed = [name for name in before if addresses.get(name) != before[name]]
        for name in changed:
            dialing = self._dialing.pop(name, None)
            if dialing is not None:
                dialing.cancel()
            link = self.links.get(name)
            if link is not None:
                gone = name not in addresses
                link.end("it is not one of the peers any more" if gone else "it has moved")
        for name in addresses:
            if self.name < name and name not in self._dialing:
                self._dialing[name] = asyncio.get_running_loop().create_task(self._dial(name))
        return changed

    async def close(self, *, goodbye: bool) -> None:
        """End all links; with ``goodbye`` the others need not fear for what was left undone."""
        self._closed = True
        tasks = [*self._dialing.values(), *self._accepting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        links = [*self.links.values(), *self._meeting]
        for link in links:
            if goodbye:
                link.say(["goodbye"])
            link.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for link in links:
                    await link.closed.wait()
        for link in links:
            link.transport.abort()

    def say(self, *items: Any) -> None:
        """Tell all."""
        for link in self.links.values():
            link.say(*items)

    def beat(self, *, late: bool) -> None:
        """Time for a sign of life. ``late``: this process itself stood still, so that what
        others sent may be there unread.
        """
        for link in list(self.links.values()):
            link.say(["beat"])
            link.silent = 0 if link.alive or late else link.silent + 1
            link.alive = False
            if link.silent >= MISSED_BEATS:
                link.end(f"it has been silent for {link.silent} heartbeats")

    # --- connections ---

    async def _dial(self, name: str) -> None:
        """Have a link to a member, for as long as it is one."""
        pause = RECONNECT_SECONDS
        told = ""
        while True:
            address = self.addresses[name]
            try:
                link = await connect(
                    *(address, self.token, LINK, self.name, name),
                    partial(Link, name, self._take, self._ended),
                )
            except (OSError, TimeoutError, WireError) as caught:
                why = str(caught) or "it does not answer"
                if why != told:
                    log.warning("no link to peer %s at %s: %s", name, address, why)
                    told = why
            else:
                self._meet(link)
                await link.closed.wait()
                if link.epoch:
                    pause, told = RECONNECT_SECONDS, ""
            # Spread: after a restart of one all others call at once.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, RECONNECT_SECONDS_CAP)

    def _accept(self, accepting: Accepting) -> None:
        task = asyncio.get_running_loop().create_task(self._introduced(accepting))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _introduced(self, accepting: Accepting) -> None:
        try:
            claim = await accepting.introduced(self.token, self._why_not)
            if claim.role == LINK:
                link = Link(claim.name, self._take, self._ended)
                accepting.become(link)
                self._meet(link)
            else:
                accepting.become(self._listener.requests_from(claim.name))
        except (WireError, TimeoutError) as caught:
            accepting.transport.close()
            where = accepting.transport.get_extra_info("peername")
            log.warning("refused a peer connection from %s: %s", where, caught or "too slow")

    def _why_not(self, claim: Claim) -> str:
        if claim.target != self.name:
            return f"this is {self.name}, not {claim.target}"
        if claim.name not in self.addresses:
            return f"{claim.name} is not among the peers of {self.name}"
        if claim.role == LINK and claim.name > self.name:
            return f"{self.name} connects to {claim.name}, not the other way round"
        return ""

    # --- links ---

    def _meet(self, link: Link) -> None:
        """A new connection for a link: greet, and wait for the greeting."""
        self._meeting.add(link)
        link.say(["hello", self._listener.hello()])

    def _ended(self, link: Link, why: str) -> None:
        self._meeting.discard(link)
        if self.links.get(link.name) is not link:
            return
        del self.links[link.name]
        if link.said_goodbye:
            log.info("peer %s has left", link.name)
        elif not self._closed:
            log.warning("peer %s is lost: %s", link.name, why)
        self._listener.link_lost(link)

    def _take(self, link: Link, items: list[Any]) -> None:
        """What a member said. Raises WireError for what none would say."""
        for item in items:
            try:
                if item[0] == "hello":
                    self._greeted(link, item[1])
                elif self.links.get(link.name) is not link:
                    raise WireError("it did not say hello first")
                elif item[0] != "beat":
                    self._listener.heard(link, item)
            except (TypeError, ValueError, LookupError) as caught:
                raise WireError(f"it sent something no peer would send: {caught!r}") from None

    def _greeted(self, link: Link, hello: Mapping[str, Any]) -> None:
        if link not in self._meeting:
            raise WireError("it said hello twice")
        link.epoch = int(hello["epoch"])
        link.leaving = bool(hello["leaving"])
        self._meeting.discard(link)
        before = self.links.get(link.name)
        if before is not None:
            before.end("it connected anew")
        self.links[link.name] = link
        log.info("peer %s is up", link.name)
        self._listener.link_up(link, hello)
