"""One request's life: held, tried again, refused, given up; and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import json
import operator

import pytest

from activator.exchange import Exchange
from activator.tickets import Reason
from stoker.vocabulary import ModelKey, Phase
from tests.activator.world import (
    DIGITS,
    Asked,
    Gate,
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

COMPLETIONS = "/v1/chat/completions"


# --- routing ---


async def test_body_names_the_model(world: World) -> None:
    """The field may come late, and in as many packets as it likes."""
    await world.start(body_memory=1024, json_peek_bytes=64 * 1024)
    replica = await world.replica(echo)
    early = json.dumps({"model": "digits", "text": "y" * 200_000}).encode()
    late = json.dumps({"text": "x" * 50_000, "model": "digits", "more": "z" * 50_000}).encode()
    for body in (early, late):
        data = post(body, COMPLETIONS, "nobody")
        for step in (len(data), 3001):
            client = await world.client()
            await client.send(*[data[at : at + step] for at in range(0, len(data), step)])
            assert (await client.answer()).body == body
    assert len(replica.seen) == 4


async def test_body_names_the_model_too_late(world: World) -> None:
    """Beyond json-peek-bytes nobody looks; the client is told what was looked for."""
    await world.start(json_peek_bytes=1024)
    client = await world.client()
    body = json.dumps({"text": "x" * 5_000, "model": "digits"}).encode()
    answer = await client.ask(post(body, COMPLETIONS, "nobody"))
    assert answer.status == 404
    assert "a JSON body without a text field model in its first json-peek-bytes" in answer.error


async def test_body_names_the_model_and_is_held(world: World) -> None:
    """What was kept in memory for looking at it moves to the spool."""
    await world.start(body_memory=100, json_peek_bytes=64 * 1024)
    body = json.dumps({"text": "x" * 30_000, "model": "digits", "more": "y" * 900}).encode()
    data = post(body, COMPLETIONS, "nobody")
    client = await world.client()
    for at in range(0, len(data), 900):
        await client.send(data[at : at + 900])
    await until(lambda: world.activator.spool.used > len(body) - 1000)
    await world.replica(echo)
    assert (await client.answer()).body == body


# --- held ---


async def test_a_request_at_zero_is_held_until_a_replica_is_ready(world: World) -> None:
    """The autoscaler is poked at once, the answer comes when it can."""
    await world.start()
    (client,) = await world.held(post(b"wake up"))
    (poke,) = world.load.pokes
    assert (poke.model, poke.queued, poke.active) == (DIGITS, 1, 0)
    await world.replica(echo)
    assert (await client.answer()).body == b"wake up"
    assert world.model.hold_seconds.count == 1
    assert world.refused == {}


@pytest.mark.parametrize("limit", [1, 2])
async def test_never_more_than_the_limit_in_a_replica(world: World, limit: int) -> None:
    """64 held, all answered, slot by slot."""
    await world.start(spec(container_concurrency=limit))
    clients = await world.held(*[post(b"%d" % number) for number in range(64)])
    gates = [Gate(), Gate()]
    for gate in gates:
        await world.replica(gate)
    await until(lambda: all(gate.inside == limit for gate in gates))
    assert world.activator.admission.held == 64 - 2 * limit
    for gate in gates:
        gate.let(64)
    for number, client in enumerate(clients):
        assert (await client.answer()).body == b"%d" % number
    assert [gate.most for gate in gates] == [limit, limit]


async def test_queue_full(world: World) -> None:
    """429 and when to come again."""
    await world.start(spec(queue_requests=2))
    world.eta = 7.0
    await world.held(get(), get())
    client = await world.client()
    answer = await client.ask(get())
    assert (answer.status, answer.get("Retry-After")) == (429, "7")
    assert "queue-requests = 2" in answer.error
    assert world.refused == {Reason.QUEUE_FULL: 1}
    assert (await client.ask(get())).status == 429, "the connection lives on"


async def test_queue_bytes_full(world: World) -> None:
    """429 for one more; those that are held already are not read any further."""
    await world.start(spec(queue_bytes=100_000))
    (held,) = await world.held(post(b"x" * 3_000_000)[:80_000])
    sending = asyncio.create_task(held.send(b"x" * (3_000_000 + 95 - 80_000)))
    (connection,) = await world.connections()
    await until(lambda: connection._paused)
    assert world.model.throttler.queued_bytes < 100_000 + 65_536
    client = await world.client()
    answer = await client.ask(get())
    assert answer.status == 429
    assert "queue-bytes = 100000" in answer.error
    sending.cancel()


async def test_total_full(world: World) -> None:
    """503 and when to come again, though this model has nothing queued."""
    other = ModelKey.parse("other")
    await world.start(spec(), spec(other), max_queued_requests=1)
    await world.held(get())
    client = await world.client()
    answer = await client.ask(get("/", "other.localhost"))
    assert (answer.status, answer.get("Retry-After")) == (503, "5")
    assert "max-queued-requests = 1" in answer.error


async def test_hold_deadline(world: World) -> None:
    """504 naming the phase it was stuck in."""
    await world.start(spec(hold_timeout=30.0))
    world.platform.add_replica(DIGITS, phase=Phase.PULLING_IMAGE)
    (client,) = await world.held(post(b"x"))
    world.jump(31.0)
    answer = await client.answer()
    assert answer.status == 504
    assert "pulling-image" in answer.error
    assert world.refused == {Reason.HOLD_DEADLINE: 1}


async def test_progress_moves_the_hold_deadline(world: World) -> None:
    """As long as something is seen to happen it is waited for, up to the cap."""
    await world.start(spec(hold_timeout=30.0, hold_timeout_cap=100.0))
    (client,) = await world.held(get())
    for phase in (Phase.PENDING_NODE, Phase.PULLING_IMAGE, Phase.STARTING):
        world.jump(25.0)
        if phase is Phase.PENDING_NODE:
            state = world.platform.add_replica(DIGITS, phase=phase)
        else:
            world.platform.set_phase(state.id, phase)
    assert world.activator.admission.held == 1
    world.jump(26.0)
    assert (await client.answer()).status == 504


async def test_total_timeout_while_held(world: World) -> None:
    """It ends a hold too."""
    await world.start(spec(total_timeout=10.0))
    (client,) = await world.held(get())
    world.jump(11.0)
    assert (await client.answer()).status == 504


async def test_outage(world: World) -> None:
    """503 at once with the reason, for those that are held and those that come."""
    await world.start()
    held = await world.held(get(), post(b"x"))
    world.platform.set_outage(DIGITS, "exit code 3: no such file", retry_in=40.0)
    for client in [*held, await world.client()]:
        if client not in held:
            await client.send(get())
        answer = await client.answer()
        assert answer.status == 503
        assert "exit code 3: no such file" in answer.error
        # Up to a quarter more, so that they do not all come back at once.
        assert 40 <= int(answer.get("Retry-After") or 0) <= 50
    assert world.refused == {Reason.OUTAGE: 3}
    world.platform.clear_outage(DIGITS)
    await world.held(get())


async def test_client_gone_while_held(world: World) -> None:
    """Its place is free at once, and it is counted."""
    await world.start(spec(queue_requests=1))
    (client,) = await world.held(get())
    client.close()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await world.held(get())


async def test_client_gone_while_held_and_not_read(world: World) -> None:
    """So it is when its socket is not read because its body is beyond the spool's budget."""
    await world.start(body_memory=1000, spool_bytes=10_000)
    (client,) = await world.held(post(b"x" * 40_000)[:30_000])
    (connection,) = await world.connections()
    await until(lambda: connection._paused)
    assert len(world.activator.departures) == 1
    client.close()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    assert world.activator.spool.files == 0


async def test_half_closing_client_is_taken_as_gone(world: World) -> None:
    """Half-closed looks like gone."""
    await world.start()
    (client,) = await world.held(get())
    client.writer.write_eof()
    assert await client.at_end()
    assert world.refused == {Reason.CLIENT_GONE: 1}


async def test_model_removed_while_held(world: World) -> None:
    """404, and what was pipelined behind it is looked up anew."""
    await world.start()
    (client,) = await world.held(get() + get())
    world.platform.remove_model(DIGITS)
    answer = await client.answer()
    assert answer.status == 404
    assert "no longer serving model digits" in answer.error
    answer = await client.answer()
    assert answer.status == 404
    assert "no model for host digits.localhost" in answer.error
    assert world.activator.admission.held == 0


async def test_large_held_body_is_spooled_and_replayed(world: World) -> None:
    """A megabyte goes to a file and comes back intact, also a second time."""
    await world.start()
    body = bytes(range(256)) * 4096
    head = request("POST", "/", "digits.localhost", "Transfer-Encoding: chunked")
    framed = head + chunks(*[body[at : at + 10_000] for at in range(0, len(body), 10_000)])
    clients = await world.held(post(body), framed)
    await until(lambda: world.activator.spool.used > 2 * (len(body) - 65_536 - 65_536))
    assert world.activator.spool.files == 2

    async def read_and_die(asked: Asked) -> None:
        assert await asked.read() == body
        asked.close()

    replica = await world.replica(in_turn(read_and_die, read_and_die, echo))
    await until(lambda: len(replica.seen) == 2)
    world.jump(2.0)
    for client in clients:
        assert (await client.answer()).body == body
    assert world.model.retries == 2
    assert (world.activator.spool.files, world.activator.spool.used) == (0, 0)


@pytest.mark.parametrize("budget", [0, 300_000])
async def test_body_beyond_the_spool_is_paused_then_streamed(world: World, budget: int) -> None:
    """The client waits, memory stays small, then all of it goes through."""
    await world.start(spool_bytes=budget)
    body = bytes(range(256)) * 40_000
    (client,) = await world.held(post(body)[:70_000])
    sending = asyncio.create_task(client.send(post(body)[70_000:]))
    (connection,) = await world.connections()
    await until(lambda: connection._paused and connection.exchange and _overflowed(connection))
    assert connection.exchange is not None
    assert connection.exchange.body.size <= budget + 4 * 65_536
    await world.replica(echo)
    assert (await client.answer()).body == body
    await sending


def _overflowed(connection: object) -> bool:
    return bool(connection.exchange.body.full)  # type: ignore[attr-defined]


async def test_spool_directory_is_not_there(world: World) -> None:
    """503 that says why and does not tell where."""
    await world.start(spool_directory="/nonexistent/spool", body_memory=1000)
    client = await world.client()
    await client.send(post(b"x" * 20_000))
    answer = await client.answer()
    assert answer.status == 503
    assert "could not be spooled: No such file or directory" in answer.error
    assert "nonexistent" not in answer.error
    assert world.activator.spool.failures == 1
    (complaint,) = world.complaints
    assert "/nonexistent/spool" in complaint
    world.complaints.clear()


async def test_spool_cannot_be_read(world: World) -> None:
    """503 instead of half a request."""
    await world.start()
    (client,) = await world.held(post(b"x" * 300_000))
    (connection,) = await world.connections()
    assert connection.exchange is not None
    body = connection.exchange.body
    await until(lambda: body.size == 300_000 and body.file is not None and not body.file.pending)
    assert body.file is not None
    body.file.error = OSError(errno.EIO, "Input/output error")
    await world.replica(echo)
    answer = await client.answer()
    assert answer.status == 503
    assert "could not be read from the spool: Input/output error" in answer.error


async def test_pipelined_bodies_of_a_client_that_leaves(world: World) -> None:
    """Those that wait behind others hold on to nothing either."""
    await world.start(body_memory=0, json_peek_bytes=0)
    (client,) = await world.held(post(b"first") + post(b"second") + post(b"third"))
    assert world.activator.spool.files == 1
    (connection,) = await world.connections()
    assert connection._paused, "those behind it came in one read, and no more is read"
    client.close()
    await until(lambda: world.activator.spool.files == 0)


# --- replicas fail ---


async def test_refused_connection_is_tried_elsewhere(world: World) -> None:
    """The replica is ejected, the client notices nothing."""
    await world.start(spec(container_concurrency=1))
    dead = await world.replica(echo)
    dead.refuse_connections()
    await world.replica(echo)
    client = await world.client()
    assert (await client.ask(post(b"x"))).body == b"x"
    assert (world.model.retries, world.model.throttler.ejections) == (1, 1)
    first, _ = world.model.throttler.slots.backends
    assert first.replica_id == dead.id
    assert first.ejected_until > world.clock.now()


async def test_every_attempt_fails(world: World) -> None:
    """After 1 + retry-attempts the client gets 502 and the reason."""
    await world.start(spec(retry_attempts=2))
    replicas = [await world.replica(gone) for _ in range(4)]
    client = await world.client()
    answer = await client.ask(get())
    assert answer.status == 502
    assert "before it answered" in answer.error
    assert sum(len(replica.seen) for replica in replicas) == 3
    assert world.refused == {Reason.REPLICA_FAILED: 1}


async def test_a_failure_hands_its_slot_on(world: World) -> None:
    """Who waited behind a request that failed for good is served, and counted right."""
    await world.start(spec(container_concurrency=1, retry_attempts=0))
    gate = Gate(in_turn(gone, echo))
    await world.replica(gate)
    first = await world.client()
    await first.send(get())
    await until(lambda: gate.inside == 1)
    second, third = await world.held(post(b"2"), post(b"3"))
    gate.let(3)
    assert (await first.answer()).status == 502
    world.jump(2.0)
    assert (await second.answer()).body == b"2"
    assert (await third.answer()).body == b"3"
    assert world.activator.admission.held == 0


async def test_a_refused_retry_leaves_room_for_those_who_wait(world: World) -> None:
    """The slot of a request that is not tried again goes to the next at once."""
    await world.start(spec(container_concurrency=1, retry_post=False))
    gate = Gate(in_turn(gone, echo))
    await world.replica(in_turn(echo, gate))
    first = await world.client()
    assert (await first.ask(get())).status == 200
    await first.send(post(b"on a connection that was used before"))
    await until(lambda: gate.inside == 1)
    second, third = await world.held(get(), get())
    gate.let(3)
    assert (await first.answer()).status == 502
    assert (await second.answer()).status == 200
    assert (await third.answer()).status == 200
    assert world.activator.admission.held == 0


async def test_replica_dies_before_its_first_byte(world: World) -> None:
    """A POST is tried again too: inference is idempotent."""
    await world.start()
    for script in (gone, resets):
        replica = await world.replica(in_turn(script, echo))
        client = await world.client()
        await client.send(post(b"again"))
        await until(functools.partial(operator.attrgetter("seen"), replica))
        world.jump(60.0)
        assert (await client.answer()).body == b"again"
        world.platform.vanish(replica.id)


async def test_post_is_not_tried_again_if_so_set(world: World) -> None:
    """retry-post off: 502; a GET still is."""
    await world.start(spec(retry_post=False))
    replica = await world.replica(gone)
    client = await world.client()
    answer = await client.ask(post(b"x"))
    assert answer.status == 502
    assert "retry-post is off" in answer.error
    replica.script = in_turn(gone, echo)
    await client.send(get())
    await until(lambda: len(replica.seen) >= 1)
    world.jump(60.0)
    assert (await client.answer()).status == 200


async def test_a_body_that_was_not_kept_is_not_sent_again(world: World) -> None:
    """502 that says so."""
    await world.start(body_memory=1000, replay_bytes=1_000_000)  # no body gets 500,000 of it

    async def read_and_die(asked: Asked) -> None:
        await asked.read()
        asked.close()

    replica = await world.replica(read_and_die)
    client = await world.client()
    data = post(b"x" * 500_000)
    await client.send(data[:200])
    await until(lambda: len(replica.seen) == 1)
    await client.send(data[200:])
    answer = await client.answer()
    assert answer.status == 502
    assert "too large to be kept" in answer.error


async def test_a_large_body_that_was_kept_beside_is_sent_again(world: World) -> None:
    """Its replica died when it had it all: another gets the same, and nothing stays behind."""
    await world.start(body_memory=1000)

    async def read_and_die(asked: Asked) -> None:
        await asked.read()
        asked.close()

    replica = await world.replica(in_turn(read_and_die, echo))
    client = await world.client()
    # Too large for one read, so that it is passed on as it comes.
    body = bytes(range(256)) * 2000
    data = post(body)
    await client.send(data[:200])
    await until(lambda: len(replica.seen) == 1)
    await client.send(data[200:])
    await until(lambda: world.model.retries == 1)
    assert world.model.throttler.queued_bytes == len(body)  # it waits for the ejection to end
    world.jump(60.0)
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, body)
    await until(lambda: world.activator.replays.used == 0)


async def test_a_large_upload_takes_a_connection_that_was_just_used(world: World) -> None:
    """One more is only opened when it may have been closed for its age."""
    await world.start(body_memory=1000)
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(post(b"x"))
    data = post(b"y" * 100_000)
    for accepted in (1, 2):
        replica.seen.clear()
        await client.send(data[:2000])
        await until(lambda: len(replica.seen) == 1)
        await client.send(data[2000:])
        assert (await client.answer()).status == 200
        assert replica.accepted == accepted
        world.jump(1.5)


async def test_stale_connection(world: World) -> None:
    """An idle connection that the replica had closed costs nobody anything."""
    await world.start(spec(retry_attempts=0))
    replica = await world.replica(in_turn(echo, gone, echo))
    client = await world.client()
    assert (await client.ask(post(b"1"))).body == b"1"
    assert (await client.ask(post(b"2"))).body == b"2"
    assert len(replica.seen) == 3
    assert (world.model.retries, world.model.throttler.ejections) == (1, 0)


async def test_idle_connection_closed_by_the_replica_is_forgotten(world: World) -> None:
    """It is not even tried."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get())
    pool = world.model.pools[replica.id]
    assert len(pool.idle) == 1
    next(iter(replica.open)).close()
    await until(lambda: not pool.idle)
    assert (await client.ask(get())).status == 200
    assert world.model.retries == 0


async def test_replica_gone_while_being_connected_to(world: World) -> None:
    """Whoever waits for that connection is served elsewhere."""
    await world.start()
    (client,) = await world.held(post(b"x"))
    first, second = await world.unready(), await world.unready()
    world.make_ready(first)
    world.platform.vanish(first.id)
    world.make_ready(second)
    assert (await client.answer()).body == b"x"
    assert len(second.seen) == 1


async def test_client_gone_while_its_replica_is_being_connected_to(world: World) -> None:
    """The slot is free, the connection is kept for somebody else."""
    await world.start()
    (client,) = await world.held(get())
    (connection,) = await world.connections()
    replica = await world.unready()
    world.make_ready(replica)
    connection.transport.abort()
    await until(lambda: not world.activator.connections)
    await until(lambda: len(world.model.pools[replica.id].idle) == 1)
    assert replica.seen == []
    assert await client.at_end()


BEGUN = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body", "breaks"),
    [
        (b"Content-Length: 100", b"only this", resets),
        (b"Content-Length: 100", b"only this", gone),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", gone),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", resets),
        (b"X-No-Length: 1", b"until it ends", resets),
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_replica_dies_mid_response(
    world: World, head: bytes, body: bytes, breaks: object, version: bytes
) -> None:
    """The client's connection breaks visibly, and it is counted."""
    await world.start()
    begun = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(BEGUN % head + body)
        await soon(begun.wait())
        await breaks(asked)  # type: ignore[operator]

    await world.replica(script)
    client = await world.client()
    await client.send(get().replace(b"HTTP/1.1", b"HTTP/" + version))
    assert (await client.head()).status == 200
    begun.set()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await soon(client.reader.readexactly(10_000))
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())
    assert world.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 99999 x\r\n\r\n",
        b"HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\n b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 5_000,
    ],
)
async def test_garbage_from_a_replica(world: World, garbage: bytes) -> None:
    """502: nothing of it reaches the client."""
    await world.start(spec(retry_attempts=0))
    await world.replica(says(garbage))
    client = await world.client()
    answer = await client.ask(get())
    assert (answer.status, answer.get("X")) == (502, None)
    assert world.refused == {Reason.REPLICA_FAILED: 1}


async def test_garbage_in_the_middle_of_an_answer(world: World) -> None:
    """What has begun is broken off."""
    await world.start()
    begun = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.send(BEGUN % b"Transfer-Encoding: chunked" + b"5\r\nhello\r\n")
        await soon(begun.wait())
        await asked.send(b"not hex\r\n")
        await asked.at_end()

    await world.replica(script)
    client = await world.client()
    await client.send(get())
    await client.head()
    begun.set()
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())


@pytest.mark.parametrize("later", [False, True])
async def test_two_answers_for_one_request(world: World, later: bool) -> None:
    """The second one is nobody's: it must never be taken for the next request's."""
    await world.start()
    pieces = [ok(b"one"), ok(b"two")]

    async def script(asked: Asked) -> None:
        await asked.send(*(pieces if later else [b"".join(pieces)]))

    replica = await world.replica(in_turn(script, echo))
    client = await world.client()
    assert (await client.ask(post(b"1"))).body == b"one"
    await until(lambda: not replica.open)
    assert (await client.ask(post(b"2"))).body == b"2"


# --- time passes ---


async def test_first_byte_timeout(world: World) -> None:
    """504, and the replica's connection is broken off."""
    await world.start(spec(first_byte_timeout=20.0))
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    await client.send(get())
    await until(lambda: gate.inside == 1)
    world.jump(21.0)
    answer = await client.answer()
    assert answer.status == 504
    assert "first-byte-timeout = 20 s" in answer.error
    assert world.model.throttler.active == 0
    assert world.refused == {Reason.REPLICA_TIMEOUT: 1}
    gate.let()
    await until(lambda: not replica.open)


def _has_received(exchange: Exchange, size: int) -> bool:
    return exchange.body.size == size


async def test_a_body_on_its_way_is_progress(world: World) -> None:
    """The time to the first byte counts from the last piece of the request."""
    await world.start(spec(first_byte_timeout=20.0))
    replica = await world.replica(echo)
    client = await world.client()
    await client.send(post(b"12345")[:-5])
    await until(lambda: len(replica.seen) == 1)
    (connection,) = await world.connections()
    for piece in (b"1", b"2", b"3", b"4"):
        exchange = connection.exchange
        assert exchange is not None
        world.jump(15.0)
        await client.send(piece)
        await until(functools.partial(_has_received, exchange, int(piece)))
    await client.send(b"5")
    assert (await client.answer()).body == b"12345"


async def test_idle_timeout(world: World) -> None:
    """An answer that stops coming is broken off; one that trickles is not."""
    await world.start(spec(idle_timeout=20.0))
    more = asyncio.Semaphore(0)

    async def script(asked: Asked) -> None:
        await asked.send(BEGUN % b"Content-Length: 5")
        while True:
            await more.acquire()
            await asked.send(b"x")

    await world.replica(script)
    client = await world.client()
    await client.send(get())
    await client.head()
    for _ in range(3):
        world.jump(15.0)
        more.release()
        assert await soon(client.reader.readexactly(1)) == b"x"
    world.jump(21.0)
    with pytest.raises(ConnectionResetError):
        await soon(client.reader.read())
    assert world.refused == {Reason.REPLICA_TIMEOUT: 1}


@pytest.mark.parametrize("begun", [False, True])
async def test_total_timeout(world: World, begun: bool) -> None:
    """504 before the first byte, broken off after it."""
    await world.start(spec(total_timeout=20.0))

    async def script(asked: Asked) -> None:
        if begun:
            await asked.send(BEGUN % b"Content-Length: 5")
        await asked.at_end()

    replica = await world.replica(script)
    client = await world.client()
    await client.send(get())
    if begun:
        await client.head()
    await until(lambda: len(replica.seen) == 1)
    world.jump(21.0)
    if begun:
        with pytest.raises(ConnectionResetError):
            await soon(client.reader.read())
    else:
        answer = await client.answer()
        assert (answer.status, "total-timeout = 20 s" in answer.error) == (504, True)


async def test_client_takes_nothing(world: World) -> None:
    """A client that does not read does not keep its slot for ever."""
    await world.start(spec(idle_timeout=20.0))
    replica = await world.replica(says(ok(b"x" * 20_000_000)))
    client = await world.client(limit=4096)
    await client.send(get())
    (connection,) = await world.connections()
    await until(lambda: connection.write_paused)
    world.jump(21.0)
    await until(lambda: not world.activator.connections)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await until(lambda: not replica.open)


# --- clients leave, replicas drain ---


async def test_client_gone_while_active(world: World) -> None:
    """The slot is free and the replica learns of it."""
    await world.start(spec(container_concurrency=1))
    left = asyncio.Event()

    async def script(asked: Asked) -> None:
        with contextlib.suppress(ConnectionResetError):
            await asked.at_end()
        left.set()

    replica = await world.replica(in_turn(script, echo))
    client = await world.client()
    await client.send(get())
    await until(lambda: len(replica.seen) == 1)
    (waiting,) = await world.held(post(b"next"))
    client.close()
    await soon(left.wait())
    assert (await waiting.answer()).body == b"next"
    assert world.refused == {Reason.CLIENT_GONE: 1}


async def test_draining_replica(world: World) -> None:
    """It gets nothing new, and is drained exactly when its last request has ended."""
    await world.start()
    gate = Gate()
    draining = await world.replica(gate)
    clients = [await world.client() for _ in range(2)]
    for client in clients:
        await client.send(post(b"x"))
    await until(lambda: gate.inside == 2)
    world.drain(draining)
    other = await world.replica(echo)
    assert (await (await world.client()).ask(post(b"y"))).body == b"y"
    assert len(other.seen) == 1
    for client in clients:
        assert world.platform.drained_ids == []
        gate.let()
        assert (await client.answer()).body == b"x"
    assert world.platform.drained_ids == [draining.id]
    await until(lambda: not draining.open)


@pytest.mark.parametrize("ending", ["client-leaves", "replica-dies", "idle"])
async def test_draining_replica_is_drained_however_it_ends(world: World, ending: str) -> None:
    """A request that failed or was given up is no longer in the replica either."""
    await world.start(spec(retry_attempts=0))
    gate = Gate(gone)
    replica = await world.replica(gate)
    if ending != "idle":
        client = await world.client()
        await client.send(get())
        await until(lambda: gate.inside == 1)
    world.drain(replica)
    if ending == "client-leaves":
        client.close()
    elif ending == "replica-dies":
        gate.let()
        assert (await client.answer()).status == 502
    await until(lambda: world.platform.drained_ids == [replica.id])


async def test_model_removed_while_active(world: World) -> None:
    """Its replicas are drained when its requests have been answered, not before."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    idle = await world.replica(gate)
    client = await world.client()
    await client.send(post(b"x"))
    await until(lambda: gate.inside == 1)
    world.platform.remove_model(DIGITS)
    assert len(world.platform.drained_ids) == 1
    assert (await (await world.client()).ask(get())).status == 404
    gate.let()
    assert (await client.answer()).body == b"x"
    assert sorted(world.platform.drained_ids) == sorted([replica.id, idle.id])
    await until(lambda: not world.activator._removed)


async def test_model_removed_again_while_its_first_life_is_active(world: World) -> None:
    """Each life is remembered until its own requests have been answered."""
    await world.start()
    gates, clients, replicas = [], [], []
    for life in (b"first", b"second", b"third"):
        gates.append(Gate())
        replicas.append(await world.replica(gates[-1]))
        clients.append(await world.client())
        await clients[-1].send(post(life))
        await until(lambda: gates[-1].inside == 1)
        world.platform.remove_model(DIGITS)
        world.platform.add_model(spec())
    assert len(world.activator._removed) == 3
    assert world.platform.drained_ids == []
    for gate, client, life in zip(gates, clients, (b"first", b"second", b"third"), strict=True):
        gate.let()
        assert (await client.answer()).body == life
    assert world.platform.drained_ids == [replica.id for replica in replicas]
    await until(lambda: not world.activator._removed)
    pools = world.activator.pools
    assert not [pool for pool in pools if pool.idle]


async def test_model_removed_and_the_replica_dies(world: World) -> None:
    """There is nobody to try it again with."""
    await world.start()
    gate = Gate(gone)
    await world.replica(gate)
    client = await world.client()
    await client.send(post(b"x"))
    await until(lambda: gate.inside == 1)
    world.platform.remove_model(DIGITS)
    gate.let()
    answer = await client.answer()
    assert answer.status == 404
    assert "was removed" in answer.error


async def test_model_removed_and_back_while_active(world: World) -> None:
    """The new life of the model knows nothing of the old one's replica, which drains."""
    await world.start()
    gate = Gate()
    replica = await world.replica(gate)
    client = await world.client()
    await client.send(post(b"old"))
    await until(lambda: gate.inside == 1)
    world.platform.remove_model(DIGITS)
    world.platform.add_model(spec())
    assert world.platform.drained_ids == []
    (waiting,) = await world.held(post(b"new"))
    await world.replica(echo)
    assert (await waiting.answer()).body == b"new"
    gate.let()
    assert (await client.answer()).body == b"old"
    assert world.platform.drained_ids == [replica.id]


async def test_probes_do_not_wake_a_model(world: World) -> None:
    """Told by their agent, answered by Stoker, not counted as load."""
    await world.start()
    client = await world.client()
    answer = await client.ask(get("/", "digits.localhost", "User-Agent: kube-probe/1.30"))
    assert answer.status == 200
    assert world.load.pokes == []
    assert world.model.throttler.arrivals == 0
    assert world.model.explain(0.0)["probes"] == 1


async def test_nothing_is_kept_of_a_request_that_was_held(world: World) -> None:
    """No exchange outlives its request, not in the heap of deadlines either."""
    await world.start()
    clients = await world.held(*[post(b"x" * 10_000)] * 5)
    await world.replica(echo)
    for client in clients:
        assert (await client.answer()).status == 200
        client.close()
    await until(lambda: not world.activator.connections)
    gc.collect()
    # By type: isinstance() also asks for __class__, and then lazy modules load all they have.
    assert [thing for thing in gc.get_objects() if type(thing) is Exchange] == []


async def test_ends_with_the_connection(world: World) -> None:
    """Close-delimited answers reach a 1.0 client whole."""
    await world.start()
    await world.replica(says_and_ends(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"))
    client = await world.client()
    await client.send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await client.answer(to_the_end=True)).body == b"until the end"
