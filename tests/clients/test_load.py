"""h2load and wrk as load on a sleeping model: everything is answered, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Running
from tests.clients.places import ask, example, program

REQUESTS = 2000
ANSWERED = "stoker_requests_total"


@pytest.fixture
def stoker(tmp_path: Path) -> Iterator[Running]:
    """The plain example's model, asleep, with few places for much load."""
    model = example("plain", **{"container-concurrency": 4, "max-scale": 2})
    with Running(tmp_path, {"models": {"plain": model}}) as running:
        assert running.model("plain")["phase"] == "zero"
        yield running


def nothing_is_left(stoker: Running, left: int = 0) -> None:
    """All slots are free, nobody waits, nothing was refused but to ``left`` who had gone."""
    stoker.wait_for("plain", lambda m: m["active"] == m["queued"] == 0, "free")
    refused = stoker.model("plain")["refused"]
    assert refused.pop("client-gone", 0) <= left
    assert refused == {}
    assert stoker.metric("stoker_retries_total") == 0


def test_h2load_speaks_http_1_while_the_model_wakes(stoker: Running, tmp_path: Path) -> None:
    """2,000 POSTs over 32 connections, from zero on: 2,000 times 2xx."""
    body = tmp_path / "body.json"
    body.write_text('{"numbers": [1, 2, 3]}')
    said = ask(
        *(program("h2load"), "--h1", "-n", str(REQUESTS), "-c", "32", "-t", "1"),
        *("-d", str(body), "-H", "content-type: application/json"),
        *("-H", "stoker-model: plain", f"http://127.0.0.1:{stoker.port}/predict"),
    )
    counts = re.search(
        r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, "
        r"(\d+) failed, (\d+) errored, (\d+) timeout",
        said,
    )
    assert counts, said
    assert [int(count) for count in counts.groups()] == [REQUESTS] * 3 + [0] * 3
    assert f"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx" in said
    assert stoker.metric(ANSWERED) == REQUESTS
    nothing_is_left(stoker)


def test_h2load_pipelines(stoker: Running) -> None:
    """Four requests ahead on each of eight connections are all answered."""
    said = ask(
        *(program("h2load"), "--h1", "-n", "400", "-c", "8", "-m", "4", "-t", "1"),
        *("-H", "stoker-model: plain", f"http://127.0.0.1:{stoker.port}/health"),
    )
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert stoker.metric(ANSWERED) == 400
    nothing_is_left(stoker)


def test_wrk_for_a_second(stoker: Running) -> None:
    """16 connections on a model just awake: no error of any kind, and Stoker counted no fewer."""
    url = f"http://127.0.0.1:{stoker.port}/health"
    assert stoker.request("/health", host="plain.localhost")[0] == 200
    # Its own limit of 2 s for an answer says nothing on a machine that has other things to do.
    said = ask(
        *(program("wrk"), "-t1", "-c16", "-d1s", "--timeout", "60s"),
        *("-H", "stoker-model: plain", url),
    )
    counted = re.search(r"(\d+) requests in ", said)
    assert counted, said
    assert int(counted[1]) > 0
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    nothing_is_left(stoker, left=16)  # wrk stops without waiting for what is under way
    assert stoker.metric(ANSWERED) > int(counted[1])
