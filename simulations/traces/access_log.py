"""Access logs of web servers and proxies, as text: the common and the combined format.

``PEER IDENT USER [02/Jan/2026:03:04:05 +0000] "GET /path HTTP/1.1" 200 123``, in the combined
format with two more fields in quotes, perhaps ``HOST:PORT`` before it all (Apache's
vhost_combined). A number of seconds alone behind that is taken as the request's time (nginx
with ``$request_time`` at the end). Stoker's own access log has seven more fields, among them
the model (activator/access_lines.py).

The model is what Stoker's own log names, else the host where a log has it, else all is one
model. ``model_by`` may say ``host`` or ``path:REGEX``: the first group, else what matches, of
the target. A request for which there is none is no arrival. Stoker and nginx write when
requests end; where the time they took is known, arrivals are that much earlier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

import numpy as np

from simulations.trace import Trace
from simulations.traces.building import Reading, built, from_first, spread_within_seconds
from simulations.traces.opening import Part
from simulations.traces.table import MOST_ARRIVALS
from stoker.errors import TraceError
from stoker.vocabulary import ModelKey

MODEL_BY: Final = ("model", "host", "path:")
_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_LINE: Final = re.compile(
    r"(?:(\S+?)(?::[0-9]+)? )?(\S+) \S+ \S+ \[([^\]]{20,30})\] "
    + _QUOTED
    + r" ([0-9]{3}) (?:[0-9]+|-)"
    + f"(?: {_QUOTED} {_QUOTED})?(.*)"
)
_OWN: Final = re.compile(r" ([0-9]+\.[0-9]{6}) ([0-9]+) (\S+) (\S+) [0-9]+ \S+ \S+")
_SECONDS: Final = re.compile(r' "?([0-9]+\.[0-9]{1,6})"?')
_TIME: Final = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r" ([+-])([0-9]{2})([0-9]{2})"
)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(re.findall("...", "JanFebMarAprMayJunJulAugSepOctNovDec"), 1)
}


class Hit(NamedTuple):
    """One request of a log. ``logged``: seconds since 1970; ``took``: how much earlier it
    came; ``service``: seconds in a replica, NaN: not known; ``model``: "" where none is named.
    """

    logged: float
    took: float
    service: float
    host: str
    target: str
    model: str


class Hits:
    """Gathers requests as columns, and asks ``model_by`` which model each is for."""

    def __init__(self, reading: Reading, by: str = "") -> None:
        """``by``: what tells the model unless the options say; "": all is one."""
        self._reading = reading
        self._limit = reading.options.limit or MOST_ARRIVALS
        self._named = chooser(reading.options.model_by or by, reading.options.name)
        self.places: dict[str, int] = {}
        self.rows: list[tuple[float, float, float, int]] = []

    @property
    def full(self) -> bool:
        """Whether as many were read as are wanted. Raises TraceError where that is too many."""
        if len(self.rows) >= MOST_ARRIVALS:
            raise TraceError(f"more than {MOST_ARRIVALS:,} requests; read a part with --limit")
        return len(self.rows) >= self._limit

    def add(self, hit: Hit) -> None:
        """One more; left out where no model is found for it."""
        name = self._named(hit)
        if not name:
            self._reading.faults.leave_out("requests that are for no model, left out")
            return
        place = self.places.setdefault(name, len(self.places))
        self.rows.append((hit.logged, hit.took, hit.service, place))

    def trace(self) -> Trace:
        """All of them; times that were rounded down to seconds are spread over these."""
        logged, took, service, which = np.array(self.rows, dtype=np.float64).reshape(-1, 4).T
        logged = spread_within_seconds(self._reading, logged)
        times, began = from_first(logged - took)
        return built(
            self._reading,
            [ModelKey.parse(name) for name in self.places],
            times,
            which.astype(np.int32),
            service=None if np.isnan(service).all() else service,
            began=began,
            by_end=True,
        )


def recognise(lines: list[str]) -> bool:
    """By what most of its first lines look like."""
    first = lines[:20]
    return sum(_LINE.fullmatch(line.rstrip("\r")) is not None for line in first) * 2 >= len(first)


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """Every request of every file, in the order of arrival."""
    moments: dict[str, float] = {}
    hits: Hits | None = None
    for part in parts:
        for first, texts in part.lines():
            for number, text in enumerate(texts, first):
                if not text or text.isspace():
                    continue
                try:
                    hit, by = _hit(text, moments)
                except ValueError as caught:
                    reading.faults.add(part.name, number, text, str(caught))
                    continue
                hits = hits or Hits(reading, by)
                if hits.full:
                    break
                hits.add(hit)
            reading.faults.seen(len(texts))
            if hits is not None and hits.full:
                return hits.trace()
    return (hits or Hits(reading)).trace()


def _hit(text: str, moments: dict[str, float]) -> tuple[Hit, str]:
    """The request of a line, and what tells the model in such a log. Raises ValueError."""
    match = _LINE.fullmatch(text)
    if match is None:
        raise ValueError("not a line of an access log")
    host, _, stamp, request, _, _, _, tail = match.groups("")
    logged = moments.get(stamp)
    if logged is None:
        logged = moments[stamp] = moment(stamp)
    words = request.split(" ")
    target = words[1] if len(words) > 1 else request
    own = _OWN.fullmatch(tail)
    if own is not None:
        seconds, queued, model, replica = own.groups()
        took = float(seconds)
        served = max(0.0, took - int(queued) / 1e3) if replica != "-" else np.nan
        named = "" if model == "-" else model
        return Hit(logged, took, served, host, target, named), "model"
    alone = _SECONDS.fullmatch(tail)
    took = float(alone[1]) if alone else 0.0
    return Hit(logged, took, took if alone else np.nan, host, target, ""), "host" if host else ""


def moment(stamp: str) -> float:
    """Seconds since 1970 of ``02/Jan/2026:03:04:05 +0000``. Raises ValueError."""
    match = _TIME.fullmatch(stamp)
    if match is None or match[2] not in _MONTHS:
        raise ValueError(f"time = {stamp}: must be like 02/Jan/2026:03:04:05 +0000")
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    ahead = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    try:
        return datetime(
            *(int(year), _MONTHS[month], int(day)),
            *(int(hour), int(minute), min(59, int(second))),
            tzinfo=UTC if not ahead else timezone(ahead),
        ).timestamp()
    except (ValueError, OverflowError) as caught:
        raise ValueError(f"time = {stamp}: {caught}") from None


def chooser(by: str, fallback: str) -> Callable[[Hit], str]:
    """What tells a request's model, "" where there is none. Raises TraceError on a bad regex."""
    if by == "model":
        return lambda hit: hit.model
    if by == "host":
        return lambda hit: hit.host.casefold()
    if by.startswith("path:"):
        try:
            pattern = re.compile(by.removeprefix("path:"))
        except re.error as caught:
            raise TraceError(f"model-by = {by}: {caught}; must be a regular expression") from None

        def by_path(hit: Hit) -> str:
            match = pattern.search(hit.target)
            if match is None:
                return ""
            return ((match[1] or "") if pattern.groups else match[0]).strip("/")

        return by_path
    return lambda hit: fallback
