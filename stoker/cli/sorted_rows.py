"""Rows of a trace, which come in any order, written in that of time. Memory stays bounded."""

from __future__ import annotations

import gzip
import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, Self, TextIO, cast

from stoker.errors import OutputError

HEADER: Final = "t,model,service_s"
ENDINGS: Final = (".csv", ".csv.gz")
# Kept in memory before they are written aside, sorted: about 100 MB.
MOST_IN_MEMORY: Final = 500_000


class Row(NamedTuple):
    """One arrival: seconds from the beginning, the model, seconds in a replica or None."""

    time: float
    model: str
    service: float | None

    def line(self) -> str:
        service = "" if self.service is None else f"{self.service:.6f}"
        return f"{self.time:.6f},{self.model},{service}\n"


class SortedRows:
    """A plain trace at ``path``, which appears when it is complete. A context manager.

    Raises OutputError for a name that is none of a trace and whenever writing fails.
    """

    def __init__(self, path: str, most: int = MOST_IN_MEMORY) -> None:
        if not path.endswith(ENDINGS):
            raise OutputError(f"-o {path}: a trace's name ends with {' or '.join(ENDINGS)}")
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._most = most
        self._rows: list[Row] = []
        self._runs: list[TextIO] = []
        self.written = 0
        try:
            if self._path.is_dir():
                raise IsADirectoryError(21, "Is a directory")
            # Now, so that nobody records for an hour what cannot be written then.
            self._out: IO[bytes] = self._part.open("wb")
        except OSError as caught:
            raise self._failed(caught) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind but the trace."""
        for run in self._runs:
            run.close()
        self._out.close()
        self._part.unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= self._most:
            self._set_aside()

    def finish(self) -> None:
        """Write the file."""
        self._rows.sort(key=_time_of)
        rows = heapq.merge(*(_read(run) for run in self._runs), self._rows, key=_time_of)
        try:
            with self._out as raw:
                if self._path.suffix == ".gz":
                    # Without name and time, so that the same rows make the same file.
                    with gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
                        self._write(cast(IO[bytes], out), rows)
                else:
                    self._write(raw, rows)
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(self._part, self._path)
        except OSError as caught:
            raise self._failed(caught) from None

    def _write(self, out: IO[bytes], rows: Iterable[Row]) -> None:
        out.write(f"{HEADER}\n".encode())
        for row in rows:
            out.write(row.line().encode())
            self.written += 1

    def _set_aside(self) -> None:
        self._rows.sort(key=_time_of)
        try:
            run = tempfile.TemporaryFile("w+", dir=self._path.parent)  # noqa: SIM115 (see __exit__)
            self._runs.append(run)
            run.writelines(row.line() for row in self._rows)
            run.flush()
        except OSError as caught:
            raise self._failed(caught) from None
        self._rows = []

    def _failed(self, caught: OSError) -> OutputError:
        why = caught.strerror or str(caught)
        return OutputError(f"-o {self._path}: {why}; name a file that can be written")


def _time_of(row: Row) -> float:
    return row.time


def _read(run: TextIO) -> Iterator[Row]:
    run.seek(0)
    for line in run:
        time, model, service = line.rstrip("\n").split(",")
        yield Row(float(time), model, float(service) if service else None)
