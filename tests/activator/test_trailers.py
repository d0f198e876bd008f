"""Fields behind a chunked body: passed on to the replica as far as they may be."""

from __future__ import annotations

import pytest

from activator.headers import trailer_lines
from tests.activator.world import Gate, World, chunks, echo, gone, in_turn, request, until

HEAD = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
TRAILER = b"X-Sum: 1\r\nx-other:2 \r\n"
WANTED = [("X-Sum", "1"), ("x-other", "2")]


async def test_trailers_are_passed_on(world: World) -> None:
    """Also unannounced, also in several reads; the next request begins where they end."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    whole = HEAD + chunks(b"one", b"two", trailer=TRAILER)
    for pieces in (
        [whole],
        [whole[:-20], whole[-20:]],
        [whole[i : i + 1] for i in range(len(whole))],
    ):
        await client.send(*pieces)
        assert (await client.answer()).body == b"onetwo"
    assert [seen.trailers for seen in replica.seen] == [WANTED] * 3
    assert [seen.body for seen in replica.seen] == [b"onetwo"] * 3
    assert [seen.get("Trailer") for seen in replica.seen] == [None] * 3
    await client.ask(HEAD + chunks(b"none"))
    assert replica.seen[-1].trailers == []


async def test_an_announcement_is_passed_on_with_chunks_only(world: World) -> None:
    """Where there can be no trailers, none are announced."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    announced = ["Trailer: X-Sum", "Trailer: x-other"]
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked", *announced)
    await client.ask(head + chunks(b"x", trailer=TRAILER))
    await client.ask(request("POST", "/", "digits.localhost", *announced, body=b"x"))
    assert [seen.get("Trailer") for seen in replica.seen] == ["X-Sum, x-other", None]


async def test_trailers_of_a_held_request(world: World) -> None:
    """They wait with the body, in memory or behind a spooled one."""
    await world.start(body_memory=1000)
    small, large = await world.held(
        HEAD + chunks(b"small", trailer=TRAILER),
        HEAD + chunks(b"x" * 50_000, b"y" * 50_000, trailer=TRAILER),
    )
    replica = await world.replica(echo)
    assert (await small.answer()).body == b"small"
    assert len((await large.answer()).body) == 100_000
    assert [seen.trailers for seen in replica.seen] == [WANTED] * 2


async def test_trailers_are_sent_again_with_a_retry(world: World) -> None:
    """A request is the same the second time."""
    await world.start()
    script = in_turn(gone, echo)
    replicas = [await world.replica(script) for _ in range(2)]
    client = await world.client()
    answer = await client.ask(HEAD + chunks(b"again", trailer=TRAILER))
    assert (answer.status, answer.body) == (200, b"again")
    assert [len(replica.seen) for replica in replicas] == [1, 1]
    assert WANTED in [replica.seen[0].trailers for replica in replicas]


async def test_trailers_of_a_body_that_streams(world: World) -> None:
    """They come when the replica has had most of the body already."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    await client.send(HEAD + b"3\r\none\r\n")
    await until(lambda: gate.inside == 1)
    gate.let()
    await client.send(b"0\r\n", TRAILER, b"\r\n")
    assert (await client.answer()).body == b"one"
    assert replica.seen[0].trailers == WANTED


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Connection", "TE", "Trailer", "Keep-Alive", "Upgrade"),
        *("Authorization", "Cookie", "Proxy-Authorization", "Content-Type", "Content-Encoding"),
        *("X-Forwarded-For", "Forwarded", "stoker-model", "stoker-deadline", "Expect", "Range"),
        *("User-Agent", "If-Match", "Content_Length", "Cache-Control", "x-named", "Traceparent"),
    ],
)
async def test_fields_that_may_not_be_trailers(world: World, name: str) -> None:
    """What frames, routes, authenticates or changes the meaning of a request goes no further."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    connection = "Connection: x-named"
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked", connection)
    trailer = b"X-Sum: 1\r\n%b: chunked\r\nx-other: 2\r\n" % name.encode()
    answer = await client.ask(head + chunks(b"x", trailer=trailer))
    assert answer.body == b"x"
    assert replica.seen[0].trailers == WANTED


def test_no_trailers_at_all() -> None:
    """Nothing makes nothing."""
    assert trailer_lines(()) == b""
    assert trailer_lines((), b"x-named,") == b""
