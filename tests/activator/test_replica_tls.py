"""Replicas behind TLS: trusted by setting, pooled, and failures that say what is wrong."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from activator.replica_tls import Contexts, why
from stoker.vocabulary import Address, ReplicaTls, ServingConfig
from tests.activator.world import (
    DIGITS,
    Asked,
    Script,
    ScriptedReplica,
    World,
    chunks,
    echo,
    get,
    gone,
    in_turn,
    post,
    says,
    says_and_ends,
    soon,
    spec,
    until,
)
from tests.pki import Pair, issued_by, self_signed


class Pki:
    """Who vouches for whom."""

    def __init__(self, directory: Path) -> None:
        self.authority = self_signed(directory, "authority", authority=True)
        self.good = issued_by(self.authority, directory, "models.test", "IP:127.0.0.1")
        self.named = issued_by(self.authority, directory, "named.test")
        self.lonely = self_signed(directory, "lonely.test", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


class TlsReplica(ScriptedReplica):
    """A scripted replica that speaks TLS."""

    context: ssl.SSLContext

    async def listen(self) -> Address:
        self.server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=2**20, ssl=self.context
        )
        return Address(*self.server.sockets[0].getsockname()[:2])


async def replica_with(world: World, issued: Pair, script: Script = echo) -> TlsReplica:
    """A replica that shows this certificate."""
    replica = TlsReplica(script)
    replica.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    replica.context.load_cert_chain(issued.certificate, issued.key)
    world.replicas.append(replica)
    await replica.listen()
    world.make_ready(replica)
    return replica


def trusting(issued: Pair, **serving: Any) -> dict[str, Any]:
    return {"replica_tls": ReplicaTls.ON, "replica_tls_ca": str(issued.certificate)} | serving


async def test_requests_over_tls(world: World, pki: Pki) -> None:
    """Bodies both ways, streams and large ones; one handshake serves many requests."""
    await world.start(spec(**trusting(pki.authority)))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    large = bytes(range(256)) * 40_000
    script = in_turn(echo, echo, says(head + chunks(b"a", b"b", trailer=b"X: y\r\n")), echo)
    replica = await replica_with(world, pki.good, script)
    client = await world.client()
    assert (await client.ask(post(b"small"))).body == b"small"
    assert (await client.ask(post(b"x" * 60_000))).body == b"x" * 60_000
    assert (await client.ask(get())).body == b"ab"
    assert replica.accepted == 1
    sending = asyncio.create_task(client.send(post(large)))
    assert (await client.answer()).body == large
    await sending


async def test_a_held_request_over_tls(world: World, pki: Pki) -> None:
    """It waits for the replica, and gets through."""
    await world.start(spec(**trusting(pki.authority)))
    (client,) = await world.held(post(b"x" * 300_000))
    await replica_with(world, pki.good)
    assert (await client.answer()).body == b"x" * 300_000


async def test_its_own_certificate_is_authority_enough(world: World, pki: Pki) -> None:
    """A self-signed certificate that is named is trusted."""
    await world.start(spec(**trusting(pki.lonely)))
    await replica_with(world, pki.lonely)
    assert (await (await world.client()).ask(post(b"x"))).body == b"x"


async def test_server_name(world: World, pki: Pki) -> None:
    """The certificate must be for that name, which the replica is told."""
    told: list[str | None] = []
    await world.start(spec(**trusting(pki.authority, replica_tls_server_name="named.test")))
    replica = await replica_with(world, pki.named)

    def note(_: object, name: str | None, __: object) -> None:
        told.append(name)

    replica.context.sni_callback = note
    assert (await (await world.client()).ask(post(b"x"))).body == b"x"
    assert told == ["named.test"]


async def test_insecure(world: World, pki: Pki) -> None:
    """Whoever it is."""
    await world.start(spec(replica_tls=ReplicaTls.INSECURE))
    await replica_with(world, pki.lonely)
    assert (await (await world.client()).ask(post(b"x"))).body == b"x"


@pytest.mark.parametrize(
    ("shown", "serving", "told"),
    [
        ("lonely", {}, "its certificate is not accepted: self-signed certificate"),
        ("lonely", {}, "replica-tls-ca says whom to trust"),
        ("named", {}, "IP address mismatch"),
        ("named", {}, "replica-tls-server-name says whom it must be for"),
        ("good", {"replica_tls_server_name": "other.test"}, "Hostname mismatch"),
        ("good", {"replica_tls_ca": ""}, "unable to get local issuer certificate"),
        ("good", {"replica_tls_ca": "/nonexistent"}, "replica-tls-ca cannot be read: No such"),
    ],
)
async def test_refused_certificates(
    world: World, pki: Pki, shown: str, serving: dict[str, str], told: str
) -> None:
    """502 that says what is wrong; nothing of the request was sent."""
    await world.start(spec(**(trusting(pki.authority, retry_attempts=0) | serving)))
    replica = await replica_with(world, getattr(pki, shown))
    client = await world.client()
    answer = await client.ask(post(b"secret"))
    assert answer.status == 502
    assert told in answer.error
    assert "/nonexistent" not in answer.error
    assert replica.seen == []


async def test_a_replica_without_tls(world: World, pki: Pki) -> None:
    """502 that says so."""
    await world.start(spec(**trusting(pki.authority, retry_attempts=0)))

    async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speaks_http, "127.0.0.1", 0)
    world.platform.add_replica(DIGITS, address=Address(*server.sockets[0].getsockname()))
    answer = await (await world.client()).ask(get())
    server.close()
    assert answer.status == 502
    assert "TLS failed" in answer.error
    assert "replica-tls = on" in answer.error


async def test_a_handshake_that_never_ends(world: World, pki: Pki) -> None:
    """connect-timeout counts until TLS is up."""
    await world.start(spec(**trusting(pki.authority, retry_attempts=0, connect_timeout=0.1)))

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    world.platform.add_replica(DIGITS, address=Address(*server.sockets[0].getsockname()))
    answer = await (await world.client()).ask(get())
    assert (answer.status, "connect-timeout = 0.1 s" in answer.error) == (502, True)
    server.close()


async def test_settings_change(world: World, pki: Pki) -> None:
    """Connections from before are not used any more: they were another kind of trust."""
    await world.start(spec(replica_tls=ReplicaTls.INSECURE))
    replica = await replica_with(world, pki.good)
    client = await world.client()
    assert (await client.ask(get())).status == 200
    world.platform.add_model(spec(**trusting(pki.authority)))
    await until(lambda: not replica.open)
    assert (await client.ask(get())).status == 200
    assert replica.accepted == 2
    world.platform.add_model(spec(**trusting(pki.authority, priority=1)))
    assert (await client.ask(get())).status == 200
    assert replica.accepted == 2, "other settings change nothing"


async def test_a_dead_pooled_connection(world: World, pki: Pki) -> None:
    """As without TLS: it costs nobody anything."""
    await world.start(spec(**trusting(pki.authority, retry_attempts=0)))
    await replica_with(world, pki.good, in_turn(echo, gone, echo))
    client = await world.client()
    assert (await client.ask(post(b"1"))).body == b"1"
    assert (await client.ask(post(b"2"))).body == b"2"
    assert world.model.throttler.ejections == 0


async def test_an_answer_that_ends_with_the_connection(world: World, pki: Pki) -> None:
    """It is passed on whole; one that breaks with a reset is broken off."""
    await world.start(spec(**trusting(pki.authority)))
    begun = asyncio.Event()

    async def breaks(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await soon(begun.wait())
        asked.reset()

    script = in_turn(says_and_ends(b"HTTP/1.1 200 OK\r\n\r\nall"), breaks)
    replica = await replica_with(world, pki.good, script)
    client = await world.client()
    assert (await client.ask(get())).body == b"all"
    await until(lambda: not replica.open)
    await client.send(get())
    await client.head()
    begun.set()
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())


async def test_a_tunnel_over_tls(world: World, pki: Pki) -> None:
    """A WebSocket to a replica behind TLS; the end of either side ends both."""
    await world.start(spec(**trusting(pki.authority)))
    switch = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

    async def script(asked: Asked) -> None:
        await asked.send(switch)
        await asked.send(await soon(asked.reader.readexactly(100_000)))
        asked.close()

    await replica_with(world, pki.good, script)
    client = await world.client()
    await client.send(get("/", "digits.localhost", "Connection: upgrade", "Upgrade: x"))
    assert (await client.head()).status == 101
    await client.send(b"y" * 100_000)
    assert await soon(client.reader.readexactly(100_000)) == b"y" * 100_000
    assert await client.at_end()
    await until(lambda: not world.activator.tunnels and not world.model.throttler.active)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path, pki: Pki) -> None:
    """And only then: making a context costs a millisecond."""
    path = tmp_path / "ca.pem"
    path.write_bytes(pki.authority.certificate.read_bytes())
    serving = ServingConfig(replica_tls=ReplicaTls.ON, replica_tls_ca=str(path))
    contexts, address = Contexts(), Address("127.0.0.1", 1)
    first = contexts.for_replica(serving, address)
    assert first is not None
    assert contexts.for_replica(serving, Address("10.0.0.1", 1)) == (first.context, "10.0.0.1")
    path.write_bytes(pki.lonely.certificate.read_bytes())
    os.utime(path, (1, 1))
    second = contexts.for_replica(serving, address)
    assert second is not None
    assert second.context is not first.context
    assert contexts.for_replica(ServingConfig(), address) is None


def test_failures_in_words() -> None:
    """Whatever the operating system or OpenSSL leave out."""
    on = ServingConfig(replica_tls=ReplicaTls.ON)
    assert why(OSError(), on) == "OSError"
    assert why(OSError("all is lost"), on) == "all is lost"
    assert why(OSError(111, "Connection refused"), on) == "Connection refused"
    assert why(ssl.SSLError(1, "odd"), on) == "TLS failed: odd (replica-tls = on)"
