"""Results in files: JSON, CSV, HTML. A file is whole or as it was before."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from simulations.report.csv import series_table, totals_table
from simulations.report.document import VERSION, as_json, from_json
from simulations.report.page import page
from simulations.result import Result
from stoker.errors import Problem, ResultsError

FORMAT = "stoker simulation results"


def write_json(results: Sequence[Result], path: Path) -> None:
    """All runs; ``read_json`` reads them. Raises ResultsError where it cannot be written."""
    runs = [as_json(result) for result in results]
    document = {"format": FORMAT, "version": VERSION, "runs": runs}
    _write(path, json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n")


def read_json(path: Path) -> list[Result]:
    """The runs of a file that ``write_json`` wrote.

    Raises ResultsError: it cannot be read, is something else, or of a newer version.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise _failed(path, "cannot be read", error) from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(str(path), [Problem("the file", "", f"is not JSON: {error}")]) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        problem = Problem(
            "format",
            _shown(document),
            "is not a file of results",
            f'"{FORMAT}"',
            "stoker simulate --json FILE writes one",
        )
        raise ResultsError(str(path), [problem])
    version, runs = document.get("version"), document.get("runs")
    if version != VERSION:
        problem = Problem(
            "version",
            repr(version)[:80],
            "cannot be read by this version of Stoker",
            str(VERSION),
            "simulate again, or read it with the version that wrote it",
        )
        raise ResultsError(str(path), [problem])
    if not isinstance(runs, list):
        raise ResultsError(str(path), [Problem("runs", "", "is missing, or not a list")])
    return [from_json(run, f"{path}, run {number}") for number, run in enumerate(runs, 1)]


def write_csv(results: Sequence[Result], path: Path, *, series: bool = False) -> None:
    """A line per run and per model; with ``series`` a line per step instead."""
    text = io.StringIO()
    (series_table if series else totals_table)(results, text)
    _write(path, text.getvalue())


def write_html(results: Sequence[Result], path: Path, *, title: str = "Simulation") -> None:
    """One page that needs nothing else. Raises ValueError without results."""
    _write(path, as_html(results, title))


def as_html(results: Sequence[Result], title: str = "Simulation") -> str:
    """That page, with the style sheet and the script, which are files beside this one."""
    folder = files("simulations.report")
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("style.css", "hover.js")
    )
    return page(results, title, style, script)


def _write(path: Path, text: str) -> None:
    """Beside its place first: who has the old file open, or is cut short, keeps it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        # What is not a file of its own (/dev/stdout, a pipe) is written to as it is.
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        try:
            beside.write_text(text, encoding="utf-8", newline="\n")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(path, "cannot be written", error) from error


def _failed(path: Path, what: str, error: OSError) -> ResultsError:
    return ResultsError(str(path), [Problem("the file", "", f"{what}: {error.strerror or error}")])


def _shown(document: Any) -> str:
    found = document.get("format") if isinstance(document, dict) else document
    return repr(found)[:80]
