"""Listeners, routing end to end, drain and close, what can be read off it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from activator.server import Activator
from activator.tickets import Reason
from stoker import telemetry
from stoker.errors import ListenError
from stoker.exposition import Exposition
from stoker.settings import ProcessConfig
from stoker.sockets import bind
from stoker.telemetry import Histogram
from stoker.vocabulary import Address, ModelKey, ModelSpec, Phase
from tests.activator.world import (
    DIGITS,
    Asked,
    Gate,
    World,
    echo,
    get,
    gone,
    ok,
    post,
    says,
    soon,
    spec,
    until,
)

WORDS = ModelKey.parse("words")
LOOPBACK = Address("127.0.0.1", 0)


async def two_models(world: World) -> None:
    """digits and words, each with a replica that says which it is."""
    await world.start(
        ModelSpec(DIGITS, hosts=("digits.example",), aliases=("gpt-digits",), listeners=("own",)),
        ModelSpec(WORDS, hosts=("words.example",)),
        listeners=(("own", LOOPBACK),),
    )
    await world.replica(says(ok(b"digits")), DIGITS)
    await world.replica(says(ok(b"words")), WORDS)


@pytest.mark.parametrize(
    ("data", "model"),
    [
        (get("/", "digits.localhost"), "digits"),
        (get("/", "WORDS.localhost:8080"), "words"),
        (get("/", "digits.example"), "digits"),
        (get("/v1/models/digits", "words.example"), "words"),
        (get("/", "words.example", "stoker-model: digits"), "digits"),
        (get("/", "x", "Stoker-Model: gpt-digits"), "digits"),
        (get("/v1/models/words", "x"), "words"),
        (post(b"{}", "/v1/models/digits:predict", "x"), "digits"),
        (post(b"{}", "/v2/models/words/infer", "x"), "words"),
        (post(b"{}", "/v2/models/digits/versions/1/infer?a=b", "x"), "digits"),
        (post(b'{"model": "words"}', "/v1/chat/completions", "x"), "words"),
        (post(b'{"n": [1, {"model": "no"}], "model": "gpt-digits"}', "/v1/any", "x"), "digits"),
        (b"GET http://words.localhost/x HTTP/1.1\r\nHost: digits.localhost\r\n\r\n", "words"),
    ],
)
async def test_routing(world: World, data: bytes, model: str) -> None:
    """Header, host, path, body: the first that says something decides."""
    await two_models(world)
    client = await world.client()
    assert (await client.ask(data)).body.decode() == model


async def test_a_listener_of_its_own_decides_first(world: World) -> None:
    """Whatever else the request says."""
    await two_models(world)
    client = await world.client("own")
    by_header = get("/", "x", "stoker-model: words")
    for data in (get("/", "words.localhost"), by_header, get("/v2", "x")):
        assert (await client.ask(data)).body == b"digits"


async def test_the_model_header_goes_no_further(world: World) -> None:
    """It is said to Stoker."""
    await world.start()
    replica = await world.replica(echo)
    client = await world.client()
    assert (await client.ask(get("/", "x", "stoker-model: digits"))).status == 200
    assert replica.seen[0].get("stoker-model") is None


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2", {"name": "stoker", "extensions": []}),
        ("/v1/models", {"object": "list"}),
    ],
)
async def test_model_less_endpoints(world: World, target: str, content: dict[str, object]) -> None:
    """Answered for the whole set, waking nobody."""
    await world.start(spec(), spec(WORDS))
    client = await world.client()
    answer = await client.ask(get(target, "x"))
    told = json.loads(answer.body)
    assert answer.status == 200
    assert content.items() <= told.items()
    if target == "/v1/models":
        assert [each["id"] for each in told["data"]] == ["digits", "words"]
    assert world.load.pokes == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (get("/", "nobody.localhost"), "host nobody.localhost"),
        (get("/x?y", "nobody"), "host nobody and path /x"),
        (get("/v2/models/none/ready", "x"), "path /v2/models/none/ready"),
        (get("/", "x", "stoker-model: none"), "header stoker-model: none"),
        (post(b'{"model": "none"}', "/v1/completions", "x"), 'model "none" of the body'),
        (
            post(b"not json", "/v1/completions", "x"),
            "a JSON body without a text field model in its first json-peek-bytes",
        ),
    ],
)
async def test_unknown_model(world: World, data: bytes, told: str) -> None:
    """404 naming what was looked for; the connection lives on."""
    await world.start()
    client = await world.client()
    answer = await client.ask(data)
    assert answer.status == 404
    assert told in answer.error
    assert "digits" in answer.error
    assert (await client.ask(get("/v2", "x"))).status == 200
    assert world.activator.malformed == {404: 1}


async def test_v2_errors_are_strings(world: World) -> None:
    """As its clients expect them."""
    await world.start()
    client = await world.client()
    assert isinstance(json.loads((await client.ask(get("/v2/x", "x"))).body)["error"], str)


async def test_models_come_and_go(world: World) -> None:
    """Routes, limits and listings follow at once."""
    await world.start()
    client = await world.client()
    assert (await client.ask(get("/", "words.localhost"))).status == 404
    world.platform.add_model(spec(WORDS, queue_requests=0))
    assert (await client.ask(get("/", "words.localhost"))).status == 429
    world.platform.add_model(spec(WORDS, queue_requests=5))
    (held,) = await world.held(get("/", "words.localhost"))
    world.platform.remove_model(WORDS)
    assert (await held.answer()).status == 404
    assert (await client.ask(get("/", "words.localhost"))).status == 404


async def test_a_raised_limit_lets_held_requests_through(world: World) -> None:
    """New settings are in force at once."""
    await world.start(spec(container_concurrency=1))
    gate = Gate()
    await world.replica(gate)
    clients = [await world.client() for _ in range(3)]
    for client in clients:
        await client.send(get())
    await until(lambda: gate.inside == 1 and world.activator.admission.held == 2)
    world.platform.add_model(spec(container_concurrency=3))
    await until(lambda: gate.inside == 3)
    gate.let(3)
    for client in clients:
        assert (await client.answer()).status == 200


async def test_a_failed_replica_gets_nothing_more(world: World) -> None:
    """Phase failed is as good as gone."""
    await world.start()
    bad = await world.replica(echo)
    world.platform.set_phase(bad.id, Phase.FAILED, "exit code 1")
    assert world.model.throttler.ready_replicas == 0
    (client,) = await world.held(post(b"x"))
    await world.replica(echo)
    assert (await client.answer()).body == b"x"
    assert bad.seen == []


async def test_new_process_settings(world: World) -> None:
    """They are in force for what comes."""
    await world.start()
    client = await world.client()
    assert (await client.ask(get("/", "nobody", "X: " + "y" * 2000))).status == 404
    world.activator.reconfigure(
        ProcessConfig(max_head_bytes=1024, max_queued_requests=0, probe_agents=("curious",))
    )
    probe = get("/", "digits.localhost", "User-Agent: curious/1.0")
    assert (await client.ask(probe)).status == 200
    assert (await client.ask(get())).status == 503
    assert (await client.ask(get("/", "nobody", "X: " + "y" * 2000))).status == 431


# --- listening ---


async def test_address_in_use() -> None:
    """It is named together with the setting that must change."""
    with bind(LOOPBACK, "listen") as taken:
        address = Address(*taken.getsockname())
        with pytest.raises(ListenError, match=rf"admin = {address}: Address already in use"):
            bind(address, "admin")


async def test_start_that_fails_leaves_nothing(world: World) -> None:
    """The first listener is let go when the second cannot be bound."""
    with bind(LOOPBACK, "x") as taken:
        port = bind(LOOPBACK, "x")
        free = Address(*port.getsockname())
        port.close()
        process = ProcessConfig(listen=free, listeners=(("second", Address(*taken.getsockname())),))
        activator = Activator(process, world.platform, world.link, world.clock)
        with pytest.raises(ListenError, match=r"listeners\.second"):
            await activator.start()
        bind(free, "free again").close()
        await activator.close()


async def test_sockets_that_are_handed_over(world: World) -> None:
    """A parent process may own them, IPv6 too."""
    world.platform.add_model(spec())
    sock = bind(Address("::1", 0), "listen")
    world.activator = Activator(ProcessConfig(), world.platform, world.link, world.clock)
    await world.activator.start({"": sock})
    replica = await world.replica(echo)
    assert world.address().host == "::1"
    client = await world.client()
    assert (await client.ask(get())).status == 200
    assert replica.seen[0].get("X-Forwarded-For") == "::1"


# --- the end ---


async def test_drain(world: World) -> None:
    """What is held and in flight finishes; nothing new is accepted; then all are gone."""
    await world.start(spec(container_concurrency=1))
    gate = Gate()
    await world.replica(gate)
    idle, active = await world.client(), await world.client()
    await idle.ask(get("/v2", "x"))
    await active.send(post(b"active"))
    await until(lambda: gate.inside == 1)
    (held,) = await world.held(post(b"held"))
    piecemeal = await world.client()
    await piecemeal.send(b"GET /v2/health/ready HT")
    await until(lambda: any(c._receiving for c in world.activator.connections))
    draining = asyncio.create_task(world.activator.drain(60.0))
    assert await idle.at_end()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await world.client()
    await piecemeal.send(b"TP/1.1\r\nHost: x\r\n\r\n")
    answer = await piecemeal.answer()
    assert (answer.status, answer.get("Connection")) == (503, "close")
    gate.let(2)
    for client, body in ((active, b"active"), (held, b"held")):
        answer = await client.answer()
        assert (answer.body, answer.get("Connection")) == (body, "close")
        assert await client.at_end()
    assert await piecemeal.at_end()
    assert await soon(draining) == 0


async def test_drain_does_not_wait_for_ever(world: World) -> None:
    """It says how many did not finish."""
    await world.start()
    await world.held(get(), get())
    assert await soon(world.activator.drain(0.01)) == 2


async def test_close_ends_everything(world: World) -> None:
    """Held: 503. Answer begun: broken off. Idle: closed. And closing again does nothing."""
    await world.start(spec(container_concurrency=1))

    async def script(asked: Asked) -> None:
        await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        await asked.at_end()

    replica = await world.replica(script)
    begun, idle, peeking, partial = [await world.client() for _ in range(4)]
    await begun.send(get())
    await begun.head()
    (held,) = await world.held(post(b"x" * 200_000))
    (pipelined,) = await world.held(get() * 3)
    await peeking.send(post(b'{"mo', "/v1/completions", "x"))
    await partial.send(b"GET / ")
    await idle.ask(get("/v2", "x"))
    await soon(asyncio.gather(world.activator.close(), world.activator.close()))
    for client in (held, pipelined):
        answer = await client.answer()
        assert (answer.status, answer.get("Connection")) == (503, "close")
        assert "shutting down" in answer.error
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await soon(begun.reader.readexactly(100))
    for client in (idle, partial):
        assert await client.at_end()
    await until(lambda: not replica.open)
    assert world.refused == {Reason.SHUTDOWN: 2, Reason.CLIENT_GONE: 1}
    await world.activator.close()


async def test_close_does_not_wait_for_a_client_that_reads_nothing(world: World) -> None:
    """Neither for a replica that is being connected to."""
    await world.start()
    await world.replica(says(ok(b"x" * 8_000_000)))
    client = await world.client(limit=4096)
    await client.send(get())
    (connection,) = await world.connections()
    await until(lambda: connection.write_paused)
    world.platform.add_model(spec(WORDS))
    (waiting,) = await world.held(get("/", "words.localhost"))
    world.make_ready(await world.unready(), WORDS)
    await soon(world.activator.close())
    assert not world.activator.connections
    assert (await waiting.answer()).status == 503


async def test_close_before_start(world: World) -> None:
    """Nothing was there to end."""
    activator = Activator(ProcessConfig(), world.platform, world.link, world.clock)
    await activator.close()


# --- to see ---


async def test_readings(world: World) -> None:
    """Every outcome has its counter, and all of it makes a valid exposition."""
    await world.start(spec(retry_attempts=1, queue_requests=1))
    replica = await world.replica(echo)
    client = await world.client()
    await client.ask(get())
    await client.ask(get("/", "nobody"))
    replica.script = says(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
    await client.ask(get())
    world.platform.vanish(replica.id)
    (held,) = await world.held(post(b"12345"))
    assert (await client.ask(get())).status == 429
    values = readings(world)
    assert values["stoker_requests", DIGITS_LABEL, "2xx"] == 1
    assert values["stoker_requests", DIGITS_LABEL, "4xx"] == 1
    assert values["stoker_requests", DIGITS_LABEL, "5xx"] == 1
    assert values["stoker_refusals", DIGITS_LABEL, "queue-full"] == 1
    assert values["stoker_queued_requests", DIGITS_LABEL] == 1
    assert values["stoker_active_requests", DIGITS_LABEL] == 0
    assert values["stoker_held_bytes", DIGITS_LABEL] == 5
    assert values["stoker_malformed_requests", "404"] == 1
    assert values["stoker_client_connections",] == 2
    for each in [await world.unready(gone), await world.unready(gone)]:
        world.make_ready(each)
    assert (await held.answer()).status == 502
    values = readings(world)
    assert values["stoker_retries", DIGITS_LABEL] == 1
    assert values["stoker_ejections", DIGITS_LABEL] == 2
    assert values["stoker_refusals", DIGITS_LABEL, "replica-failed"] == 1
    assert values["stoker_hold_seconds", DIGITS_LABEL] == 1
    assert values["stoker_request_seconds", DIGITS_LABEL] == 4
    text = Exposition([world.activator.readings]).render().decode()
    assert 'stoker_requests_total{code="2xx",model="default/digits"} 1.0' in text


DIGITS_LABEL = "default/digits"


def readings(world: World) -> dict[tuple[str, ...], float]:
    """Metric and labels → value; of a histogram, how many there were."""
    return {
        (spec.name, *labels): value.count if isinstance(value, Histogram) else value
        for spec, labels, value in world.activator.readings()
    }


async def test_only_declared_metrics(world: World) -> None:
    """Every reading's labels are those of its metric."""
    await world.start()
    for each, labels, _ in world.activator.readings():
        assert each in telemetry.METRICS
        assert len(labels) == len(each.labels)


async def test_explain(world: World) -> None:
    """Why the last requests waited or were refused."""
    await world.start(spec(container_concurrency=2))
    (client,) = await world.held(get())
    gate = Gate()
    replica = await world.replica(gate)
    await until(lambda: gate.inside == 1)
    told = world.model.explain(world.clock.now())
    assert (told["queued"], told["active"], told["ready_replicas"]) == (0, 1, 1)
    assert told["slots"] == [
        {
            "replica": replica.id,
            "address": f"127.0.0.1:{replica.state.address.port}",  # type: ignore[union-attr]
            "in_flight": 1,
            "limit": 2,
            "ejected_for": 0.0,
        }
    ]
    waits = told["recent_waits"]
    assert isinstance(waits, list)
    (wait,) = waits
    assert (wait["cause"], wait["replica"], wait["bound"]) == ("asleep", replica.id, "hold-timeout")
    assert wait["waited"] > 0
    gate.let()
    assert (await client.answer()).status == 200
    world.drain(replica)
    world.platform.set_outage(DIGITS, "no such file")
    await client.ask(get())
    told = world.model.explain(world.clock.now())
    assert told["outage"] == "no such file"
    assert told["refused"] == {"cannot-start": 1}
    assert "'reason': 'cannot-start', 'detail': 'no such file'" in str(told["recent_refusals"])
    assert json.loads(json.dumps(told)) == told


async def test_load_is_reported(world: World) -> None:
    """What was queued and active in each interval, and nothing of models at rest."""
    await world.start(spec(), spec(WORDS), report_interval=0.01)
    (client,) = await world.held(get())
    await until(lambda: any(report.stats for report in world.load.reports))
    stats = [stat for report in world.load.reports for stat in report.stats]
    assert {stat.model for stat in stats} == {DIGITS}
    assert sum(stat.arrivals for stat in stats) == 1
    await world.replica(echo)
    await client.answer()
    await until(lambda: sum(s.completions for r in world.load.reports for s in r.stats) == 1)


async def test_a_timer_that_fails_goes_on(world: World) -> None:
    """An error in a report is logged, and the next one is sent."""

    class Broken:
        def __init__(self) -> None:
            self.calls = 0

        def report(self, report: object) -> None:
            self.calls += 1
            raise RuntimeError("on purpose")

        def poke(self, poke: object) -> None:
            pass

    broken = Broken()
    world.link.attach(broken)
    await world.start(report_interval=0.01)
    await until(lambda: broken.calls >= 3)
    assert all("on purpose" in complaint for complaint in world.complaints)
    world.link.attach(None)
    world.complaints.clear()


async def test_64_clients_through_a_cold_start(world: World) -> None:
    """The main job with a client library: all held, all answered, none lost."""
    await world.start(spec(container_concurrency=2))
    url = f"http://127.0.0.1:{world.address().port}/"
    async with aiohttp.ClientSession(
        headers={"Host": "digits.localhost"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def ask(number: int) -> bytes:
            async with session.post(url, data=b"%d" % number) as answer:
                assert answer.status == 200
                return await answer.read()

        asking = asyncio.gather(*map(ask, range(64)))
        await until(lambda: world.activator.admission.held == 64)
        for _ in range(3):
            await world.replica(echo)
        assert await asking == [b"%d" % number for number in range(64)]
    assert world.model.answered == 64
