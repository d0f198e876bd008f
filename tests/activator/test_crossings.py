"""Where two features meet in one request: each is tested elsewhere, here they are together."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from activator import access_log, claiming, event_stream
from activator.commenting import Commenting
from activator.peer_requests import PeerPool
from activator.tickets import Reason
from stoker.settings import ProcessConfig
from stoker.sockets import SO_BUF_LOCK
from stoker.vocabulary import AnswerHeaders, Balancing, PlaceholderFor, ReplicaTls
from tests.activator.crowd import make_crowd
from tests.activator.test_held_at_members import held as held_at_members
from tests.activator.test_held_callers import (
    OFTEN,
    SMALL,
    SSE,
    STREAM,
    commented,
    error_of,
    from_small,
    pair,
    piece,
    rest,
    with_,
)
from tests.activator.test_tunnel import ASK, talks_back
from tests.activator.world import (
    DIGITS,
    Asked,
    ScriptedReplica,
    World,
    chunks,
    echo,
    get,
    ok,
    post,
    request,
    says,
    spec,
    until,
)


async def test_a_long_plain_answer_behind_comments(world: World) -> None:
    """However long it is, it is told in the event as far as that goes; its replica did not fail."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world)
    body = b"x" * 1_000_000
    replica = await world.replica(says(ok(body, "Content-Type: text/plain")))
    error = error_of(await rest(client))
    assert (error["type"], len(error["body"])) == ("not-a-stream", event_stream.MOST_TOLD)
    assert len(replica.seen) == 1
    assert world.model.throttler.ejections == 0
    assert world.refused == {}


async def test_no_placeholder_of_a_fallback_behind_comments(world: World, tmp_path: Path) -> None:
    """A whole answer would land in the middle of the stream: it is held there instead."""
    page = tmp_path / "wait.html"
    page.write_text("<p>wait")
    small = with_(SMALL, placeholder=str(page), placeholder_for=PlaceholderFor.ALL)
    await world.start(with_(fallback="small", fallback_after=0.1, hold_comments=OFTEN), small)
    client = await commented(world)
    await until(lambda: world.activator.models[SMALL].throttler.queued, "held by the fallback")
    await world.replica(says(STREAM), SMALL)
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert world.activator.models[SMALL].held_counts.placeholders == 0


async def test_answers_of_a_fallback_that_tells_all_are_marked(world: World) -> None:
    """Settings of the fallback's own do not make it forget whom it answers for."""
    await world.start(with_(fallback="small"), with_(SMALL, answer_headers=AnswerHeaders.ALL))
    await world.replica(echo, SMALL)
    client = await world.client()
    assert from_small(await client.ask(post(b"x")))


async def test_fallbacks_make_no_chain(world: World) -> None:
    """Two models that name each other, both asleep: the second holds it, for the first."""
    await world.start(with_(fallback="small"), with_(SMALL, fallback="digits"))
    (client,) = await world.held(post(b"x"))
    assert world.activator.models[SMALL].throttler.queued == 1
    await world.replica(echo, SMALL)
    assert from_small(await client.answer())


async def test_a_fallback_that_looks_at_prompts_gets_what_was_held(world: World) -> None:
    """It was held with a part of its body when the fallback's turn came: no prompt, no waiting."""
    small = with_(SMALL, balancing=Balancing.PREFIX)
    await world.start(with_(fallback="small", fallback_after=0.1), small)
    replica = await world.replica(echo, SMALL)
    body = b'{"prompt": "once upon a time"}'
    (client,) = await world.held(post(body)[:-20])
    await until(lambda: replica.seen, "forwarded")
    await client.send(post(body)[-20:])
    answer = await client.answer()
    assert (answer.body, from_small(answer)) == (body, True)


async def test_a_stalled_prompt_of_a_request_that_its_body_routes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds the model must not wait for more than who looks for the prompt."""
    monkeypatch.setattr(claiming, "PROMPT_SECONDS", 30.0)
    await world.start(spec(balancing=Balancing.PREFIX), body_timeout=1000.0)
    replica = await world.replica(echo)
    body = json.dumps({"model": "digits", "prompt": "once " * 100}).encode()
    data = post(body, "/v1/completions", "localhost")
    client = await world.client()
    await client.send(data[:-100])
    (connection,) = await world.connections()
    await until(lambda: connection.exchange is not None and connection.exchange.model is not None)
    assert not replica.seen
    world.jump(31.0)
    await until(lambda: replica.seen, "forwarded without its prompt")
    await client.send(data[-100:])
    assert (await client.answer()).body == body


@pytest.mark.parametrize("how", ["fallback", "refused"])
async def test_a_narrowed_connection_is_widened_again(world: World, how: str) -> None:
    """What was narrowed for a hold is as wide as ever when the next request comes."""
    after = 0.1 if how == "fallback" else 0.0
    first = with_(fallback="small" if after else "", fallback_after=after)
    await world.start(first, with_(SMALL), body_memory=1000, spool_bytes=0)
    if after:
        await world.replica(echo, SMALL)
    body = b"b" * 100_000
    (client,) = await world.held(post(body)[:1000])
    (connection,) = await world.connections()
    if not after:
        assert connection._paused
        world.platform.set_outage(DIGITS, "exit code 3", retry_in=40.0)
        assert (await client.answer()).status == 503
    await client.send(post(body)[1000:])
    if after:
        assert (await client.answer()).body == body
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK) & 2 == 0
    assert (await client.ask(get("/", "small.localhost" if after else "digits.localhost"))).status


async def test_shutdown_of_the_owner_behind_comments() -> None:
    """What has begun cannot be tried elsewhere: it ends with an event, not with a second head."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, hold_comments=OFTEN)
        member, client = await held_at_members(crowd, get("/", "digits.localhost", SSE))
        assert (await client.head()).status == 200
        assert (await piece(client)).startswith(b": stoker phase=")
        (owner,) = [m for m in crowd.members.values() if m is not member]
        crowd.members.pop(owner.name)
        await owner.activator.close()
        assert error_of(await rest(client))["type"] == Reason.SHUTDOWN


async def test_what_went_in_a_circle_behind_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be passed on again, nor sent back any more: an event says so."""
    monkeypatch.setattr(PeerPool, "may_have", lambda pool, exchange: False)
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, hold_comments=OFTEN)
        owner = crowd.owner()
        client = await owner.client()
        await client.send(get("/", "digits.localhost", SSE))
        assert (await client.head()).status == 200
        assert (await piece(client)).startswith(b": stoker phase=")
        owner.cluster.leave()
        assert error_of(await rest(client))["type"] == Reason.REPLICA_FAILED
        assert crowd.held == 0


async def test_a_client_s_own_hops_are_not_believed() -> None:
    """Whoever a client says that it has been at, its request is passed on."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        await crowd.replica(1)
        (other,) = crowd.others()
        said = f"stoker-hop: {crowd.owner().name}"
        assert (await other.ask(post(b"x", "/", "digits.localhost", said)))[0] == 200


async def test_what_is_sent_back_was_never_asked() -> None:
    """A POST that its owner has not begun with goes to the next owner, though retry-post is off."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1, retry_post=False)
        member, client = await held_at_members(crowd, post(b"x"))
        (owner,) = [m for m in crowd.members.values() if m is not member]
        owner.cluster.leave()
        await until(lambda: member.activator.admission.held == 2, "both at the next owner")
        assert member.cluster.moved
        await crowd.replica(1)
        assert (await client.answer()).status == 200


async def test_a_connection_that_fails_has_asked_nobody(world: World) -> None:
    """So a POST is tried at another replica, though retry-post is off."""
    await world.start(spec(retry_post=False, container_concurrency=1))
    broken = await world.replica()
    broken.refuse_connections()
    await world.replica(echo)
    for number in range(2):
        client = await world.client()
        assert (await client.ask(post(b"%d" % number))).body == b"%d" % number
    assert world.model.throttler.ejections == 1


async def test_replica_tls_changes_while_it_is_agreed_on(world: World) -> None:
    """No replica has failed: at once it is tried anew, as the settings want it now."""
    await world.start(spec(replica_tls=ReplicaTls.INSECURE, retry_attempts=0, retry_post=False))
    replica = await world.replica(echo)
    client = await world.client()
    await client.send(post(b"x"))
    await until(lambda: replica.accepted, "connecting")
    world.platform.add_model(spec(retry_attempts=0, retry_post=False))
    assert (await client.answer()).body == b"x"
    assert world.model.throttler.ejections == 0


async def test_a_flag_at_the_end_of_a_slow_body(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk by then is looked at again when there is more of it."""
    looks = []
    asks = Commenting._asks

    def counted(self: Commenting, body: bytes) -> bool:
        looks.append(len(body))
        return asks(self, body)

    monkeypatch.setattr(Commenting, "_asks", counted)
    await world.start(spec(hold_comments=OFTEN), body_memory=1000)
    body = json.dumps({"prompt": "x" * 3000, "stream": True}).encode()
    (client,) = await world.held(post(body)[:-2000])
    await until(lambda: looks, "looked at the first part")
    await client.send(post(body)[-2000:])
    head = await client.head()
    assert head.get("Content-Type") == "text/event-stream"


async def test_a_fallback_has_its_own_total_timeout(world: World) -> None:
    """That of the model that was asked first is not in force any more."""
    await world.start(*pair(total_timeout=5.0, fallback_after=0.1))
    forwarded: list[Asked] = []

    async def waits(asked: Asked) -> None:
        forwarded.append(asked)
        await asked.read()
        await until(lambda: jumped)
        await asked.send(ok(b"late"))

    jumped: list[bool] = []
    await world.replica(waits, SMALL)
    client = await world.client()
    await client.send(post(b"x"))
    await until(lambda: forwarded)
    world.jump(6.0)
    jumped.append(True)
    answer = await client.answer()
    assert (answer.body, from_small(answer)) == (b"late", True)


async def test_a_stopped_member_grants_nothing_to_who_came_before() -> None:
    """A pipelined request is granted by the time of its turn, not by that of its arrival."""
    async with make_crowd() as crowd:
        (member, _) = await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        member = crowd.owner()
        state, script = await crowd.replica(1)
        assert member.cluster._timer is not None
        await until(lambda: member.cluster.explain(DIGITS)["replicas"][state.id]["slots"])  # type: ignore[index]
        script.gate = asyncio.Event()
        client = await member.client()
        await client.send(get() + get())
        await until(lambda: script.inside == 1)
        member.cluster._timer.cancel()
        member.cluster.fence = crowd.clock.now()
        script.gate.set()
        assert (await client.answer()).status == 200
        await until(lambda: member.activator.admission.held == 1, "held behind the fence")
        assert script.served == 1


async def test_a_full_disk_does_not_fill_the_log_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bodies it fails: it is said once, and how often it was not."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    await world.start(body_memory=1000, log_lines_per_second=1)
    for _ in range(5):
        client = await world.client()
        assert (await client.ask(post(b"x" * 100_000))).status == 503
    (line,) = world.complaints
    assert "No space left" in line
    world.complaints.clear()


async def test_a_stuck_access_log_is_let_go_without_waiting(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose reader sleeps does not stop requests when the settings name another one."""
    monkeypatch.setattr(access_log, "LAST_FLUSH_SECONDS", 60.0)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await world.start(access_log=str(path))
    assert world.activator.observer is not None
    old = world.activator.observer.access_log
    assert old is not None
    line = b"x" * 9_999 + b"\n"
    for _ in range(20):
        old.add(line)
    old.flush()
    world.activator.reconfigure(ProcessConfig())
    assert old._thread.is_alive()
    taken = bytearray()

    def read() -> bool:
        with suppress(BlockingIOError):
            taken.extend(os.read(reader, 65_536))
        return len(taken) == 20 * len(line)

    await until(read, "all lines")
    await until(lambda: not old._thread.is_alive(), "ended")
    os.close(reader)


# --- through another member ---


@pytest.mark.parametrize("held", [False, True])
async def test_a_tunnel_through_another_member(held: bool) -> None:
    """With early bytes, held or not, both ways; both members let go of it."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=1)
        (other,) = crowd.others()
        owner = crowd.owner()
        server = ScriptedReplica(talks_back)
        address = await server.listen()
        if not held:
            server.state = crowd.platform.add_replica(DIGITS, address=address)
            await until(lambda: crowd.slots()[server.id] == 1)
        client = await other.client()
        await client.send(ASK + b"early")
        if held:
            await until(lambda: owner.activator.admission.held == 1)
            server.state = crowd.platform.add_replica(DIGITS, address=address)
        crowd.replicas[server.id] = server
        assert (await client.head()).status == 101
        assert await client.reader.readexactly(10) == b"earlyearly"
        await client.send(b"ab")
        assert await client.reader.readexactly(4) == b"abab"
        assert (len(owner.activator.tunnels), len(other.activator.tunnels)) == (1, 1)
        client.writer.write_eof()
        assert await client.at_end()
        for member in (owner, other):
            activator = member.activator
            await until(lambda: not activator.tunnels)  # noqa: B023
            await until(lambda: not activator.models[DIGITS].throttler.active)  # noqa: B023


async def test_a_held_offer_survives_a_change_of_owner() -> None:
    """What came behind it is still there when the next owner has a replica for it."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b", "c")
        crowd.model(container_concurrency=1)
        owner, (other, _) = crowd.owner(), crowd.others()
        client = await other.client()
        await client.send(ASK + b"early")
        await until(lambda: owner.activator.admission.held == 1)
        owner.cluster.leave()
        await until(lambda: owner.activator.admission.held == 0 and crowd.held == 1)
        server = ScriptedReplica(talks_back)
        server.state = crowd.platform.add_replica(DIGITS, address=await server.listen())
        crowd.replicas[server.id] = server
        assert (await client.head()).status == 101
        assert await client.reader.readexactly(10) == b"earlyearly"


async def test_bodies_of_all_kinds_through_another_member() -> None:
    """Held there: trailers, an expected 100, HTTP/1.0, more than memory takes, HEAD."""
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        crowd.model(container_concurrency=4)
        (other,) = crowd.others()
        chunked = "Transfer-Encoding: chunked"
        large = b"0123456789" * 200_000
        pieces = chunks(b"ab", trailer=b"X-T: 1\r\n")
        asked = [
            request("POST", "/", "digits.localhost", chunked) + pieces,
            request("POST", "/", "digits.localhost", "Expect: 100-continue", body=b"x"),
            b"POST / HTTP/1.0\r\nHost: digits.localhost\r\nContent-Length: 1\r\n\r\nx",
            post(large),
        ]
        clients = []
        for number, data in enumerate(asked):
            client = await other.client()
            client.writer.write(data)
            await until(lambda: crowd.owner().activator.admission.held == number + 1)  # noqa: B023
            clients.append(client)
        server = ScriptedReplica(echo)
        server.state = crowd.platform.add_replica(DIGITS, address=await server.listen())
        crowd.replicas[server.id] = server
        answers = [await client.answer() for client in clients]
        assert [answer.body for answer in answers] == [b"ab", b"x", b"x", large]
        assert ("X-T", "1") in [pair for seen in server.seen for pair in seen.trailers]
        assert [answer.get("Connection") for answer in answers] == [None, None, "close", None]
        await clients[0].send(request("HEAD", "/", "digits.localhost"))
        assert (await clients[0].answer("HEAD")).status == 200
        assert (await clients[0].ask(get())).status == 200
