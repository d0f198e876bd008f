"""Reports: what is printed, what is written, and the exit status."""

from __future__ import annotations

import io
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from benchmarks.common import Figure, Machine, Report, Spread, arguments, ratio, run, show


def finish(report: Report, json_file: Path | None = None) -> tuple[int, str]:
    """The exit status and what was printed."""
    out = io.StringIO()
    status = report.finish(Namespace(json=json_file, quick=True), out)
    return status, out.getvalue()


def test_columns_are_aligned_numbers_to_the_right() -> None:
    """Cells of one column end (numbers) or begin (text) at the same place."""
    report = Report("T", ["who", "value"])
    report.row("a", 1.5)
    report.row("longer", 12345)
    report.row("none", None)
    lines = finish(report)[1].splitlines()
    header = lines.index("who      value")
    assert lines[header + 2 : header + 5] == [
        "a         1.50",
        "longer  12,345",
        "none         –",
    ]


def test_a_row_of_the_wrong_width_is_refused() -> None:
    """A forgotten cell would shift all that follow."""
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Report("T", ["a", "b"]).row("x")


@pytest.mark.parametrize(
    ("figure", "status", "shown"),
    [
        (("f", 0.4, "×", 0.5), 0, "f: 0.400 × (at most 0.500 ×: met, 0.80 × the limit)"),
        (("f", 0.6, "×", 0.5), 1, "f: 0.600 × (at most 0.500 ×: missed, 1.20 × the limit)"),
        (("f", 9.0, "GB/s", 5.0, False), 0, "at least 5.00 GB/s: met"),
        (("f", 4.0, "GB/s", 5.0, False), 1, "at least 5.00 GB/s: missed"),
        (("f", None, "ns", 200.0), 1, "f: not measured (at most 200 ns: missed)"),
        (("f", 4.0, "s"), 0, "f: 4.00 s\n"),
    ],
)
def test_a_missed_figure_is_said_and_fails(
    figure: tuple[str, float | None, str], status: int, shown: str
) -> None:
    """The limit, whether it is met and the ratio stand in the text; the status follows."""
    report = Report("T", ["a"])
    assert report.figure(*figure) is (status == 0)
    got, printed = finish(report)
    assert got == status
    assert shown in printed


def test_everything_is_in_the_json_file(tmp_path: Path) -> None:
    """Figures, rows, notes, machine and date, unrounded."""
    report = Report("T", ["a"])
    report.row(1.23456789)
    report.note("how")
    report.figure("f", 0.25, "×", 0.5)
    finish(report, tmp_path / "figures.json")
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["title"] == "T"
    assert written["rows"] == [[1.23456789]]
    assert written["notes"] == ["how"]
    assert written["machine"]["cores"] >= 1
    assert written["date"] == report.date.isoformat(timespec="seconds")
    (figure,) = written["figures"]
    assert (figure["value"], figure["limit"], figure["met"], figure["of_limit"]) == (
        *(0.25, 0.5, True),
        0.5,
    )


def test_the_machine_and_the_date_are_printed() -> None:
    """Figures mean little without them."""
    report = Report("T", ["a"])
    printed = finish(report)[1]
    assert f"{report.date:%Y-%m-%d %H:%M}" in printed
    assert str(Machine.here()) in printed
    assert Machine.here().cpu


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.00123, "0.00123"),
        (9.999, "10.0"),
        (99.96, "100"),
        (-0.5, "-0.500"),
        (1234.5, "1,234"),
        (1234567, "1,234,567"),
        (float("inf"), "inf"),
        (None, "–"),
        ("text", "text"),
    ],
)
def test_numbers_are_shown_with_three_digits(value: float | str | None, text: str) -> None:
    """Three significant digits, thousands separated, whole numbers whole."""
    assert show(value) == text


def test_a_ratio_to_nothing_is_refused() -> None:
    """It would be infinite or meaningless."""
    assert ratio(1.0, 4.0) == 0.25
    with pytest.raises(ValueError, match="must be above 0"):
        ratio(1.0, 0.0)


def test_a_spread_has_its_middle_and_its_ends() -> None:
    """The median, not the mean: one slow round changes nothing."""
    spread = Spread.of([1.0, 100.0, 2.0])
    assert (spread.median, spread.low, spread.high) == (2.0, 1.0, 100.0)
    assert spread.range == "1.00–100"
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def test_arguments_are_common_and_can_be_extended() -> None:
    """--json, --quick, and what a benchmark adds."""

    def extra(parser: ArgumentParser) -> None:
        parser.add_argument("--models", type=int, default=1)

    args = arguments("d", extra, ["--json", "x.json", "--quick", "--models", "7"])
    assert (args.json, args.quick, args.models) == (Path("x.json"), True, 7)
    assert arguments("d", argv=[]).json is None


def test_a_figure_without_a_limit_is_neither_met_nor_missed() -> None:
    """It only informs."""
    assert Figure("f", 1.0, "s").met is None
    assert Figure("f", 1.0, "s").of_limit is None


def test_what_goes_wrong_is_one_sentence_and_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """2: not measured; 130: interrupted; anything else is the benchmark's own."""

    def fails(error: BaseException) -> int:
        raise error

    assert run(lambda: 1) == 1
    assert run(lambda: fails(ChildProcessError("nginx: status 1"))) == 2
    assert capsys.readouterr().err == "cannot measure: nginx: status 1\n"
    assert run(lambda: fails(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        run(lambda: fails(ZeroDivisionError()))
