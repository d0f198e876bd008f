"""Lines that are not what they should be: told with file, line and content; bounded. Pure."""

from __future__ import annotations

from math import ceil
from typing import Final

from stoker.errors import TraceError

TOLERATED: Final = 0.001
SHOWN: Final = 5
EARLY: Final = 1000
"""After so many a file whose lines are mostly wrong is given up, instead of at its end."""
LONGEST: Final = 80


class Faults:
    """Counts what was wrong in one trace.

    ``tolerate``: the share of lines that may be wrong, 0 to 1. Above 0 one line is tolerated
    in any file: the last one of a log that is cut off while it is written.
    """

    def __init__(self, tolerate: float = TOLERATED) -> None:
        if not 0 <= tolerate <= 1:
            raise TraceError(
                f"tolerate = {tolerate}: a share of lines; allowed: 0 (none) to 1 (any)"
            )
        self.tolerate = tolerate
        self.lines = 0
        self.wrong = 0
        self.first: list[str] = []
        self.left_out: dict[str, int] = {}

    def seen(self, lines: int) -> None:
        """So many more lines were looked at. Raises TraceError when too many are wrong."""
        self.lines += lines
        if self.wrong > max(EARLY, self.tolerate * self.lines):
            self.settle()

    def add(self, name: str, line: int, text: str, why: str) -> None:
        """One line cannot be used; ``line`` from 1, 0: in a document without lines."""
        self.wrong += 1
        if len(self.first) < SHOWN:
            at = f"{name}, line {line}" if line else name
            self.first.append(f"{at}: {why}: {shortened(text)}")

    def leave_out(self, why: str, count: int = 1) -> None:
        """So many lines are right, but no arrivals that are wanted."""
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count

    def settle(self) -> None:
        """Raises TraceError when more were wrong than is tolerated."""
        if self.wrong > ceil(self.tolerate * self.lines):
            told = "\n".join(f"  {text}" for text in self.first)
            more = self.wrong - len(self.first)
            raise TraceError(
                f"{self.wrong:,} of {self.lines:,} lines are malformed; tolerated:"
                f" {self.tolerate:.4g} of them (raise with --tolerate):\n{told}"
                + (f"\n  and {more:,} more" if more else "")
            )

    def notices(self) -> list[str]:
        """What there is to tell when all was read."""
        told = [f"{why}: {count:,}" for why, count in self.left_out.items()]
        if self.wrong:
            were = "line was" if self.wrong == 1 else "lines were"
            told.insert(
                0,
                f"{self.wrong:,} of {self.lines:,} {were} malformed and left out; the first:"
                f" {self.first[0]}",
            )
        return told


def shortened(text: str) -> str:
    """``text`` as one printable line of a bounded length."""
    shown = repr(text[: LONGEST + 1])
    return f"{shown[:LONGEST]}…" if len(shown) > LONGEST + 2 else shown
