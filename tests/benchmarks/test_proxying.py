"""The programs that stand behind and before the proxies in a benchmark."""

from __future__ import annotations

import http.client
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.common import Report
from benchmarks.contenders import Contender
from benchmarks.peers import ROOT
from benchmarks.processes import free_ports, running
from benchmarks.proxying import fleet, streams
from benchmarks.proxying.load import inference_request


def test_every_token_comes_and_its_delay_is_told(tmp_path: Path) -> None:
    """20 streams of 30 tokens, straight from the server: 600 tokens, none lost."""
    (port,) = free_ports(1)
    command = streams.scene().upstream(tmp_path, port)
    with running(command, port=port, cwd=ROOT, log=tmp_path / "log"):
        run = streams.stream(Contender("direct", port), 20, 30)
    assert (run.tokens, run.lost) == (600, 0)
    assert 0 <= run.percentile(0.5) <= run.percentile(0.99)
    report = Report("T", ["a"])
    some = replace(run, cpu_us=8.0)
    streams.tabulate(report, {"Envoy": [replace(run, cpu_us=10.0)], "Stoker": [some]})
    assert report.figures[0].value == 0.8
    assert {figure.name: figure.value for figure in report.figures}[
        "tokens lost through Stoker"
    ] == 0


def test_a_stream_that_breaks_loses_tokens(tmp_path: Path) -> None:
    """What never came is counted: here nothing comes, since nothing streams at that path."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running(command, port=port, cwd=tmp_path, log=tmp_path / "log"):
        run = streams.stream(Contender("direct", port), 2, 5)
    assert (run.tokens, run.lost) == (0, 10)


def test_a_fleet_serves_hot_models_and_wakes_a_cold_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 models the first 4 are awake; another is woken by its request."""
    monkeypatch.setattr(fleet, "MODELS", 40)
    monkeypatch.setattr(fleet, "HOT", 4)
    (backend,) = free_ports(1)
    command = streams.scene().upstream(tmp_path, backend)  # it answers anything else with ok
    with (
        running(command, port=backend, cwd=ROOT, log=tmp_path / "log"),
        fleet.fleet(backend) as (port, _),
    ):
        for model in ("m0", "m3", "m39"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", f"/v2/models/{model}/infer", headers={"Accept": "*/*"})
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"ok")
            connection.close()


def test_the_fleets_request_is_the_same_as_everywhere() -> None:
    """Its requests differ from the others' in the model's name only."""
    assert inference_request().path.replace("bench", "m0") == "/v2/models/m0/infer"
