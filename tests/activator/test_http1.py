"""The client's side over real sockets: framing, order, what is passed on, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from activator.tickets import Reason
from stoker.vocabulary import ModelKey
from tests.activator.world import (
    Asked,
    Gate,
    World,
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

MODELS = b"GET /v1/models HTTP/1.1\r\nHost: nobody\r\n\r\n"


async def test_keep_alive(world: World) -> None:
    """Several requests on one connection are answered one after the other."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    for number in range(3):
        answer = await client.ask(post(b"body %d" % number))
        assert (answer.status, answer.body) == (200, b"body %d" % number)
        assert answer.get("Connection") is None
    assert len(replica.seen) == 3
    assert replica.accepted == 1


async def test_connection_close_is_honoured(world: World) -> None:
    """The last request says so, the answer repeats it, the connection ends."""
    await world.start()
    await world.replica(echo)
    client = await world.client()
    answer = await client.ask(get("/", "digits.localhost", "Connection: close"))
    assert answer.get("Connection") == "close"
    assert await client.at_end()


async def test_what_follows_a_close_is_ignored(world: World) -> None:
    """Bytes behind a request that ends the connection do not spoil its answer."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    closing = get("/", "digits.localhost", "Connection: close")
    answer = await client.ask(closing + b"\x00 rubbish " + get())
    assert answer.status == 200
    assert await client.at_end()
    assert len(replica.seen) == 1
    assert not world.activator.malformed


@pytest.mark.parametrize("split", [False, True], ids=["one-write", "by-request"])
async def test_pipelined_requests_are_answered_in_order(world: World, split: bool) -> None:
    """The first answer waits for nobody, and nobody overtakes it."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    requests = [post(b"%d" % number) for number in range(5)]
    await client.send(*(requests if split else [b"".join(requests)]))
    for number in range(5):
        await until(lambda: gate.inside == 1)
        assert len(replica.seen) == number + 1, "one at a time"
        gate.let()
        assert (await client.answer()).body == b"%d" % number


async def test_hundreds_of_pipelined_requests_in_one_write(world: World) -> None:
    """Served in a loop and not by recursion, those that Stoker answers itself too."""
    await world.start(max_pipelined=2000)
    await world.replica(echo)
    client = await world.client()
    await client.send(MODELS * 1400 + get() * 3)
    for _ in range(1400):
        assert json.loads((await client.answer()).body)["data"][0]["id"] == "digits"
    for _ in range(3):
        assert (await client.answer()).body == b""


async def test_pipelined_built_in_answers_do_not_pile_up(world: World) -> None:
    """A client that reads nothing makes Stoker stop answering, however short its requests."""
    names = [f"model-{number:04}-{'x' * 40}" for number in range(150)]
    models = [spec(ModelKey("default", name)) for name in names]
    await world.start(*models, max_pipelined=670)
    client = await world.client(limit=4096)
    data = MODELS * 500
    sending = asyncio.create_task(client.send(data, data, data))
    (connection,) = await world.connections(1)
    await until(lambda: connection.write_paused and connection._paused)
    assert connection.transport.get_write_buffer_size() < 300_000
    for _ in range(1500):
        assert (await client.answer()).status == 200
    await sending


async def test_a_pipelined_body_that_arrives_later(world: World) -> None:
    """Reading goes on for a request that was already waiting behind another."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    client = await world.client()
    body = b'{"model": "digits", "text": "' + b"x" * 1000 + b'"}'
    late = post(body, "/v1/chat/completions", "nobody")
    await client.send(get() + late[:-1020])
    await until(lambda: gate.inside == 1)
    gate.let(2)
    assert (await client.answer()).body == b""
    await client.send(late[-1020:])
    assert (await client.answer()).body == body


async def test_pipelined_before_something_malformed(world: World) -> None:
    """What was asked properly is answered first, then the 400."""
    await world.start()
    gate = Gate()
    await world.replica(gate)
    for pieces in ([post(b"good") * 2 + b"BAD\r\n\r\n"], [post(b"good") * 2, b"BAD\r\n\r\n"]):
        client = await world.client()
        gate.let(2)
        await client.send(*pieces)
        assert (await client.answer()).body == b"good"
        assert (await client.answer()).body == b"good"
        assert (await client.answer()).status == 400
        assert await client.at_end()


async def test_pipelined_before_a_malformed_body(world: World) -> None:
    """Nothing of a request with bad chunks is passed on while another is being served."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    chunked = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    await client.send(post(b"good") + chunked + b"x\r\n")
    gate.let()
    assert (await client.answer()).body == b"good"
    assert (await client.answer()).status == 400
    assert len(replica.seen) == 1


async def test_head(world: World) -> None:
    """A HEAD is answered without a body; its connection lives on, the replica's does not."""
    await world.start()
    replica = await world.replica(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"))
    client = await world.client()
    head = get().replace(b"GET", b"HEAD")
    answer = await client.ask(head)
    assert (answer.status, answer.get("Content-Length")) == (200, "1234")
    assert (await client.ask(head)).get("Content-Length") == "1234"
    assert replica.accepted == 2


async def test_head_of_built_in_and_error(world: World) -> None:
    """Stoker's own answers to HEAD have no body either."""
    await world.start()
    client = await world.client()
    await client.send(MODELS.replace(b"GET", b"HEAD"))
    assert int((await client.answer("HEAD")).get("Content-Length") or 0) > 0
    await client.send(get("/", "nobody").replace(b"GET", b"HEAD"))
    assert (await client.answer("HEAD")).status == 404
    assert (await client.ask(MODELS)).status == 200


async def test_expect_continue(world: World) -> None:
    """The client is told to go on exactly once, the replica never hears of it."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    data = post(b"later", "/", "digits.localhost", "Expect: 100-continue")
    await client.send(data[:-5])
    assert (await client.head()).start == "HTTP/1.1 100 Continue"
    await client.send(data[-5:])
    assert (await client.head()).status == 200
    assert await soon(client.reader.readexactly(5)) == b"later"
    assert replica.seen[0].get("Expect") is None


async def test_expect_continue_where_the_body_names_the_model(world: World) -> None:
    """One 100 Continue, though Stoker looks at the body piece by piece."""
    await world.start()
    await world.replica(echo)
    client = await world.client()
    body = b'{"messages": [], "model": "digits"}'
    head = request("POST", "/", "x", "Expect: 100-continue", "Transfer-Encoding: chunked")
    await client.send(head)
    assert (await client.head()).status == 100
    for piece in (b"%x\r\n" % len(body), body[:10], body[10:] + b"\r\n0\r\n\r\n"):
        await client.send(piece)
    assert (await client.head()).status == 200


async def test_expect_continue_refused(world: World) -> None:
    """Whoever is refused need not send the body, and the connection ends."""
    await world.start()
    client = await world.client()
    await client.send(request("GET", "/", "nobody", "Expect: 100-continue", "Content-Length: 9"))
    answer = await client.head()
    assert (answer.status, answer.get("Connection")) == (404, "close")


async def test_expect_of_http_1_0_is_ignored(world: World) -> None:
    """A 1.0 client would take 100 Continue for its answer."""
    await world.start()
    await world.replica(echo)
    client = await world.client()
    data = post(b"12", "/", "digits.localhost", "Expect: 100-continue").replace(b"/1.1", b"/1.0")
    await client.send(data[:-2])
    await client.send(data[-2:])
    assert (await client.head()).status == 200


async def test_http_1_0(world: World) -> None:
    """Without keep-alive the connection ends with the answer; the replica is asked in 1.1."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    answer = await client.ask(b"GET /x HTTP/1.0\r\nHost: digits.localhost\r\n\r\n")
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert await client.at_end()
    assert replica.seen[0].start == "GET /x HTTP/1.1"


async def test_http_1_0_with_keep_alive(world: World) -> None:
    """It is said in the answer, and kept."""
    await world.start()
    await world.replica(echo)
    client = await world.client()
    for _ in range(2):
        answer = await client.ask(
            b"GET / HTTP/1.0\r\nHost: digits.localhost\r\nConnection: keep-alive\r\n\r\n"
        )
        assert (answer.status, answer.get("Connection")) == (200, "keep-alive")


async def test_http_1_0_gets_no_chunks(world: World) -> None:
    """A chunked answer is unpacked and ends with the connection."""
    await world.start()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"one", b"two")
    await world.replica(says(chunked))
    client = await world.client()
    await client.send(b"GET / HTTP/1.0\r\n" + H + b"Connection: keep-alive\r\n\r\n")
    answer = await client.answer(to_the_end=True)
    assert answer.get("Transfer-Encoding") is None
    assert answer.get("Connection") == "close"
    assert answer.body == b"onetwo"


async def test_http_1_0_own_answer_ends_the_connection(world: World) -> None:
    """Stoker's own answers do not promise a 1.0 client to stay."""
    await world.start()
    client = await world.client()
    answer = await client.ask(b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert await client.at_end()


async def test_chunked_both_ways(world: World) -> None:
    """Chunks are framed anew; extensions go no further."""
    await world.start()

    async def script(asked: Asked) -> None:
        body = await asked.read()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        await asked.send(head + b"3;sly=yes\r\nabc\r\n" + chunks(body, trailer=b"X-Sum: 1\r\n"))

    replica = await world.replica(script)
    client = await world.client()
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked", "Trailer: X-T")
    body = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n"
    answer = await client.ask(head + body)
    assert answer.body == b"abchello world"
    assert b"sly" not in answer.raw_body
    assert answer.trailers == [("X-Sum", "1")]
    (seen,) = replica.seen
    assert seen.body == b"hello world"
    assert b"ext" not in seen.raw_body
    assert seen.get("Content-Length") is None
    assert seen.get("Trailer") == "X-T"
    assert seen.trailers == [("X-T", "1")]


async def test_answer_without_length(world: World) -> None:
    """It ends with the replica's connection; the client gets chunks and keeps its own."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\n\r\n", b"some ", b"bytes")
        asked.close()

    await world.replica(script)
    client = await world.client()
    for _ in range(2):
        answer = await client.ask(get())
        assert (answer.get("Transfer-Encoding"), answer.body) == ("chunked", b"some bytes")


async def test_204_and_304_have_no_framing(world: World) -> None:
    """A length on a 204 goes no further, on a 304 it is passed on; neither has a body."""
    await world.start()
    replica = await world.replica(says(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"))
    client = await world.client()
    answer = await client.ask(get())
    assert (answer.status, answer.get("Content-Length")) == (204, None)
    replica.script = says(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")
    answer = await client.ask(get())
    assert (answer.status, answer.get("Content-Length")) == (304, "77")
    replica.script = echo
    assert (await client.ask(post(b"and on"))).body == b"and on"


async def test_early_answer_while_the_body_is_still_coming(world: World) -> None:
    """The client gets it at once, and the connection's end with it."""
    await world.start()

    async def script(asked: Asked) -> None:
        await soon(asked.reader.readexactly(10))
        await asked.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await asked.at_end()

    replica = await world.replica(script)
    client = await world.client()
    await client.send(post(b"x" * 1000)[:-900])
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("Connection")) == (413, b"no!", "close")
    assert await client.at_end()
    await until(lambda: not replica.open, "the half-used connection is not kept")


async def test_early_own_answer_keeps_the_connection_if_little_is_missing(world: World) -> None:
    """A short rest of a body is read and thrown away; a long one ends the connection."""
    await world.start()
    client = await world.client()
    put = request("PUT", "/", "nobody", body=b"y" * 1000)
    await client.send(put[:-500])
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (404, None)
    await client.send(put[-500:] + MODELS)
    assert (await client.answer()).status == 200
    await client.send(request("PUT", "/", "nobody", "Content-Length: 10000000"))
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (404, "close")
    assert await client.at_end()


async def test_hop_by_hop_fields_are_dropped_both_ways(world: World) -> None:
    """Those of the protocol and those that Connection names; TE says what Stoker can do."""
    await world.start()
    hops = ["Keep-Alive: timeout=5", "TE: trailers", "Proxy-Connection: keep-alive", "X-Hop: 1"]
    answer_head = ["Connection: X-Hop, close", "Upgrade: h3", *hops[:3], "X-Hop: 2", "X-Stays: 3"]
    replica = await world.replica(says(ok(b"", *answer_head)))
    client = await world.client()
    more = ["Connection: x-hop,, Keep-Alive", "Proxy-Authorization: secret", "X-Stays: 1"]
    answer = await client.ask(get("/", "digits.localhost", *hops, *more, "Upgrade: h2c"))
    (seen,) = replica.seen
    for message in (seen, answer):
        names = {name.lower() for name, _ in message.headers}
        gone = {"keep-alive", "proxy-connection", "x-hop", "upgrade"}
        assert not names & gone
        assert "x-stays" in names
    assert (answer.get("Connection"), answer.get("TE")) == (None, None)
    assert (seen.get("Connection"), seen.get("TE")) == ("TE", "trailers")
    assert seen.get("Proxy-Authorization") is None


async def test_connection_cannot_name_away_what_stoker_relies_on(world: World) -> None:
    """Host, framing and X-Forwarded-For reach the replica whatever Connection lists."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    naming = "Connection: host, content-length, x-forwarded-for"
    answer = await client.ask(post(b"body", "/", "digits.localhost", naming))
    assert answer.body == b"body"
    assert replica.seen[0].get("Host") == "digits.localhost"
    assert replica.seen[0].get("X-Forwarded-For") == "127.0.0.1"


SPOOFED = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example")


async def test_forwarded_fields_are_set(world: World) -> None:
    """Whatever the client says of itself is replaced by what is known."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get("/", "digits.localhost:80", *SPOOFED, "Forwarded: for=1.2.3.4"))
    (seen,) = replica.seen
    assert seen.get("X-Forwarded-For") == "127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "http"
    assert seen.get("X-Forwarded-Host") == seen.get("Host") == "digits.localhost:80"
    assert seen.get("Forwarded") is None


async def test_forwarded_fields_are_trusted_by_setting(world: World) -> None:
    """Behind a proxy of one's own they are passed on, with the proxy's address added."""
    await world.start(trust_forwarded_headers=True)
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get("/", "digits.localhost", *SPOOFED, "X-Forwarded-For: 5.6.7.8"))
    await client.ask(get())
    one, other = replica.seen
    assert one.get("X-Forwarded-For") == "1.2.3.4, 5.6.7.8, 127.0.0.1"
    assert other.get("X-Forwarded-For") == "127.0.0.1"
    assert [seen.get("X-Forwarded-Proto") for seen in replica.seen] == ["https", "http"]
    assert one.get("X-Forwarded-Host") == "a.example"
    assert other.get("X-Forwarded-Host") == "digits.localhost"


@pytest.mark.parametrize(
    ("sent", "length", "coding"),
    [
        (get(), None, None),
        (post(b""), "0", None),
        (post(b"abc"), "3", None),
        (request("POST", "/", "digits.localhost"), "0", None),
        (request("DELETE", "/", "digits.localhost", body=b"xy"), "2", None),
        (
            request("POST", "/", "digits.localhost", "Transfer-Encoding: Chunked") + chunks(b"ab"),
            None,
            "chunked",
        ),
        (
            request("GET", "/", "digits.localhost", "Transfer-Encoding: chunked") + chunks(),
            None,
            "chunked",
        ),
    ],
)
async def test_exactly_one_framing_to_the_replica(
    world: World, sent: bytes, length: str | None, coding: str | None
) -> None:
    """A length, chunks, or nothing where there is no body; never two of them."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(sent)).status == 200
    (seen,) = replica.seen
    assert (seen.get("Content-Length"), seen.get("Transfer-Encoding")) == (length, coding)


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("http://digits.localhost/a/b?c", "digits.localhost", "/a/b?c"),
        ("HTTP://digits.localhost:8080", "digits.localhost:8080", "/"),
        ("https://digits.localhost?q=/x", "digits.localhost", "/?q=/x"),
    ],
)
async def test_absolute_form(world: World, target: str, host: str, path: str) -> None:
    """The host of the target counts, not the one of the field; the replica gets a path."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(get(target, "elsewhere"))).status == 200
    assert replica.seen[0].target == path
    assert replica.seen[0].get("Host") == host


async def test_options_asterisk(world: World) -> None:
    """It is passed on like any other."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(request("OPTIONS", "*", "digits.localhost"))).status == 200
    assert replica.seen[0].target == "*"


@pytest.mark.parametrize("body", [b"", b"a body", None], ids=["none", "length", "chunked"])
async def test_an_offered_upgrade_to_http_2_is_declined(world: World, body: bytes | None) -> None:
    """Some clients offer it with every first request: served in 1.1, body and next request."""
    await world.start()
    await world.replica(echo)
    client = await world.client()
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"]
    if body is None:
        head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked", *offer)
        data = head + chunks(b"in ", b"pieces")
    else:
        data = post(body, "/", "digits.localhost", *offer)
    want = b"in pieces" if body is None else body
    assert (await client.ask(data)).body == want
    await client.send(data[:-3], data[-3:] + data + post(b"next"))
    assert (await client.answer()).body == want
    assert (await client.answer()).body == want
    assert (await client.answer()).body == b"next"


async def test_many_offered_upgrades_in_one_write(world: World) -> None:
    """However many there are, they do not pile up on the stack."""
    await world.start(max_pipelined=2000)
    await world.replica(echo)
    client = await world.client()
    one = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    await client.send(one * 900)
    for _ in range(900):
        assert (await client.answer()).status == 200
    await client.send(one + b"BAD\r\n\r\n")
    assert [(await client.answer()).status for _ in range(2)] == [200, 400]


H = b"Host: digits.localhost\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
# Bodies begin as JSON does: what is none is known to name no model at its first byte.
MALFORMED: dict[str, tuple[bytes, int]] = {
    "length-and-chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks-and-length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    "two-lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    "same-length-twice": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    "list-of-lengths": (POST + b"Content-Length: 5, 5\r\n\r\n", 400),
    "signed-length": (POST + b"Content-Length: +5\r\n\r\n", 400),
    "negative-length": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "hex-length": (POST + b"Content-Length: 0x5\r\n\r\n", 400),
    "empty-length": (POST + b"Content-Length:\r\n\r\n", 400),
    "huge-length": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "two-hosts": (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "no-host": (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
    "no-host-absolute": (b"GET http://digits.localhost/ HTTP/1.1\r\n\r\n", 400),
    "gzip-chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked-gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "two-codings": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        400,
    ),
    "hidden-coding": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    "chunks-in-1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare-lf": (b"GET / HTTP/1.1\nHost: digits.localhost\n\n", 400),
    "bare-lf-field": (b"GET / HTTP/1.1\r\n" + H + b"X: a\nY: b\r\n\r\n", 400),
    "bare-cr": (b"GET / HTTP/1.1\r\n" + H + b"X: a\rY: b\r\n\r\n", 400),
    "obs-fold": (b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n", 400),
    "fold-before-first": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "nul-in-value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\x00b\r\n\r\n", 400),
    "control-in-value": (b"GET / HTTP/1.1\r\n" + H + b"X: a\x01b\r\n\r\n", 400),
    "control-in-name": (b"GET / HTTP/1.1\r\n" + H + b"X\x01: a\r\n\r\n", 400),
    "control-in-target": (b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "blank-before-colon": (b"GET / HTTP/1.1\r\n" + H + b"X : a\r\n\r\n", 400),
    "no-colon": (b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "unknown-method": (b"FOO / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "relative-target": (b"GET digits HTTP/1.1\r\n" + H + b"\r\n", 400),
    "user-in-target": (b"GET http://u@digits.localhost/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    "hostless-target": (b"GET http:///x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "ftp-target": (b"GET ftp://digits.localhost/x HTTP/1.1\r\n" + H + b"\r\n", 400),
    "get-asterisk": (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "http-0.9": (b"GET /\r\n\r\n", 505),
    "http-2": (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http-1.2": (b"GET / HTTP/1.2\r\n" + H + b"\r\n", 400),
    "connect": (b"CONNECT digits.localhost:80 HTTP/1.1\r\n" + H + b"\r\n", 405),
    "expect": (POST + b"Expect: 200-ok\r\nContent-Length: 5\r\n\r\n", 417),
    "chunk-bare-lf": (CHUNKED + b'5\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-too-long": (CHUNKED + b'4\r\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-hex-prefix": (CHUNKED + b'0x5\r\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-negative": (CHUNKED + b'-5\r\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-blank": (CHUNKED + b' 5\r\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-overflow": (CHUNKED + b"fffffffffffffffff\r\n", 400),
    "chunk-extension-lf": (CHUNKED + b'5;a\nb\r\n{"abc\r\n0\r\n\r\n', 400),
    "chunk-extension-endless": (CHUNKED + b"5;" + b"a" * 200_000, 400),
    "chunk-extensions-many": (CHUNKED + (b"1;" + b"a" * 1000 + b"\r\n{\r\n") * 150, 400),
    "chunk-extension-behind-data": (CHUNKED + b'5\r\n{"abc\r\n5;' + b"a" * 200_000, 400),
    "trailer-with-length": (CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", 400),
    "trailer-with-coding": (CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "trailer-with-lf": (CHUNKED + b"0\r\nX: a\nY: b\r\n\r\n", 400),
    "trailers-endless": (CHUNKED + b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyy\r\n" * 9_000, 431),
    "trailers-dropped-endless": (CHUNKED + b"0\r\n" + b"TE: yyyyyyyyyyyyyyyyyyyy\r\n" * 9_000, 431),
    "trailers-too-many": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    "trailers-too-long": (CHUNKED + b"0\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "trailer-value-endless": (CHUNKED + b"0\r\nX: " + b"y" * 200_000, 431),
    "target-too-long": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 431),
    "target-endless": (b"GET /" + b"a" * 200_000, 431),
    "field-too-long": (b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "field-endless": (b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 200_000, 431),
    "name-endless": (b"GET / HTTP/1.1\r\n" + H + b"X" * 200_000, 431),
    "host-too-long": (b"GET / HTTP/1.1\r\nHost: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "too-many-fields": (b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 101 + b"\r\n", 431),
    "too-many-dropped-fields": (b"GET / HTTP/1.1\r\n" + H + b"TE: y\r\n" * 101 + b"\r\n", 431),
    "too-many-controls": (
        b"GET / HTTP/1.1\r\n" + H + b"".join(b"Stoker-%d: y\r\n" % n for n in range(101)) + b"\r\n",
        431,
    ),
    "controls-too-long": (
        b"GET / HTTP/1.1\r\n" + H + b"Stoker-X: " + b"y" * 40_000 + b"\r\n\r\n",
        431,
    ),
    "100k-fields": (b"GET / HTTP/1.1\r\n" + H + b"X:\r\n" * 100_000 + b"\r\n", 431),
    "100k-dropped-fields": (b"GET / HTTP/1.1\r\n" + H + b"TE:\r\n" * 100_000 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed(world: World, name: str) -> None:
    """Refused with the status that tells why, counted; the replica gets no whole request."""
    data, status = MALFORMED[name]
    await world.start()
    whole: list[bytes] = []

    async def script(asked: Asked) -> None:
        whole.append(await asked.read())

    await world.replica(script)
    client = await world.client()
    client.writer.write(data)
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (status, "close")
    assert json.loads(answer.body)["error"]["type"] == "malformed"
    assert await client.at_end()
    assert world.activator.malformed == {status: 1}
    assert whole == []


async def test_malformed_again_behind_an_answered_request(world: World) -> None:
    """The same refusals on a connection that has been used."""
    await world.start()
    await world.replica(echo)
    for data, status in MALFORMED.values():
        client = await world.client()
        await client.send(post(b"good"))
        assert (await client.answer()).body == b"good"
        client.writer.write(data)
        assert (await client.answer()).status == status
        assert await client.at_end()


async def test_a_head_at_the_limit_passes(world: World) -> None:
    """Just below max-head-bytes and at max-headers nothing is refused, pipelined or not."""
    await world.start(max_head_bytes=4096, max_headers=10)
    replica = await world.replica(echo)
    client = await world.client()
    data = get("/", "digits.localhost", *["X: y"] * 9, "Z: " + "z" * 3900)
    await client.send(data * 20)
    for _ in range(20):
        assert (await client.answer()).status == 200
    assert len(replica.seen) == 20
    await client.send(get("/", "digits.localhost", "Z: " + "z" * 4100))
    assert (await client.answer()).status == 431


async def test_body_too_long(world: World) -> None:
    """By its announced length at once, by its chunks when it gets there."""
    await world.start(max_body_bytes=1000)
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(post(b"x" * 1000))).status == 200
    await client.send(request("POST", "/", "digits.localhost", "Content-Length: 1001"))
    answer = await client.answer()
    assert answer.status == 413
    assert "max-body-bytes = 1000" in answer.error
    client = await world.client()
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    await client.send(head + b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert (await client.answer()).status == 413
    await until(lambda: not replica.open or len(replica.seen) == 1)


async def test_bad_chunks_while_the_answer_has_begun(world: World) -> None:
    """Nothing can be said any more: the connection breaks."""
    await world.start()

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst")
        await asked.at_end()

    await world.replica(script)
    client = await world.client()
    await client.send(CHUNKED + b"1\r\nx\r\n")
    assert (await client.head()).status == 200
    await client.send(b"rubbish\r\n")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await soon(client.reader.readexactly(1000))
    assert world.refused == {Reason.CLIENT_GONE: 1}


async def test_head_timeout(world: World) -> None:
    """A head that does not arrive gets 408, also on a connection that has been used."""
    await world.start(head_timeout=50.0, client_idle_timeout=1000.0)
    await world.replica(echo)
    client = await world.client()
    used = await world.client()
    assert (await used.ask(get())).status == 200
    for each in (client, used):
        await each.send(b"GET / HT")
    await until(lambda: all(c._receiving is not None for c in world.activator.connections))
    world.jump(51.0)
    for each in (client, used):
        assert (await each.answer()).status == 408
        assert await each.at_end()


async def test_a_body_that_must_name_the_model_times_out(world: World) -> None:
    """So does a body that is needed to know the model and does not come."""
    await world.start(head_timeout=50.0)
    client = await world.client()
    await client.send(post(b'{"prompt": "x"}', "/v1/completions", "nobody")[:-5])
    (connection,) = await world.connections(1)
    await until(lambda: connection.exchange is not None)
    world.jump(51.0)
    answer = await client.answer()
    assert answer.status == 408
    assert await client.at_end()


async def test_idle_connections_end(world: World) -> None:
    """After client-idle-timeout, without a word; so do new ones that say nothing."""
    await world.start(head_timeout=50.0, client_idle_timeout=60.0)
    await world.replica(echo)
    used = await world.client()
    assert (await used.ask(get())).status == 200
    world.jump(61.0)
    assert await used.at_end()
    fresh = await world.client()
    await world.connections(1)
    world.jump(51.0)
    assert await fresh.at_end()


async def test_a_client_that_does_not_take_its_answer_is_let_go(world: World) -> None:
    """The answer is complete, the client reads nothing: not kept for ever."""
    await world.start(client_idle_timeout=60.0)
    await world.replica(says(ok(b"x" * 6_000_000)))
    client = await world.client(limit=4096)
    await client.send(get())
    (connection,) = await world.connections(1)
    await until(lambda: connection.write_paused)
    world.jump(10_000.0)
    await until(lambda: not world.activator.connections)


async def test_aiohttp_client(world: World) -> None:
    """A client that was not written for this: JSON, chunks, many at once."""
    await world.start()
    await world.replica(echo)
    url = f"http://127.0.0.1:{world.address().port}/"
    headers = {"Host": "digits.localhost"}

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(10):
            yield b"%d" % number * 1000

    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(number: int) -> None:
            async with session.post(url, json={"number": number}) as answer:
                assert await answer.json(content_type=None) == {"number": number}

        await asyncio.gather(*map(ask, range(64)))
        async with session.post(url, data=pieces()) as answer:
            assert await answer.read() == b"".join([b"%d" % n * 1000 for n in range(10)])
