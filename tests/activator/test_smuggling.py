"""What request smuggling lives on: refused, or understood by all parties alike.

Each attempt carries a request for /smuggled which, were the attempt to succeed, one party would
take for a request of its own and the other for something else.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.activator.world import World, echo, get, post, until

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: digits.localhost\r\n\r\n"
LINE = b"POST / HTTP/1.1\r\n"
HOST = b"Host: digits.localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def framed(*fields: bytes, body: bytes = END + SMUGGLED, line: bytes = LINE) -> bytes:
    """A POST with these field lines, line ends and all."""
    return line + HOST + b"".join(fields) + b"\r\n" + body


def length(body: bytes = END + SMUGGLED) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def coded(coding: bytes) -> bytes:
    """An attempt to hide a coding from one party while the other takes the length."""
    return framed(length(), coding + b"\r\n")


def in_chunks(body: bytes) -> bytes:
    return framed(CHUNKED, body=body)


REFUSED: dict[str, tuple[bytes, int]] = {
    # one party takes the length, the other the chunks
    "cl-te": (framed(length(), CHUNKED), 400),
    "te-cl": (framed(CHUNKED, b"Content-Length: 4\r\n"), 400),
    "te-te": (framed(CHUNKED, CHUNKED), 400),
    "te-unknown-last": (framed(CHUNKED, b"Transfer-Encoding: x\r\n"), 400),
    "te-unknown-first": (framed(b"Transfer-Encoding: x\r\n", CHUNKED), 400),
    "te-list": (framed(b"Transfer-Encoding: chunked, chunked\r\n"), 400),
    "te-empty-item": (framed(b"Transfer-Encoding: ,chunked\r\n"), 400),
    "te-identity": (framed(b"Transfer-Encoding: identity, chunked\r\n"), 400),
    "te-parameter": (framed(b"Transfer-Encoding: chunked;q=1\r\n"), 400),
    "te-quoted": (framed(b'Transfer-Encoding: "chunked"\r\n'), 400),
    "te-prefix": (coded(b"Transfer-Encoding: chunk"), 400),
    "te-x": (coded(b"Transfer-Encoding: xchunked"), 400),
    "te-empty": (coded(b"Transfer-Encoding:"), 400),
    "te-blank-before-colon": (coded(b"Transfer-Encoding : chunked"), 400),
    "te-tab-before-colon": (coded(b"Transfer-Encoding\t: chunked"), 400),
    "te-vertical-tab": (coded(b"Transfer-Encoding: \x0bchunked"), 400),
    "te-form-feed-behind": (coded(b"Transfer-Encoding: chunked\x0c"), 400),
    "te-nul-behind": (coded(b"Transfer-Encoding: chunked\x00"), 400),
    "te-folded": (coded(b"Transfer-Encoding:\r\n chunked"), 400),
    "te-behind-fold": (coded(b"X: y\r\n Transfer-Encoding: chunked"), 400),
    "te-behind-lf": (coded(b"X: y\nTransfer-Encoding: chunked"), 400),
    "te-behind-cr": (coded(b"X: y\rTransfer-Encoding: chunked"), 400),
    "te-leading-blank": (framed(length(), b" Transfer-Encoding: chunked\r\n"), 400),
    "te-colon-in-next-line": (coded(b"Transfer-Encoding\r\n: chunked"), 400),
    "te-in-1.0": (framed(CHUNKED, line=b"POST / HTTP/1.0\r\n"), 400),
    "te-in-1.0-with-length": (framed(length(), CHUNKED, line=b"POST / HTTP/1.0\r\n"), 400),
    # lengths that parties read differently
    "cl-twice": (framed(b"Content-Length: 0\r\n", length()), 400),
    "cl-twice-equal": (framed(length(), length()), 400),
    "cl-list": (framed(b"Content-Length: 0, 5\r\n"), 400),
    "cl-list-equal": (framed(b"Content-Length: 5, 5\r\n"), 400),
    "cl-plus": (framed(b"Content-Length: +5\r\n"), 400),
    "cl-minus": (framed(b"Content-Length: -5\r\n"), 400),
    "cl-hex": (framed(b"Content-Length: 0x5\r\n"), 400),
    "cl-underscore": (framed(b"Content-Length: 5_0\r\n"), 400),
    "cl-blank-inside": (framed(b"Content-Length: 5 0\r\n"), 400),
    "cl-fraction": (framed(b"Content-Length: 5.0\r\n"), 400),
    "cl-exponent": (framed(b"Content-Length: 5e1\r\n"), 400),
    "cl-empty": (framed(b"Content-Length: \r\n"), 400),
    "cl-arabic-digit": (framed("Content-Length: \u0665\r\n".encode()), 400),
    "cl-nul": (framed(b"Content-Length: 5\x00\r\n"), 400),
    "cl-overflow": (framed(b"Content-Length: 18446744073709551617\r\n"), 400),
    "cl-folded": (framed(b"Content-Length:\r\n 5\r\n"), 400),
    "cl-blank-before-colon": (framed(b"Content-Length : 5\r\n"), 400),
    # chunks that parties cut differently
    "chunk-overflow": (in_chunks(b"10000000000000005\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-hex-prefix": (in_chunks(b"0x5\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-plus": (in_chunks(b"+5\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-minus": (in_chunks(b"-0\r\n\r\n" + SMUGGLED), 400),
    "chunk-blank-before": (in_chunks(b" 5\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-blank-behind": (in_chunks(b"5 \r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-tab-behind": (in_chunks(b"5\t\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-empty-size": (in_chunks(b"\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-underscore": (in_chunks(b"0_5\r\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-lf": (in_chunks(b"5\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-cr": (in_chunks(b"5\rhello\r\n" + END + SMUGGLED), 400),
    "chunk-data-lf": (in_chunks(b"5\r\nhello\n" + END + SMUGGLED), 400),
    "chunk-data-unended": (in_chunks(b"5\r\nhelloXX" + END + SMUGGLED), 400),
    "chunk-extension-lf": (in_chunks(b"5;\nhello\r\n" + END + SMUGGLED), 400),
    "chunk-extension-cr": (in_chunks(b"5;a\rb\r\nhello\r\n" + END + SMUGGLED), 400),
    "last-chunk-lf": (in_chunks(b"0\n\n" + SMUGGLED), 400),
    "last-chunk-half-lf": (in_chunks(b"0\r\n\n" + SMUGGLED), 400),
    "trailer-length": (in_chunks(b"0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED), 400),
    "trailer-lf": (in_chunks(b"0\r\nX: y\n\r\n" + SMUGGLED), 400),
    # heads that parties end or read differently
    "bare-lf-lines": (b"GET / HTTP/1.1\nHost: digits.localhost\n\n" + SMUGGLED, 400),
    "cr-cr-lf": (framed(b"X: y\r\r\n"), 400),
    "nul-in-name": (framed(b"Content-Length\x00: 5\r\n"), 400),
    "nul-in-value": (framed(b"X: \x00\r\n"), 400),
    "nul-in-target": (framed(line=b"POST /\x00 HTTP/1.1\r\n"), 400),
    "bracket-in-name": (framed(b"Content-Length(: 5\r\n"), 400),
    "utf-8-in-name": (framed("Content-L\u0435ngth: 5\r\n".encode()), 400),
    "no-name": (framed(b": y\r\n"), 400),
    "no-colon": (framed(b"Content-Length 5\r\n"), 400),
    "two-hosts": (framed(b"Host: other\r\n"), 400),
    "two-hosts-one-folded": (framed(b"X: y\r\n Host: other\r\n"), 400),
    "host-with-blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + SMUGGLED, 400),
    "host-with-path": (b"GET / HTTP/1.1\r\nHost: digits.localhost/x\r\n\r\n" + SMUGGLED, 400),
    "host-with-user": (b"GET / HTTP/1.1\r\nHost: a@digits.localhost\r\n\r\n" + SMUGGLED, 400),
    "host-with-latin-1": (b"GET / HTTP/1.1\r\nHost: d\xefgits\r\n\r\n" + SMUGGLED, 400),
    "target-host-with-blank": (framed(line=b"GET http://a\x20b/ HTTP/1.1\r\n"), 400),
    # one party ends the path there, the other does not
    "fragment-in-target": (framed(line=b"POST /public#/../private HTTP/1.1\r\n"), 400),
    "fragment-in-url": (framed(line=b"POST http://digits.localhost/?a#b HTTP/1.1\r\n"), 400),
    "target-host-with-quote": (framed(line=b'GET http://a"b/ HTTP/1.1\r\n'), 400),
    "method-lower-case": (framed(line=b"post / HTTP/1.1\r\n"), 400),
    "method-with-brace": (framed(line=b"PO{T / HTTP/1.1\r\n"), 400),
    "method-with-nul": (framed(line=b"PO\x00T / HTTP/1.1\r\n"), 400),
    "method-very-long": (framed(line=b"P" * 100_000 + b" / HTTP/1.1\r\n"), 400),
    "no-method": (framed(line=b" / HTTP/1.1\r\n"), 400),
    "two-blanks": (framed(line=b"POST / x HTTP/1.1\r\n"), 400),
    "tab-for-blank": (framed(line=b"POST\t/\tHTTP/1.1\r\n"), 400),
    "answer-for-request": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + SMUGGLED, 400),
    "http-0.9": (b"GET /\r\n\r\n" + SMUGGLED, 505),
    "http-1.10": (framed(line=b"POST / HTTP/1.10\r\n"), 400),
    "http-lower-case": (framed(line=b"POST / http/1.1\r\n"), 400),
    "https-for-version": (framed(line=b"POST / HTTPS/1.1\r\n"), 400),
    "connect": (b"CONNECT digits.localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, 405),
}


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", REFUSED)
async def test_refused(world: World, name: str, cut: bool) -> None:
    """With one answer that says why and then the end; no replica hears of /smuggled."""
    data, status = REFUSED[name]
    if cut and len(data) > 10_000:
        data = data[:2000] + data[-2000:]
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    for piece in [data[i : i + 1] for i in range(len(data))] if cut else [data]:
        client.writer.write(piece)
        if cut:
            await asyncio.sleep(0)
    answer = await client.answer()
    assert (answer.status, answer.get("Connection")) == (status, "close")
    assert await client.at_end()
    assert [seen.target for seen in replica.seen if seen.target != "/"] == []
    assert len(replica.seen) <= 1


Seen = tuple[str, str, bytes]
HARMLESS: dict[str, tuple[bytes, list[Seen]]] = {
    "get-with-a-body": (
        framed(length(SMUGGLED), line=b"GET / HTTP/1.1\r\n", body=SMUGGLED),
        [("GET", "/", SMUGGLED)],
    ),
    "delete-with-a-body": (
        framed(length(SMUGGLED), line=b"DELETE / HTTP/1.1\r\n", body=SMUGGLED),
        [("DELETE", "/", SMUGGLED)],
    ),
    "coding-in-capitals": (
        framed(b"tRANSFER-eNCODING:\tCHUNKED \r\n", body=b"2\r\nhi\r\n" + END),
        [("POST", "/", b"hi")],
    ),
    "length-with-blanks": (
        framed(b"Content-Length:  2 \r\n", body=b"hi"),
        [("POST", "/", b"hi")],
    ),
    "length-with-zeros": (
        framed(b"Content-Length: 0002\r\n", body=b"hi"),
        [("POST", "/", b"hi")],
    ),
    "length-with-underscore": (
        framed(b"Content_Length: 40\r\n", length(b"hi"), body=b"hi"),
        [("POST", "/", b"hi")],
    ),
    "coding-with-underscore": (
        framed(b"Transfer_Encoding: chunked\r\n", length(), body=END + SMUGGLED),
        [("POST", "/", END + SMUGGLED)],
    ),
    "chunk-with-zeros": (in_chunks(b"00000005\r\nhello\r\n" + END), [("POST", "/", b"hello")]),
    "chunk-extension": (
        in_chunks(b'5;a="b;c"\r\nhello\r\n0;' + b"x" * 50 + b"\r\n\r\n"),
        [("POST", "/", b"hello")],
    ),
    "connection-names-length": (
        framed(b"Connection: content-length\r\n", length(SMUGGLED), body=SMUGGLED),
        [("POST", "/", SMUGGLED)],
    ),
    "connection-names-coding": (
        framed(b"Connection: transfer-encoding\r\n", CHUNKED, body=b"2\r\nhi\r\n" + END),
        [("POST", "/", b"hi")],
    ),
    "connection-names-host": (
        framed(b"Connection: host\r\n", length(SMUGGLED), body=SMUGGLED),
        [("POST", "/", SMUGGLED)],
    ),
    "connection-names-model": (
        b"POST / HTTP/1.1\r\nHost: nobody\r\nstoker-model: digits\r\nConnection: stoker-model\r\n"
        b"Content-Length: 0\r\n\r\n",
        [("POST", "/", b"")],
    ),
    "expectation-without-a-wait": (
        framed(b"Expect: 100-continue\r\n", length(SMUGGLED), body=SMUGGLED),
        [("POST", "/", SMUGGLED)],
    ),
    "h2c-with-a-body": (
        framed(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
            length(SMUGGLED),
            body=SMUGGLED,
        ),
        [("POST", "/", SMUGGLED)],
    ),
    "empty-lines-before": (b"\r\n\r\n" + post(b"hi"), [("POST", "/", b"hi")]),
    "host-of-the-target-counts": (
        b"GET http://digits.localhost/x HTTP/1.1\r\nHost: nobody\r\n\r\n",
        [("GET", "/x", b"")],
    ),
    "no-body-in-1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"\r\n",
        [("POST", "/", b"")],
    ),
    "pipelined-behind-close": (
        get("/", "digits.localhost", "Connection: close") + SMUGGLED,
        [("GET", "/", b"")],
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_harmless(world: World, name: str) -> None:
    """One request with one body, framed in one way, for the replica as for Stoker."""
    data, wanted = HARMLESS[name]
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    client.writer.write(data)
    answer = await client.answer(data.lstrip().split(b" ")[0].decode())
    assert answer.status == 200
    assert [(seen.method, seen.target, seen.body) for seen in replica.seen] == wanted
    for seen in replica.seen:
        assert seen.get("Host") == ("nobody" if name.endswith("model") else "digits.localhost")
        assert (seen.get("Content-Length") is None) or (seen.get("Transfer-Encoding") is None)
    if b"close" not in data and b"/1.0" not in data:
        # Whatever follows is the next request, and nothing of the last one is left.
        await client.send(get("/next"))
        while (await client.answer()).status != 200:
            pass
        await until(lambda: replica.seen[-1].target == "/next")
    else:
        assert await client.at_end()


async def test_the_next_client_is_not_affected(world: World) -> None:
    """After every attempt the connections to the replica still carry one request at a time."""
    await world.start()
    replica = await world.replica(echo)
    for data, _ in REFUSED.values():
        bad = await world.client()
        bad.writer.write(data)
        assert (await bad.answer()).status >= 400
        bad.reset()
        good = await world.client()
        assert (await good.ask(post(b"mine"))).body == b"mine"
        good.close()
    assert {seen.target for seen in replica.seen} == {"/"}
