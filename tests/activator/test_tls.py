"""TLS on the listening side, with real certificates and real clients, on both event loops."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from activator import drain, http1, server, tls_listener
from activator.server import DEFAULT_LISTENER
from activator.tickets import Reason
from activator.tls_listener import TlsListener
from stoker import telemetry
from stoker.errors import CertificateError
from stoker.settings.process_rows import HalfClose, TlsVersion
from stoker.vocabulary import Address
from tests.activator.world import (
    Client,
    Gate,
    World,
    assert_clean,
    chunks,
    echo,
    get,
    ok,
    post,
    request,
    says,
    soon,
    spec,
    until,
)
from tests.pki import Pair, make_pair

MODELS = b"GET /v1/models HTTP/1.1\r\nHost: nobody\r\n\r\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """Two pairs, for all tests to copy from."""
    directory = tmp_path_factory.mktemp("made")
    return make_pair(directory, "one"), make_pair(directory, "two")


@pytest.fixture
def pair(tmp_path: Path, made: tuple[Pair, Pair]) -> Pair:
    """The pair that the activator uses."""
    mine = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    mine.install(made[0])
    return mine


@pytest.fixture
def secure(world: World, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world that speaks TLS once it is started with ``**tls(pair)``."""
    monkeypatch.setattr(server, "CERTIFICATE_SECONDS", 0.01)
    return world


def tls(pair: Pair, **more: Any) -> dict[str, Any]:
    """The process settings."""
    return {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), **more}


async def tls_client(world: World, context: ssl.SSLContext, limit: int = 2**20) -> Client:
    """A client with TLS agreed on."""
    host, port = world.address()
    connecting = asyncio.open_connection(host, port, ssl=context, limit=limit)
    client = Client(*await soon(connecting))
    world.clients.append(client)
    return client


def shown(client: Client) -> bytes:
    """The certificate that the client was shown."""
    found = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(found, bytes)
    return found


def the_listener(world: World) -> TlsListener:
    """What accepts connections."""
    (listener,) = [server for server, _ in world.activator.listening()]
    assert isinstance(listener, TlsListener)
    return listener


def shut(client: Client) -> None:
    """End the sending side of TCP, beneath TLS, which knows no half."""
    descriptor = os.dup(client.writer.get_extra_info("socket").fileno())
    with socket.socket(fileno=descriptor) as sock:
        sock.shutdown(socket.SHUT_WR)


def refused(world: World) -> dict[str, int]:
    """Connections that never became a client's, by reason."""
    readings = world.activator.readings()
    return {
        r.labels[0]: int(r.value)
        for r in readings
        if r.spec is telemetry.REFUSED_CONNECTIONS and isinstance(r.value, int | float)
    }


async def test_requests_over_tls(secure: World, pair: Pair) -> None:
    """Answered as over TCP, kept alive, pipelined; the replica hears of https."""
    await secure.start(**tls(pair))
    replica = await secure.replica(echo)
    client = await tls_client(secure, pair.client_context())
    for number in range(3):
        assert (await client.ask(post(b"body %d" % number))).body == b"body %d" % number
    await client.send(post(b"one") + post(b"two"))
    assert [(await client.answer()).body for _ in range(2)] == [b"one", b"two"]
    assert {seen.get("X-Forwarded-Proto") for seen in replica.seen} == {"https"}
    assert {seen.get("X-Forwarded-For") for seen in replica.seen} == {"127.0.0.1"}
    assert shown(client) == pair.der()


async def test_an_ordinary_client(secure: World, pair: Pair) -> None:
    """aiohttp's, many requests at once, over connections that it keeps and closes itself."""
    await secure.start(**tls(pair))
    await secure.replica(echo)
    before = secure.descriptors()
    url = f"https://127.0.0.1:{secure.address().port}/"
    async with aiohttp.ClientSession(headers={"Host": "digits.localhost"}) as session:

        async def ask(number: int) -> None:
            async with session.post(url, json=number, ssl=pair.client_context()) as answer:
                assert await answer.json(content_type=None) == number

        await soon(asyncio.gather(*map(ask, range(32))))
    await assert_clean(secure, descriptors=before)


@pytest.mark.parametrize("spool_bytes", [0, 2**30], ids=["paused", "spooled"])
async def test_a_large_body_that_has_to_wait(secure: World, pair: Pair, spool_bytes: int) -> None:
    """Paused in the socket and behind the TLS engine or spooled, it arrives byte for byte."""
    await secure.start(**tls(pair, body_memory=1000, spool_bytes=spool_bytes))
    client = await tls_client(secure, pair.client_context())
    body = bytes(range(256)) * 20_000
    sending = asyncio.create_task(client.send(post(body)))
    await until(lambda: secure.activator.admission.held == 1)
    if not spool_bytes:
        (connection,) = secure.activator.connections
        await until(lambda: connection._paused)
    await secure.replica(echo)
    assert (await client.answer()).body == body
    await sending
    assert (await client.ask(post(b"next"))).body == b"next"


async def test_a_client_that_reads_slowly(secure: World, pair: Pair) -> None:
    """The replica is slowed down with it; nothing piles up here, nothing is lost."""
    await secure.start(**tls(pair))
    body = bytes(range(256)) * 40_000
    await secure.replica(says(ok(body)))
    client = await tls_client(secure, pair.client_context(), limit=4096)
    await client.send(get())
    (connection,) = await secure.connections(1)
    await until(lambda: connection.write_paused)
    assert connection.transport.get_write_buffer_size() < 2_000_000
    assert (await client.answer()).body == body


async def test_chunks_and_trailers_over_tls(secure: World, pair: Pair) -> None:
    """Framing does not care for what is below it."""
    await secure.start(**tls(pair))
    replica = await secure.replica(echo)
    client = await tls_client(secure, pair.client_context())
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    await client.send(head, b"3\r\none\r\n", b"0\r\nX-Sum: 1\r\n\r\n")
    assert (await client.answer()).body == b"one"
    assert replica.seen[0].trailers == [("X-Sum", "1")]


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "paused"])
async def test_a_held_client_that_leaves(secure: World, pair: Pair, how: str, size: int) -> None:
    """Its place is free at once, be it that it is read or that it is not."""
    before_start = secure.descriptors()
    await secure.start(**tls(pair, body_memory=1000, spool_bytes=0))
    before = secure.descriptors()
    assert before > before_start
    client = await tls_client(secure, pair.client_context())
    data = post(b"x" * size)
    client.writer.write(data)
    await until(lambda: secure.activator.admission.held == 1)
    if size > 1000:
        (connection,) = secure.activator.connections
        await until(lambda: connection._paused)
    if how == "reset" or size > 1000:
        client.reset()
    elif how == "close":
        client.close()
    else:
        shut(client)
    await until(lambda: secure.activator.admission.held == 0)
    assert secure.refused == {Reason.CLIENT_GONE: 1}
    await assert_clean(secure, descriptors=before)


async def test_a_new_certificate(secure: World, pair: Pair, made: tuple[Pair, Pair]) -> None:
    """New connections are shown it within moments; those that are open go on."""
    await secure.start(**tls(pair))
    gate = Gate()
    await secure.replica(gate)
    old = await tls_client(secure, pair.client_context())
    await old.send(post(b"before"))
    await until(lambda: gate.inside == 1)
    certificates = secure.activator.certificates
    assert certificates is not None
    first = certificates.context
    pair.install(made[1])
    await until(lambda: certificates.context is not first, "a new context")
    gate.let(3)
    assert (await old.answer()).body == b"before"
    assert (await old.ask(post(b"after"))).body == b"after"
    new = await tls_client(secure, made[1].client_context())
    assert (await new.ask(post(b"new"))).body == b"new"
    assert (shown(old), shown(new)) == (made[0].der(), made[1].der())
    with pytest.raises(ssl.SSLCertVerificationError):
        await tls_client(secure, made[0].client_context())
    loads = {
        r.labels: r.value
        for r in secure.activator.readings()
        if r.spec is telemetry.CERTIFICATE_LOADS
    }
    assert loads == {("applied",): 2}


async def test_a_wrong_new_certificate(
    secure: World, pair: Pair, made: tuple[Pair, Pair], caplog: pytest.LogCaptureFixture
) -> None:
    """Said; the last good one is shown until there is another good one."""
    await secure.start(**tls(pair))
    certificates = secure.activator.certificates
    assert certificates is not None
    pair.key.write_bytes(made[1].key.read_bytes())
    await until(lambda: certificates.loads["refused"] == 1)
    assert "is not the key of" in caplog.text
    client = await tls_client(secure, made[0].client_context())
    assert (await client.ask(MODELS)).status == 200
    secure.complaints.clear()
    pair.install(made[1])
    first = certificates.context
    await until(lambda: certificates.context is not first)
    assert shown(await tls_client(secure, made[1].client_context())) == made[1].der()


async def test_a_wrong_certificate_at_the_start(
    world: World, pair: Pair, made: tuple[Pair, Pair]
) -> None:
    """Stoker does not start, and no port was opened."""
    pair.key.write_bytes(made[1].key.read_bytes())
    before = world.descriptors()
    with pytest.raises(CertificateError, match=r"^tls-key = .*: is not the key of"):
        await world.start(**tls(pair))
    assert world.descriptors() == before
    await world.activator.close()
    del world.activator


RUBBISH = {
    "not-tls": b"\x00\x01\x02\x03 rubbish",
    "handshake-failed": b"\x16\x03\x01\x00\x10" + b"x" * 16,
}


@pytest.mark.parametrize("reason", RUBBISH)
async def test_rubbish_instead_of_a_handshake(
    secure: World, pair: Pair, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, ended, and no word of it above debug; others are served meanwhile."""
    await secure.start(**tls(pair))
    before = secure.descriptors()
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            client = await secure.client()
            client.writer.write(RUBBISH[reason])
            with suppress(ConnectionError):
                await soon(client.reader.read())
        await until(lambda: refused(secure) == {reason: 5})
    assert caplog.text == ""
    good = await tls_client(secure, pair.client_context())
    assert (await good.ask(MODELS)).status == 200
    await assert_clean(secure, descriptors=before)


async def test_plain_http_to_the_tls_port(secure: World, pair: Pair) -> None:
    """The caller is told in plain HTTP what to do, however much it sent."""
    await secure.start(**tls(pair))
    before = secure.descriptors()
    for data in (get(), post(b"x" * 30_000)):
        client = await secure.client()
        client.writer.write(data)
        answer = await client.answer()
        assert (answer.status, answer.get("Connection")) == (400, "close")
        assert "https://" in answer.error
        assert await client.at_end()
    assert refused(secure) == {"not-tls": 2}
    await assert_clean(secure, descriptors=before)


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_handshakes_that_are_left(secure: World, pair: Pair, data: bytes) -> None:
    """Before a byte, after one, in the middle: nothing is left of them."""
    await secure.start(**tls(pair))
    before = secure.descriptors()
    clients = [await secure.client() for _ in range(10)]
    listener = the_listener(secure)
    await until(lambda: len(listener.pending) == 10)
    for number, client in enumerate(clients):
        await client.send(data)
        if number % 2:
            client.reset()
        else:
            client.close()
    await until(lambda: not listener.pending)
    assert refused(secure) == {"handshake-left": 10}
    await assert_clean(secure, descriptors=before)


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "begun"])
async def test_handshakes_that_take_too_long(secure: World, pair: Pair, data: bytes) -> None:
    """They end after tls-handshake-timeout, counted as that."""
    await secure.start(**tls(pair, tls_handshake_timeout=0.1))
    before = secure.descriptors()
    clients = [await secure.client() for _ in range(3)]
    for client in clients:
        await client.send(data)
    for client in clients:
        assert await soon(client.reader.read()) == b""
    await until(lambda: refused(secure) == {"handshake-timeout": 3})
    await assert_clean(secure, descriptors=before)


async def test_a_client_that_trusts_somebody_else(
    secure: World, pair: Pair, made: tuple[Pair, Pair]
) -> None:
    """It turns away itself; that is counted and nothing else."""
    await secure.start(**tls(pair))
    with pytest.raises(ssl.SSLCertVerificationError):
        await tls_client(secure, made[1].client_context())
    await until(lambda: sum(refused(secure).values()) == 1 or not secure.activator.connections)
    await assert_clean(secure)


async def test_an_old_client(secure: World, pair: Pair) -> None:
    """tls-min-version is kept to."""
    await secure.start(**tls(pair, tls_min_version=TlsVersion.V1_3))
    old = pair.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(secure, old)
    await until(lambda: refused(secure) == {"handshake-failed": 1})
    client = await tls_client(secure, pair.client_context())
    assert (await client.ask(MODELS)).status == 200


async def test_one_connection_too_many(
    secure: World, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told so in TLS, some at a time; the others are closed before any handshake."""
    monkeypatch.setattr(http1, "TURNED_AWAY", 2)
    monkeypatch.setattr(tls_listener, "TURNED_AWAY", 2)
    await secure.start(**tls(pair, max_connections=1))
    first = await tls_client(secure, pair.client_context())
    assert (await first.ask(MODELS)).status == 200
    second = await tls_client(secure, pair.client_context())
    answer = await second.answer()
    assert (answer.status, answer.get("Retry-After")) == (503, "1")
    silent = await secure.client()
    listener = the_listener(secure)
    await until(lambda: len(listener.pending) == 1)
    late = await secure.client()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await soon(late.reader.readexactly(1))
    assert refused(secure) == {"max-connections": 2}
    silent.reset()
    second.reset()
    assert (await first.ask(MODELS)).status == 200


async def test_listeners_without_tls(secure: World, pair: Pair) -> None:
    """A certificate is for all listeners but those that are excepted."""
    inside = ("inside", Address("127.0.0.1", 0))
    outside = ("outside", Address("127.0.0.1", 0))
    await secure.start(**tls(pair, listeners=(inside, outside), plain_listeners=("inside",)))
    client = await secure.client("inside")
    assert (await client.ask(MODELS)).status == 200
    for listener in (DEFAULT_LISTENER, "outside"):
        client = await secure.client(listener)
        await client.send(MODELS)
        assert (await client.answer()).status == 400


async def test_no_trust_by_tls_alone(secure: World, pair: Pair) -> None:
    """Whose word is taken depends on the address, in TLS as without."""
    await secure.start(**tls(pair, trusted_peers=("10.0.0.0/8",)))
    client = await tls_client(secure, pair.client_context())
    assert (await client.ask(get("/", "nobody", "stoker-model: digits"))).status == 404


async def test_half_close_does_not_exist_in_tls(secure: World, pair: Pair) -> None:
    """half-close: serve changes nothing: a TLS connection that ends on one side ends."""
    await secure.start(**tls(pair, half_close=HalfClose.SERVE))
    client = await tls_client(secure, pair.client_context())
    await client.send(get())
    await until(lambda: secure.activator.admission.held == 1)
    shut(client)
    await until(lambda: secure.activator.admission.held == 0)
    assert secure.refused == {Reason.CLIENT_GONE: 1}


async def test_malformed_over_tls(secure: World, pair: Pair) -> None:
    """Refused with an answer, then the end."""
    await secure.start(**tls(pair))
    client = await tls_client(secure, pair.client_context())
    client.writer.write(b"BAD\r\n\r\n")
    assert (await client.answer()).status == 400
    (connection,) = await secure.connections(1)
    await until(lambda: connection._lingering)
    secure.jump(http1.LINGER_SECONDS + 1)
    assert await client.at_end()


async def test_a_broken_answer_over_tls(secure: World, pair: Pair) -> None:
    """A replica that dies mid-answer: the client must not take what it has for all of it."""
    await secure.start(**tls(pair))

    async def script(asked: Any) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        asked.reset()

    await secure.replica(script)
    client = await tls_client(secure, pair.client_context())
    await client.send(get())
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()
    assert secure.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}


async def test_an_idle_connection_ends(secure: World, pair: Pair) -> None:
    """After client-idle-timeout, also when the client never says goodbye in TLS."""
    await secure.start(**tls(pair, client_idle_timeout=60.0))
    client = await tls_client(secure, pair.client_context())
    assert (await client.ask(MODELS)).status == 200
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    secure.jump(61.0)
    (connection,) = secure.activator.connections
    await until(lambda: connection.closing)
    secure.jump(61.0)
    await until(lambda: not secure.activator.connections)


async def test_the_end_while_handshakes_are_under_way(secure: World, pair: Pair) -> None:
    """Closing waits for nobody who has not even agreed on TLS."""
    await secure.start(**tls(pair))
    clients = [await secure.client() for _ in range(4)]
    listener = the_listener(secure)
    await until(lambda: len(listener.pending) == 4)
    for client in clients[:2]:
        await client.send(b"\x16\x03\x01\x02\x00\x01")
    await soon(secure.activator.close())
    assert not listener.pending
    for client in clients:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await soon(client.reader.readexactly(1))
    listener.close()


async def test_draining_over_tls(
    secure: World, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request under way is answered, an idle connection ends."""
    monkeypatch.setattr(drain, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(drain, "SETTLE_SECONDS", 0.01)
    await secure.start(spec(), **tls(pair))
    gate = Gate()
    await secure.replica(gate)
    busy = await tls_client(secure, pair.client_context())
    idle = await tls_client(secure, pair.client_context())
    assert (await idle.ask(MODELS)).status == 200
    await busy.send(post(b"last"))
    await until(lambda: gate.inside == 1)
    draining = asyncio.create_task(secure.activator.drain(60.0))
    assert await idle.at_end()
    gate.let()
    answer = await busy.answer()
    assert (answer.body, answer.get("Connection")) == (b"last", "close")
    assert await busy.at_end()
    assert await soon(draining) == 0


async def test_who_had_connected_before_a_drain_is_let_in(
    secure: World, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that the kernel had completed agrees on TLS and is served, while draining."""
    monkeypatch.setattr("activator.drain.refuse_new", lambda sock: False)
    await secure.start(spec(), **tls(pair))
    await secure.replica()
    address = secure.address()
    # Nothing awaited until the drain has begun: it is still in the kernel's queue.
    sock = socket.create_connection(address)
    draining = asyncio.create_task(secure.activator.drain(60.0))
    connecting = asyncio.open_connection(
        sock=sock, ssl=pair.client_context(), server_hostname=address.host
    )
    client = Client(*await soon(connecting))
    secure.clients.append(client)
    answer = await client.ask(post(b"late"))
    assert (answer.body, answer.get("Connection")) == (b"late", "close")
    assert await soon(draining) == 0


class Exhausted(socket.socket):
    """A listening socket for which there are no descriptors, the first few times."""

    failures = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_no_descriptors_to_accept_with(
    secure: World, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepting pauses, says why, and goes on by itself; nobody in the queue is lost."""
    monkeypatch.setattr(tls_listener, "ACCEPT_PAUSE_SECONDS", 0.01)
    await secure.start(**tls(pair))
    activator = secure.activator
    assert activator.certificates is not None
    sock = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    listener = TlsListener(activator, DEFAULT_LISTENER, sock, activator.certificates)
    activator._servers[listener] = DEFAULT_LISTENER
    activator.addresses[DEFAULT_LISTENER] = Address(*listener.sockets[0].getsockname()[:2])
    client = await tls_client(secure, pair.client_context())
    assert (await client.ask(MODELS)).status == 200
    assert len(secure.complaints) == 2
    assert all("Too many open files" in complaint for complaint in secure.complaints)
    secure.complaints.clear()


async def test_chunked_answers_end_in_time(secure: World, pair: Pair) -> None:
    """A stream's pieces are not kept back by TLS until there are more of them."""
    await secure.start(**tls(pair))
    gate = Gate(says(b""))

    async def script(asked: Any) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await gate(asked)
        await asked.send(chunks(b"last"))

    await secure.replica(script)
    client = await tls_client(secure, pair.client_context())
    await client.send(get())
    await client.head()
    assert await soon(client.reader.readexactly(10)) == b"5\r\nfirst\r\n"
    gate.let()
    assert await soon(client.reader.readexactly(14)) == b"4\r\nlast\r\n0\r\n\r\n"
