"""What one member passes on to another is counted, and written to an access log, once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from activator.tickets import Reason
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import AccessLogFormat
from tests.activator.crowd import HERE, make_crowd
from tests.activator.world import DIGITS, get, post, until


def lines(path: Path) -> list[dict[str, Any]]:
    """What is in the access log so far."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_requests_that_are_passed_on_are_counted_once(tmp_path: Path) -> None:
    """Where they came in: answered, given up by their client, with their bytes and lines."""
    path = tmp_path / "access.log"
    json_log = AccessLogFormat.JSON
    logged = ProcessConfig(listen=HERE, access_log=str(path), access_log_format=json_log)
    async with make_crowd() as crowd:
        await crowd.join("a", "b")
        for member in crowd.members.values():
            member.activator.reconfigure(logged)
        crowd.model(container_concurrency=1)
        state, script = await crowd.replica(1)
        await until(lambda: crowd.slots() == {state.id: 1})
        owner, (other,) = crowd.owner(), crowd.others()
        assert (await other.ask(post(b"x" * 1000)))[0] == 200
        script.gate = asyncio.Event()
        leaving = await other.client()
        await leaving.send(get("/left", "digits.localhost"))
        await until(lambda: script.inside == 1)
        mine, theirs = other.activator.models[DIGITS], owner.activator.models[DIGITS]
        assert (mine.active, theirs.active) == (0, 1), "as many as are in the replica"
        leaving.reset()
        await until(lambda: owner.activator.models[DIGITS].throttler.active == 0)
        script.gate.set()
        await until(lambda: mine.refusals == {Reason.CLIENT_GONE: 1})
        assert theirs.refusals == {}
        assert (theirs.bytes_in, theirs.bytes_out) == (0, 0)
        assert mine.bytes_in > 1000
        await until(lambda: path.exists() and len(lines(path)) == 2)
    found = [(line["target"], line["status"], line["replica"]) for line in lines(path)]
    assert found == [("/", 200, f"peer:{owner.name}"), ("/left", 499, f"peer:{owner.name}")]
