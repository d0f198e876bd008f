"""What must hold of every byte that was written, as a second parser (h11) reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import h11

from tests.fuzz.messages import Ask, Reply, marks
from tests.fuzz.stage import Guest, Server, Stage, Watched

LARGE = 10_000_000
# A head that begins a tunnel, behind other interim answers or not.
SWITCHED = re.compile(rb"(?:HTTP/1\.1 10[023] (?:.+\r\n)+\r\n)*HTTP/1\.[01] 101 (?:.+\r\n)+\r\n")
Fields = list[tuple[bytes, bytes]]


@dataclass
class Read:
    """A message as h11 reads it, as far as it has come. ``rest``: what comes behind it."""

    start: tuple[bytes, ...] = ()
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    complete: bool = False
    rest: bytes = b""
    interim: list[int] = field(default_factory=list)
    error: str = ""  # why h11 reads no further

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def _fields(headers: object) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in headers]  # type: ignore[attr-defined]


def read_request(data: bytes) -> Read:
    """The request that ``data`` begins with."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGE)
    server.receive_data(data)
    read = Read()
    while True:
        try:
            event = server.next_event()
        except h11.RemoteProtocolError as caught:
            read.error = str(caught)
            return read
        if isinstance(event, h11.Request):
            read.start = (event.method, event.target, event.http_version)
            read.fields = _fields(event.headers)
        elif isinstance(event, h11.Data):
            read.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            read.trailers = _fields(event.headers)
            read.complete = True
            read.rest = bytes(server.trailing_data[0])
            return read
        else:
            return read


def read_answer(data: bytes, method: bytes, *, ended: bool) -> Read:
    """The answer that ``data`` begins with. ``ended``: what comes behind ``data`` is the end."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGE)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if ended:
        client.receive_data(b"")
    read = Read()
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse):
            read.interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            read.start = (b"%d" % event.status_code, event.reason, event.http_version)
            read.fields = _fields(event.headers)
        elif isinstance(event, h11.Data):
            read.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            read.trailers = _fields(event.headers)
            read.complete = True
            read.rest = bytes(client.trailing_data[0])
            return read
        else:
            return read


class Judge:
    """Knows what was asked and answered in a run, and finds what should not be.

    ``loose``: what is passed on of replicas' fields need not please h11, which is stricter
    than llhttp about some of what they may contain.
    """

    def __init__(self, asks: Mapping[int, tuple[Guest, Ask]], replies: Mapping[int, Reply]) -> None:
        self.asks = asks
        self.replies = replies
        self.strays = {reply.stray_number: reply for reply in replies.values()}

    def judge(self, stage: Stage) -> None:
        for server in stage.servers:
            self.server(server)
        for guest in stage.guests:
            self.guest(guest)

    # --- what replicas were sent ---

    def server(self, server: Server) -> None:
        parts = list(server.parts())
        for number, (segment, data) in enumerate(parts):
            exchange = segment.exchange
            read = read_request(data)
            assert not read.error, (read, data)
            if number + 1 < len(parts):
                assert read.complete, ("a request was left unfinished", data)
            assert read.rest == b"", ("more than one request", data, read)
            self.request(exchange, read)
            self.request_marks(exchange, data)

    def request(self, exchange: Watched, read: Read) -> None:
        if not read.start:
            return
        assert read.start == (exchange.method, exchange.target, b"1.1"), (read, exchange.target)
        assert len(read.all(b"host")) == 1, read
        framings = read.all(b"content-length") + read.all(b"transfer-encoding")
        assert len(framings) <= 1, read
        got = bytes(exchange.got)
        if read.complete:
            assert exchange.body_complete, "ended before its client ended it"
            assert read.body == got, (read.body, got)
        else:
            assert got.startswith(read.body), (read.body, got)

    def request_marks(self, exchange: Watched, data: bytes) -> None:
        guest = exchange.guest
        for number in marks(data):
            assert number not in self.replies, ("an answer was sent to a replica", number)
            if number not in self.asks:
                continue  # a mark that was spoilt
            whose, ask = self.asks[number]
            assert whose is guest, ("from another client", number)
            if guest.plan is not None and guest.plan.sound:
                plan = guest.plan.asks[exchange.number]
                follows = plan.offers and ask.number > plan.number
                assert ask is plan or follows, ("of another request", number)

    # --- what clients were sent ---

    def guest(self, guest: Guest) -> None:
        wire = guest.wire
        if guest.plan is not None and guest.plan.sound:
            self.understood(guest)
        data = bytes(wire.taken + wire.outgoing)
        ended = wire.ended_cleanly
        number = 0
        while data:
            exchange = guest.exchanges[number] if number < len(guest.exchanges) else None
            method = exchange.method if exchange is not None and exchange.head_complete else b"GET"
            if SWITCHED.match(data):
                assert exchange is not None
                self.switched(exchange, data)
                return
            unclear = exchange is None or not exchange.head_complete
            read = read_answer(data, method, ended=False)
            if unclear and not read.complete:
                as_head = read_answer(data, b"HEAD", ended=False)
                read = as_head if as_head.complete and not as_head.rest else read
            if ended and not read.complete:
                try:
                    read = read_answer(data, method, ended=True)
                except h11.RemoteProtocolError:
                    # It took nothing for so long, or left: it was given up, visibly.
                    assert wire.aborted, ("ends in the middle", data)
                    return
            own = data[: len(data) - len(read.rest)]
            self.answer(guest, exchange, read, own)
            if not read.complete:
                assert not ended, ("ends cleanly in the middle", data)
                return
            data = read.rest
            if b"close" in read.all(b"connection"):
                assert data == b"", ("more behind a last answer", data)
            number += 1
        assert number <= len(guest.exchanges) + 1, "more answers than requests"

    def answer(self, guest: Guest, exchange: Watched | None, read: Read, data: bytes) -> None:
        for number in marks(data):
            if number in self.asks:
                assert self.asks[number][0] is guest, ("another client's request", number)
            elif number in self.replies:
                reply = self.replies[number]
                assert reply.segment.exchange is exchange, ("another's answer", number, data)
            elif number in self.strays:
                self.stray(self.strays[number], exchange)
        told = read.all(b"x-answer")
        if not told or exchange is None:
            return
        named = self.replies.get(max(marks(told[0]), default=0))
        if named is None or not named.sound or not read.complete:
            return
        reply = named
        assert int(read.start[0]) == reply.status
        wire = reply.segment.server.wire
        body = reply.body
        if reply.until_end:
            assert wire.complete, "taken for complete without its end"
            body = bytes(wire.delivered)[reply.at + len(reply.head) :]
        if exchange.method != b"HEAD":
            assert read.body == body, ("not what its replica sent", read, reply)

    def stray(self, reply: Reply, exchange: Watched | None) -> None:
        """What came too much: seen only where it cannot be told from an answer.

        That is when the connection was given to the next request before it came.
        """
        assert exchange is not None
        segments = reply.segment.server.segments
        later = segments[segments.index(reply.segment) + 1 :]
        assert any(s.exchange is exchange for s in later), ("a stray answer", reply)

    def switched(self, exchange: Watched, data: bytes) -> None:
        """A tunnel: from here on what its client gets is what its replica sent."""
        segment = exchange.segments[-1]
        reply = segment.plan
        head = SWITCHED.match(data)
        assert head is not None
        assert marks(head[0]) <= {reply.number}, ("another's tunnel", data)
        rest = data[head.end() :]
        sent = bytes(segment.server.wire.delivered)[reply.at :]
        sent = sent[re.search(rb"HTTP/1\.[01] 101", sent).start() :]  # type: ignore[union-attr]
        sent = sent.partition(b"\r\n\r\n")[2]
        assert sent.startswith(rest), (sent, rest)

    def understood(self, guest: Guest) -> None:
        """A client that did nothing wrong was understood as it meant it."""
        asks = guest.plan.asks
        assert len(guest.exchanges) <= len(asks), "more requests than it sent"
        for exchange in guest.exchanges:
            ask = asks[exchange.number]
            if not exchange.head_complete:
                assert exchange.number + 1 == len(guest.exchanges)
                continue
            assert (exchange.method, exchange.target) == (ask.method, ask.target), ask
            got = bytes(exchange.got)
            assert ask.body.startswith(got), (ask, got)
            if exchange.body_complete:
                assert got == ask.body, (ask, got)
