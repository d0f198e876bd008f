"""Where the tests of this folder find servers and clients, and what to do if they are missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MLSERVER = ROOT / "build" / "venvs" / "mlserver"


def program(name: str) -> str:
    """The path of a client from Debian; the test fails, with what to do, where it is missing."""
    place = shutil.which(name)
    if place is None:
        pytest.fail(f"{name} is not installed: make clients installs it")
    return place


def mlserver() -> Path:
    """MLServer's environment."""
    if not (MLSERVER / "ready").exists():
        pytest.fail("MLServer is not installed: make build/venvs/mlserver/ready installs it")
    return MLSERVER


def example(name: str, **settings: Any) -> dict[str, Any]:
    """The only model of examples/NAME/stoker.yaml, for a settings file anywhere else.

    ``settings`` override its own. The short window lets tests see it fall asleep.
    """
    document = yaml.safe_load((EXAMPLES / name / "stoker.yaml").read_text())
    (model,) = document["models"].values()
    command = [str(sys.executable) if w == "python" else w for w in model["command"].split()]
    return {
        **model,
        "command": command,
        "directory": str(ROOT),
        "stable-window": "6s",
        **settings,
    }


def ask(*command: str, given: bytes | None = None) -> str:
    """What a client program prints; AssertionError with all it said if it fails."""
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, f"{command}: {done.returncode}\n{said}{done.stderr.decode()}"
    return said
