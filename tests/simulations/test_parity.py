"""The autoscaler decides as Knative does, on every recorded tick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulations import parity

DATA = Path(__file__).parent.parent / "data" / "knative_decisions.json"


@pytest.fixture(scope="module")
def scenarios() -> list[parity.Scenario]:
    return parity.load(DATA)


def test_every_decision_is_knatives(scenarios: list[parity.Scenario]) -> None:
    """Desired, EBC and valid exactly, averages to 1e-6, on 24 scenarios."""
    count, decided, averaged = parity.compare(scenarios)
    assert (len(scenarios), count, decided, averaged) == (24, 4320, [], [])


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)])
def test_all_at_once_is_each_alone(scenarios: list[parity.Scenario], step: int) -> None:
    """One array of many scenarios, in any order, gives the very same ticks, bit for bit."""
    some = scenarios[::step]
    alone = [parity.run([scenario])[0] for scenario in some]
    assert parity.run(some) == alone
    assert parity.run(some[::-1]) == alone[::-1]


def test_scenarios_of_one_shape_in_one_array(scenarios: list[parity.Scenario]) -> None:
    """A scenario beside many of its own window shape is decided as if it were alone."""
    shape = ("window_aggregation", "stable_window", "panic_window")
    groups: dict[tuple[object, ...], list[parity.Scenario]] = {}
    for scenario in scenarios:
        key = tuple(getattr(scenario.config, name) for name in shape)
        groups.setdefault(key, []).append(scenario)
    assert max(map(len, groups.values())) >= 8
    for group in groups.values():
        repeated = group * 3
        for scenario, ours in zip(repeated, parity.run(repeated), strict=True):
            assert all(our.decides_as(t) for our, t in zip(ours, scenario.ticks, strict=True))


def altered(tmp_path: Path, **fields: object) -> Path:
    """The data's first scenario, its last tick changed."""
    entries: list[dict[str, Any]] = json.loads(DATA.read_text())[:1]
    entries[0]["ticks"][-1].update(fields)
    file = tmp_path / "altered.json"
    file.write_text(json.dumps(entries))
    return file


def test_the_command() -> None:
    """It counts, and ends with 0 when all are equal."""
    done = subprocess.run(
        [sys.executable, "-m", "simulations.parity", str(DATA)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "equal 4320 of 4320 decisions\n", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_left_is_no_error(unbuffered: str, tmp_path: Path) -> None:
    """Piped into head: nothing is said about it, and the exit status is that of the decisions."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "simulations.parity", str(altered(tmp_path, desired=77))],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    "fields", [{"desired": 77}, {"excess_burst_capacity": 77}, {"valid": False}]
)
def test_a_difference_is_shown(
    fields: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decision that differs costs the exit status and is printed with both sides."""
    others = tmp_path / "others.json"
    others.write_text(json.dumps(json.loads(DATA.read_text())[1:3]))
    assert parity.main([str(altered(tmp_path, **fields)), str(others)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("equal 599 of 600 decisions\nstep (linear, 60 s) at t = 240, ")
    assert "\n  theirs desired " in out
    assert "\n  ours   desired 0, excess burst capacity -" in out


def test_a_different_average_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal decisions from different averages are luck: said, and exit status 1."""
    assert parity.main([str(altered(tmp_path, stable=0.5))]) == 1
    out = capsys.readouterr().out
    assert out.startswith("equal 120 of 120 decisions\n1 more have averages that differ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("{}", "a list of scenarios is expected"),
        ("[1]", "scenario 0: "),
        ('[{"name": "x"}]', "scenario 0: no 'config'"),
    ],
)
def test_unreadable_files(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be used is named, with what is wrong, and exit status 2."""
    file = tmp_path / "scenarios.json"
    if text is not None:
        file.write_text(text)
    assert parity.main([str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {file}: ")
    assert message in err
