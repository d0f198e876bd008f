"""``python -m simulations.scenarios NAME``: a table, and the runs behind it in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulations.engine import Progress, Run
from simulations.report import write_html, write_json
from simulations.result import Result
from simulations.scenarios import asleep, functions, talk
from simulations.scenarios.outcome import Figures, Outcome
from simulations.shards import simulate_in
from stoker.errors import StokerError

SCENARIOS = {
    "talk": (talk.run, "three platforms from zero to 100 requests/s: fitted, then predicted"),
    "functions": (functions.run, "containers or functions, for requests of 26 ms and 1.6 ms"),
    "asleep": (asleep.run, "20,000 models, most of them asleep"),
}


def main(argv: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """0: done; 1: a file cannot be written; 2: wrong usage; 130: interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.scenarios",
        description="Comparisons that need no trace. "
        + "; ".join(f"{name}: {what}" for name, (_, what) in SCENARIOS.items()),
    )
    parser.add_argument("name", metavar="NAME", choices=SCENARIOS, help=", ".join(SCENARIOS))
    parser.add_argument("--small", action="store_true", help="a smaller version, in seconds")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes (2)")
    parser.add_argument("--html", metavar="FILE", help="write a report of the runs: one page")
    parser.add_argument("--json", metavar="FILE", help="write all figures and curves of the runs")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.jobs <= 256:
        parser.error(f"--jobs = {arguments.jobs}: allowed: 1 to 256")
    try:
        outcome = SCENARIOS[arguments.name][0](
            partial(_simulate, arguments.jobs), small=arguments.small
        )
        print_outcome(outcome, out)
        if arguments.html is not None:
            write_html(outcome.results, Path(arguments.html), title=outcome.title)
        if arguments.json is not None:
            write_json(outcome.results, Path(arguments.json))
    except StokerError as caught:
        print(f"scenarios: {caught}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scenarios: interrupted", file=sys.stderr)
        return 130
    return 0


def _simulate(jobs: int, run: Run, progress: Progress | None) -> Result:
    return simulate_in(jobs, run, progress)


def print_outcome(outcome: Outcome, out: TextIO) -> None:
    """Tables and notes; in a pipe plain text of whatever width it takes."""
    console = Console(file=out, highlight=False)
    if not console.is_terminal:
        console = Console(file=out, highlight=False, width=200)
    console.print(Text(outcome.title, style="bold"))
    for figures in outcome.tables:
        console.print()
        console.print(_table(figures))
    console.print()
    for note in outcome.notes:
        console.print(Text(f"- {note}"), soft_wrap=True)


def _table(figures: Figures) -> Table:
    table = Table(title=figures.title, title_justify="left", box=None, pad_edge=False)
    for place, heading in enumerate(figures.headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in figures.rows:
        table.add_row(*map(Text, row))
    return table


if __name__ == "__main__":
    sys.exit(main())
