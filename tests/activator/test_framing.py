"""However the bytes are cut into reads, a connection comes to the same conclusions."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.http1 import ClientConnection
from activator.request import Request
from activator.server import Activator
from stoker.link import MemoryLink
from stoker.settings import ProcessConfig
from stoker.testing import FakePlatform, ManualClock
from tests.activator.test_http1 import MALFORMED
from tests.properties import costly


@dataclass
class Wire:
    """A transport that only notes what is done to it."""

    written: bytes = b""
    ended: bool = False
    paused: bool = False
    calls: list[str] = field(default_factory=list)

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class NoDepartures:
    """Nobody leaves."""

    def watch(self, fd: int, callback: object, *, half_open: bool = False) -> None:
        pass

    def unwatch(self, fd: int, callback: object) -> None:
        pass


@dataclass
class Seen:
    """A request as it was understood."""

    method: bytes
    target: bytes
    host: bytes | None
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    # False: it was answered before its body had come in full.
    complete: bool = field(default=True, compare=False)


class Recording(ClientConnection):
    """Notes what it has answered."""

    def __init__(self, activator: Activator) -> None:
        super().__init__(activator, "")
        self.seen: list[Seen] = []

    def finished(self, exchange: Request, now: float) -> None:
        fields = exchange.fields
        pairs = [(fields[at], fields[at + 2]) for at in range(0, len(fields), 4)]
        body = b"".join(exchange.body.chunks)
        lines = list(exchange.trailers)
        trailers = [(lines[at], lines[at + 2].strip()) for at in range(0, len(lines), 4)]
        whole = exchange.body_complete
        seen = Seen(exchange.method, exchange.target, exchange.host, pairs, body, trailers, whole)
        self.seen.append(seen)
        super().finished(exchange, now)


def outcome(pieces: list[bytes]) -> tuple[bytes, list[Seen]]:
    """What a client is answered that sends these pieces to an activator without models.

    Every request that is understood gets 404 in its turn, the first that is not the status
    that says why.
    """
    activator = Activator(ProcessConfig(), FakePlatform(), MemoryLink(), ManualClock())
    activator.departures = NoDepartures()  # type: ignore[assignment]
    connection = Recording(activator)
    wire = Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    for piece in pieces:
        for at in range(0, len(piece), len(activator.client_buffer)):
            part = piece[at : at + len(activator.client_buffer)]
            if wire.ended:
                break
            assert not wire.paused
            connection.get_buffer(-1)[: len(part)] = part
            connection.buffer_updated(len(part))
    connection.connection_lost(None)
    activator.spool.close()
    return wire.written, connection.seen


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


GOOD = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
PLACES = st.lists(st.integers(min_value=0, max_value=400), max_size=12)


@given(name=st.sampled_from(sorted(MALFORMED)), before=st.booleans(), places=PLACES)
@costly(50)
def test_malformed_in_any_pieces(name: str, before: bool, places: list[int]) -> None:
    """The same refusal, whatever came in which read, alone and behind a good request."""
    data, status = MALFORMED[name]
    whole = (GOOD if before else b"") + data
    written, seen = outcome(cut(whole, places))
    assert statuses(written) == [404] * before + [status]
    assert len(seen) == before


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_in_tiny_pieces(name: str) -> None:
    """A few bytes at a time."""
    data, status = MALFORMED[name]
    step = 1 if len(data) < 10_000 else 7
    written, _ = outcome([data[at : at + step] for at in range(0, len(data), step)])
    assert statuses(written) == [status]


HOPS = [b"Keep-Alive", b"TE", b"Upgrade", b"Connection", b"Trailer"]
NAMES = st.sampled_from([b"X-One", b"x-two", b"Accept", b"User-Agent", *HOPS])
VALUES = st.from_regex(rb"\A[!-~\x80-\xff]([ \t!-~\x80-\xff]{0,20}[!-~\x80-\xff])?\Z")
# Nobody knows before its end that a body which begins so names no model.
TRAILERS = st.lists(
    st.tuples(st.sampled_from([b"X-Sum", b"x-other", b"Digest"]), VALUES), max_size=3
)
BODIES = st.lists(st.binary(max_size=40).map(lambda data: b'{"' + data.hex().encode()), max_size=3)


@st.composite
def a_request(draw: st.DrawFn) -> bytes:
    """A valid request as h11 writes it."""
    body = draw(st.none() | BODIES)
    fields = [(b"Host", b"a.example"), *draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))]
    fields = [(n, b"x-one" if n == b"Connection" else v) for n, v in fields]
    if body is not None and draw(st.booleans()):
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif body is not None:
        fields.append((b"Content-Length", b"%d" % sum(map(len, body))))
    connection = h11.Connection(h11.CLIENT)
    data = connection.send(h11.Request(method=b"POST", target=b"/x?y", headers=fields)) or b""
    for piece in body or ():
        data += connection.send(h11.Data(data=piece)) or b""
    chunked = (b"Transfer-Encoding", b"chunked") in fields
    trailers = draw(TRAILERS) if chunked else []
    return data + (connection.send(h11.EndOfMessage(headers=trailers)) or b"")


def as_h11_sees_it(data: bytes, count: int) -> list[Seen]:
    """The same bytes parsed by h11, without what a proxy keeps to itself."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    seen: list[Seen] = []
    for number in range(count):
        asked = server.next_event()
        assert isinstance(asked, h11.Request)
        raw = [(bytes(name), bytes(value)) for name, value in asked.headers.raw_items()]
        named = {value for name, value in raw if name == b"Connection"}
        own = {b"host", b"content-length", b"transfer-encoding", *map(bytes.lower, HOPS)}
        fields = [(n, v) for n, v in raw if n.lower() not in own | named]
        body = b""
        while isinstance(event := server.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        trailers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
        seen.append(Seen(asked.method, asked.target, b"a.example", fields, body, trailers))
        server.send(h11.Response(status_code=204, headers=[]))
        server.send(h11.EndOfMessage())
        if number + 1 < count:
            server.start_next_cycle()
    return seen


@given(requests=st.lists(a_request(), min_size=1, max_size=4), places=PLACES)
@costly(50)
def test_valid_requests_in_any_pieces(requests: list[bytes], places: list[int]) -> None:
    """The same requests with the same fields and bodies as h11 sees, in whatever pieces."""
    data = b"".join(requests)
    written, seen = outcome(cut(data, places))
    assert seen == as_h11_sees_it(data, len(requests))
    assert statuses(written) == [404] * len(requests)


# Bytes that framing hangs on, and some that belong nowhere.
TELLING = st.sampled_from([*b'\r\n\t :;,0159afAF+-_xX."\\', 0, 11, 12, 127, 128, 255])
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "replace", "drop"]), st.integers(0, 2000), TELLING),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    for what, place, byte in changes:
        at = place % len(data)
        rest = data[at:] if what == "put" else data[at + 1 :]
        data = data[:at] + (b"" if what == "drop" else bytes([byte])) + rest
    return data


def as_h11_takes_it(data: bytes) -> list[Seen]:
    """The requests that h11 makes of the bytes before it finds something wrong."""
    seen: list[Seen] = []
    try:
        while True:
            seen = as_h11_sees_it(data, len(seen) + 1)
    except (AssertionError, h11.RemoteProtocolError, h11.LocalProtocolError):
        return seen


@given(requests=st.lists(a_request(), min_size=1, max_size=3), changes=CHANGES, places=PLACES)
@costly(75)
def test_damaged_requests_are_not_understood_differently(
    requests: list[bytes], changes: list[tuple[str, int, int]], places: list[int]
) -> None:
    """What Stoker and h11 both take, they take for the same requests with the same bodies."""
    data = changed(b"".join(requests), changes)
    written, seen = outcome(cut(data, places))
    theirs = as_h11_takes_it(data)
    for ours, other in zip(seen, theirs, strict=False):
        assert (ours.method, ours.target) == (other.method, other.target)
        assert ours.body == (other.body if ours.complete else other.body[: len(ours.body)])
    # Beyond what was understood there is at most one answer: the one that says what is wrong.
    assert len(statuses(written)) - len(seen) in (0, 1)


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FIELD = b"GET / HTTP/1.1\r\nHost: a\r\n"
# What never ends: how it begins, what goes on and on, and the status in the end.
ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "chunk-size-of-zeros": (CHUNKED, b"0", 400),
    "chunk-size-of-zeros-behind-data": (CHUNKED + b'2\r\n{"\r\n', b"0", 400),
    "chunk-size-of-digits": (CHUNKED, b"1", 400),
    "chunk-extension": (CHUNKED + b"2;a=", b"x", 400),
    "quoted-chunk-extension": (CHUNKED + b'2;a="', b"x", 400),
    "chunk-extensions": (CHUNKED, b"1;" + b"a" * 500 + b"\r\n{\r\n", 400),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n", 431),
    "trailer-name": (CHUNKED + b"0\r\n", b"X", 431),
    "blanks-in-a-trailer": (CHUNKED + b"0\r\nX:", b" ", 431),
    "target": (b"GET /", b"x", 431),
    "host-in-target": (b"GET http://", b"x", 431),
    "field-name": (FIELD, b"X", 431),
    "field-value": (FIELD + b"X: ", b"y", 431),
    "blanks-before-a-value": (FIELD + b"X:", b" ", 431),
    "blanks-behind-a-value": (FIELD + b"X: y", b"\t", 431),
    "length-of-zeros": (FIELD + b"Content-Length: ", b"0", 431),
    "blanks-before-a-coding": (FIELD + b"Transfer-Encoding: ", b" ", 431),
    "connection-options": (FIELD + b"Connection: ", b"a,", 431),
    "upgrade-offers": (FIELD + b"Connection: upgrade\r\nUpgrade: ", b"a,", 431),
    "fields": (FIELD, b"X: y\r\n", 431),
    "dropped-fields": (FIELD, b"Keep-Alive: 1\r\n", 431),
    "connection-fields": (FIELD, b"Connection: x\r\n", 431),
    "trailer-announcements": (FIELD, b"Trailer: x\r\n", 431),
    "forwarded-fields": (FIELD, b"X-Forwarded-For: 192.0.2.7\r\n", 431),
}


@pytest.mark.parametrize("step", [20, 5000, 65_536])
@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_what_never_ends(name: str, step: int) -> None:
    """It is cut off, whatever comes in a read, when a limit and two reads have been passed."""
    opening, more, status = ENDLESS[name]
    process = ProcessConfig()
    most = process.max_head_bytes + process.max_chunk_extension_bytes + 2 * 65_536
    data = opening + more * (most // len(more))
    written, seen = outcome([data[at : at + step] for at in range(0, len(data), step)])
    assert statuses(written) == [status]
    assert seen == []
