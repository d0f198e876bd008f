"""Starts as a running Stoker has learned them, taken over into a simulation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoker import cli
from tests.cli.running import Running, echo_command, free_port

MODEL = {"command": echo_command(), "initial-scale": 0}
ARRIVALS = "t,model,service_s\n0,m,0.1\n1,m,0.1\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two requests for the model that is running."""
    path = tmp_path / "trace.csv"
    path.write_text(ARRIVALS)
    return path


def test_starts_are_those_that_were_seen(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None yet: said, with what to do. After a first request the simulated cold start takes
    what the real one took, and the result says where that is from.
    """
    to = tmp_path / "results.json"
    with Running(tmp_path, {"models": {"m": MODEL}}) as stoker:
        words = [
            "simulate",
            str(trace),
            "--jobs",
            "1",
            "--json",
            str(to),
            "--set",
            "initial-scale=0",
        ]
        learned = ["--start", f"learned:127.0.0.1:{stoker.admin_port}"]
        assert cli.main([*words, *learned]) == 1
        assert "has not seen a start of its models yet" in capsys.readouterr().err
        assert stoker.request("/", host="m.localhost")[0] == 200
        assert cli.main([*words, *learned]) == 0
        took = stoker.admin("/api/explain/m")["start_phases"]["starting"]
    run = json.loads(to.read_text())["runs"][0]
    assert any("from 1 starts of default/m" in line for line in run["assumptions"])
    assert run["cold_waits"]["longest"] == pytest.approx(took, abs=0.001)


def test_nobody_there_is_said(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for every command that asks a running Stoker."""
    assert cli.main(["simulate", str(trace), "--start", f"learned:127.0.0.1:{free_port()}"]) == 1
    assert "no Stoker answers on" in capsys.readouterr().err
