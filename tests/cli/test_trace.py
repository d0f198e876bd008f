"""``stoker trace info`` and ``stoker trace generate``, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulations.traces.info import sparkline
from stoker import cli
from tests.simulations.traces.real import sample

Said = pytest.CaptureFixture[str]


def run(said: Said, *words: str) -> tuple[int, str, str]:
    """The command's exit code and what it printed."""
    code = cli.main(["trace", *words])
    out, err = said.readouterr()
    return code, out, err


def test_info_for_people(capsys: Said) -> None:
    """In a pipe: every figure with its heading, no colours, no spaces at the ends of lines."""
    code, out, err = run(capsys, "info", sample("plain.csv"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("plain.csv")
    assert "format      csv: plain CSV: t,model,service_s" in lines
    assert "arrivals    3 for 2 models" in lines
    assert "duration    1m 0s from 2023-11-14 22:13:20 UTC" in lines
    assert "silence     50s at the longest, from 10s on" in lines
    (service,) = (line for line in lines if line.startswith("service"))
    assert service.endswith("p99 1.49 (known for 66.7%)")
    assert any(line.startswith("│digits") for line in lines)
    assert any(line.startswith("note: nothing arrives for 50 s") for line in lines)
    assert "\x1b" not in out
    assert [line for line in lines if line.endswith(" ")] == []


def test_info_of_one_model(capsys: Said) -> None:
    """Needs no table; what is slow is told per hour."""
    code, out, _ = run(
        capsys, "info", sample("azure_functions_2021.txt"), "--models", "b*", "--seed", "1"
    )
    assert code == 0
    assert "arrivals    1 for 1 model" in out
    assert "rate        12.1/h on average" in out
    assert "burstiness  CV of gaps –" in out
    assert "│" not in out


def test_info_of_some_of_it(capsys: Said) -> None:
    """Each flag has its effect."""
    path = sample("azure_functions_2021.txt")
    code, out, _ = run(capsys, "info", path, "--model-by", "function", "--busiest", "1", "--json")
    found = json.loads(out)
    assert (code, found["models"], found["busiest"][0]["model"]) == (0, 1, "a1f0/f1")
    assert "1 of 3 models, as asked for" in found["notices"]
    assert found["flow"]["cv"] == 0
    assert json.loads(run(capsys, "info", path, "--limit", "1", "--json")[1])["flow"]["cv"] is None
    out = run(capsys, "info", path, "--from", "9s", "--until", "30s", "--json")[1]
    assert (json.loads(out)["arrivals"], json.loads(out)["duration"]) == (2, 21)
    out = run(capsys, "info", path, "--until", "9s", "--json")[1]
    assert json.loads(out)["arrivals"] == 1
    rate = run(capsys, "info", sample("prometheus_counter.json"), "--values", "rate", "--json")[1]
    assert json.loads(rate)["arrivals"] > 5000
    limited = run(capsys, "info", sample("servegen"), "--limit", "1", "--json")[1]
    assert (json.loads(limited)["arrivals"], json.loads(limited)["duration"]) == (300, 600)


def test_what_is_wrong_is_told(capsys: Said, tmp_path: Path) -> None:
    """On stderr, with exit code 1, and nothing on stdout."""
    path = tmp_path / "bad.csv"
    path.write_text("t\n1\nx\ny\n")
    for words, why in (
        (["info", str(path)], "2 of 3 lines are malformed"),
        (["info", str(path), "--tolerate", "2"], "tolerate = 2.0"),
        (["info", str(path), "--from", "soon"], "--from = soon: is not a duration; write a"),
        (["info", str(path), "--format", "x"], "format = x: unknown; known: azure-llm"),
        (["generate", "sine", "-o", str(path)], "kind = sine: unknown; known: poisson"),
        (["generate", "mmpp", "-o", str(path), "--peak", "99"], "peak = 99: with 60 s on"),
        (["generate", "poisson", "-o", str(path), "--seed", "-1"], "seed = -1: must be 0 or"),
        (["generate", "poisson", "-o", str(tmp_path / "a" / "b")], "No such file or directory"),
    ):
        code, out, err = run(capsys, *words)
        assert (code, out) == (1, "")
        assert err.startswith("stoker: ")
        assert why in err


def test_generate_and_look_at_it(capsys: Said, tmp_path: Path) -> None:
    """Every kind with its flags; the same seed writes the same file."""
    path = str(tmp_path / "t.csv")
    flags = {
        "poisson": [],
        "mmpp": ["--on", "10s", "--off", "30s", "--peak", "3"],
        "on-off": ["--on", "10s", "--off", "30s"],
        "diurnal": ["--period", "10m"],
        "spikes": ["--every", "2m", "--length", "5s"],
    }
    common = ["--rate", "2", "--duration", "20m", "--models", "2", "--zipf", "0"]
    common += ["--service", "250ms", "--service-cv", "0.5", "-o", path]
    for kind, more in flags.items():
        code, out, err = run(capsys, "generate", kind, *common, *more)
        assert (code, err) == (0, "")
        assert out.startswith(f"{path}: ")
        assert out.endswith(" arrivals in 1200 s for 2 models\n")
        found = json.loads(run(capsys, "info", path, "--json")[1])
        assert (found["models"], found["duration"], found["notices"]) == (2, 1200, [])
        assert found["flow"]["rate"] == pytest.approx(2, rel=0.3)
        assert found["service"]["mean"] == pytest.approx(0.25, rel=0.1)
    first = Path(path).read_text()
    run(capsys, "generate", "spikes", *common, *flags["spikes"], "--seed", "0")
    assert Path(path).read_text() == first
    run(capsys, "generate", "spikes", *common, *flags["spikes"], "--seed", "1")
    assert Path(path).read_text() != first


def test_bars() -> None:
    """From nothing to the highest."""
    assert sparkline([0, 1, 4, 8, 8.5]) == "·▁▄█" + "█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "··"
