"""What fuzzing found once, each in its plainest form."""

from __future__ import annotations

import re

import pytest

from stoker.settings import ProcessConfig
from stoker.vocabulary import ModelSpec, ServingConfig
from tests.activator.world import chunks, get, ok, post, request
from tests.fuzz.judge import read_request
from tests.fuzz.stage import DIGITS, Stage, staged

SPEC = ModelSpec(DIGITS, serving=ServingConfig(retry_attempts=0))
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")


def test_what_is_wrong_behind_an_ignored_offer() -> None:
    """A malformed body behind an offer that is ignored is refused like any other."""
    lines = ("Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked")
    head = request("POST", "/", "digits.localhost", *lines)
    with staged(SPEC, ProcessConfig(max_body_bytes=3)) as stage:
        guest = stage.guest()
        guest.wire.send(head + chunks(b"too long"))
        stage.rest()
        assert guest.wire.taken.startswith(b"HTTP/1.1 413 ")
        stage.vanish()


@pytest.mark.parametrize(
    ("lines", "status"),
    [(("Content-Length: 9",), 413), (("X: " + "y" * 2000,), 431), (("X : y",), 400)],
)
def test_a_refused_head_gets_no_body(lines: tuple[str, ...], status: int) -> None:
    """A client takes a body behind the answer to HEAD for another answer."""
    with staged(SPEC, ProcessConfig(max_body_bytes=3, max_head_bytes=1000)) as stage:
        guest = stage.guest()
        guest.wire.send(request("HEAD", "/", "digits.localhost", *lines))
        stage.rest()
        assert guest.wire.taken.startswith(b"HTTP/1.1 %d " % status)
        assert guest.wire.taken.endswith(b"\r\n\r\n")
        assert re.search(rb"Content-Length: [1-9]", guest.wire.taken)
        stage.vanish()


def test_a_model_named_late_in_a_chunked_body() -> None:
    """What is still being looked at for a model's name is not put away, whatever its size."""
    body = b'{"prompt": "' + b"x" * 60_000 + b'", "model": "digits", "z": "' + b"y" * 9000 + b'"}'
    head = request("POST", "/v1/completions", "nobody", "Transfer-Encoding: chunked")
    with staged(SPEC, ProcessConfig()) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(head + chunks(body[:60_000], body[60_000:66_000], body[66_000:]))
        guest.wire.read(60_000)
        stage.rest()
        (server,) = stage.servers
        assert b'"model": "digits"' in server.wire.taken
        assert read_request(bytes(server.wire.taken)).body == body
        stage.vanish()


@pytest.mark.parametrize("odd", [b"\x00", b"\x0c", b"\x7f", b"\x1b[2J"])
def test_a_phrase_with_control_bytes(odd: bytes) -> None:
    """A replica's reason phrase is passed on without what may not be in one."""
    with staged(SPEC, ProcessConfig()) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(get())
        stage.rest()
        stage.servers[0].wire.send(b"HTTP/1.1 200 F%bne\r\nContent-Length: 2\r\n\r\nhi" % odd)
        stage.rest()
        assert guest.wire.taken.startswith((b"HTTP/1.1 200 \r\n", b"HTTP/1.1 502 "))
        stage.vanish()


def empty(stage: Stage) -> None:
    """Everybody leaves; nothing is left."""
    stage.vanish()
    assert stage.left() == {}


def test_a_switch_on_a_connection_that_is_gone() -> None:
    """A 101 that is found in a lost connection makes no tunnel with one end."""
    with staged(SPEC, ProcessConfig()) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(get("/", "digits.localhost", *UPGRADE))
        stage.rest()
        (server,) = stage.servers
        named = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        server.wire.send(b"HTTP/1.1 101 Switching Protocols\r\n" + named)
        server.wire.reset()
        stage.rest()
        assert guest.wire.taken.startswith(b"HTTP/1.1 502 ")
        empty(stage)


def test_a_replica_that_never_reads_what_is_left() -> None:
    """A kept connection with something unsent on it is let go in the end."""
    with staged(SPEC, ProcessConfig()) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(get())
        stage.rest()
        (server,) = stage.servers
        server.wire.send(ok(b"one"))
        stage.rest()
        server.wire.open = False
        guest.wire.send(post(b"x" * 100))
        stage.rest()
        server.wire.send(ok(b"two"))
        stage.rest()
        assert guest.wire.taken.endswith(b"two")
        guest.wire.reset()
        stage.pass_time()
        assert stage.left() == {}


def test_an_old_client_that_takes_nothing_to_the_end() -> None:
    """An answer that ends with the connection is broken off visibly where a part is lost."""
    with staged(SPEC, ProcessConfig(client_idle_timeout=30.0)) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(b"GET / HTTP/1.0\r\nHost: digits.localhost\r\n\r\n")
        stage.rest()
        guest.wire.open = False
        (server,) = stage.servers
        server.wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
        server.wire.end()
        stage.rest()
        guest.wire.take(500)
        stage.pass_time()
        assert stage.left() == {}
        assert guest.wire.taken.endswith(b"x")
        assert not guest.wire.ended_cleanly


def test_a_pipelining_client_that_takes_no_answers() -> None:
    """The answer to a head that never comes in full must not pass for one that waits."""
    with staged(SPEC, ProcessConfig(head_timeout=30.0, client_idle_timeout=30.0)) as stage:
        stage.high = 0
        guest = stage.guest()
        guest.wire.open = False
        guest.wire.send(get("/", "nobody") + get("/", "nobody") + b"GET / HT")
        stage.rest()
        for _ in range(5):
            stage.loop.advance(20.0)
            stage.rest()
        guest.wire.take()
        stage.rest()
        assert guest.wire.written.count(b"HTTP/1.1 404 ") == 1
        assert guest.wire.written.count(b"HTTP/1.1 ") == 1
        stage.pass_time()
        assert stage.left() == {}


@pytest.mark.parametrize("paused", [False, True])
def test_an_old_client_that_ends_its_side_in_the_answer(paused: bool) -> None:
    """It is taken to have left; should it still read, it can tell that this was not all."""
    with staged(SPEC, ProcessConfig()) as stage:
        stage.replica()
        guest = stage.guest()
        guest.wire.send(b"GET / HTTP/1.0\r\nHost: digits.localhost\r\n\r\n")
        stage.rest()
        (server,) = stage.servers
        server.wire.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        stage.rest()
        if paused:
            guest.wire.protocol.pause_reading()
        guest.wire.end()
        stage.rest()
        assert guest.wire.taken.endswith(b"half")
        assert not guest.wire.ended_cleanly
        stage.pass_time()
        assert stage.left() == {}


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_a_body_that_stalls_behind_an_ignored_offer(framing: str) -> None:
    """It has body-timeout like any other, be it that it came with its head in one read."""
    part = b"half" if "Length" in framing else b"9\r\nhalf"
    with staged(SPEC, ProcessConfig(body_timeout=30.0)) as stage:
        stage.replica()
        guest = stage.guest()
        head = request(
            "POST", "/", "digits.localhost", "Connection: Upgrade", "Upgrade: x", framing
        )
        guest.wire.send(head + part)
        stage.rest()
        assert len(stage.servers) == 1
        stage.loop.advance(31.0)
        stage.rest()
        assert guest.wire.taken.startswith(b"HTTP/1.1 408 ")
        stage.pass_time()
        assert stage.left() == {}
