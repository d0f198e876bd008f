"""``stoker record``: the arrivals of a running Stoker as a trace."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO
from urllib.parse import urlencode

from rich.console import Console

from stoker.cli.ask import Asked, asking
from stoker.cli.pairing import Pairing
from stoker.cli.sorted_rows import Row, SortedRows
from stoker.errors import ControlError
from stoker.quantities import format_duration

# Above the second in which something is told in any case.
TIMEOUT_SECONDS: Final = 10.0


def run_record(
    asked: Asked,
    output: str,
    out: TextIO,
    *,
    duration: float | None = None,
    models: Sequence[str] = (),
) -> int:
    """Record until ``duration`` seconds are over, Ctrl-C, or Stoker's end. What is said goes
    to ``out``. Raises ControlError, OutputError.
    """
    query = urlencode([("model", name) for name in models])
    path = f"/api/arrivals?{query}" if query else "/api/arrivals"
    with (
        SortedRows(output) as rows,
        asking(asked, path, TIMEOUT_SECONDS) as answer,
        _stops() as stops,
    ):
        session = _Session(rows, out, stops, duration)
        session.begin(_first(answer, asked.admin))
        why = session.run(answer)
        stops.recording = False  # the file is written now, whoever is in a hurry
        under_way = session.pairing.finish()
        rows.finish()
        session.say_end(output, why, under_way)
    return 0


class _Stops:
    """How often whoever records has asked for the end."""

    def __init__(self) -> None:
        self.count = 0
        self.recording = True

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count > 1 and self.recording:
            raise KeyboardInterrupt


@contextmanager
def _stops() -> Iterator[_Stops]:
    stops = _Stops()
    before = {number: signal.signal(number, stops) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Session:
    def __init__(
        self, rows: SortedRows, out: TextIO, stops: _Stops, duration: float | None
    ) -> None:
        self._rows = rows
        self._console = Console(file=out, highlight=False, soft_wrap=True)
        self._stops = stops
        self._wanted = duration
        self._ending = False
        self._began_here = 0.0
        self._began = 0.0
        self._known = 0.0
        self._lost = 0
        self._lost_ends = 0
        self.pairing: Pairing

    def begin(self, document: dict[str, Any]) -> None:
        self._began_here = time.monotonic()
        self._began = float(document["began"])
        self.pairing = Pairing(self._began, lambda *row: self._rows.add(Row(*row)))
        self.pairing.until = self._wanted
        how = "Ctrl-C ends it"
        if self._wanted is not None:
            how = f"for {format_duration(self._wanted)}; {how} earlier"
        self._console.print(f"recording: {how}")

    def run(self, answer: http.client.HTTPResponse) -> str:
        """Take what comes until it is time to end; returns why it ended, "" as wanted."""
        try:
            while True:
                line = answer.readline()
                if not line.endswith(b"\n"):
                    return "Stoker ended without a last word"
                document = json.loads(line)
                if "over" in document:
                    return str(document["over"])
                if self._take(document):
                    return ""
        except KeyboardInterrupt:  # the second Ctrl-C: without waiting for what is on its way
            return ""
        except TimeoutError:
            return f"Stoker has said nothing for {TIMEOUT_SECONDS:g} s"
        except (OSError, ValueError, http.client.HTTPException):
            return "Stoker ended without a last word"

    def _take(self, document: dict[str, Any]) -> bool:
        """Whether all is known that was wanted."""
        pairing = self.pairing
        if self._stops.count and not self._ending:
            self._ending = True
            now = time.monotonic() - self._began_here
            pairing.until = now if self._wanted is None else min(self._wanted, now)
        pairing.arrived(document.get("arrived", ()))
        pairing.ended(document.get("ended", ()))
        for note in document.get("notes", ()):
            self._console.print(f"note: {note}")
        self._lost += document.get("lost", 0)
        self._lost_ends += document.get("lost_ends", 0)
        if "at" in document:
            self._known = float(document["at"]) - self._began
        return pairing.until is not None and self._known >= pairing.until

    def say_end(self, output: str, why: str, under_way: int) -> None:
        pairing, say = self.pairing, self._console.print
        if why:
            say(f"note: {why}; the trace ends there")
        seconds = self._known if pairing.until is None else min(self._known, pairing.until)
        say(
            f"{output}: {_count(self._rows.written, 'arrival')} of"
            f" {_count(len(pairing.models), 'model')} in {seconds:.1f} s"
        )
        if pairing.unknown:
            say(
                f"{_count(pairing.unknown, 'arrival')} without service_s: refused, given up, or"
                f" answered elsewhere; {under_way} of these were still under way"
            )
        if self._lost:
            say(f"LOST: {_count(self._lost, 'arrival')}, as they were not read fast enough")
        if self._lost_ends:
            say(f"LOST: service_s of up to {_count(self._lost_ends, 'arrival')}, likewise")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _first(answer: http.client.HTTPResponse, admin: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(answer.readline())
        float(document["began"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        raise ControlError(f"what answers on {admin} is no Stoker's admin port") from None
    return document
