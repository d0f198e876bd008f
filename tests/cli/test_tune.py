"""``stoker tune`` and ``stoker advise``, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoker import cli
from stoker.check import run_check
from tests.cli.running import Running, echo_command, wait_until

Said = pytest.CaptureFixture[str]

FAST = ("--segments", "3", "--budget", "8", "--jobs", "1")
WORLD = ("--service", "1s", "--start", "4s", "--set", "container-concurrency=2")


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Four requests every 20 s, for two minutes."""
    path = tmp_path / "trace.csv"
    lines = [f"{begin + part / 10},llm" for begin in range(5, 120, 20) for part in range(4)]
    path.write_text("\n".join(["t,model", *lines]) + "\n")
    return str(path)


def run(said: Said, *words: str) -> tuple[int, str, str]:
    """The command's exit code and what it printed."""
    code = cli.main(list(words))
    out, err = said.readouterr()
    return code, out, err


def test_tune_writes_what_check_accepts(trace: str, capsys: Said, tmp_path: Path) -> None:
    """Settings file, ConfigMap and JSON; both forms pass ``stoker check``."""
    paths = {name: str(tmp_path / name) for name in ("tuned.yaml", "configmap.yaml", "tuned.json")}
    code, out, err = run(
        capsys, "tune", trace, "--slo", "p99<10s", *WORLD, *FAST,
        "-o", paths["tuned.yaml"], "--configmap", paths["configmap.yaml"],
        "--json", paths["tuned.json"],
    )  # fmt: skip
    assert (code, err.count("written: ")) == (0, 3)
    assert "24 requests in" in out
    for name in ("tuned.yaml", "configmap.yaml"):
        assert cli.main(["check", paths[name]]) == 0
    figures = json.loads(Path(paths["tuned.json"]).read_text())
    assert figures["slo"] == "p99<10s"
    assert "service: 1s" in figures["assumptions"]


def test_a_running_stoker_takes_what_was_tuned(trace: str, capsys: Said, tmp_path: Path) -> None:
    """The file of a running Stoker is improved in place, and its autoscaler goes by it: three
    replicas that nothing needs are let go of."""
    settings = {
        "command": echo_command(),
        "container-concurrency": 2,
        "min-scale": 3,
        "stable-window": "6s",
    }
    with Running(tmp_path, {"models": {"llm": settings}}) as stoker:
        words = ("tune", trace, "--slo", "p99<30s", "--settings", str(stoker.file))
        code, out, _ = run(
            capsys, *words, "--service", "1s", "--start", "4s", *FAST, "-o", str(stoker.file)
        )
        assert code == 0, out
        assert "-    min-scale: 3" in out
        wait_until(lambda: "settings reloaded: 1 models" in stoker.log.read_text(), why="a reload")
        stoker.wait_for("llm", lambda model: model["desired"] < 3, "let go of replicas")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--slo", "p99>2s"), "--slo = p99>2s: 'p99>2s' is not understood; allowed: terms"),
        (("--budget", "3"), "--budget = 3: is out of range; allowed: [8, 100000]"),
        (("--segments", "2"), "--segments = 2: is out of range; allowed: [3, 1000]"),
        (("--segments", "90"), "too short for 90 segments"),
        (("--jobs", "0"), "--jobs = 0: is out of range; allowed: [1, 256]"),
        (("--warm-up", "5s"), "--warm-up = 5s: every segment has a stretch that leads to it"),
        (("--price", "-1"), "--price = -1: is out of range"),
        (("--settings", "/none"), "--settings = /none: No such file"),
        (("--set", "stable-window=1s"), "stable-window = 1s: is out of range"),
        (("--service", "soon"), "--service = soon"),
        (("--start", "soon"), "--start = soon"),
    ],
)
def test_what_tune_cannot_do_is_told(
    words: tuple[str, ...], said: str, trace: str, capsys: Said
) -> None:
    """The flag, its value and what is allowed; exit code 1."""
    for command in ("tune", "advise"):
        code, out, err = run(capsys, command, trace, *words)
        assert (code, out) == (1, "")
        assert said in err


def test_an_empty_trace_is_refused(tmp_path: Path, capsys: Said) -> None:
    """There is nothing to learn from it."""
    path = tmp_path / "empty.csv"
    path.write_text("t,model\n")
    for command in ("tune", "advise"):
        code, _, err = run(capsys, command, str(path))
        assert code == 1
        assert "holds no arrivals" in err


def test_a_file_that_cannot_be_written_is_told(trace: str, capsys: Said, tmp_path: Path) -> None:
    """After all the work: the tables are printed all the same."""
    code, out, err = run(capsys, "tune", trace, *WORLD, *FAST, "-o", str(tmp_path / "none" / "x"))
    assert code == 1
    assert "held-back" in out
    assert "cannot be written: No such file" in err


def test_advise_has_a_verdict(trace: str, capsys: Said, tmp_path: Path) -> None:
    """One line first; prices as assumed; the same as JSON."""
    path = tmp_path / "advice.json"
    words = ("advise", trace, *WORLD, *FAST, "--slo", "p99<8s", "--assume", "lambda.cold-start=3s")
    code, out, _ = run(capsys, *words, "--cpu-slowdown", "2", "--json", str(path))
    assert code == 0
    figures = json.loads(path.read_text())
    assert out.splitlines()[0] == figures["verdict"]
    assert "a cold start takes 3 s" in out
    assert "2 times slower without accelerators" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--memory", "4GB"), "--memory = 4GB: has an unknown suffix GB; allowed: bytes such as"),
        (("--package", "big"), "--package = big: is not a size"),
        (("--cpu-slowdown", "0"), "--cpu-slowdown = 0: is out of range; allowed: (0, 10000]"),
        (("--assume", "lambda.price=1"), "lambda.price = 1: is no part of an offer"),
        (("--pricing", "/none"), "cannot be read: No such file"),
    ],
)
def test_what_advise_cannot_do_is_told(
    words: tuple[str, ...], said: str, trace: str, capsys: Said
) -> None:
    """The flag, its value and what is allowed; exit code 1."""
    code, out, err = run(capsys, "advise", trace, *WORLD, *FAST, *words)
    assert (code, out) == (1, "")
    assert said in err


def test_a_configmap_is_settings_too(trace: str, capsys: Said, tmp_path: Path) -> None:
    """What ``tune`` wrote can be tuned again, and what comes of that passes the check."""
    path = tmp_path / "cm.yaml"
    path.write_text('kind: ConfigMap\nmetadata:\n  name: x\ndata:\n  min-scale: "2"\n')
    words = ("tune", trace, "--slo", "p99<30s", "--settings", str(path), "--service", "1s")
    code, out, _ = run(capsys, *words, "--start", "4s", *FAST, "-o", str(path))
    assert code == 0, out
    with (tmp_path / "out").open("w") as sink:
        assert run_check(str(path), sink, {}) == 0
