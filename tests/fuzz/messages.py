"""Requests and answers with marks in them, sound or spoilt, made up from choices.

A mark is ``<123456>``. Every request and every answer has one of its own, all over it, so
that a byte that turns up in the wrong place can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fuzz.choices import Choices
from tests.fuzz.stage import Segment

MARKS = re.compile(rb"<(\d{6})>")
HOST = b"digits.localhost"
SIZES = (0, 1, 5, 40, 400, 9000, 9000, 300_000)
# Bytes and lines that framing hangs on, and some that belong nowhere.
SNIPPETS = (
    *(bytes([byte]) for byte in (*b'\r\n\t :;,0159afAF+-_xX."\\', 0, 11, 12, 127, 128, 255)),
    *(b"\r\n", b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"5\r\n", b"\r\n0\r\n\r\n", b"\r\n ", b";a=b"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    *(b"GET /smuggled HTTP/1.1\r\nHost: digits.localhost\r\n\r\n", b"HTTP/1.0", b"HTTP/1.1"),
    *(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    *(b"X: y\r\n", b"x" * 300, b"ffffffffffffffff", b"18446744073709551616", b"0x5", b"chunked"),
)


# Numbers are scattered so that a mark in which a digit was changed is not another's.
PRIME, FACTOR = 999_983, 7919
INVERSE = pow(FACTOR, -1, PRIME)


def mark(number: int) -> bytes:
    return b"<%06d>" % (number * FACTOR % PRIME)


def marks(data: bytes) -> set[int]:
    """The numbers of all whole marks in ``data``."""
    return {int(found) * INVERSE % PRIME for found in MARKS.findall(data)}


def chunked(body: bytes, choices: Choices, trailers: bytes = b"") -> bytes:
    pieces = []
    while body:
        size = 1 + choices.number(min(len(body), 60_000)) if choices else len(body)
        piece, body = body[:size], body[size:]
        extension = choices.one((b"", b"", b"", b";a=b", b';q="x;y"'))
        pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
    return b"".join(pieces) + b"0\r\n" + trailers + b"\r\n"


def spoilt(data: bytes, choices: Choices) -> bytes:
    """``data`` with up to four changes."""
    for _ in range(1 + choices.number(4)):
        at = choices.number(min(len(data), 65_535) + 1)
        what = choices.number(5)
        if what == 0:
            data = data[:at] + choices.one(SNIPPETS) + data[at:]
        elif what == 1:
            data = data[:at] + choices.one(SNIPPETS) + data[at + 1 :]
        elif what == 2:
            data = data[:at] + data[at + 1 + choices.number(8) :]
        elif what == 3:
            data = data[:at] + data[max(0, at - choices.number(100)) :]
        else:
            data = data[:at] + choices.take(1 + choices.number(8)) + data[at:]
    return data


@dataclass
class Ask:
    """A request as its client means it."""

    number: int
    method: bytes
    target: bytes
    data: bytes
    body: bytes
    offers: bool = False


def an_ask(number: int, choices: Choices) -> Ask:
    """A request that nothing is wrong with."""
    mine = mark(number)
    method = choices.one((b"GET", b"POST", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
    target = b"/%06d" % number
    lines = [b"X-Mark: " + mine]
    version = b"HTTP/1.0" if choices.chance(8) else b"HTTP/1.1"
    framing = choices.number(3)
    if framing == 2 and version == b"HTTP/1.0":
        framing = 1
    host = choices.one((HOST, HOST, HOST, HOST, b"nobody", b"peeked"))
    body = b""
    if framing:
        size = choices.one(SIZES)
        body = (mine * (size // len(mine) + 1))[:size]
        if host == b"peeked" or choices.chance(4):
            body = b'{"model": "digits", "stream": true, "prompt": "' + body + b'"}'
    extra = choices.number(20)
    offers = False
    if extra == 1:
        lines.append(b"Connection: close")
    elif extra == 2:
        lines.append(b"Connection: keep-alive, X-One")
        lines.append(b"X-One: " + mine)
    elif extra == 3 and framing:
        lines.append(b"Expect: 100-continue")
    elif extra == 4:
        lines.append(b"TE: trailers\r\nConnection: TE")
    elif extra in (5, 15, 16):
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket")
        offers = not framing or (framing == 1 and not body)
        offers = offers and version == b"HTTP/1.1"
    elif extra == 6:
        lines.append(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA")
    elif extra == 7:
        lines.append(b"Accept: text/event-stream")
    elif extra == 8:
        lines.append(b"stoker-deadline: %d" % choices.one((0, 1, 30)))
    elif extra == 9:
        lines.append(b"User-Agent: kube-probe/1")
    elif extra in (10, 11, 12):
        lines.append(b"Accept: text/event-stream")
    elif extra == 13:
        lines.append(b"stoker-priority: %d" % choices.number(3))
        lines.append(b"stoker-tenant: t%d" % choices.number(3))
    elif extra == 14:
        lines.append(b"Accept: text/html")
    shown = target
    if choices.chance(8):
        shown = b"http://" + host + target
    lines.insert(0, b"Host: " + host)
    if framing == 1:
        lines.append(b"Content-Length: %d" % len(body))
        sent = body
    elif framing == 2:
        lines.append(b"Transfer-Encoding: chunked")
        trailers = b"X-Sum: " + mine + b"\r\n" if choices.chance(3) else b""
        sent = chunked(body, choices, trailers)
    else:
        sent = b""
    head = b"%b %b %b\r\n" % (method, shown, version) + b"\r\n".join(lines) + b"\r\n\r\n"
    return Ask(number, method, target, head + sent, body, offers)


@dataclass
class Reply:
    """An answer as its replica means it. ``sound``: nothing is wrong with it as such.

    ``until_end``: its body ends with the connection. ``stray``: what comes behind it.
    """

    number: int
    segment: Segment
    status: int = 200
    head: bytes = b""
    sent: bytes = b""
    body: bytes = b""
    sound: bool = True
    until_end: bool = False
    stray: bytes = b""
    stray_number: int = -1
    then: str = ""  # "eof", "reset"; empty: the connection stays
    at: int = 0  # where in all that its connection carries it begins
    cuts: list[int] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return self.head + self.sent + self.stray


def a_reply(segment: Segment, numbers: Iterator[int], choices: Choices) -> Reply:
    """An answer for the request of ``segment``."""
    number = next(numbers)
    mine = mark(number)
    reply = Reply(number, segment)
    exchange = segment.exchange
    bodiless = exchange.method == b"HEAD"
    if exchange.offer and choices.number(2):
        reply.status = 101
        reply.head = (
            b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Answer: "
            + mine
            + b"\r\n\r\n"
        )
        reply.sent = mine * choices.number(4)
        return reply
    interim = b""
    for _ in range(choices.one((0, 0, 0, 0, 0, 1, 3))):
        interim += choices.one(
            (
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 103 Early\r\nLink: " + mine + b"\r\n\r\n",
                b"HTTP/1.1 102 Processing\r\n\r\n",
            )
        )
    reply.status = choices.one((200, 200, 200, 200, 201, 204, 304, 404, 500, 503, 421, 299))
    bodiless = bodiless or reply.status in (204, 304)
    lines = [b"X-Answer: " + mine]
    size = choices.one(SIZES)
    body = (mine * (size // len(mine) + 1))[:size]
    framing = choices.number(3)
    if choices.chance(6):
        lines.append(b"Content-Type: text/event-stream")
    if choices.chance(8):
        lines.append(b"Connection: close")
    if bodiless:
        body = b""
        if framing == 1 and reply.status != 204:
            lines.append(b"Content-Length: %d" % size)
    elif framing == 0:
        lines.append(b"Content-Length: %d" % len(body))
        reply.sent = body
    elif framing == 1:
        lines.append(b"Transfer-Encoding: chunked")
        trailers = b"X-Sum: " + mine + b"\r\n" if choices.chance(3) else b""
        reply.sent = chunked(body, choices, trailers)
    else:
        reply.until_end = True
        reply.sent = body
        reply.then = "eof"
    version = b"HTTP/1.0" if framing == 2 and choices.chance(3) else b"HTTP/1.1"
    reply.body = body
    reply.head = (
        interim + b"%b %d Fine\r\n" % (version, reply.status) + b"\r\n".join(lines) + b"\r\n\r\n"
    )
    misdeed = choices.number(12)
    if misdeed == 1 and not reply.until_end:
        reply.stray_number = next(numbers)
        stray = mark(reply.stray_number)
        reply.stray = choices.one(
            (
                stray,
                stray * 20,
                b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + stray,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n" + stray,
                b"\r\n",
            )
        )
    elif misdeed == 2:
        keep = choices.number(min(len(reply.data), 65_535) + 1)
        whole = reply.head + reply.sent
        reply.head, reply.sent = whole[:keep], b""
        reply.then = choices.one(("eof", "reset"))
        reply.sound = False
    elif misdeed == 3:
        whole = spoilt(reply.head + reply.sent, choices)
        reply.head, reply.sent = whole, b""
        reply.sound = False
    elif misdeed == 4:
        reply.then = choices.one(("eof", "reset"))
        if reply.until_end and reply.then == "reset":
            reply.sound = False
    return reply
