"""Results as JSON, CSV and a table: written, read back, refused, documented."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from simulations.report import (
    as_json,
    from_json,
    print_results,
    read_json,
    terminal,
    write_csv,
    write_html,
    write_json,
)
from simulations.report.csv import columns
from simulations.result import Result
from stoker.errors import ResultsError
from tests.simulations.made import HOSTILE, result, several

DOCS = Path(__file__).resolve().parents[2] / "docs" / "report.md"


def hostile(label: str) -> Result:
    """A run in which names are somebody else's."""
    made = result(label, trace=label, steps=50)
    made.totals.refused = Counter({label: 2})
    return made


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Every field of every run: the document made of what was read is the same."""
    runs = [*several(3, models=4, steps=100), hostile(HOSTILE[1]), result(began=None, steps=10)]
    write_json(runs, tmp_path / "runs.json")
    read = read_json(tmp_path / "runs.json")
    assert [as_json(run) for run in read] == [as_json(run) for run in runs]
    assert [run.totals for run in read] == [run.totals for run in runs]
    assert [run.models for run in read] == [run.models for run in runs]
    assert read[0].waits.percentile(99) == runs[0].waits.percentile(99)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_the_same_run_is_the_same_file(tmp_path: Path) -> None:
    """Order of settings, models and reasons does not show."""
    one, other = result(models=5, steps=50), result(models=5, steps=50)
    other.settings = dict(reversed(other.settings.items()))
    other.models = dict(reversed(other.models.items()))
    write_json([one], tmp_path / "one")
    write_json([other], tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_fields_of_newer_versions_are_passed_over() -> None:
    """What is not known is not needed."""
    document = as_json(result(steps=5))
    document["new"] = document["totals"]["new"] = [1]
    assert as_json(from_json(document)) == as_json(result(steps=5))


def changed(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Puts a value at ``a.b.0`` of a document, or takes it away (``...``)."""

    def change(document: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        at: Any = document
        for name in folders:
            at = at[int(name) if isinstance(at, list) else name]
        if value is ...:
            del at[last]
        else:
            at[int(last) if isinstance(at, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("totals.requests", -1, "totals.requests = -1: input should be greater than or equal to 0"),
        ("totals.requests", "7", "totals.requests = '7': input should be a valid integer"),
        ("totals.refused", {"full": 0.5}, "totals.refused.full = 0.5: "),
        ("duration", ..., "duration: field required"),
        ("duration", float("inf"), "duration = inf: "),
        ("duration", 1e300, "duration = 1e+300: input should be less than or equal to 3155760000"),
        ("began", 1e11, "began = 100000000000.0: input should be less than or equal to 4102444800"),
        ("waits.bins.0", [99_999, 1], "waits.bins.0.0 = 99999: input should be less than"),
        ("waits.bins.0", [1], "waits.bins.0.1: field required"),
        ("series.step", 0.0, "series.step = 0.0: input should be greater than 0"),
        ("series.queued.1", float("nan"), "series.queued.1 = nan: "),
        ("series.queued", [1.0], "series: its columns differ in length: {'arrivals': 90"),
        ("models.0.name", None, "models.0.name = None: input should be a valid string"),
        ("settings", {"a": 1}, "settings.a = 1: input should be a valid string"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: object, said: str) -> None:
    """With what was found there and what is allowed."""
    document = copy.deepcopy(as_json(result(steps=90)))
    changed(path, value)(document)
    with pytest.raises(ResultsError, match=re.escape(said)) as caught:
        from_json(document, "old.json, run 1")
    assert str(caught.value).startswith("old.json, run 1:\n")


@pytest.mark.parametrize("document", [None, [], 7, "text"])
def test_what_is_no_run_is_refused(document: object) -> None:
    """Whatever it is instead."""
    with pytest.raises(ResultsError, match="the run"):
        from_json(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the file: is not JSON"),
        ("[" * 100_000, "the file: is not JSON"),
        ("\xff", "the file: is not JSON"),
        ("[]", 'is not a file of results; allowed: "stoker simulation results"'),
        ('{"format": "other"}', "format = 'other': is not a file of results"),
        ('{"format": "stoker simulation results", "version": 2}', "version = 2: cannot be read"),
        (
            '{"format": "stoker simulation results", "version": 1}',
            "runs: is missing, or not a list",
        ),
        ('{"format": "stoker simulation results", "version": 1, "runs": [0]}', "run 1:\n  the run"),
    ],
)
def test_what_is_no_file_of_results_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """It says what was found instead, and what to do."""
    file = tmp_path / "file.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ResultsError, match=re.escape(said)):
        read_json(file)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    """The path and the system's reason; nothing is left behind."""
    missing = tmp_path / "no" / "file"
    with pytest.raises(ResultsError, match=r"no/file:\n  the file: cannot be read: No such file"):
        read_json(missing)
    for write in (write_json, write_csv, write_html):
        with pytest.raises(ResultsError, match=r"no/file:\n  the file: cannot be written: No such"):
            write([result(steps=2)], missing)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    """Who has the old one open still reads it to its end."""
    file = tmp_path / "runs.csv"
    file.write_text("old")
    with file.open() as old:
        write_csv([result(steps=2)], file)
        assert old.read() == "old"
    assert file.read_text().startswith("row,run,")
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """``/dev/stdout`` and the like are not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_csv([result(steps=2)], pipe)
    reader.join()
    assert read[0].startswith("row,run,")
    assert pipe.is_fifo()


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by its heading."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_line_for_each_run_and_model(tmp_path: Path) -> None:
    """Numbers as they are; what a model has not is empty; models follow their run."""
    first, second = result("first", models=2), result("second", steps=5)
    first.totals.refused = Counter({"queue-full": 7})
    second.totals.answered = 0
    write_csv([first, second], tmp_path / "t.csv")
    rows = table(tmp_path / "t.csv")
    assert [(r["row"], r["run"], r["label"]) for r in rows] == [
        ("run", "1", "first"),
        ("model", "1", "first"),
        ("model", "1", "first"),
        ("run", "2", "second"),
        ("model", "2", "second"),
    ]
    assert list(rows[0]) == columns([first, second])
    assert rows[0]["requests"] == str(first.totals.requests)
    assert rows[0]["refused_queue-full"] == rows[0]["refused"] == "7"
    assert float(rows[0]["waits_p99"]) == pytest.approx(first.waits.percentile(99), rel=1e-8)
    assert rows[1]["waits_p99"] == rows[1]["gpu_hours"] == ""
    dollars = [float(r["dollars"]) for r in rows]
    assert dollars[1] + dollars[2] == pytest.approx(dollars[0])
    assert dollars[1] > dollars[2]
    assert rows[3]["cold_waits_p50"] == rows[3]["dollars_per_thousand"] == ""


def test_csv_of_series_has_a_line_for_each_step(tmp_path: Path) -> None:
    """With the second at which it begins."""
    runs = several(2, steps=30)
    write_csv(runs, tmp_path / "s.csv", series=True)
    rows = table(tmp_path / "s.csv")
    assert len(rows) == 60
    assert [row["time"] for row in rows[:3]] == ["0", "5", "10"]
    assert sum(float(row["arrivals"]) for row in rows[30:]) == runs[1].series.arrivals.sum()


@pytest.mark.parametrize("series", [False, True])
def test_no_cell_is_a_formula(series: bool, tmp_path: Path) -> None:
    """A name that a spreadsheet would run begins with an apostrophe; it is one cell."""
    names = [*HOSTILE, "=1+1", "+1", "-1", "@a", "\tx", "\rx"]
    write_csv([hostile(name) for name in names], tmp_path / "t.csv", series=series)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1
    cells = {cell for row in rows for cell in row}
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert {"'=1+1", "'+1", "'-1", "'@a"} <= cells


def printed(runs: list[Result]) -> str:
    """What a pipe gets."""
    out = io.StringIO()
    print_results(runs, out)
    return out.getvalue()


def test_the_table_is_plain_in_a_pipe() -> None:
    """All runs side by side, however many; a star at the best; no escape, whatever names say."""
    text = printed(several(10))
    assert text.count("Requests") == 1
    (line,) = [line for line in text.splitlines() if line.lstrip().startswith("$ per 1,000")]
    assert len(line.split("$")) == 12
    assert line.count("* $") == 1
    names = printed([hostile(name) for name in HOSTILE])
    assert {c for c in names if not c.isprintable()} == {"\n"}
    assert "*" not in printed(several(1)).replace("* ", "*")


def test_a_terminal_gets_as_many_runs_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five runs in 72 columns are three tables; best is best of all five, and coloured."""
    out = io.StringIO()

    def console(**options: Any) -> Console:
        return Console(**options, force_terminal=True, width=72, color_system="standard")

    monkeypatch.setattr(terminal, "Console", console)
    print_results(several(5), out)
    text = out.getvalue()
    assert text.count("Requests") == 3
    prices = [line for line in text.splitlines() if "$ per 1,000" in line]
    assert sum(line.count("\x1b[1;32m") for line in prices) == 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 72


def fields_of(document: object, path: str = "") -> set[str]:
    """Names of all fields, at any depth; those of tables of names are left out."""
    if isinstance(document, list):
        return set().union(*(fields_of(entry) for entry in document)) if document else set()
    if not isinstance(document, dict) or path in ("settings", "refused"):
        return set()
    return set(document).union(*(fields_of(value, key) for key, value in document.items()))


def test_each_field_is_documented(tmp_path: Path) -> None:
    """docs/report.md has a row for every field of the JSON and every column of the CSV."""
    run = hostile("x")
    write_json([run], tmp_path / "x.json")
    names = fields_of(json.loads((tmp_path / "x.json").read_text()))
    assert {"format", "version", "runs", "p99", "dollars_per_thousand", "step"} <= names
    names |= {name for name in columns([run]) if not name.startswith("refused_")}
    for series in (False, True):
        write_csv([run], tmp_path / "x.csv", series=series)
        names |= set(table(tmp_path / "x.csv")[0]) - {"refused_x"}
    told = set(re.findall(r"`([\w-]+)`", DOCS.read_text()))
    assert sorted(names - told) == []
