"""The demo's parts: its clients keep count, its story is readable, its end is sure."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from rich.console import Console

from benchmarks.processes import free_ports, wait_until
from examples.digits import demo, load, watching
from examples.digits.story import Story

SAMPLE = load.Sample.of([0.0] * 64, 7)
Handler = Callable[[web.Request], Awaitable[web.Response]]
Serve = Callable[[Handler], Awaitable[str]]


def seven() -> web.Response:
    """An answer that sees a seven."""
    return web.json_response({"outputs": [{"name": "label", "data": [7]}]})


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server for one handler; the URL comes back."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_post(load.INFER, handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        (port,) = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_right_wrong_and_lost_are_told_apart(serve: Serve) -> None:
    """A right digit, a wrong one, a refusal and rubbish: two answered, two lost."""
    rubbish = iter(
        [
            seven(),
            web.json_response({"outputs": [{"name": "label", "data": [8]}]}),
            web.json_response({"error": "no"}, status=503),
            web.Response(text="rubbish"),
        ]
    )

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        assert body["inputs"][0]["shape"] == [1, 64]
        return next(rubbish)

    url, tally = await serve(handler), load.Tally()
    async with aiohttp.ClientSession() as session:
        digits = [await load.ask(session, url, SAMPLE, tally) for _ in range(4)]
    assert digits == [7, 8, None, None]
    assert (tally.sent, tally.right, tally.wrong, tally.answered, tally.lost) == (4, 1, 1, 2, 2)
    assert "503" in tally.failures[0]
    assert len(tally.seconds) == 2


async def test_a_refused_connection_is_a_lost_request() -> None:
    """It is counted, with its reason, and not repeated."""
    (port,) = free_ports(1)
    tally = load.Tally()
    async with aiohttp.ClientSession() as session:
        assert await load.ask(session, f"http://127.0.0.1:{port}", SAMPLE, tally) is None
    assert (tally.sent, tally.lost, len(tally.failures)) == (1, 1, 1)


async def test_a_crowd_is_there_all_at_once_and_none_is_cut_off(serve: Serve) -> None:
    """The server answers only when all clients wait in it; the event ends them, all answered."""
    inside, everybody, until = 0, asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal inside
        inside += 1
        if inside == 8:
            until.set()
            everybody.set()
        await everybody.wait()
        return seven()

    tally = load.Tally()
    async with asyncio.timeout(30):
        await load.crowd(await serve(handler), [SAMPLE], 8, until, tally)
    assert (tally.sent, tally.right, tally.lost) == (8, 8, 0)


def test_percentiles_are_of_what_was_answered() -> None:
    """Of 0 to 100 ms in even steps, the median is 50 ms."""
    tally = load.Tally(seconds=[number / 1000 for number in range(101)])
    assert tally.percentile(50) == pytest.approx(0.050)
    assert tally.percentile(99) == pytest.approx(0.099)


def test_the_phases_of_a_cold_start_add_up() -> None:
    """Each is the time between two steps; the last line is the whole."""
    steps = {"process": 100.1, "imports": 101.0, "model": 101.2, "listening": 101.3}
    phases = demo.cold_start(100.0, 101.5, steps)
    assert [seconds for _, seconds in phases] == pytest.approx([0.1, 0.9, 0.2, 0.1, 0.2, 1.5])


@pytest.mark.parametrize(("encoding", "ink"), [("utf-8", "██"), ("ascii", "##")])
def test_a_digit_is_drawn_in_what_the_pipe_can_carry(encoding: str, ink: str) -> None:
    """Eight lines, ink where the pixel is dark, the caption beside them, no control codes."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    story = Story(Console(file=out, highlight=False, soft_wrap=True))
    story.draw([16.0, *[0.0] * 63], ["shown: [7]"])
    story.table("T", ("a", "b"), [("x", "1")])
    story.say("brackets [stay]")
    out.flush()
    text = raw.getvalue().decode(encoding)
    lines = text.splitlines()
    assert lines[0].strip() == ink
    assert lines[2].strip() == "shown: [7]"
    assert "brackets [stay]" in text
    assert "\x1b" not in text


def view(**changes: object) -> dict[str, object]:
    """A model as the admin port tells it, with changes."""
    return {
        "model": "default/digits",
        "phase": "zero",
        "desired": 0,
        "queued": 0,
        "active": 0,
        "panicking": False,
        "why": "no load",
        "replicas": [],
    } | changes


def test_the_admin_port_s_answer_is_understood() -> None:
    """Asleep without replicas; with one that is ready, awake."""
    assert watching.ModelView.parse(view()).asleep
    replica = {
        "id": "r1",
        "phase": "ready",
        "address": "127.0.0.1:1",
        "phase_seconds": {"starting": 1.5},
        "created": 7.25,
    }
    awake = watching.ModelView.parse(view(phase="ready", replicas=[replica]))
    assert (awake.asleep, awake.ready) == (False, 1)
    assert awake.replicas[0] == ("r1", "ready", "127.0.0.1:1", 1.5, 7.25)


def test_marked_processes_are_found_wherever_they_went() -> None:
    """A grandchild in a session of its own still carries the mark."""
    mark = f"test-{os.getpid()}"
    script = "setsid sleep 600 & echo $!; wait"
    with subprocess.Popen(
        ["sh", "-c", script],
        env={**os.environ, "STOKER_DEMO_RUN": mark},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        sleeper = int(child.stdout.readline())
        wait_until(lambda: sleeper in watching.marked(mark), "the grandchild to be found")
        found = watching.marked(mark)
        assert child.pid in found
        for pid in found:
            os.kill(pid, 9)
    wait_until(lambda: not watching.marked(mark), "the marked processes to be gone")


async def test_a_stoker_that_does_not_come_up_is_shown_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has its output; nothing of it is left."""
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\necho "cannot: $*"\nsleep 600 &\nexit 3\n')
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    marks: list[str] = []
    original = watching.marked

    def marked(mark: str) -> list[int]:
        marks.append(mark)
        return original(mark)

    monkeypatch.setattr(watching, "marked", marked)
    with pytest.raises(watching.DemoError, match="cannot: -m stoker up"):
        async with watching.running_stoker(tmp_path, {"command": "serve"}):
            pass
    assert marks
    wait_until(lambda: not original(marks[0]), "what it started to be gone")


def test_the_settings_are_those_of_the_example_file() -> None:
    """The demo shows what stoker.yaml configures, but for python's and the model's path."""
    file = Path(demo.__file__).with_name("stoker.yaml")
    example = yaml.safe_load(file.read_text())["models"]["digits"]
    shown = json.loads(json.dumps(demo.model_settings()))
    for settings in (example, shown):
        settings["command"] = settings["command"][1:-1]
        settings.pop("directory")
        settings.pop("hosts", None)
    assert shown == example
