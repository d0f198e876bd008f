"""The rules of the house that no tool checks by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from stoker import __version__
from tools.constraints import PARTS, SERVERS, heading
from tools.coverage_floors import patterns, pure_modules

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
BENCHMARKS = re.findall(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[0].split()
PINS = dict(re.findall(r"^([a-z0-9.-]+)==(\S+) \\$", CONSTRAINTS, re.MULTILINE))


def tracked(root: Path = ROOT) -> list[Path]:
    """Every file of the tree that is, or would be, committed; git is asked if it answers."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):  # not there, or not git's to look at
        return walked(root)
    return [
        path
        for name in done.stdout.decode().split("\0")
        if name and (path := root / name).is_file()
    ]


def walked(root: Path) -> list[Path]:
    """Every file of the tree but what the kinds of pattern in its .gitignore leave out."""
    ignored = [".git", ".git/", *(root / ".gitignore").read_text().split()]

    def left_out(path: Path, mark: str) -> bool:
        names = (path.name + mark, f"/{path.relative_to(root)}{mark}", path.name)
        return any(fnmatchcase(name, pattern) for name in names for pattern in ignored)

    found = []
    for folder, folders, files in os.walk(root):
        at = Path(folder)
        folders[:] = [name for name in folders if not left_out(at / name, "/")]
        found += [at / name for name in files if not left_out(at / name, "")]
    return [path for path in found if path.is_file()]


def texts() -> dict[str, str]:
    """Name → content of every tracked text file."""
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found[str(path.relative_to(ROOT))] = content.decode(errors="replace")
    return found


def program(path: Path, text: str) -> None:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", [None, "echo fatal: dubious ownership >&2; exit 128"])
def test_the_tree_is_walked_where_git_does_not_answer(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not installed or failing: all files are found but what .gitignore names."""
    binaries, root = tmp_path / "bin", tmp_path / "root"
    binaries.mkdir()
    if script is not None:
        program(binaries / "git", script)
    monkeypatch.setenv("PATH", str(binaries))
    kept = {"a.py", "b/c.md", "b/build/d", ".gitignore", "b/.hidden"}
    ignored = {
        *(".git/config", ".venv/lib/x.py", "build/x", "dist/x", "b/__pycache__/x", "b/x.pyc"),
        *("stoker.egg-info/x", ".coverage", ".coverage.1", ".mypy_cache/x", ".hypothesis/x"),
    }
    for name in kept | ignored:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    shutil.copy(ROOT / ".gitignore", root)
    assert {str(path.relative_to(root)) for path in tracked(root)} == kept


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is each machine's own business."""
    # Put together here, so that this file does not name them either.
    hosts = [
        *(".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"))),
        *(".".join(parts) for parts in (("registry", "npmjs"), ("crates", "io"))),
        *("-".join(parts) for parts in (("--index", "url"), ("--extra-index", "url"))),
    ]
    found = [(name, host) for name, text in texts().items() for host in hosts if host in text]
    assert found == []


def test_no_file_names_a_path_of_a_machine() -> None:
    """A checkout works wherever it is; nobody's home is anybody else's business."""
    folders = "|".join(("root", "home/[a-z]+", "Users/[A-Za-z]+", "wor" + "k"))
    pattern = re.compile(rf"(?<![\w./-])/(?:{folders})/[\w.]")
    here = f"{ROOT}/" if len(ROOT.parts) > 3 else "\0"
    found = [name for name, text in texts().items() if pattern.search(text) or here in text]
    assert found == []


def direct_dependencies() -> list[Requirement]:
    """What pyproject.toml asks for, extras included."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(r) for rs in (project["dependencies"], *extras) for r in rs]


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=lambda r: r.name)
def test_every_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    """The constraints and pyproject.toml agree."""
    assert requirement.specifier
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    assert requirement.specifier.contains(PINS[name])


def test_the_build_backend_is_pinned_too() -> None:
    """The checkout is installed without build isolation, with the pinned backend."""
    for text in PYPROJECT["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(PINS[requirement.name])


PINNED = {
    "constraints.txt": CONSTRAINTS,
    **{str(f): (ROOT / f / "requirements.txt").read_text() for f in SERVERS},
}


@pytest.mark.parametrize("text", PINNED.values(), ids=PINNED)
def test_every_pin_has_hashes_and_nothing_else(text: str) -> None:
    """Blocks of name==version and sha256 sums: no option, no address, no path."""
    blocks = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == text.count("==") > 30
    for block in blocks:
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.!+]+ \\", lines[0]), lines[0]
        assert len(lines) > 1
        for line in lines[1:]:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


@pytest.mark.parametrize("folder", SERVERS, ids=str)
def test_what_a_server_of_its_own_needs_is_pinned(folder: Path) -> None:
    """requirements.txt keeps to requirements.in, and make installs just that."""
    pins = dict(re.findall(r"^([a-z0-9.-]+)==(\S+) \\$", PINNED[str(folder)], re.MULTILINE))
    for line in (ROOT / folder / "requirements.in").read_text().splitlines():
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name])
    makefile = (ROOT / "Makefile").read_text()
    assert f"build/venvs/{folder.name}\n" in makefile
    assert f"/ready: {folder}/requirements.txt | " in makefile


def test_the_parts_of_the_constraints_are_where_the_makefile_cuts() -> None:
    """Each part once, in order; what only benchmarks need is in the last."""
    places = [CONSTRAINTS.index(heading(part) + "\n") for part, _ in PARTS]
    assert places == sorted(places)
    assert CONSTRAINTS.index("\nscikit-learn==") < places[1] < CONSTRAINTS.index("\npytest==")
    assert CONSTRAINTS.index("\nenvoy-server==") > places[2]


def test_every_pure_module_exists() -> None:
    """The list that the contract and the coverage floor share is not out of date."""
    for module in pure_modules(ROOT / "pyproject.toml"):
        assert any(list(ROOT.glob(pattern)) for pattern in patterns([module])), module


def test_every_shared_module_is_under_contract() -> None:
    """What is new in stoker/ is told to import-linter, or it could import upwards."""
    (contract,) = [
        c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["name"].startswith("The sha")
    ]
    not_shared = {"stoker.cli", "stoker.__main__", "stoker.__init__", "stoker.platforms"}
    there = {
        f"stoker.{path.stem}"
        for path in (ROOT / "stoker").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(contract["source_modules"]) == there - not_shared


def test_the_changelog_names_the_version() -> None:
    """A version is described before it is released."""
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links in Markdown files point at files that exist."""
    links = [
        (name, link)
        for name, text in texts().items()
        if name.endswith(".md")
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    ]
    assert [
        (name, link)
        for name, link in links
        if "://" not in link and not (ROOT / name).parent.joinpath(link).exists()
    ] == []


def test_every_make_target_is_explained() -> None:
    """make help lists what the Makefile declares as commands."""
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"\.PHONY: ((?:.*\\\n)*.*)", makefile)
    assert declared
    for target in declared[1].replace("\\\n", " ").split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


MAKE = shutil.which("make")


def make(target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The Makefile's target in a folder of its own; only what is in its bin can be run."""
    assert MAKE, "make is not installed: apt-get install make"
    for name in ("mkdir", "rm"):
        place = shutil.which(name)
        assert place, f"{name} is not installed"
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).symlink_to(place)
    return subprocess.run(
        [MAKE, "-f", str(ROOT / "Makefile"), "-o", ".venv/bench", target],
        cwd=folder,
        env={"PATH": str(folder / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", [None, "echo are you root? >&2; exit 100"])
def test_peers_that_cannot_be_installed_are_named(script: str | None, tmp_path: Path) -> None:
    """Without apt-get, or not being root: said, and no failure; what is there is not named."""
    program(tmp_path / "bin" / "wrk", "")
    if script is not None:
        program(tmp_path / "bin" / "apt-get", script)
    done = make("peers", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "missing: nginx;" in done.stdout


@pytest.mark.parametrize("script", [None, "echo are you root? >&2; exit 100"])
def test_clients_that_cannot_be_installed_are_named(script: str | None, tmp_path: Path) -> None:
    """The same for what tests ask with; their tests then fail and say what to run."""
    program(tmp_path / "bin" / "curl", "")
    if script is not None:
        program(tmp_path / "bin" / "apt-get", script)
    done = make("clients", tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^missing: (\w+); apt-get could not", done.stdout, re.MULTILINE)
    assert said == ["h2load", "wrk"]


def test_a_browser_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    """The same for what tests look at pages with."""
    done = make("browser", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("missing: chromium; apt-get could not install it")


def test_promtool_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    """The same for what tests check alerts with."""
    done = make("promtool", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("missing: promtool; apt-get could not install it")


def test_clients_are_installed_where_they_can_be(tmp_path: Path) -> None:
    """One call of apt-get for all; nothing is said."""
    (tmp_path / "bin").mkdir()
    for name in ("touch", "chmod"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    there = "; ".join(
        f"touch bin/{name}; chmod +x bin/{name}" for name in ("curl", "h2load", "wrk")
    )
    program(tmp_path / "bin" / "apt-get", f'[ "$1" = update ] && exit 0; echo "$@"; {there}')
    done = make("clients", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "install -qq -y --no-install-recommends curl nghttp2-client wrk\n"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ('echo "{}" > "$5"; exit 0', 0),
        ('echo "{}" > "$5"; exit 1', 0),
        ('echo "{}" > "$5"; exit 2', 2),
        ('echo "{" > "$5"; exit 0', 2),
        ("exit 1", 2),
    ],
    ids=["met", "missed", "failed", "not JSON", "nothing written"],
)
def test_quick_benchmarks_have_to_write_figures(script: str, status: int, tmp_path: Path) -> None:
    """A missed figure is no failure; without figures that can be read it is one."""
    for name in ("nginx", "wrk"):
        program(tmp_path / "bin" / name, "")
    checked = f'[ "$2" = json.tool ] && exec {sys.executable} "$@"'
    program(tmp_path / ".venv" / "bin" / "python", f"{checked}\n{script}")
    (tmp_path / "build" / "benchmarks").mkdir(parents=True)
    (tmp_path / "build" / "benchmarks" / "decider.json").write_text("{}")
    done = make("bench-quick", tmp_path)
    assert done.returncode == status, done.stderr
    if status == 0:
        names = {path.name for path in (tmp_path / "build" / "benchmarks").iterdir()}
        assert names == {f"{name}.json" for name in BENCHMARKS}


def test_every_test_says_what_it_shows() -> None:
    """Each has a docstring."""
    silent = [
        f"{path.name}: {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
