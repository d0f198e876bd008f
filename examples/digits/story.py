"""How the demo tells what happens: a line per event, a drawn digit, tables.

Works on a terminal and in a plain pipe alike: nothing is redrawn, nothing needs colour.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_INK = (" ░▒▓█", " .:*#")


class Story:
    """Prints with the seconds since the beginning before each line."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._unicode = (self.console.encoding or "").lower().startswith("utf")

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        """One event."""
        self.console.print(f"[dim]{self.elapsed:5.1f} s[/dim]  {escape(text)}")

    def quote(self, text: str) -> None:
        """Text as it is."""
        self.console.print(text, markup=False)

    def draw(self, pixels: Sequence[float], caption: Sequence[str]) -> None:
        """An 8×8 image of pixels from 0 to 16, with lines of text beside it."""
        ink = _INK[0] if self._unicode else _INK[1]
        for row in range(8):
            line = "".join(
                ink[min(4, int(pixel * 5 / 17))] * 2 for pixel in pixels[row * 8 : row * 8 + 8]
            )
            beside = caption[row - 2] if 0 <= row - 2 < len(caption) else ""
            self.console.print(f"          {line}    {beside}")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; all columns but the first are aligned to the right."""
        style = box.SIMPLE_HEAD if self._unicode else box.ASCII
        table = Table(title=title, title_justify="left", box=style, show_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(table)
