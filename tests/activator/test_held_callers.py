"""What a caller sees while, and because, it is held: headers, comments, another model, a page."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from activator import event_stream
from activator.headers import TOLD_NAMES
from activator.tickets import Reason
from stoker import telemetry
from stoker.settings.holding_rows import holding_rows
from stoker.vocabulary import (
    AnswerHeaders,
    Balancing,
    ModelKey,
    ModelSpec,
    Phase,
    PlaceholderFor,
    ServingConfig,
)
from tests.activator.world import (
    DIGITS,
    Asked,
    Client,
    Gate,
    Message,
    Peer,
    World,
    chunks,
    echo,
    get,
    gone,
    in_turn,
    ok,
    post,
    request,
    says,
    soon,
    spec,
    until,
)

SMALL = ModelKey.parse("small")
SSE = "Accept: text/event-stream"
OFTEN = 0.02
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
STREAM = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"data: 1\n\n", b"data: 2\n\n")


async def piece(client: Peer) -> bytes:
    """The next chunk of an answer; empty: it was the last."""
    line = await soon(client.reader.readuntil(b"\r\n"))
    data: bytes = await soon(client.reader.readexactly(int(line, 16) + 2))
    return data[:-2]


async def rest(client: Peer) -> bytes:
    """All that follows in chunks, without comments."""
    pieces = []
    while data := await piece(client):
        if not data.startswith(b": stoker"):
            pieces.append(data)
    return b"".join(pieces)


async def commented(world: World, data: bytes = get("/", "digits.localhost", SSE)) -> Client:
    """A held client that has got the head and its first comment."""
    (client,) = await world.held(data)
    head = await client.head()
    assert head.status == 200
    assert head.get("Content-Type") == "text/event-stream"
    assert (await piece(client)).startswith(b": stoker phase=")
    return client


def error_of(data: bytes) -> dict[str, Any]:
    """The error in an event, as an OpenAI client finds it."""
    first, second, *others = data.decode().split("\n")
    assert (first, others) == ("event: error", ["", ""])
    content: dict[str, Any] = json.loads(second.removeprefix("data: "))["error"]
    return content


def with_(key: ModelKey = DIGITS, **serving: Any) -> ModelSpec:
    return ModelSpec(key, serving=ServingConfig(**serving))


# --- headers of answers ---


async def test_a_held_request_is_told_what_it_waited_for(world: World) -> None:
    """The start, its whole wait and who answered; a later request was not held: nothing."""
    await world.start()
    (client,) = await world.held(get())
    world.jump(1.0)
    replica = await world.replica(says(ok(b"", "Stoker-Replica: forged", "X-Own: 1")))
    answer = await client.answer()
    assert answer.get("stoker-replica") == replica.id
    assert answer.get("X-Own") == "1"
    cold, queued = answer.get("stoker-cold-start"), answer.get("stoker-queued-ms")
    assert cold is not None
    assert queued is not None
    assert 1 <= float(cold) <= int(queued) / 1000 + 0.001
    answer = await client.ask(get())
    assert [name for name, _ in answer.headers if name.lower().startswith("stoker-")] == []


async def test_waiting_for_a_slot_is_no_cold_start(world: World) -> None:
    """The replica was there; somebody else was in it."""
    await world.start(spec(container_concurrency=1))
    gate = Gate()
    await world.replica(gate)
    first = await world.client()
    await first.send(get())
    await until(lambda: gate.inside == 1)
    (second,) = await world.held(get())
    gate.let(2)
    assert (await first.answer()).get("stoker-queued-ms") is None
    answer = await second.answer()
    assert answer.get("stoker-queued-ms") is not None
    assert answer.get("stoker-cold-start") is None


async def test_headers_on_all_answers_or_on_none(world: World) -> None:
    """As the setting says; a change is in force at once."""
    await world.start(spec(answer_headers=AnswerHeaders.ALL))
    replica = await world.replica(echo)
    client = await world.client()
    answer = await client.ask(get())
    assert (answer.get("stoker-queued-ms"), answer.get("stoker-replica")) == ("0", replica.id)
    world.drain(replica)
    world.platform.add_model(spec(answer_headers=AnswerHeaders.OFF))
    (held,) = await world.held(get())
    await world.replica(echo)
    answer = await held.answer()
    assert [name for name, _ in answer.headers if name.lower().startswith("stoker-")] == []


async def test_refusals_tell_how_long_it_was_held(world: World) -> None:
    """So that a caller's own logs can say where its time went."""
    await world.start(spec(hold_timeout=0.05, hold_timeout_cap=0.05))
    (client,) = await world.held(get())
    answer = await client.answer()
    assert answer.status == 504
    queued = answer.get("stoker-queued-ms")
    assert queued is not None
    assert int(queued) >= 50


# --- comments ---


@pytest.mark.parametrize(
    "data",
    [
        get("/", "digits.localhost", SSE),
        post(b'{"prompt": "hi", "stream": true}'),
        post(b'{"stream": true, "prompt": "' + b"x" * 40_000 + b'"}', "/", "digits.localhost"),
    ],
    ids=["accept", "body", "spooled body"],
)
async def test_comments_until_the_stream_begins(world: World, data: bytes) -> None:
    """One head, comments with phase and estimate, then the replica's own events."""
    world.eta = 12.0
    await world.start(spec(hold_comments=OFTEN), body_memory=1000)
    (client,) = await world.held(data)
    head = await client.head()
    assert (head.status, head.get("Connection")) == (200, None)
    assert head.get("Cache-Control") == "no-cache"
    assert head.get("X-Accel-Buffering") == "no"
    assert await piece(client) == b": stoker phase=asleep eta=12s queued=1\n\n"
    world.platform.add_replica(DIGITS, phase=Phase.STARTING)
    comment = b""
    while b"phase=starting" not in comment:
        comment = await piece(client)
    replica = await world.replica(says(STREAM))
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert replica.seen[0].all("Accept-Encoding") == ["identity"]
    counts = world.model.held_counts
    assert (counts.comments >= 2, counts.error_events) == (True, 0)
    # The connection goes on to be of use.
    assert (await client.ask(get())).status == 200


async def test_no_comments_for_those_who_cannot_read_them(world: World) -> None:
    """HTTP/1.0, HEAD, callers of a plain answer, models that do not want any."""
    await world.start(with_(hold_comments=OFTEN), with_(SMALL))
    old = b"GET / HTTP/1.0\r\nHost: digits.localhost\r\nAccept: text/event-stream\r\n\r\n"
    clients = await world.held(
        old,
        request("HEAD", "/", "digits.localhost", SSE),
        get(),
        post(b'{"stream": false}'),
        post(b"xx")[:-1],
        get("/", "small.localhost", SSE),
        get("/", "digits.localhost", SSE),
    )
    assert (await clients[-1].head()).status == 200
    for _ in range(3):
        await piece(clients[-1])
    await clients[4].send(b"y")
    await world.replica(says(b"HTTP/1.1 204 No Content\r\n\r\n"))
    await world.replica(says(b"HTTP/1.1 204 No Content\r\n\r\n"), SMALL)
    for client in clients[:-1]:
        assert (await client.head()).status == 204
    error = error_of(await rest(clients[-1]))
    assert error["message"] == "the replica answered 204 (no content type), not a stream of events"


async def test_a_body_that_asks_for_a_stream_when_it_is_complete(world: World) -> None:
    """It is looked at again until all of it has come."""
    await world.start(spec(hold_comments=OFTEN))
    body = b'{"prompt": "hi", "stream": true}'
    (late,) = await world.held(post(body)[:-8])
    (witness,) = await world.held(get("/", "digits.localhost", SSE))
    await witness.head()
    for _ in range(3):
        await piece(witness)
    assert world.model.held_counts.comments >= 3
    await late.send(post(body)[-8:])
    assert (await late.head()).status == 200


async def test_an_answer_that_is_no_stream_becomes_an_error_event(world: World) -> None:
    """The replica's own error where it sent one, else what it was; then a proper end."""
    await world.start(spec(hold_comments=OFTEN, container_concurrency=1))
    clients = [await commented(world) for _ in range(5)]
    own = json.dumps({"error": {"message": "no such lora", "code": 404}}).encode()
    coded = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    answers = [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(own), own),
        ok(b'{"choices": []}', "Content-Type: application/json"),
        coded + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        ok(b"x" * 70_000, "Content-Type: text/plain"),
    ]
    await world.replica(in_turn(*map(says, answers)))
    errors = [error_of(await rest(client)) for client in clients]
    assert errors[0] == {"message": "no such lora", "code": 404}
    assert errors[1]["body"] == '{"choices": []}'
    assert errors[1]["message"].startswith("the replica answered 200 (application/json), not a")
    assert [error["code"] for error in errors[1:]] == [200, 200, 304, 200]
    assert len(errors[4]["body"]) == event_stream.MOST_TOLD
    assert world.model.held_counts.error_events == 5
    for client in clients:
        await client.send(get())
        assert (await client.head()).status == 200
        await client.reader.readexactly(70_000)


async def test_a_plain_answer_framed_by_its_end(world: World) -> None:
    """The replica's connection ends with the body: the event is written all the same."""
    await world.start(spec(hold_comments=OFTEN))
    first, second = [await commented(world) for _ in range(2)]

    async def ends(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 500 Oops\r\n\r\nbroken")
        asked.close()

    async def streams_and_ends(asked: Asked) -> None:
        await asked.send(EVENTS + b"\r\n" + b"data: x\n\n")
        asked.close()

    await world.replica(in_turn(ends, streams_and_ends))
    texts = [await rest(first), await rest(second)]
    assert b"data: x\n\n" in texts
    texts.remove(b"data: x\n\n")
    assert error_of(texts[0])["body"] == "broken"


async def test_refusals_become_events(world: World) -> None:
    """An outage, a deadline: never a second head."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world)
    world.platform.set_outage(DIGITS, "exit code 3", retry_in=40.0)
    error = error_of(await rest(client))
    assert (error["type"], error["code"]) == ("cannot-start", 503)
    assert "exit code 3" in error["message"]
    assert world.refused == {Reason.OUTAGE: 1}
    assert world.model.codes[5] == 1


async def test_deadline_behind_comments(world: World) -> None:
    """The hold's time is up, and V2 clients get their kind of error."""
    await world.start(spec(hold_comments=OFTEN, hold_timeout=60.0))
    client = await commented(world, get("/v2/models/digits/infer", "any", SSE))
    world.jump(61.0)
    text = await rest(client)
    assert text.startswith(b'event: error\ndata: {"error": "gave up waiting for a slot')


async def test_retries_are_possible_behind_comments(world: World) -> None:
    """Nothing of a replica was passed on: another one may answer; with none left, an event."""
    await world.start(spec(hold_comments=OFTEN, retry_attempts=1))
    client = await commented(world)

    async def head_only(asked: Asked) -> None:
        await asked.send(EVENTS + b"Content-Length: 100\r\n\r\n")
        asked.close()

    replica = await world.replica(in_turn(head_only, says(STREAM)))
    await until(lambda: len(replica.seen) == 1)
    world.jump(2.0)
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert world.model.retries == 1
    world.drain(replica)
    client = await commented(world)
    replica = await world.replica(gone)
    await until(lambda: len(replica.seen) == 1)
    world.jump(2.0)
    error = error_of(await rest(client))
    assert (error["type"], error["code"]) == ("replica-failed", 502)


async def test_a_stream_that_breaks_is_broken_off(world: World) -> None:
    """Behind the replica's bytes nothing can be mended: a visible end, as without comments."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world)

    async def breaks(asked: Asked) -> None:
        await asked.send(EVENTS + b"Content-Length: 100\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        asked.close()

    go_on = asyncio.Event()
    await world.replica(breaks)
    data = await piece(client)
    while data.startswith(b": stoker"):
        data = await piece(client)
    assert data == b"data: 1\n\n"
    go_on.set()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await piece(client)
    assert world.refused == {Reason.REPLICA_DIED_MID_RESPONSE: 1}


async def test_a_slow_replica_behind_comments(world: World) -> None:
    """Comments go on until it answers; its first-byte-timeout is an event."""
    await world.start(spec(hold_comments=OFTEN, first_byte_timeout=60.0))
    client = await commented(world)
    gate = Gate()
    await world.replica(gate)
    comment = b""
    while b"phase=forwarded" not in comment:
        comment = await piece(client)
    world.jump(61.0)
    assert error_of(await rest(client))["type"] == "replica-timeout"
    gate.let()


async def test_client_gone_behind_comments(world: World) -> None:
    """Its place is free at once."""
    await world.start(spec(hold_comments=OFTEN, queue_requests=1))
    client = await commented(world)
    client.close()
    await until(lambda: world.activator.admission.held == 0)
    assert world.refused == {Reason.CLIENT_GONE: 1}
    await world.held(get())


async def test_shutdown_behind_comments(world: World) -> None:
    """Stoker ends: an event says so."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world)
    closing = asyncio.create_task(world.activator.close())
    assert error_of(await rest(client))["type"] == "shutdown"
    await soon(closing)


async def test_comments_to_a_client_that_does_not_read(world: World) -> None:
    """What it does not take is not piled up."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world)
    (connection,) = await world.connections()
    connection.pause_writing()
    before = world.model.held_counts.comments
    witness = await commented(world)
    for _ in range(3):
        await piece(witness)
    told = world.model.held_counts.comments
    connection.resume_writing()
    assert await piece(client)
    assert told - before <= 6


async def test_pipelined_behind_comments(world: World) -> None:
    """The next request of the connection is answered in its turn, as usual."""
    await world.start(spec(hold_comments=OFTEN))
    client = await commented(world, get("/", "digits.localhost", SSE) + post(b"next"))
    await world.replica(in_turn(says(STREAM), echo))
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert (await client.answer()).body == b"next"


async def test_a_body_that_goes_on_behind_comments(world: World) -> None:
    """The rest of it is sent on; the connection is closed behind the answer, as was said."""
    await world.start(spec(hold_comments=OFTEN))
    data = request("POST", "/", "digits.localhost", SSE, body=b"0123456789")
    (client,) = await world.held(data[:-5])
    head = await client.head()
    assert head.get("Connection") == "close"
    replica = await world.unready(says(STREAM))
    await client.send(data[-5:])
    world.make_ready(replica)
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert await client.at_end()


async def test_malformed_body_behind_comments(world: World) -> None:
    """No second head: the connection is broken off."""
    await world.start(spec(hold_comments=OFTEN))
    head = request("POST", "/", "digits.localhost", SSE, "Transfer-Encoding: chunked")
    (client,) = await world.held(head + b"3\r\nabc\r\n")
    await client.head()
    await client.send(b"nonsense\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await rest(client)


# --- a fallback ---


def pair(**serving: Any) -> tuple[ModelSpec, ModelSpec]:
    return with_(fallback="small", **serving), with_(SMALL)


def from_small(answer: Message) -> bool:
    return answer.get("stoker-fallback") == "small"


async def test_fallback_while_asleep(world: World) -> None:
    """The other model answers at once, marked; this one wakes; once awake it answers itself."""
    await world.start(*pair())
    await world.replica(says(ok(b"small")), SMALL)
    client = await world.client()
    answer = await client.ask(post(b"x"))
    assert (answer.body, from_small(answer)) == (b"small", True)
    assert [poke.model for poke in world.load.pokes] == [DIGITS]
    assert world.load.pokes[0].queued == 1
    report = world.activator.reporter.report(world.clock.now())
    assert DIGITS in [stat.model for stat in report.stats]
    assert world.model.held_counts.fallbacks == 1
    await world.replica(says(ok(b"digits")))
    answer = await client.ask(post(b"x"))
    assert (answer.body, answer.get("stoker-fallback")) == (b"digits", None)


async def test_fallback_that_is_asleep_too_wakes(world: World) -> None:
    """It is held there: both wake; if both cannot start it is told so."""
    await world.start(*pair())
    (client,) = await world.held(post(b"x"))
    assert {poke.model for poke in world.load.pokes} == {DIGITS, SMALL}
    await world.replica(echo, SMALL)
    answer = await client.answer()
    assert (answer.body, from_small(answer)) == (b"x", True)
    assert answer.get("stoker-queued-ms") is not None


async def test_fallback_after_a_while(world: World) -> None:
    """Held first, body and all; then the other model gets it."""
    await world.start(*pair(fallback_after=0.05), body_memory=1000)
    await world.replica(echo, SMALL)
    body = b"b" * 100_000
    (client,) = await world.held(post(body))
    answer = await client.answer()
    assert (answer.body, from_small(answer)) == (body, True)
    queued, cold = answer.get("stoker-queued-ms"), answer.get("stoker-cold-start")
    assert queued is not None
    assert cold is not None
    assert int(queued) >= 50
    assert abs(float(cold) * 1000 - int(queued)) <= 1, "it waited for the model that slept"
    assert world.activator.admission.held == 0


async def test_no_fallback_for_who_got_its_slot(world: World) -> None:
    """It was awake before fallback-after had passed."""
    await world.start(*pair(fallback_after=0.05))
    await world.replica(says(ok(b"small")), SMALL)
    (client,) = await world.held(post(b"x"))
    gate = Gate()
    await world.replica(gate)
    await until(lambda: gate.inside == 1)
    (connection,) = await world.connections()
    assert connection.exchange is not None
    assert connection.exchange._fallback_timer is None
    gate.let()
    assert (await client.answer()).body == b"x"


async def test_fallback_that_looks_at_prompts(world: World) -> None:
    """It waits for more of the body than the first model needed; it is one fallback still."""
    await world.start(with_(fallback="small"), with_(SMALL, balancing=Balancing.PREFIX))
    await world.replica(echo, SMALL)
    body = b'{"prompt": "once upon a time"}'
    client = await world.client()
    await client.send(post(body)[:-25])
    await until(lambda: world.model.held_counts.fallbacks)
    await client.send(post(body)[-25:])
    answer = await client.answer()
    assert (answer.body, from_small(answer)) == (body, True)
    assert world.model.held_counts.fallbacks == 1


async def test_fallback_in_an_outage(world: World) -> None:
    """For those that come and for those that are held."""
    await world.start(*pair(fallback_after=60.0))
    await world.replica(echo, SMALL)
    (held,) = await world.held(post(b"held"))
    world.platform.set_outage(DIGITS, "exit code 3", retry_in=40.0)
    answer = await held.answer()
    assert (answer.body, from_small(answer)) == (b"held", True)
    client = await world.client()
    assert from_small(await client.ask(post(b"x")))
    assert world.refused == {}


async def test_fallback_with_a_full_queue(world: World) -> None:
    """429 only where nobody else can answer."""
    await world.start(*pair(queue_requests=1, fallback_after=60.0, container_concurrency=1))
    await world.replica(echo, SMALL)
    gate = Gate()
    await world.replica(gate)
    first = await world.client()
    await first.send(get())
    await until(lambda: gate.inside == 1)
    await world.held(get())
    client = await world.client()
    assert from_small(await client.ask(post(b"x")))
    world.platform.remove_model(SMALL)
    assert (await client.ask(post(b"x"))).status == 429
    gate.let(2)
    await first.answer()


async def test_fallback_that_cannot_start_is_none(world: World) -> None:
    """The request is held, or refused, as if there were no other model."""
    await world.start(*pair(hold_comments=OFTEN))
    world.platform.set_outage(SMALL, "exit code 9", retry_in=40.0)
    client = await commented(world)
    world.platform.set_outage(DIGITS, "exit code 3", retry_in=40.0)
    assert "exit code 3" in error_of(await rest(client))["message"]


async def test_fallback_behind_comments(world: World) -> None:
    """Its stream is joined to the comments like the model's own would be."""
    await world.start(*pair(fallback_after=0.1, hold_comments=OFTEN))
    client = await commented(world)
    await world.replica(says(STREAM), SMALL)
    assert await rest(client) == b"data: 1\n\ndata: 2\n\n"
    assert world.model.held_counts.fallbacks == 1


# --- a placeholder ---


def page(path: Path, **serving: Any) -> ModelSpec:
    return with_(placeholder=str(path), **serving)


async def test_placeholder_for_browsers(world: World, tmp_path: Path) -> None:
    """The page at once, the model woken; API callers are held."""
    world.eta = 40.0
    path = tmp_path / "wait.html"
    path.write_text("<p>one moment")
    await world.start(page(path))
    client = await world.client()
    answer = await client.ask(get("/", "digits.localhost", "Accept: text/html,*/*;q=0.8"))
    assert (answer.status, answer.body) == (503, b"<p>one moment")
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    assert answer.get("Cache-Control") == "no-store"
    retry_after = answer.get("Retry-After")
    assert retry_after is not None
    assert int(retry_after) >= 40
    assert [poke.model for poke in world.load.pokes] == [DIGITS]
    head = await client.ask(request("HEAD", "/", "digits.localhost", "Accept: text/html"))
    assert (head.status, head.get("Content-Length")) == (503, "13")
    (held,) = await world.held(get("/", "digits.localhost", "Accept: */*"))
    await world.replica(echo)
    assert (await held.answer()).status == 200
    assert (await client.ask(get("/", "digits.localhost", "Accept: text/html"))).status == 200
    assert world.model.held_counts.placeholders == 2
    assert world.model.codes[5] == 2


async def test_placeholder_for_all(world: World, tmp_path: Path) -> None:
    """With its own status; a change of the file shows, its loss does not."""
    path = tmp_path / "wait.json"
    path.write_text('{"status": "starting"}')
    all_ = PlaceholderFor.ALL
    await world.start(page(path, placeholder_for=all_, placeholder_status=200))
    client = await world.client()
    answer = await client.ask(post(b"x"))
    assert (answer.status, answer.body) == (200, b'{"status": "starting"}')
    assert answer.get("Content-Type") == "application/json"
    assert answer.get("Retry-After") is None
    path.write_text('{"status": "still starting"}')
    world.jump(2.0)
    assert (await client.ask(post(b"x"))).body == b'{"status": "still starting"}'
    os.remove(path)
    world.jump(2.0)
    assert (await client.ask(post(b"x"))).body == b'{"status": "still starting"}'
    assert (await client.ask(post(b"x"))).status == 200
    path.write_bytes(b"x" * (1024 * 1024 + 1))
    world.jump(2.0)
    assert (await client.ask(post(b"x"))).body == b'{"status": "still starting"}'
    assert ["No such file" in world.complaints[0], "longer" in world.complaints[1]] == [True, True]
    assert len(world.complaints) == 2
    world.complaints.clear()


async def test_placeholder_that_was_never_there(world: World, tmp_path: Path) -> None:
    """Callers are held as usual, and it is said once."""
    await world.start(page(tmp_path / "none.bin", placeholder_for=PlaceholderFor.ALL))
    (held,) = await world.held(get())
    await world.replica(echo)
    assert (await held.answer()).status == 200
    assert len(world.complaints) == 1
    world.complaints.clear()


async def test_new_settings_keep_what_was_read(world: World, tmp_path: Path) -> None:
    """Unless another file is named."""
    path, other = tmp_path / "wait.html", tmp_path / "other.html"
    path.write_text("one")
    all_ = PlaceholderFor.ALL
    await world.start(page(path, placeholder_for=all_))
    client = await world.client()
    assert (await client.ask(get())).body == b"one"
    os.remove(path)
    world.platform.add_model(page(path, placeholder_for=all_, retry_attempts=1))
    assert (await client.ask(get())).body == b"one"
    other.write_text("two")
    world.platform.add_model(page(other, placeholder_for=all_))
    assert (await client.ask(get())).body == b"two"


# --- to see ---


async def test_all_of_it_is_counted(world: World) -> None:
    """In metrics by model; models that never had any have no series."""
    await world.start(*pair(fallback_after=0.1, hold_comments=OFTEN))
    client = await commented(world)
    await world.replica(says(ok(b"{}")), SMALL)
    error_of(await rest(client))
    readings = list(world.activator.readings())
    found = {(r.spec, r.labels): r.value for r in readings}
    assert found[telemetry.HOLD_COMMENTS, ("default/digits",)] == world.model.held_counts.comments
    assert found[telemetry.FALLBACKS, ("default/digits",)] == 1
    assert found[telemetry.ERROR_EVENTS, ("default/small",)] == 1
    assert (telemetry.PLACEHOLDERS, ("default/digits",)) not in found


def test_the_documentation_names_what_callers_may_meet() -> None:
    """Each header and each setting has its place in docs/streaming.md."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "streaming.md").read_text()
    names = [name.decode() for name in TOLD_NAMES]
    names += [tunable.name for tunable in holding_rows()]
    assert len(names) == 11
    assert [name for name in names if f"{name}" not in text] == []
