"""What users can meet is documented: flags, commands, status codes, reasons, admin paths."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator
from pathlib import Path

from activator.responses import STATUS_OF
from activator.tickets import Reason
from stoker.check import run_check
from stoker.cli import _parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def subcommands(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands below a parser, those below them too, each with its whole name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from subcommands(f"{name} {word}", command)


def test_every_command_and_flag_is_documented() -> None:
    """docs/cli.md names each command and each flag."""
    text = (DOCS / "cli.md").read_text()
    parser = _parser()
    flags = set()
    for name, command in [("stoker", parser), *subcommands("stoker", parser)]:
        assert name in text
        flags |= {f for a in command._actions for f in a.option_strings if f.startswith("--")}
    assert "stoker trace info" in dict(subcommands("stoker", parser))
    assert {"--listen", "--admin", "--plain", "--json", "--version"} <= flags
    assert [flag for flag in sorted(flags) if f"`{flag}" not in text] == []


def test_every_reason_is_documented_with_its_status() -> None:
    """docs/status-codes.md has a row for each reason, with the status callers get."""
    rows = {
        reason: int(status)
        for status, reason in re.findall(
            r"^\| \(?(\d{3})\)? \| `([a-z-]+)`", (DOCS / "status-codes.md").read_text(), re.M
        )
    }
    assert set(STATUS_OF) == set(Reason)
    assert {reason: rows.get(reason.value) for reason in Reason} == dict(STATUS_OF)


def test_every_status_of_a_malformed_request_is_documented() -> None:
    """Each status that the parser's side refuses with has its row."""
    source = "".join(path.read_text() for path in (ROOT / "activator").glob("*.py"))
    statuses = set(re.findall(r"(?:MalformedError|refuse)\((\d{3}),", source))
    assert {"400", "408", "413", "431"} <= statuses
    text = (DOCS / "status-codes.md").read_text()
    assert [s for s in sorted(statuses) if f"| {s} | `malformed`" not in text] == []


def test_every_admin_path_is_documented() -> None:
    """docs/cli.md lists what the admin port serves."""
    paths = re.findall(r'web\.get\("([^"{]+)', (ROOT / "stoker" / "admin.py").read_text())
    assert len(paths) >= 5
    text = (DOCS / "cli.md").read_text()
    assert [path for path in paths if path not in text] == []


def test_the_map_names_every_module() -> None:
    """ARCHITECTURE.md has a place for each module: nobody has to guess where a line belongs."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    missing = []
    for package in ("stoker", "activator", "autoscaler", "cache_warmer", "simulations"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if path.name in ("__init__.py", "__main__.py"):
                continue
            folders = [f"`{parent}/`" for parent in path.relative_to(ROOT).parents]
            named = any(
                f"`{name}`" in row
                or any(folder in row for folder in folders)
                or (f"`{path.name}`" in row and f"`{path.parent.relative_to(ROOT)}/" in row)
                for row in rows
            )
            if not named:
                missing.append(name)
    assert missing == []


def test_the_readme_s_settings_are_right(tmp_path: Path) -> None:
    """The settings file that README.md shows passes ``stoker check``."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    file = tmp_path / "stoker.yaml"
    file.write_text(block)
    out = io.StringIO()
    assert run_check(str(file), out) == 0, out.getvalue()
    assert "qwen" in out.getvalue()


def test_the_benchmarks_page_has_each_program_s_table_with_machine_and_date() -> None:
    """A table per program in benchmarks/, with the line that says where and when."""
    text = (DOCS / "benchmarks.md").read_text()
    programs = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert programs is not None
    for name in programs.group(1).split():
        _, found, rest = text.partition(f"`python -m benchmarks.{name}`")
        assert found, name
        table = rest.split("```")[1]
        assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d · .+ cores, Linux .+, CPython", table, re.M)
        assert "at most" in table


def test_the_glossary_is_on_the_map() -> None:
    """ARCHITECTURE.md explains the words that everything else uses."""
    _, found, glossary = (ROOT / "ARCHITECTURE.md").read_text().partition("## Glossary")
    assert found
    words = ("model", "replica", "hold", "slot", "Throttler", "panic mode", "poke", "outage")
    assert [word for word in words if word not in glossary] == []
