"""Runs side by side in a terminal, or plain in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulations.report.naming import Named, named
from simulations.report.rows import groups
from simulations.result import Result

NAMES, COLUMN = 26, 19
"""Columns of the screen that the names of rows take, and those of a run."""


def print_results(results: Sequence[Result], out: TextIO) -> None:
    """A column for each run; the best of each row is marked, in a pipe with ``*``.

    As many runs side by side as the terminal has room for, then the next ones below. In a
    pipe, where nothing is known of a width, all of them.
    """
    console = Console(file=out, highlight=False)
    runs = named(results)
    if console.is_terminal:
        fitting = max(1, (console.width - NAMES) // COLUMN)
    else:
        fitting = max(1, len(runs))
        console.width = NAMES + COLUMN * fitting
    for begin in range(0, len(runs), fitting):
        console.print(_table(runs, runs[begin : begin + fitting], marks=not console.is_terminal))


def _table(runs: Sequence[Named], shown: Sequence[Named], *, marks: bool) -> Table:
    results = [run.result for run in runs]
    table = Table(expand=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for run in shown:
        heading = Text(run.title, "bold", overflow="fold")
        table.add_column(heading, justify="right", max_width=COLUMN - 2)
    for group in groups(results):
        table.add_row(Text(group.name, "bold dim"))
        for row in group.rows:
            best = row.best(results)
            cells = []
            for run in shown:
                text = row.text(row.value(run.result))
                marked = run.number - 1 in best
                star = "* " if marks and marked else ""
                cells.append(Text(star + text, "bold green" if marked else ""))
            table.add_row(Text(f"  {row.name}"), *cells)
    return table
