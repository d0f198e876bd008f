"""What is told of each request: the access log, lines in the log, nothing where none is asked."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from activator import access_log
from activator.observer import Observer
from activator.tickets import Reason, Refusal
from stoker.errors import SettingsError
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import AccessLogFormat, QueryInLog
from stoker.vocabulary import Address
from tests.activator.world import (
    Gate,
    World,
    get,
    gone,
    in_turn,
    ok,
    post,
    request,
    says,
    spec,
    until,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
HOST = "digits.localhost"


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines in the file so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


async def logged(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines, once there are so many."""
    await until(lambda: len(lines(path)) >= count, f"{count} lines")
    return lines(path)


def to(path: Path, **settings: Any) -> dict[str, Any]:
    """Settings for a JSON access log."""
    return {"access_log": str(path), "access_log_format": AccessLogFormat.JSON, **settings}


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    """The fields of the lines with that message."""
    return [r.__dict__["fields"] for r in caplog.records if r.getMessage() == message]


async def test_off_means_off(world: World) -> None:
    """By default nothing looks on: the request path asks one attribute and goes on."""
    await world.start()
    assert world.activator.observer is None
    await world.replica()
    client = await world.client()
    assert (await client.ask(get())).status == 200


async def test_every_field_of_a_held_and_retried_request(world: World, tmp_path: Path) -> None:
    """Peer, model, replica, retries, time held, trace: in one line."""
    path = tmp_path / "access.log"
    await world.start(**to(path))
    data = post(b"12345", "/v1/chat?key=secret", HOST, "User-Agent: test/1", PARENT,
                "Referer: http://a/b?token=secret")  # fmt: skip
    (client,) = await world.held(data)
    replica = await world.replica(in_turn(gone, says(ok(b"fine"))))
    answer = await client.answer()
    assert answer.body == b"fine"
    (line,) = await logged(path, 1)
    assert line.pop("time").endswith("Z")
    seconds, queued = line.pop("seconds"), line.pop("queued_ms")
    assert 0 < queued / 1000 <= seconds
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    assert line.pop("bytes") == len(f"{answer.start}\r\n{head}\r\nfine")
    assert line == {
        "peer": "127.0.0.1",
        "tenant": "",
        "method": "POST",
        "target": "/v1/chat",
        "version": "HTTP/1.1",
        "status": 200,
        "referer": "http://a/b",
        "user_agent": "test/1",
        "model": "default/digits",
        "replica": replica.id,
        "retries": 1,
        "trace_id": TRACE,
        "reason": "",
    }


async def test_each_ending_has_one_line(world: World, tmp_path: Path) -> None:
    """Answered, refused, not routed, malformed, left, broken off: one line each, with why."""
    path = tmp_path / "access.log"
    await world.start(spec(queue_requests=0), **to(path))
    client = await world.client()
    await client.ask(get("/refused"))
    await client.ask(get("/nobody", "nobody.localhost"))
    await client.ask(get("/v1/models", "any"))
    await client.send(b"BAD REQUEST\r\n\r\n")
    await client.answer()
    gate = Gate(says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"))
    await world.replica(in_turn(gate, says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")))
    leaving = await world.client()
    await leaving.send(get("/left"))
    await until(lambda: gate.inside == 1)
    leaving.reset()
    await logged(path, 5)
    gate.let()
    broken = await world.client()
    await broken.send(get("/broken"))
    assert (await broken.head()).status == 200
    await until(lambda: any(m.target == "/broken" for m in world.replicas[0].seen))
    for peer in list(world.replicas[0].open):
        peer.close()
    found = await logged(path, 6)
    assert [(n["target"], n["status"], n["reason"], n["model"]) for n in found] == [
        ("/refused", 429, "queue-full", "default/digits"),
        ("/nobody", 404, "model-not-found", ""),
        ("/v1/models", 200, "", ""),
        ("-", 400, "malformed", ""),
        ("/left", 499, "client-gone", "default/digits"),
        ("/broken", 502, "replica-died-mid-response", "default/digits"),
    ]
    assert all(n["bytes"] > 0 for n in found[:4])


async def test_what_is_malformed_has_one_line_as_well(world: World, tmp_path: Path) -> None:
    """Its head, its body, what is pipelined, what it claims: what was answered, in one line."""
    path = tmp_path / "access.log"
    await world.start(**to(path))
    await world.replica(says(ok(b"fine")))
    bad_body = request("POST", "/body", HOST, "Transfer-Encoding: chunked") + b"x\r\n"
    claiming = get("/claim", HOST, "stoker-priority: high")
    sizes = []
    for data in (b"BAD\r\n\r\n", bad_body, claiming, get("/first") + bad_body):
        client = await world.client()
        await client.send(data)
        if data.startswith(get("/first")):
            assert (await client.answer()).body == b"fine"
        answer = await client.answer()
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        sizes.append(len(f"{answer.start}\r\n{head}\r\n") + len(answer.body))
    found = await logged(path, 5)
    assert sorted((n["target"], n["status"], n["reason"]) for n in found) == [
        ("-", 400, "malformed"),
        ("/body", 400, "malformed"),
        ("/body", 400, "malformed"),
        ("/claim", 400, "malformed"),
        ("/first", 200, ""),
    ]
    assert [n["bytes"] for n in found if n["status"] == 400] == sizes
    assert world.activator.malformed == {400: 4}


async def test_pipelined_and_kept_connections(world: World, tmp_path: Path) -> None:
    """Each of several requests on one connection has its line, in order."""
    path = tmp_path / "access.log"
    await world.start(**to(path, access_log_query=QueryInLog.KEEP))
    await world.replica()
    client = await world.client()
    await client.send(b"".join(get(f"/?n={n}") for n in range(20)))
    for _ in range(20):
        assert (await client.answer()).status == 200
    found = await logged(path, 20)
    assert [n["target"] for n in found] == [f"/?n={n}" for n in range(20)]


async def test_combined_lines(world: World, tmp_path: Path) -> None:
    """The other format, with what a client cannot forge."""
    path = tmp_path / "access.log"
    await world.start(access_log=str(path))
    await world.replica()
    client = await world.client()
    agent = 'x" 200 1 "-" "y'
    assert (await client.ask(get("/a", HOST, f"User-Agent: {agent}"))).status == 200
    await until(lambda: path.read_text().endswith("\n"))
    (line,) = path.read_text().splitlines()
    assert line.startswith("127.0.0.1 - - [")
    assert '"GET /a HTTP/1.1" 200 ' in line
    assert 'x\\x22 200 1 \\x22-\\x22 \\x22y"' in line
    assert line.endswith(f" default/digits {world.replicas[0].id} 0 - -")


async def test_lines_not_made_yet_go_to_their_own_file(world: World, tmp_path: Path) -> None:
    """Who was answered before the log changed is in the log of that time, in its format."""
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    await world.start(**to(one))
    await world.replica()
    client = await world.client()
    await client.ask(get("/1"))
    world.activator.reconfigure(ProcessConfig(access_log=str(two)))
    await client.ask(get("/2"))
    assert [n["target"] for n in await logged(one, 1)] == ["/1"]
    await until(lambda: path_ends(two))
    assert '"GET /2 HTTP/1.1"' in two.read_text()


def path_ends(path: Path) -> bool:
    """Whether there are whole lines."""
    return path.exists() and path.read_text().endswith("\n")


async def test_settings_change_while_it_runs(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another file, another format, none at all; what cannot be opened changes nothing."""
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    await world.start(**to(one))
    await world.replica()
    client = await world.client()
    await client.ask(get("/1"))
    world.activator.reconfigure(ProcessConfig(**to(tmp_path / "none" / "x")))
    assert "access-log = " in caplog.text
    world.complaints.clear()
    await client.ask(get("/2"))
    await logged(one, 2)
    world.activator.reconfigure(ProcessConfig(**to(two)))
    await client.ask(get("/3"))
    await logged(two, 1)
    world.activator.reopen_logs()
    await client.ask(get("/4"))
    await logged(two, 2)
    world.activator.reconfigure(ProcessConfig())
    assert world.activator.observer is None
    world.activator.reopen_logs()
    await client.ask(get("/5"))
    assert [n["target"] for n in lines(one) + lines(two)] == ["/1", "/2", "/3", "/4"]


async def test_a_request_under_way_when_looking_on_begins(world: World, tmp_path: Path) -> None:
    """It is told as far as it was seen."""
    path = tmp_path / "access.log"
    await world.start()
    (client,) = await world.held(get("/early"))
    world.activator.reconfigure(ProcessConfig(**to(path)))
    await world.replica()
    assert (await client.answer()).status == 200
    (line,) = await logged(path, 1)
    assert (line["target"], line["status"]) == ("/early", 200)


async def test_an_access_log_that_cannot_be_opened_stops_the_start(
    world: World, tmp_path: Path
) -> None:
    """With the setting's name, its value and what to do."""
    path = tmp_path / "none" / "access.log"
    with pytest.raises(SettingsError, match=r"stoker\.access-log = .*No such file.*or - for"):
        await world.start(listen=Address("127.0.0.1", 0), **to(path))
    await world.activator.close()
    del world.activator


async def test_lines_that_were_dropped_are_told(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the log and as a metric, which outlives a change of the settings."""
    monkeypatch.setattr(access_log, "WAITING_BYTES", 0)
    await world.start(**to(tmp_path / "access.log"))
    await world.replica()
    client = await world.client()
    await client.ask(get())
    message = "access log lines dropped: writing is too slow or fails"
    await until(lambda: told(caplog, message))
    assert told(caplog, message)[0]["count"] == 1
    assert metric(world, "stoker_access_log_dropped") == 1
    world.activator.reconfigure(ProcessConfig())
    assert metric(world, "stoker_access_log_dropped") == 1


def metric(world: World, name: str) -> float:
    """The one series of that name."""
    (value,) = [r.value for r in world.activator.readings() if r.spec.name == name]
    assert isinstance(value, int | float)
    return value


async def test_a_share_of_the_successes_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """log-sample 0.25: every fourth, with where it went and how long it took."""
    caplog.set_level(logging.INFO)
    await world.start(log_sample=0.25)
    replica = await world.replica()
    client = await world.client()
    for _ in range(8):
        await client.ask(get("/", HOST, PARENT))
    served = told(caplog, "served")
    assert len(served) == 2
    for line in served:
        assert line["seconds"] > 0
        expected = {
            "model": "default/digits",
            "replica": replica.id,
            "status": 200,
            "trace_id": TRACE,
        }
        assert {**line, **expected} == line


async def test_debug_tells_what_is_decided(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Admitted, held, forwarded, served: with the figures it was decided on."""
    caplog.set_level(logging.DEBUG)
    await world.start()
    (client,) = await world.held(get())
    replica = await world.replica()
    await client.answer()
    assert isinstance(world.activator.observer, Observer)
    (admitted,) = told(caplog, "admitted")
    assert (admitted["state"], admitted["queued"], admitted["ready"]) == ("held", 1, 0)
    (over,) = told(caplog, "hold over")
    assert over["cause"] == "asleep"
    (forwarding,) = told(caplog, "forwarding")
    assert (forwarding["replica"], forwarding["attempt"]) == (replica.id, 1)
    assert len(told(caplog, "served")) == 1


async def test_a_flood_of_refusals_does_not_flood_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Five lines, then a sum; every refusal is in one or the other."""
    caplog.set_level(logging.INFO)
    await world.start(spec(queue_requests=0))
    client = await world.client()
    await client.send(b"".join(get() for _ in range(200)))
    for _ in range(200):
        assert (await client.answer()).status == 429
    world.jump(2.0)
    refused = told(caplog, "refused")
    sums = told(caplog, "not logged one by one")
    assert 5 <= len(refused) < 100
    assert len(refused) + sum(line["count"] for line in sums) == 200
    assert {(n["model"], n["reason"]) for n in (*refused, *sums)} == {
        ("default/digits", "queue-full")
    }


async def test_failures_have_their_line(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A replica that failed a request is named, also where a retry hid it from the caller."""
    caplog.set_level(logging.INFO)
    await world.start()
    replica = await world.replica(in_turn(gone, says(ok(b"fine"))))
    client = await world.client()
    assert (await client.ask(get())).status == 200
    (line,) = told(caplog, "replica failed a request")
    assert (line["model"], line["replica"]) == ("default/digits", replica.id)
    assert "closed the connection" in line["detail"]


async def test_the_rest_is_told_at_the_end(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was summed up and not told yet is told when Stoker stops."""
    caplog.set_level(logging.INFO)
    await world.start(log_lines_per_second=1)
    for _ in range(3):
        world.activator.log_refused(world.model, Refusal(Reason.OUTAGE, "why"), "peer")
    await world.activator.close()
    assert [line["count"] for line in told(caplog, "not logged one by one")] == [2]
