"""Activators in processes of their own, killed and replaced under load: the limit holds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from activator.ownership import is_large, owner
from tests.activator.crowd import Strict
from tests.activator.world import Client, ScriptedReplica, post

ROOT = Path(__file__).resolve().parents[2]
MEMBER = ROOT / "tests" / "servers" / "member.py"


class Running:
    """One member's process."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet = fleet
        self.name = name
        self.peer = self.port = 0
        self.doomed = False  # it was or will be killed: who is connected to it may fail
        self.process: asyncio.subprocess.Process

    async def start(self, *, fresh: bool) -> None:
        log = (self.fleet.directory / f"{self.name}.log").open("ab")
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(MEMBER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self.order(name=self.name, fresh=fresh, **self.fleet.options)
        self.order(model="digits", limit=self.fleet.limit)
        for replica in self.fleet.replicas:
            assert replica.server is not None
            self.order(replica=replica.server.sockets[0].getsockname()[1])
        self.peer = (await self.told())["peer"]

    def order(self, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    async def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        log = self.fleet.directory / f"{self.name}.log"
        assert line, log.read_text()
        told: dict[str, Any] = json.loads(line)
        return told

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()


class Fleet:
    """Member processes and the replicas that count what they get, which live here."""

    def __init__(self, directory: Path, limit: int, **options: Any) -> None:
        self.directory = directory
        self.limit = limit
        self.options: dict[str, Any] = {
            "slot_expiry": 1.5,
            "heartbeat": 0.3,
            "share_slots": 16,
            **options,
        }
        self.members: dict[str, Running] = {}
        self.replicas: list[ScriptedReplica] = []
        self.scripts: list[Strict] = []
        self.answers: Counter[int] = Counter()
        self.lost: Counter[Running] = Counter()  # requests whose member went away
        self.gone = 0
        self.stop = asyncio.Event()
        self.clients: list[asyncio.Task[None]] = []

    async def join(self, *names: str, fresh: bool = False) -> None:
        joined = [Running(self, name) for name in names]
        await asyncio.gather(*(member.start(fresh=fresh) for member in joined))
        for member in joined:
            self.members[member.name] = member
        self.tell()
        for member in joined:
            member.order(start=True)
        for member in joined:
            member.port = (await member.told())["listen"]

    def tell(self) -> None:
        ports = {name: member.peer for name, member in self.members.items()}
        for member in self.members.values():
            member.order(peers=ports)

    async def kill(self, name: str) -> None:
        """What the owner, or each member of a divided model, has in replicas goes on there.
        What others had passed on to the owner is given up when they are killed: like that of
        any client that leaves, its slots are free at once, and that is about replicas that
        notice.
        """
        size = len(self.replicas), self.limit, len(self.members)
        divided = is_large(False, *size, self.options["share_slots"])
        for script in self.scripts:
            script.deaf = divided or owner("default/digits", self.members) == name
        member = self.members.pop(name)
        self.gone += 1
        member.doomed = True
        await member.end(signal.SIGKILL)
        # It stays so until the next kill: nobody else leaves, and on a busy machine the owner may
        # have answered many before it learns who has.
        await self.more_answers(20)

    async def leave(self, name: str) -> None:
        """Others stop sending to it first, as behind a load balancer."""
        member = self.members.pop(name)
        self.gone += 1
        assert await member.end(signal.SIGTERM) == 0
        self.tell()

    async def client(self, seed: int) -> None:
        """Asks one member after the other, on connections that it keeps."""
        chance = random.Random(seed)
        connections: dict[Running, Client] = {}
        while not self.stop.is_set():
            member = chance.choice([m for m in self.members.values() if m.port])
            try:
                client = connections.get(member)
                if client is None:
                    opened = await asyncio.open_connection("127.0.0.1", member.port)
                    client = connections[member] = Client(*opened)
                answer = await client.ask(post(b"x" * chance.choice((10, 200_000))))
                self.answers[answer.status] += 1
                if answer.get("Connection") == "close":
                    connections.pop(member).close()
            except (OSError, asyncio.IncompleteReadError, AssertionError):
                if not member.doomed and self.members.get(member.name) is member:
                    raise
                self.lost[member] += 1
                gone = connections.pop(member, None)
                if gone is not None:
                    gone.reset()
        for client in connections.values():
            client.reset()

    async def more_answers(self, count: int) -> None:
        """Wait until so many more requests were answered well."""
        until_then = self.answers[200] + count
        end = time.monotonic() + 40
        while self.answers[200] < until_then:
            assert time.monotonic() < end, f"{self.answers} {self.lost}"
            for client in self.clients:
                if client.done():
                    client.result()
            await asyncio.sleep(0.01)

    def check(self, clients: int) -> None:
        """Nothing was too much; each client lost at most the one request that it had on its
        connection to a member that was killed, or none but the connection to one that left.
        """
        over = [seconds for script in self.scripts for seconds in script.since_when]
        assert sum(script.violations for script in self.scripts) == 0, f"inside for {over} s"
        assert set(self.answers) == {200}, self.answers
        assert sum(self.lost.values()) <= clients * self.gone
        assert all(count <= clients for count in self.lost.values()), self.lost.values()


@asynccontextmanager
async def fleet(
    directory: Path, *, limit: int, replicas: int, clients: int, seconds: float, **options: Any
) -> AsyncIterator[Fleet]:
    """Three members under load."""
    made = Fleet(directory, limit, **options)
    for _ in range(replicas):
        script = Strict(limit, seconds)
        script.deaf = False
        replica = ScriptedReplica(script)
        await replica.listen()
        made.replicas.append(replica)
        made.scripts.append(script)
    try:
        await made.join("a", "b", "c", fresh=True)
        made.clients = [asyncio.create_task(made.client(seed)) for seed in range(clients)]
        yield made
        made.stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*made.clients)
    finally:
        for task in made.clients:
            task.cancel()
        await asyncio.gather(*made.clients, return_exceptions=True)
        for member in list(made.members.values()):
            if member.process.returncode is None:
                await member.end(signal.SIGKILL)
        for replica in made.replicas:
            await replica.stop()


def test_killed_and_replaced(tmp_path: Path) -> None:
    """kill -9 of one member, a new one in its place, another drained: no request too many,
    and no answer but those of connections to the killed one is lost.
    """

    async def scenario() -> None:
        async with fleet(tmp_path, limit=2, replicas=2, clients=12, seconds=0.004) as made:
            await made.more_answers(100)
            await made.kill(owner("default/digits", made.members))
            await made.more_answers(50)
            await made.join(*({"a", "b", "c"} - set(made.members)))
            await made.more_answers(50)
            await made.leave("b" if "b" in made.members else "a")
            await made.more_answers(50)
        made.check(12)

    uvloop.run(scenario())


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("limit", "replicas"), [(1, 1), (3, 4), (8, 12)])
def test_any_order_of_kills_joins_and_leaves(tmp_path: Path, limit: int, replicas: int) -> None:
    """The same for a minute and a half, with small models and such that are divided."""

    async def scenario() -> None:
        chance = random.Random(limit)
        sizes = {"limit": limit, "replicas": replicas, "clients": 30}
        async with fleet(tmp_path, **sizes, seconds=0.004, share_slots=4) as made:
            end = time.monotonic() + 90
            spare = iter(f"m{number}" for number in range(1000))
            while time.monotonic() < end:
                await made.more_answers(200)
                name = chance.choice(list(made.members))
                what = chance.choice(("kill", "kill", "leave", "join"))
                if what == "kill" and len(made.members) > 1:
                    await made.kill(name)
                    if chance.random() < 0.5:
                        await made.join(name)
                elif what == "leave" and len(made.members) > 2:
                    await made.leave(name)
                elif len(made.members) < 5:
                    await made.join(next(spare))
        made.check(30)

    uvloop.run(scenario())
