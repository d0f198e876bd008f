"""What every benchmark shares: its arguments and its report.

A benchmark is a module run with ``python -m benchmarks.NAME``. It measures, fills one
``Report`` and returns ``report.finish(args)`` as its exit status: 0 when every figure with
a limit meets it, 1 when one is missed or could not be measured. ``sys.exit(run(main))``
turns what goes wrong on the way into status 2 and one sentence.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

Cell = str | int | float | None


def arguments(
    description: str,
    extra: Callable[[argparse.ArgumentParser], object] | None = None,
    argv: Sequence[str] | None = None,
) -> argparse.Namespace:
    """The common command line, ``--json FILE`` and ``--quick``, plus what ``extra`` adds.

    ``argv`` None: the process's own arguments. Exits with status 2 on a bad one.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures here")
    parser.add_argument("--quick", action="store_true", help="measure less, finish within 50 s")
    if extra is not None:
        extra(parser)
    return parser.parse_args(argv)


def run(main: Callable[[], int]) -> int:
    """The exit status of a benchmark: its own, or 2 with the reason when it cannot measure.

    130 after Ctrl-C; what it had started is ended by then.
    """
    try:
        return main()
    except (OSError, RuntimeError) as error:
        print(f"cannot measure: {error or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures were taken; they mean little without it."""

    cpu: str
    cores: int
    kernel: str
    python: str

    @classmethod
    def here(cls) -> Machine:
        """This machine; ``cores`` are those this process may use."""
        return cls(
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)),
            kernel=f"{platform.system()} {platform.release()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
        )

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.kernel}, {self.python}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine() or "unknown CPU"


@dataclass(frozen=True, slots=True)
class Figure:
    """One result that is worth a name. ``value`` None: it could not be measured."""

    name: str
    value: float | None
    unit: str
    limit: float | None = None
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without a limit."""
        if self.limit is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    @property
    def of_limit(self) -> float | None:
        """value / limit, where there are both."""
        if self.value is None or not self.limit:
            return None
        return self.value / self.limit

    def __str__(self) -> str:
        measured = "not measured" if self.value is None else f"{show(self.value)} {self.unit}"
        text = f"{self.name}: {measured.rstrip()}"
        if self.limit is None:
            return text
        bound = f"{'at most' if self.at_most else 'at least'} {show(self.limit)} {self.unit}"
        text += f" ({bound.rstrip()}: {'met' if self.met else 'missed'}"
        if self.of_limit is not None:
            text += f", {self.of_limit:.2f} × the limit"
        return f"{text})"


class Table:
    """One table of a report. ``title`` is empty for the first, which the report's names."""

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows: list[tuple[Cell, ...]] = []

    def as_json(self) -> dict[str, object]:
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
        }

    def render(self) -> list[str]:
        """Its lines, columns aligned."""
        shown = [[show(cell) for cell in row] for row in self.rows]
        numeric = [
            any(isinstance(row[i], int | float) for row in self.rows)
            for i in range(len(self.columns))
        ]
        widths = [
            max(len(text) for text in (header, *(row[i] for row in shown)))
            for i, header in enumerate(self.columns)
        ]

        def line(cells: Sequence[str]) -> str:
            aligned = (
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(cells, widths, numeric, strict=True)
            )
            return "  ".join(aligned).rstrip()

        return [line(self.columns), "  ".join("─" * width for width in widths), *map(line, shown)]


class Report:
    """One benchmark's tables, figures and notes, printed and written together."""

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        self.title = title
        self.tables = [Table("", columns)]
        self.notes: list[str] = []
        self.figures: list[Figure] = []
        self.machine = Machine.here()
        self.date = datetime.datetime.now().astimezone()

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table that rows are added to."""
        return self.tables[-1].columns

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """Of the table that rows are added to."""
        return self.tables[-1].rows

    def table(self, title: str, columns: Sequence[str]) -> None:
        """Begin another table: rows from here on are its."""
        self.tables.append(Table(title, columns))

    def row(self, *cells: Cell) -> None:
        """Add a row: one cell per column, None where there is nothing to say.

        Raises ValueError when the number of cells is not that of the columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns: {cells}")
        self.rows.append(cells)

    def note(self, text: str) -> None:
        """Add a line of text below the table: how it was measured, what is missing."""
        self.notes.append(text)

    def figure(
        self,
        name: str,
        value: float | None,
        unit: str,
        limit: float | None = None,
        at_most: bool = True,
    ) -> bool:
        """Add a figure; returns False when it has a limit and does not keep it."""
        figure = Figure(name, value, unit, limit, at_most)
        self.figures.append(figure)
        return figure.met is not False

    def finish(self, args: argparse.Namespace, out: TextIO | None = None) -> int:
        """Print everything, write ``args.json`` if asked for, and return the exit status."""
        print(self.render(), file=out or sys.stdout, flush=True)
        if args.json is not None:
            text = json.dumps(self.as_json(quick=args.quick), indent=2, ensure_ascii=False)
            args.json.write_text(text + "\n", encoding="utf-8")
        return 1 if any(figure.met is False for figure in self.figures) else 0

    def as_json(self, quick: bool = False) -> dict[str, object]:
        """Everything in the report; cells and figures unrounded."""
        return {
            "date": self.date.isoformat(timespec="seconds"),
            "quick": quick,
            "machine": asdict(self.machine),
            **self.tables[0].as_json(),
            "title": self.title,
            "more_tables": [table.as_json() for table in self.tables[1:]],
            "figures": [{**asdict(f), "met": f.met, "of_limit": f.of_limit} for f in self.figures],
            "notes": self.notes,
        }

    def render(self) -> str:
        """The whole report as plain text, columns aligned."""
        lines = [self.title, f"{self.date:%Y-%m-%d %H:%M} · {self.machine}", ""]
        for table in self.tables:
            if not table.rows and len(self.tables) > 1:
                continue
            if table.title:
                lines += [table.title, ""]
            lines += [*table.render(), ""]
        lines += [str(figure) for figure in self.figures]
        if self.figures and self.notes:
            lines.append("")
        lines += self.notes
        return "\n".join(lines)


def show(value: Cell) -> str:
    """A cell as people read it: three significant digits, thousands separated."""
    match value:
        case None:
            return "–"
        case float():
            if value != value or abs(value) == float("inf"):
                return str(value)
            if abs(value) >= 1000:
                return f"{value:,.0f}"
            digits = 2 if value == 0 else max(0, 2 - _magnitude(value))
            return f"{value:.{digits}f}"
        case int():
            return f"{value:,}"
        case _:
            return value


def _magnitude(value: float) -> int:
    """The decimal exponent of the first significant digit, after rounding to three."""
    return int(f"{abs(value):.2e}".partition("e")[2])


def ratio(measured: float, reference: float) -> float:
    """measured / reference; raises ValueError where that has no meaning."""
    if not reference > 0:
        raise ValueError(f"cannot compare with {reference}: the reference must be above 0")
    return measured / reference


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError when there are no values."""
        if not values:
            raise ValueError("no values to summarise")
        return cls(statistics.median(values), min(values), max(values))

    @property
    def range(self) -> str:
        """The two ends, as people read them."""
        return f"{show(self.low)}–{show(self.high)}"
