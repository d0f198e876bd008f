"""Access logs as JSON, an object per line: Stoker's own, nginx's, Caddy's, Traefik's, Envoy's.

Which of them it is shows by the keys of each line. What nobody fixes (nginx's log_format is
free) goes by the names of nginx's variables; what is none of these by the commonest names.
The model is what Stoker's own log names, else the host, where the log has it; ``model_by``
``host`` and ``path:REGEX`` as for access logs as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np

from simulations.trace import Trace
from simulations.traces.access_log import Hit, Hits, moment
from simulations.traces.building import Reading
from simulations.traces.json_lines import number, parsed
from simulations.traces.opening import Part
from simulations.traces.table import LAST_SECOND

MODEL_BY: Final = ("model", "host", "path:")


class Dialect(NamedTuple):
    """Where a product's log has what is wanted; ``a/b`` is b in the object a.

    ``mark``: the keys by which it is known. ``took``: how long the request took, in units of
    ``unit`` seconds. ``ends``: whether ``time`` is its end.
    """

    mark: tuple[str, ...]
    time: tuple[str, ...]
    took: tuple[str, ...]
    unit: float
    ends: bool
    host: tuple[str, ...]
    target: tuple[str, ...]
    model: tuple[str, ...] = ()


STOKER: Final = Dialect(
    ("time", "queued_ms", "model", "replica"),
    *(("time",), ("seconds",), 1.0, True, (), ("target",), ("model",)),
)
DIALECTS: Final = (
    STOKER,
    Dialect(
        ("StartUTC", "Duration"),
        *(("StartUTC",), ("Duration",), 1e-9, False, ("RequestHost",), ("RequestPath",)),
    ),
    Dialect(
        ("ts", "request", "duration"),
        *(("ts",), ("duration",), 1.0, True, ("request/host",), ("request/uri",)),
    ),
    Dialect(
        ("start_time", "duration"),
        *(("start_time",), ("duration",), 1e-3, False, ("authority", ":authority"), ("path",)),
    ),
    Dialect(
        (),
        ("time_iso8601", "msec", "time_local", "time", "timestamp", "@timestamp", "ts"),
        ("request_time", "seconds", "duration_s"),
        *(1.0, True, ("host", "http_host", "server_name"), ("request_uri", "uri", "path", "url")),
        ("model",),
    ),
)


def recognise(lines: list[str]) -> bool:
    """By a time that can be read, and anything else that a request has."""
    try:
        found = json.loads(lines[0])
    except ValueError:
        return False
    if not isinstance(found, dict):
        return False
    dialect = _dialect(found)
    there = (_first(found, keys) for keys in (dialect.took, dialect.host, dialect.target))
    return _first(found, dialect.time) is not None and any(one is not None for one in there)


def read(parts: Iterable[Part], reading: Reading) -> Trace:
    """Every request of every file, in the order of arrival."""
    hits: Hits | None = None
    for part in parts:
        for first, texts in part.lines():
            for line, text in enumerate(texts, first):
                if not text or text.isspace():
                    continue
                try:
                    hit, by = _hit(parsed(text))
                except ValueError as caught:
                    reading.faults.add(part.name, line, text, str(caught))
                    continue
                hits = hits or Hits(reading, by)
                if hits.full:
                    break
                hits.add(hit)
            reading.faults.seen(len(texts))
            if hits is not None and hits.full:
                break
    return (hits or Hits(reading)).trace()


def _dialect(found: dict[str, Any]) -> Dialect:
    return next(one for one in DIALECTS if all(key in found for key in one.mark))


def _hit(found: dict[str, Any]) -> tuple[Hit, str]:
    """The request of a line, and what tells the model in such a log. Raises ValueError."""
    dialect = _dialect(found)
    at = _first(found, dialect.time)
    if at is None:
        raise ValueError(f"no time; it is looked for as {', '.join(dialect.time)}")
    logged = instant(at)
    took = number(_first(found, dialect.took))
    if took is not None and not 0 <= took * dialect.unit < LAST_SECOND:
        raise ValueError(f"{dialect.took[0]} = {took}: must be finite, 0 or more")
    seconds = 0.0 if took is None else took * dialect.unit
    service = np.nan if took is None else seconds
    if dialect is STOKER:
        queued = number(found["queued_ms"])
        served = bool(found["replica"]) and queued is not None and took is not None
        service = max(0.0, seconds - queued / 1e3) if served and queued is not None else np.nan
    host, target, model = (
        str(_first(found, keys) or "") for keys in (dialect.host, dialect.target, dialect.model)
    )
    if not target and " " in (request := str(found.get("request", ""))):
        target = request.split(" ")[1]  # nginx's $request: GET /path HTTP/1.1
    by = "model" if model or dialect is STOKER else "host" if host else ""
    hit = Hit(logged, seconds if dialect.ends else 0.0, service, host, target, model)
    return hit, by


def _first(found: dict[str, Any], keys: tuple[str, ...]) -> object:
    """The value at the first of ``keys`` that is there."""
    for key in keys:
        value: object = found
        for step in key.split("/"):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and value != "":
            return value
    return None


def instant(at: object) -> float:
    """Seconds since 1970 of a number of them, or of a text. Raises ValueError.

    Numbers from 1e11 on (the year 5138) are milliseconds. A text is RFC 3339 or as in a
    common log; where it has no offset it is UTC.
    """
    seconds = number(at)
    if seconds is not None:
        if not 0 <= seconds < LAST_SECOND * 1e3:
            raise ValueError(f"time = {at}: must be seconds or milliseconds since 1970")
        return seconds / 1e3 if seconds >= LAST_SECOND else seconds
    text = str(at)
    if "/" in text:
        return moment(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time = {text[:40]}: must be like 2026-01-02T03:04:05.678Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
