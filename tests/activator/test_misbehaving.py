"""Replicas that do everything wrong: what a client gets, and that nobody else notices.

After each misdeed the same clients' next requests are answered with their own bodies, and
``World`` finds no slot, task, spool file or connection left.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from activator.upstream import MAX_HEAD
from tests.activator.world import (
    Asked,
    Client,
    Script,
    World,
    chunks,
    echo,
    get,
    gone,
    in_turn,
    ok,
    post,
    request,
    resets,
    says,
    says_and_ends,
    soon,
    spec,
    until,
)

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 10\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LEAK = ok(b"LEAK")

BROKEN = b"-broken-"
NO_ANSWER = b"-502-"


def then(data: bytes, breaks: Script) -> Script:
    """Says this, lets it arrive, and ends."""

    async def script(asked: Asked) -> None:
        await asked.read()
        await asked.send(data)
        await asked.replica.taken.wait()  # type: ignore[attr-defined]
        await breaks(asked)

    return script


def endless(opening: bytes, more: bytes) -> Script:
    """Goes on for as long as anybody listens."""

    async def script(asked: Asked) -> None:
        await asked.send(opening)
        while True:
            await asked.send(more)

    return script


def later(first: bytes, second: bytes) -> Script:
    """Something more when the answer has long been complete."""

    async def script(asked: Asked) -> None:
        await asked.read()
        await asked.send(first)
        await asyncio.sleep(0)
        await asked.send(second)

    return script


MISDEEDS: dict[str, tuple[Script, bytes]] = {
    # It goes at each stage.
    "fin-before-head": (gone, NO_ANSWER),
    "rst-before-head": (resets, NO_ANSWER),
    "fin-in-status-line": (says_and_ends(b"HTTP/1.1 20"), NO_ANSWER),
    "rst-in-status-line": (then(b"HTTP/1.1 20", resets), NO_ANSWER),
    "fin-in-head": (says_and_ends(OK + b"Content-Le"), NO_ANSWER),
    "rst-in-head": (then(OK + b"Content-Length: 10\r\n", resets), NO_ANSWER),
    "fin-behind-interim": (says_and_ends(b"HTTP/1.1 100 Continue\r\n\r\n"), NO_ANSWER),
    "rst-behind-interim": (then(b"HTTP/1.1 102 P\r\n\r\n", resets), NO_ANSWER),
    "fin-behind-head": (says_and_ends(LENGTH), BROKEN),
    "rst-behind-head": (then(LENGTH, resets), BROKEN),
    "fin-in-body": (says_and_ends(LENGTH + b"half"), BROKEN),
    "rst-in-body": (then(LENGTH + b"half", resets), BROKEN),
    "fin-behind-chunked-head": (says_and_ends(CHUNKED), BROKEN),
    "fin-in-chunk-line": (says_and_ends(CHUNKED + b"1"), BROKEN),
    "fin-in-chunk": (says_and_ends(CHUNKED + b"5\r\nhal"), BROKEN),
    "rst-in-chunk": (then(CHUNKED + b"5\r\nhal", resets), BROKEN),
    "fin-behind-chunk": (says_and_ends(CHUNKED + b"3\r\nhal\r\n"), BROKEN),
    "fin-in-last-chunk": (says_and_ends(CHUNKED + b"3\r\nhal\r\n0\r\n"), BROKEN),
    "fin-in-trailers": (says_and_ends(CHUNKED + b"0\r\nX: y\r\n"), BROKEN),
    "rst-until-the-end": (then(OK + b"\r\nhalf", resets), BROKEN),
    # It says too much.
    "more-than-length": (says(ok(b"mine") + b"LEAK"), b"mine"),
    "more-than-length-later": (later(ok(b"mine"), b"LEAK"), b"mine"),
    "two-answers": (says(ok(b"mine") + LEAK), b"mine"),
    "two-answers-later": (later(ok(b"mine"), LEAK), b"mine"),
    "more-than-chunks": (says(CHUNKED + chunks(b"mine") + LEAK), b"mine"),
    "a-body-behind-204": (says(b"HTTP/1.1 204 No\r\n\r\n" + LEAK), b""),
    "a-body-behind-304": (says(b"HTTP/1.1 304 Not\r\nContent-Length: 99\r\n\r\n" + LEAK), b""),
    "endless-behind-the-end": (endless(ok(b"mine"), LEAK * 1000), b"mine"),
    "endless-behind-204": (endless(b"HTTP/1.1 204 No\r\n\r\n", b"LEAK" * 10_000), b""),
    # It floods.
    "huge-field": (says(OK + b"X: " + b"y" * 3 * MAX_HEAD), NO_ANSWER),
    "huge-reason": (says(b"HTTP/1.1 200 " + b"y" * 3 * MAX_HEAD), NO_ANSWER),
    "endless-fields": (endless(OK, b"X: y\r\n" * 5000), NO_ANSWER),
    "endless-interim": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), NO_ANSWER),
    "endless-hints": (endless(b"", b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" * 1000), NO_ANSWER),
    "endless-blank-lines": (endless(b"", b"\r\n" * 10_000), NO_ANSWER),
    "endless-trailers": (endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 5000), BROKEN),
    "endless-extension": (endless(CHUNKED + b"5;", b"x" * 10_000), BROKEN),
    # It cannot frame.
    "both-framings": (
        says(OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"mine")),
        NO_ANSWER,
    ),
    "both-framings-the-other-way": (
        says(OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunks(b"mine")),
        NO_ANSWER,
    ),
    "two-lengths": (says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), NO_ANSWER),
    "a-list-of-lengths": (says(OK + b"Content-Length: 4, 4\r\n\r\nmine"), NO_ANSWER),
    "negative-length": (says(OK + b"Content-Length: -1\r\n\r\n"), NO_ANSWER),
    "huge-length": (says(OK + b"Content-Length: 99999999999999999999\r\n\r\n"), NO_ANSWER),
    "gzip-coding": (says(OK + b"Transfer-Encoding: gzip\r\n\r\nxx"), NO_ANSWER),
    "chunked-twice": (
        says(OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        NO_ANSWER,
    ),
    "negative-chunk": (then(CHUNKED + b"3\r\nhal\r\n-1\r\n", gone), NO_ANSWER),
    "huge-chunk": (then(CHUNKED + b"3\r\nhal\r\nfffffffffffffffff\r\n", gone), NO_ANSWER),
    "chunk-without-end": (then(CHUNKED + b"3\r\nhalxx", gone), NO_ANSWER),
    # It does not speak HTTP/1.1.
    "ssh": (says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), NO_ANSWER),
    "http-0.9": (says_and_ends(b"hello"), NO_ANSWER),
    "http-2": (says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), NO_ANSWER),
    "tls-alert": (says(b"\x15\x03\x01\x00\x02\x02\x46"), NO_ANSWER),
    "nul-in-field": (says(OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"), NO_ANSWER),
    "folded-field": (says(OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"), NO_ANSWER),
    "space-before-colon": (says(OK + b"Content-Length : 4\r\n\r\nmine"), NO_ANSWER),
    "status-000": (says(b"HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"), NO_ANSWER),
    "status-1000": (says(b"HTTP/1.1 1000 x\r\nContent-Length: 0\r\n\r\n"), NO_ANSWER),
    "switches-unasked": (
        says(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nLEAK"),
        NO_ANSWER,
    ),
}

SMALL = post(b"small")
LARGE = post(b"x" * 400_000)
PIECES = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked") + chunks(
    *[b"y" * 10_000] * 40
)
# A second answer that comes when the connection serves the next request already cannot be
# told from that one's: see docs/limits.md.
IN_TIME = [name for name in MISDEEDS if not name.endswith("-later")]
CLOSES = says(ok(b"before", "Connection: close"))


async def outcome(client: Client, taken: asyncio.Event) -> bytes:
    """What became of a request."""
    taken.set()
    try:
        answer = await client.answer()
    except (asyncio.IncompleteReadError, ConnectionError):
        with pytest.raises(ConnectionError):
            await soon(client.reader.read())
        return BROKEN
    return NO_ANSWER if answer.status == 502 else answer.body


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("misdeed", MISDEEDS)
async def test_misdeeds(world: World, misdeed: str, large: bool) -> None:
    """Each has its one outcome, whatever was asked, and leaves no trace on what follows."""
    script, expected = MISDEEDS[misdeed]
    await world.start(spec(retry_attempts=0))
    replica = await world.replica(in_turn(CLOSES, script, echo))
    replica.taken = asyncio.Event()  # type: ignore[attr-defined]
    bystander = await world.client()
    assert (await bystander.ask(get())).body == b"before"
    client = await world.client()
    data = SMALL if not large else (LARGE, PIECES)[len(misdeed) % 2]
    sending = asyncio.create_task(client.send(data))
    assert await outcome(client, replica.taken) == expected  # type: ignore[attr-defined]
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    if misdeed not in IN_TIME:
        await until(lambda: not replica.open)
    world.jump(60.0)
    assert (await bystander.ask(post(b"after"))).body == b"after"
    assert (await (await world.client()).ask(post(b"new"))).body == b"new"
    assert world.model.throttler.active == 0


@pytest.mark.parametrize("misdeed", IN_TIME)
async def test_misdeeds_among_pipelined_requests(world: World, misdeed: str) -> None:
    """The requests behind it get their own answers, or the connection ends: never another's."""
    script, expected = MISDEEDS[misdeed]
    await world.start(spec(retry_attempts=0))
    replica = await world.replica(in_turn(script, echo))
    replica.taken = asyncio.Event()  # type: ignore[attr-defined]
    client = await world.client()
    await client.send(post(b"one") + post(b"two") + post(b"three"))
    assert await outcome(client, replica.taken) == expected  # type: ignore[attr-defined]
    for want in (b"two", b"three") if expected != BROKEN else ():
        world.jump(60.0)
        assert (await client.answer()).body == want


@pytest.mark.parametrize("misdeed", [name for name in MISDEEDS if MISDEEDS[name][1] == BROKEN])
async def test_a_1_0_client_can_tell(world: World, misdeed: str) -> None:
    """An answer that would end with the connection is broken off with a reset."""
    script, _ = MISDEEDS[misdeed]
    await world.start()
    replica = await world.replica(script)
    replica.taken = asyncio.Event()  # type: ignore[attr-defined]
    client = await world.client()
    await client.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    replica.taken.set()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())


@pytest.mark.parametrize(
    ("opening", "expected"),
    [(b"", b"504"), (OK, b"504"), (LENGTH + b"half", BROKEN), (CHUNKED + b"1\r\nx", BROKEN)],
)
async def test_stalls(world: World, opening: bytes, expected: bytes) -> None:
    """A replica that goes silent is given up, at whatever stage."""
    await world.start(spec(first_byte_timeout=20.0, idle_timeout=20.0))
    over = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.read()
        await asked.send(opening)
        with contextlib.suppress(ConnectionError):
            await asked.at_end()
        over.set()

    replica = await world.replica(script)
    client = await world.client()
    await client.send(SMALL)
    await until(lambda: replica.seen)
    if expected == BROKEN:
        await client.head()
    (connection,) = await world.connections()
    await until(
        lambda: (
            connection.exchange is not None
            and connection.exchange.upstream is not None
            and (not opening or connection.exchange.upstream.received)
        )
    )
    world.jump(21.0)
    if expected == BROKEN:
        with pytest.raises(ConnectionResetError):
            await soon(client.reader.read())
    else:
        assert (await client.answer()).status == 504
    await soon(over.wait())
