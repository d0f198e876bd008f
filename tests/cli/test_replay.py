"""``stoker replay`` of journals that a real ``stoker up`` wrote under load."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clients import Client, Load
from tests.cli.running import Running, cli, wait_until
from tests.cli.test_up import echo


def busy(stoker: Running) -> None:
    """One model is woken and scaled out, gets other settings, and falls asleep again."""
    clients = [Client(stoker.port, "echo.localhost") for _ in range(6)]
    with Load(clients, lambda _: "/slow?seconds=0.1"):
        stoker.wait_for("echo", lambda m: m["desired"] >= 3, "scaled out")
        models = stoker.document["models"]
        bounded = {**models, "echo": {**models["echo"], "max-scale": 2}}
        stoker.write({**stoker.document, "models": bounded})
        stoker.wait_for("echo", lambda m: m["desired"] == 2, "bounded")
    stoker.write({**stoker.document, "models": {"echo": bounded["echo"], "new": bounded["gone"]}})
    stoker.wait_for("echo", lambda m: m["desired"] == 0, "asleep")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the first of which was killed: in path.1 and path."""
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "journal.jsonl"
    settings = {"container-concurrency": 2, "scale-to-zero-grace-period": "1s"}
    document: dict[str, Any] = {
        "stoker": {"journal-file": str(path), "tick-interval": "500ms"},
        "models": {"echo": echo(**settings), "gone": echo(**settings)},
    }
    with Running(folder, document) as stoker:
        assert stoker.request("/echo", host="gone.localhost", body=b"x")[0] == 200
        stoker.stop(signal.SIGKILL)
    with Running(folder, document) as stoker:
        busy(stoker)
    assert path.with_name("journal.jsonl.1").exists()
    return path


def replayed(path: Path, *flags: str, code: int = 0) -> dict[str, Any]:
    done = cli("replay", str(path), "--json", *flags)
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_equal_in_every_decision(journal: Path) -> None:
    """Both runs, with settings changed, a model removed and one added meanwhile."""
    told = replayed(journal)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    written = [line for line in lines if line["kind"] == "decision"]
    assert told["starts"] == 2
    assert told["equal"] == told["decisions"] > len(written) > 5
    assert {line["desired"] for line in written} >= {0, 2, 3}
    assert told["files"] == [f"{journal}.1", str(journal)]
    assert abs(told["last"] - time.time()) < 3600
    done = cli("replay", str(journal))
    assert f"equal {told['equal']} of {told['decisions']} decisions" in done.stdout
    assert "2 starts of Stoker" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_was_decided_then_and_otherwise(journal: Path) -> None:
    """Three ways to say when; the decision with its reason, and that of other settings."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    wall = lines[0]["wall"] - lines[0]["time"]
    out = next(
        line
        for line in lines
        if line["kind"] == "decision" and line["model"][1] == "echo" and line["desired"] == 3
    )
    told = replayed(journal)
    exact = wall + out["time"] + 0.0005
    iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(exact)) + f"{exact % 1:.6f}"[1:] + "Z"
    for at in (f"{exact - told['first']:.6f}", f"{exact - told['last']:.6f}", iso):
        (moment,) = replayed(*(journal, "--at", at, "--model", "echo", "--set", "max-scale=1"))[
            "moments"
        ]
        recorded = {**out, "model": "default/echo"}
        del recorded["kind"]
        assert moment["decision"] == recorded
        assert moment["evidence"]["config"]["capacity"] == 2.0
        assert moment["other"]["desired"] == 1
        assert "max-scale 1" in moment["other"]["reason"]
        shown = cli("replay", str(journal), "--at", at, "--model", "echo", "--set", "max-scale=1")
        assert f"3 replicas: {out['reason']}" in shown.stdout
        assert "with max-scale=1, all else equal:\n  1 replica: " in shown.stdout
    everybody = cli("replay", str(journal), "--at", "-0", "--set", "min-scale=1")
    for name in ("default/echo", "default/new"):
        (row,) = [
            line for line in everybody.stdout.split("All of it")[0].splitlines() if name in line
        ]
        assert row.split()[1] == "0"
        assert "min-scale 1" in row
    assert "default/gone" not in everybody.stdout.split("All of it")[0]


def test_the_whole_journal_with_other_settings(journal: Path) -> None:
    """Replica-seconds grow with a floor; what is not concerned stays; loads as recorded."""
    told = {each["model"]: each for each in replayed(journal, "--set", "min-scale=2")["compared"]}
    assert set(told) == {"default/echo", "default/gone", "default/new"}
    for each in told.values():
        assert each["differ"] <= each["decisions"]
        assert each["seconds_now"] > each["seconds_then"]
        assert each["spans"][0]["now"] >= 2 > each["spans"][0]["then"]
    same = replayed(journal, "--model", "echo", "--set", "scale-to-zero-grace-period=1s")
    ((echo_,),) = (same["compared"],)
    assert (echo_["model"], echo_["differ"], echo_["spans"]) == ("default/echo", 0, [])
    shown = cli("replay", str(journal), "--set", "min-scale=2")
    assert "Loads and replica counts stay as recorded" in shown.stdout


def test_a_forged_journal(journal: Path, tmp_path: Path) -> None:
    """Exit code 1 and the first difference; a torn last line is said and no difference."""
    text = journal.read_text()
    forged = tmp_path / "journal.jsonl"
    forged.write_text(text.replace('"desired":3', '"desired":4', 1))
    done = cli("replay", str(forged))
    assert done.returncode == 1
    assert "1 differences; the first 1:" in done.stdout
    assert "default/echo: desired 4 recorded, 3 made" in done.stdout
    assert replayed(forged, code=1)["first_differences"][0]["made"]["desired"] == 3
    lines = text.splitlines(keepends=True)
    place = max(n for n, line in enumerate(lines) if '"kind":"decision"' in line)
    forged.write_text("".join(lines[:place]) + lines[place][:40])
    done = cli("replay", str(forged))
    assert done.returncode == 0, done.stdout
    assert f"note: {forged}:{place + 1} was not written in full" in done.stdout


def test_what_cannot_be_replayed(journal: Path, tmp_path: Path) -> None:
    """No such file, no journal, a broken line, no such time, model or setting: each is said."""
    broken = tmp_path / "broken.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    broken.write_text("".join([lines[0], '{"kind":"counts"}\n', *lines[1:]]))
    idle = tmp_path / "idle.jsonl"
    idle.write_text(lines[0])
    undated = tmp_path / "undated.jsonl"
    first = json.loads(lines[0])
    del first["wall"]
    undated.write_text("".join([json.dumps(first) + "\n", *lines[1:]]))
    for path, flags, said in (
        (tmp_path / "none", (), "none: No such file or directory"),
        (broken, (), f"{broken}:2: is no line of a decision journal: KeyError 'model'"),
        (idle, (), "holds no decision yet"),
        (journal, ("--at", "1e9"), "--at = 1e9: is not in the journal; allowed: 0 to"),
        (journal, ("--at", "2001-01-01"), "is not in the journal; allowed: 0 to"),
        (journal, ("--at", "noon"), "is neither seconds nor a time such as"),
        (undated, ("--at", "2026-01-01"), "does not tell the time of day"),
        (journal, ("--model", "x"), "--model = x: is not in the journal; known: default/echo"),
        (journal, ("--set", "stable-window=2s"), "stable-window = 2s: is out of range"),
        (journal, ("--set", "min-scale=9"), "default/echo.min-scale = 9: is above max-scale"),
    ):
        done = cli("replay", str(path), *flags)
        assert (done.returncode, said in done.stderr) == (1, True), (flags, done.stderr)


def test_rotated_while_it_runs(tmp_path: Path) -> None:
    """Files of which one continues the other: all as if it were one, also while it is written."""
    path = tmp_path / "journal.jsonl"
    document: dict[str, Any] = {
        # 200 models come to more than half of that with their settings and first decisions.
        "stoker": {"journal-file": str(path), "journal-bytes": "64Ki", "tick-interval": "200ms"},
        "models": {f"model-{number}": echo() for number in range(200)},
    }
    older = path.with_name("journal.jsonl.1")
    with Running(tmp_path, document) as stoker:
        assert stoker.request("/echo", host="model-7.localhost", body=b"x")[0] == 200
        wait_until(lambda: older.exists() and b"tick" in path.read_bytes(), why="a rotation")
        told = replayed(path)
        assert told["equal"] == told["decisions"]
    told = replayed(path)
    assert told["equal"] == told["decisions"] > 200
    assert (told["starts"], len(told["files"])) == (1, 2)
    both = older.read_text().splitlines() + path.read_text().splitlines()
    assert told["ticks"] == sum(line.startswith('{"kind":"tick"') for line in both)
