"""One side sends whatever bytes it likes, in whatever pieces; the other side behaves.

``requests``: a client's bytes. ``answers``: a replica's. Both are compared with what h11 makes
of the same bytes, and judged as every run is.
"""

from __future__ import annotations

import itertools
import re

import h11

from stoker.settings import ProcessConfig
from stoker.vocabulary import ModelSpec, ServingConfig
from tests.activator.test_http1 import MALFORMED
from tests.activator.test_smuggling import HARMLESS, REFUSED
from tests.fuzz.choices import Choices
from tests.fuzz.judge import SWITCHED, Judge, Read, read_answer, read_request
from tests.fuzz.messages import Ask, Reply, an_ask, mark, spoilt
from tests.fuzz.stage import DIGITS, Guest, Segment, Server, Stage, staged

NASTY = [
    data
    for data, *_ in (*REFUSED.values(), *HARMLESS.values(), *MALFORMED.values())
    if len(data) < 4000
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nmine\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"8\r\ndata: 1\n\r\n0;x=y\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2p1\r\n",
]
REFUSAL = re.compile(rb'"message": "([^\n]*)", "type": "malformed"')
# What h11 refuses and llhttp, and so Stoker, takes, by h11's words: (pattern, why).
LOOSER: tuple[tuple[str, str], ...] = (
    (r"illegal request line: .*'[A-Z]+ +\S+ +HTTP/1\.[01]'", "several blanks are sent on as one"),
    (r"illegal status line: .*HTTP/1\.[01] \d{3} ", "a phrase with control bytes is left out"),
    (r"no response line received", "empty lines between interim answers are overlooked"),
)
# What Stoker refuses and h11 takes, by Stoker's words: (pattern, why).
STRICTER: tuple[tuple[str, str], ...] = (
    (
        r"Invalid method encountered|Expected space after method",
        "llhttp has a list of methods; h11 takes any token",
    ),
    (r"Unexpected whitespace after header value", "folded fields are read in two ways"),
    (r"Missing expected [CL][RF] after|Expected (CR)?LF after", "bare LF is no end of a line"),
    (r"Invalid header (value char|field char|token)", "control bytes; blanks before a colon"),
    (r"Transfer-Encoding can't be present with Content-Length", "smuggling lives on it"),
    (r"Content-Length can't be present with Transfer-Encoding", "... in a trailer as well"),
    (r"[Ii]nvalid `Transfer-Encoding`", "... in a trailer as well; a tab behind a coding"),
    (r"chunked framing in HTTP/1\.0", "1.0 knows none; others would take it for no body"),
    (r"Invalid character in Content-Length|Duplicate Content-Length", "lists of equal lengths"),
    (r"Invalid character in chunk (size|extensions)", "blanks, and what is no extension"),
    (
        r"in url|(use|fragment in) the request target",
        "targets that name nothing to ask a replica for",
    ),
    (r"cannot be a host", "whoever is behind may end the name elsewhere"),
    (r"CONNECT is not served|Pause on PRI", "no proxy for others, and no HTTP/2"),
    (r"HTTP/\d\.\d is not spoken|Invalid HTTP version|Expected HTTP/", "h11 takes 1.2 and 2.0"),
    (r"Expect: .* is not known", "RFC 9110, 10.1.1: 417"),
    (r"more than one stoker-", "which of two would be obeyed?"),
    (r"max-[a-z-]+ = \d+", "a limit"),
    (r"not arrive within|came for|ended its side", "it was not complete in time"),
)


def known(words: str, table: tuple[tuple[str, str], ...]) -> bool:
    return any(re.search(pattern, words) for pattern, _ in table)


class Raw:
    """A run in which one side is raw bytes."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.numbers = itertools.count(1)
        self.asks: dict[int, tuple[Guest, Ask]] = {}
        self.replies: dict[int, Reply] = {}
        self.stage: Stage
        self.limits = ProcessConfig(
            max_pipelined=choices.one((256, 1)),
            max_head_bytes=choices.one((32_768, 700)),
            max_body_bytes=choices.one((0, 100)),
            max_chunk_extension_bytes=choices.one((16_384, 0)),
            body_memory=choices.one((65_536, 20)),
        )
        serving = ServingConfig(first_byte_timeout=20.0, idle_timeout=20.0, retry_attempts=0)
        self.spec = ModelSpec(DIGITS, serving=serving)
        self.sizes = choices.one(((1_000_000,), (1,), (1, 3, 50), (40, 1_000_000)))

    def pieces(self) -> int:
        return self.choices.one(self.sizes)

    def material(self, corpus: list[bytes]) -> bytes:
        """Bytes to send: as they are, or something of the corpus with changes."""
        choices = self.choices
        if choices.number(3) == 2:
            return choices.rest()
        data = choices.one(corpus)
        while choices.chance(3):
            data += choices.one(corpus)
        return spoilt(data, choices) if choices.number(4) else data

    def on_request(self, segment: Segment) -> None:
        """The replica will give a plain answer."""
        number = next(self.numbers)
        body = mark(number)
        reply = Reply(number, segment, body=body, sent=body)
        reply.head = b"HTTP/1.1 200 Fine\r\nX-Answer: %b\r\nContent-Length: 8\r\n\r\n" % body
        if segment.exchange.method == b"HEAD":
            reply.sent = b""
        segment.plan = self.replies[number] = reply

    def serve(self) -> bool:
        """Replicas answer what has been asked in full. Returns whether there was anything."""
        served = False
        for server in self.stage.servers:
            if not server.segments or server.wire.lost:
                continue
            reply = server.segments[-1].plan
            if not reply.cuts and server.wire.protocol.request_complete:
                reply.cuts.append(0)
                server.wire.send(reply.data)
                served = True
        return served

    def over(self) -> None:
        """Let time pass until nothing is left, and judge."""
        stage = self.stage
        stage.rest()
        while self.serve():
            stage.rest()
        if self.choices.number(2):
            for wire in stage.wires.values():
                wire.end()
        stage.pass_time()
        Judge(self.asks, self.replies).judge(stage)
        left = stage.left()
        assert left == {}, left


def requests(data: bytes) -> None:
    """A client sends what ``data`` says; see the module."""
    raw = Raw(Choices(data))
    with staged(raw.spec, raw.limits) as raw.stage:
        stage = raw.stage
        stage.on_request = raw.on_request
        stage.replica()
        guest = stage.guest()
        guest.wire.send(raw.material(NASTY))
        for _ in range(20_000):
            if not guest.wire.read(raw.pieces()):
                stage.rest()
                raw.serve()
                stage.rest()
                if not (guest.wire.reading and guest.wire.incoming) or guest.wire.closing:
                    break
            stage.loop.settle()
            raw.serve()
        raw.over()
        understood_alike(stage, guest)


def understood_alike(stage: Stage, guest: Guest) -> None:
    """What Stoker made of a client's bytes is what h11 makes of them, but for what is known."""
    rest = bytes(guest.wire.delivered)
    for exchange in guest.exchanges:
        # RFC 9112, 2.2: an empty line before a request is to be overlooked.
        rest = rest.lstrip(b"\r\n")
        read = read_request(rest)
        if not exchange.segments:  # refused, or answered by Stoker: nobody else hears of it
            if exchange is guest.exchanges[-1]:
                stricter(stage, guest, read)
            rest = read.rest
            continue
        if read.error:
            refused = not exchange.body_complete and stage.activator.malformed
            assert refused or known(read.error, LOOSER), (read.error, rest)
            return
        assert read.start, ("h11 waits for more", rest)
        method, target, _ = read.start
        assert method == exchange.method, (read, exchange.method)
        assert target == exchange.target or target.lower().startswith(b"http"), (read, target)
        got = bytes(exchange.got)
        if not exchange.body_complete:
            assert read.body.startswith(got), (read, got)
            return
        assert read.complete, ("h11 waits for more of the body", rest)
        assert read.body == got, (read, got)
        rest = read.rest


def stricter(stage: Stage, guest: Guest, read: Read) -> None:
    """What Stoker refused and h11 reads in full is refused for a known reason."""
    words = b" ".join(REFUSAL.findall(bytes(guest.wire.taken))).decode()
    if read.complete and words:
        assert known(words, STRICTER), (words, read)


class Spoken(Raw):
    """A replica that says what the choices say."""

    def on_request(self, segment: Segment) -> None:
        super().on_request(segment)
        if len(self.replies) == 1:
            reply = segment.plan
            reply.head, reply.sent, reply.sound = self.material(ANSWERS), b"", False

    def speak(self, server: Server) -> None:
        """Let what the replica says be read in pieces."""
        for _ in range(20_000):
            if not server.wire.read(self.pieces()):
                return
            self.stage.loop.settle()


def answers(data: bytes) -> None:
    """A replica answers what ``data`` says; see the module."""
    raw = Spoken(Choices(data))
    choices = raw.choices
    with staged(raw.spec, ProcessConfig()) as raw.stage:
        stage = raw.stage
        stage.on_request = raw.on_request
        stage.replica()
        guest = stage.guest()
        sent = b""
        for _ in range(1 + choices.number(2)):
            ask = an_ask(next(raw.numbers), choices)
            raw.asks[ask.number] = guest, ask
            sent += ask.data
        guest.wire.send(sent)
        stage.rest()
        if stage.servers:
            raw.serve()
            server = stage.servers[0]
            end = choices.number(4)
            if end == 1:
                server.wire.end()
            raw.speak(server)
            if end == 2:
                server.wire.reset()
        raw.over()
        passed_on_alike(raw)


def passed_on_alike(raw: Spoken) -> None:
    """What was passed on in full is what h11 makes of the replica's bytes."""
    for server in raw.stage.servers[:1]:
        segment = server.segments[0]
        exchange = segment.exchange
        if exchange.number:
            return
        wire = exchange.guest.wire
        data = bytes(wire.taken)
        if not data or SWITCHED.match(data) or b"stoker-" in data:
            return
        ours = read_answer(data, exchange.method, ended=wire.ended_cleanly)
        if not ours.complete or ours.start[0] in (b"502", b"504"):
            return
        said = bytes(server.wire.delivered).lstrip(b"\r\n")
        try:
            theirs = read_answer(said, exchange.method, ended=server.wire.complete)
        except h11.RemoteProtocolError as caught:
            theirs = Read(error=str(caught))
        if theirs.error:
            assert known(theirs.error, LOOSER), (theirs.error, said)
            return
        assert theirs.complete, (theirs, said)
        assert (ours.start[0], ours.body) == (theirs.start[0], theirs.body), (ours, theirs)
