"""The container image, as far as it can be looked at without a daemon that builds it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest

from stoker import __version__
from tests.manifests.dockerfile import commands, parse
from tests.manifests.rendering import OVERLAYS, ROOT, overlay, pods

STAGES = parse((ROOT / "Dockerfile").read_text())
BUILD, FINAL = STAGES
PIPS = [
    words[words.index("pip") + 1 :]
    for run in BUILD.of("RUN")
    for words in commands(run)
    if "pip" in words
]


def pins(path: Path) -> dict[str, str]:
    """Name → its block of pins and hashes."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return {block.partition("==")[0]: block.strip() for block in blocks if "==" in block}


def test_both_stages_stand_on_the_same_image() -> None:
    """What is installed for one interpreter runs with the other; a version is named."""
    assert BUILD.image == FINAL.image
    assert re.fullmatch(r"python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", FINAL.image)
    assert BUILD.name == "build"


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    """Each source is in the tree and let through by .dockerignore; nothing of it is left out."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {line[1:].rstrip("/") for line in rules if line.startswith("!")}
    copied = set()
    for rest in BUILD.of("COPY"):
        *sources, _ = rest.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(source == name or source.startswith(f"{name}/") for name in let_in), source
            copied.add(source.partition("/")[0])
    assert copied == let_in
    left_out = [line for line in rules[1:] if not line.startswith("!")]
    assert not any(fnmatch("stoker/cli/cluster.py", pattern) for pattern in left_out)


def test_what_the_package_is_made_of_is_copied() -> None:
    """Each package of pyproject.toml, and the files that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {word for rest in BUILD.of("COPY") for word in rest.split()[:-1]}
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {*packages, project["project"]["readme"], *project["project"]["license-files"]}
    assert needed | {"pyproject.toml"} <= copied


def test_packages_are_installed_as_make_does() -> None:
    """The same options: every hash checked, nothing resolved, the checkout without isolation."""
    makefile = (ROOT / "Makefile").read_text()
    (pinned,) = re.findall(
        r"\$\(PIP\) install --quiet (--require-hashes --no-deps) -r \$\(VENV\)", makefile
    )
    (checkout,) = re.findall(r"\$\(PIP\) install --quiet (.*) --editable \.", makefile)
    joined = [" ".join(words) for words in PIPS]
    assert [
        f"{pinned} -r image/{name}" in line
        for name, line in zip(("build.txt", "requirements.txt"), joined[:2], strict=True)
    ] == [True, True]
    assert checkout in joined[2]
    assert "--no-index" in joined[3]
    assert all("--disable-pip-version-check" in line for line in joined)


def test_its_packages_are_those_of_the_constraints() -> None:
    """Block by block the same pins and hashes, so what is tested is what is shipped."""
    everything = pins(ROOT / "constraints.txt")
    runs, builds = pins(ROOT / "image/requirements.txt"), pins(ROOT / "image/build.txt")
    assert {name: everything[name] for name in (*runs, *builds)} == {**runs, **builds}
    assert {"kubernetes-asyncio", "aiohttp", "numpy", "opentelemetry-api"} <= set(runs)
    assert "hatchling" in builds
    assert not {"pytest", "scikit-learn", "hatchling"} & set(runs)
    for name in runs:
        assert f"{name}=={version(name)} " in runs[name]


def test_it_runs_as_nobody_in_particular() -> None:
    """A user by number that is not root, the one that the pods name; no step comes after."""
    (user,) = FINAL.of("USER")
    number, _, group = user.partition(":")
    assert int(number) > 0 < int(group)
    words = [word for word, _ in FINAL.steps]
    assert "RUN" not in words
    for name in OVERLAYS:
        for _, template in pods(overlay(name)):
            assert template["spec"]["securityContext"]["runAsUser"] == int(number)
            assert template["spec"]["securityContext"]["runAsGroup"] == int(group)


def test_what_it_starts_is_there() -> None:
    """The entry point is what the package installs, found by the PATH that is set; it is given
    the pods' arguments and stops by the signal that Stoker takes."""
    (entry,) = FINAL.of("ENTRYPOINT")
    (program,) = json.loads(entry)
    done = subprocess.run(
        [Path(sys.executable).parent / program, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"stoker {__version__}\n"
    assert any(rest.startswith("PATH=/opt/stoker/bin:") for rest in FINAL.of("ENV"))
    assert FINAL.of("COPY") == ["--from=build /opt/stoker /opt/stoker"]
    assert FINAL.of("STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_steps_make_something_that_runs(tmp_path: Path) -> None:
    """Each RUN of the build, in a folder that holds what is copied; then the program, with
    nothing else installed. It writes nothing beside itself, as its file system is read-only."""
    source, target = tmp_path / "src", tmp_path / "opt" / "stoker"
    for rest in BUILD.of("COPY"):
        *names, _ = rest.split()
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pyc*"))
            else:
                shutil.copy(ROOT / name, source / name)
    for run in BUILD.of("RUN"):
        here = run.replace("/opt/stoker", str(target))
        here = re.sub(r"(?<![\w/])/build", str(tmp_path / "build"), here)
        if here.startswith("python "):
            here = here.replace("python ", f"{sys.executable} ")
            here = here.replace("&& python ", f"&& {sys.executable} ")
        subprocess.run(here, shell=True, cwd=source, check=True)
    installed = set(target.rglob("*"))
    environment = {"PATH": f"{target / 'bin'}:{os.environ['PATH']}", "HOME": "/nonexistent"}
    environment |= dict(
        word.split("=") for word in FINAL.of("ENV")[0].split() if "PATH" not in word
    )

    def stoker(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["stoker", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
        )

    assert stoker("--version").stdout == f"stoker {__version__}\n"
    # As far as the credentials: everything that it needs has been imported by then.
    asked = stoker("cluster", "--kubeconfig", "/nonexistent")
    assert asked.returncode == 1
    assert asked.stderr.startswith("stoker: kubeconfig /nonexistent: there is no such file")
    (tmp_path / "s.yaml").write_text("models:\n  m: {command: 'true --port {port}'}\n")
    assert stoker("check", "s.yaml").returncode == 0
    assert set(target.rglob("*")) == installed
