"""The journal's files read back: in order, line by line, each line that is none with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stoker.errors import JournalError


class Place(NamedTuple):
    """Where a line is."""

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class JournalReader:
    """Reads ``files``, in the order in which they were begun; of one that is given alone, what
    was rotated away (``.1``) comes first. ``torn``: last lines that were not written in full,
    as when Stoker was killed; they are left out. Raises JournalError.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.torn: list[Place] = []
        if len(files) == 1:
            rotated = files[0].with_name(f"{files[0].name}.1")
            files = [rotated, *files] if rotated.exists() else files
        began = [self._first(file).get("wall") for file in files]
        if all(isinstance(wall, float | int) for wall in began):
            pairs = sorted(zip(began, files, strict=True), key=lambda pair: float(pair[0] or 0))
            files = [file for _, file in pairs]
        self.files = tuple(files)

    def lines(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """All lines, from the first on each time this is called."""
        self.torn = []
        for file in self.files:
            yield from self._lines(file)

    def _first(self, file: Path) -> dict[str, Any]:
        place, line = next(self._lines(file), (Place(file, 1), {}))
        if line.get("kind") != "snapshot":
            raise JournalError(
                f"{place}: a decision journal begins with a snapshot; name the file that"
                " journal-file of stoker up names"
            )
        return line

    def _lines(self, file: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
        try:
            with file.open("rb") as opened:
                for number, text in enumerate(opened, start=1):
                    line = self._read(Place(file, number), text)
                    if line is not None:
                        yield Place(file, number), line
        except OSError as caught:
            raise JournalError(f"{file}: {caught.strerror or caught}") from None

    def _read(self, place: Place, text: bytes) -> dict[str, Any] | None:
        try:
            line = json.loads(text)
        except ValueError:
            if text.endswith(b"\n"):
                raise JournalError(f"{place}: is not JSON, as a journal's lines are") from None
            self.torn.append(place)
            return None
        if not isinstance(line, dict) or "kind" not in line:
            raise JournalError(f"{place}: is no line of a decision journal: it has no kind")
        return line
