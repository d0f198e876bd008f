"""What kustomize makes of manifests/."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Obj = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = sorted(path.parent.name for path in MANIFESTS.glob("overlays/*/kustomization.yaml"))
HOME = "stoker-system"


@cache
def rendered(folder: str) -> tuple[Obj, ...]:
    """The objects of a folder below manifests/, as kubectl would apply them."""
    kubectl = str(Path(sys.executable).parent / "kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", str(MANIFESTS / folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Warnings are of what kustomize is going to refuse one day.
    assert done.stderr == ""
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Obj, ...]:
    return rendered(f"overlays/{name}")


def of_kind(objects: tuple[Obj, ...], *kinds: str) -> Iterator[Obj]:
    return (obj for obj in objects if obj["kind"] in kinds)


def pods(objects: tuple[Obj, ...]) -> Iterator[tuple[str, Obj]]:
    """Name and pod template of every workload."""
    for obj in of_kind(objects, "Deployment", "StatefulSet", "DaemonSet"):
        yield obj["metadata"]["name"], obj["spec"]["template"]


def program(name: str, package: str) -> str:
    """The path of a program; fails with what to install."""
    found = shutil.which(name)
    assert found, f"{name} is not installed: apt-get install {package}"
    return found
