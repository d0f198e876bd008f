"""Several activators in one process that serve the same replicas, which count what they get."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from activator.cluster import Cluster
from activator.server import Activator
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase, Replica
from tests.activator.world import (
    DIGITS,
    Asked,
    Client,
    JumpingClock,
    Load,
    ScriptedReplica,
    ok,
    soon,
    until,
)

HERE = Address("127.0.0.1", 0)


class Strict:
    """A script that fails when more than ``limit`` requests are in it at once.

    A request is in it until its work is done, whether its client is still there or not. With
    ``deaf`` False, it notices who has left and drops their work, as most servers do.
    """

    def __init__(self, limit: int, seconds: float = 0.0) -> None:
        self.limit = limit
        self.seconds = seconds
        self.inside = 0
        self.most = 0
        self.violations = 0
        # At each: for how many seconds every request has been in it, the new one last.
        self.since_when: list[list[float]] = []
        self.served = 0
        self.deaf = True
        self._asked: dict[Asked, float] = {}
        self.gate: asyncio.Event | None = None

    async def __call__(self, asked: Asked) -> None:
        body = await asked.read()
        self.inside += 1
        self._asked[asked] = now = time.monotonic()
        self.most = max(self.most, self.inside)
        over = bool(self.limit) and self.inside > self.limit
        if over and not self.deaf:
            # Whoever has left is not in it; that may come to be known a moment later, because a
            # connection that is given up is closed after the next request was sent.
            await asyncio.sleep(self.seconds / 2)
            over = sum(not _has_left(other) for other in self._asked) > self.limit
        self.violations += over
        if over:
            self.since_when.append([now - began for began in self._asked.values()])
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.seconds:
                await self._work(asked)
        finally:
            self.inside -= 1
            del self._asked[asked]
            self.served += 1
        told = {"over": over, "headers": asked.message.headers, "body": body.decode("latin-1")}
        answer = ok(json.dumps(told).encode())
        await asked.send(answer.replace(b"200 OK", b"500 Over") if over else answer)

    async def _work(self, asked: Asked) -> None:
        left = asyncio.create_task(asked.reader.read(1))
        end = asyncio.get_running_loop().time() + self.seconds
        try:
            while (rest := end - asyncio.get_running_loop().time()) > 0:
                done, _ = await asyncio.wait({left}, timeout=rest)
                if done and not self.deaf:
                    return
                if done:
                    await asyncio.sleep(min(rest, 0.001))
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)


def _has_left(asked: Asked) -> bool:
    """Whether the connection has ended, as the kernel sees it now."""
    if asked.reader.at_eof() or asked.reader.exception() is not None:
        return True
    transport = asked.writer.get_extra_info("socket")
    if transport is None or transport.fileno() < 0:
        return True
    with socket.socket(fileno=os.dup(transport.fileno())) as sock:
        try:
            return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Member:
    """One activator of the crowd."""

    def __init__(self, crowd: Crowd, name: str, **options: Any) -> None:
        self.name = name
        self.crowd = crowd
        self.load = Load()
        link = MemoryLink()
        link.attach(self.load)
        options.setdefault("fresh", True)
        self.cluster = Cluster(
            name, HERE, slot_expiry=crowd.slot_expiry, heartbeat=crowd.heartbeat, **options
        )
        self.address = self.cluster.bind()
        process = ProcessConfig(
            listen=HERE, peer_heartbeat=crowd.heartbeat, slot_expiry=crowd.slot_expiry
        )
        self.activator = Activator(
            process, crowd.platform, link, crowd.clock, name=name, cluster=self.cluster
        )

    async def client(self) -> Client:
        host, port = self.activator.addresses[""]
        client = Client(*await asyncio.open_connection(host, port))
        self.crowd.clients.append(client)
        return client

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """One request on a connection of its own: status and body."""
        client = await self.client()
        answer = await client.ask(data)
        client.close()
        self.crowd.clients.remove(client)
        return answer.status, answer.body

    def owns(self, key: ModelKey = DIGITS) -> bool:
        explained = self.cluster.explain(key)
        return explained is not None and explained["served_by"] == self.name

    async def crash(self) -> None:
        """Be gone without a word, as a killed process is."""
        self.crowd.members.pop(self.name, None)
        cluster = self.cluster
        for link in list(cluster._peers.links.values()):
            link.over = True
            link.transport.abort()
        cluster._peers.links.clear()
        for connection in list(self.activator.connections):
            connection.transport.abort()
        for replica in list(self.activator.replica_connections):
            replica.transport.abort()
        await soon(self.activator.close())


class Crowd:
    """See the module."""

    def __init__(self, slot_expiry: float, heartbeat: float) -> None:
        self.slot_expiry = slot_expiry
        self.heartbeat = heartbeat
        self.clock = JumpingClock()
        self.platform = FakePlatform(clock=self.clock, replaces_lost=False)
        self.members: dict[str, Member] = {}
        self.clients: list[Client] = []
        self.replicas: dict[str, ScriptedReplica] = {}
        self.scripts: dict[str, Strict] = {}
        self.errors: list[str] = []

    async def join(self, *names: str, wait: bool = True, **options: Any) -> list[Member]:
        """New members that all the others are told of, once they have met."""
        joined = [Member(self, name, **options) for name in names]
        for member in joined:
            self.members[member.name] = member
        for member in joined:
            member.cluster.set_peers(self.addresses())
            await member.activator.start()
        self.tell()
        if wait:
            await self.met()
        return joined

    def addresses(self) -> Mapping[str, Address]:
        return {name: member.address for name, member in self.members.items()}

    def tell(self) -> None:
        for member in self.members.values():
            member.cluster.set_peers(self.addresses())

    async def met(self) -> None:
        await until(lambda: all(m.cluster.settled for m in self.members.values()), "all met")

    async def leave(self, name: str) -> None:
        """The member drains and ends; the others are told afterwards."""
        member = self.members.pop(name)
        assert await member.activator.drain(10.0) == 0
        await soon(member.activator.close())
        self.tell()

    def model(self, key: ModelKey = DIGITS, **serving: Any) -> None:
        from tests.activator.world import spec

        self.platform.add_model(spec(key, **serving))

    def specs(self, *specs: ModelSpec) -> None:
        for spec in specs:
            self.platform.add_model(spec)

    async def replica(
        self, limit: int, seconds: float = 0.0, key: ModelKey = DIGITS
    ) -> tuple[Replica, Strict]:
        """One more replica, ready, that counts."""
        script = Strict(limit, seconds)
        server = ScriptedReplica(script)
        address = await server.listen()
        state = self.platform.add_replica(key, address=address)
        server.state = state
        self.replicas[state.id] = server
        self.scripts[state.id] = script
        return state, script

    def drain(self, replica_id: str) -> None:
        self.platform.set_phase(replica_id, Phase.DRAINING)

    def owner(self, key: ModelKey = DIGITS) -> Member:
        (member,) = [m for m in self.members.values() if m.owns(key)]
        return member

    def others(self, key: ModelKey = DIGITS) -> list[Member]:
        return [m for m in self.members.values() if not m.owns(key)]

    @property
    def violations(self) -> int:
        return sum(script.violations for script in self.scripts.values())

    def in_flight(self, replica_id: str) -> int:
        """Requests that members have in the replica, or on the way there."""
        return sum(member.cluster._in_flight(replica_id) for member in self.members.values())

    def has_at_most(self, replica_id: str, count: int) -> bool:
        return self.in_flight(replica_id) <= count

    @property
    def held(self) -> int:
        """Requests held by all members together."""
        return sum(member.activator.admission.held for member in self.members.values())

    def slots(self) -> Counter[str]:
        """What all members together may have in each replica now."""
        count: Counter[str] = Counter()
        for member in self.members.values():
            for slots in member.cluster._models.values():
                count.update(slots.allowances)
        return count

    async def close(self) -> None:
        for client in self.clients:
            client.reset()
        for member in list(self.members.values()):
            await soon(member.activator.close())
        for replica in self.replicas.values():
            await replica.stop()
        await until(lambda: len(asyncio.all_tasks()) == 1, f"only {asyncio.all_tasks()}")


class _Errors(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))


@asynccontextmanager
async def make_crowd(slot_expiry: float = 0.5, heartbeat: float = 0.05) -> AsyncIterator[Crowd]:
    """A crowd of which nothing may be left; what is logged as an error fails the test."""
    crowd = Crowd(slot_expiry, heartbeat)
    handler = _Errors(crowd.errors)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: crowd.errors.append(repr(context)))
    logger = logging.getLogger("stoker")
    logger.addHandler(handler)
    try:
        yield crowd
    finally:
        await crowd.close()
        logger.removeHandler(handler)
    assert crowd.errors == [], crowd.errors
