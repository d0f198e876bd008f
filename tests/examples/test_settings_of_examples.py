"""examples/: each server has settings that are right, and a page that says how to use them."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.check import run_check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/stoker.yaml"))
SERVERS = {
    "digits",
    "kserve",
    "llama_cpp",
    "mlserver",
    "plain",
    "tgi",
    "triton",
    "vllm",
    "websocket",
}
MODULES = ("digits", "kserve", "llama_cpp", "plain", "websocket")


def models(folder: Path) -> dict[str, Any]:
    document = yaml.safe_load((folder / "stoker.yaml").read_text())
    found: dict[str, Any] = document["models"]
    return found


def words(command: str | list[str]) -> list[str]:
    return command if isinstance(command, list) else shlex.split(command)


def test_every_server_that_is_promised_has_a_folder() -> None:
    """One for each server; none without settings, none that nobody knows of."""
    assert {folder.name for folder in FOLDERS} == SERVERS
    folders = {p.name for p in EXAMPLES.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == SERVERS
    listed = re.findall(r"^\| \[(\w+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(SERVERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_settings_pass_the_check_without_a_notice(folder: Path) -> None:
    """``stoker check`` finds nothing wrong and nothing without effect."""
    out = io.StringIO()
    assert run_check(str(folder / "stoker.yaml"), out, {}) == 0, out.getvalue()
    assert "note:" not in out.getvalue()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_settings_say_what_matters(folder: Path) -> None:
    """Readiness by path, a limit, sleep at the start, and a bound on replicas."""
    for model in models(folder).values():
        assert model["readiness"].startswith("/")
        assert model["container-concurrency"] > 0
        assert model["initial-scale"] == 0
        assert model["max-scale"] >= 1


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_page_names_the_command_and_a_request(folder: Path) -> None:
    """README.md: how to start it with Stoker, and how to ask it."""
    text = (folder / "README.md").read_text()
    assert text.startswith("# ")
    assert f"stoker up examples/{folder.name}/stoker.yaml" in text
    assert "curl" in text or "connect(" in text


@pytest.mark.parametrize("name", MODULES)
def test_servers_in_this_repository_are_where_the_settings_say(name: str) -> None:
    """The module that the command runs exists."""
    (model,) = models(EXAMPLES / name).values()
    command = words(model["command"])
    module = command[command.index("-m") + 1]
    assert importlib.util.find_spec(module) is not None
    assert (EXAMPLES / name / model["directory"]).resolve() == EXAMPLES.parent


def test_ports_beside_the_one_that_stoker_picks_are_off() -> None:
    """A second replica of these would find its gRPC or metrics port taken."""
    (triton,) = models(EXAMPLES / "triton").values()
    assert {"--allow-grpc=false", "--allow-metrics=false"} <= set(words(triton["command"]))
    (kserve,) = models(EXAMPLES / "kserve").values()
    assert re.search(r"--enable_grpc false", kserve["command"])
    settings = json.loads((EXAMPLES / "mlserver" / "settings.json").read_text())
    assert settings["grpc_port"] == 0
    assert settings["metrics_endpoint"] is None
    (tgi,) = models(EXAMPLES / "tgi").values()
    assert "--shard-uds-path /tmp/text-generation-{port}" in tgi["command"]


def test_limits_are_those_of_the_servers() -> None:
    """What the server is told it may do at once is what Stoker gives it at most."""
    for name, flag in (
        ("vllm", "--max-num-seqs"),
        ("tgi", "--max-concurrent-requests"),
        ("llama_cpp", "--parallel"),
    ):
        (model,) = models(EXAMPLES / name).values()
        command = words(model["command"])
        assert int(command[command.index(flag) + 1]) == model["container-concurrency"]
