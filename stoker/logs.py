"""Log lines with fields: text for people, one JSON object per line for collectors.

``tell(log, INFO, "refused", model="default/digits", reason="queue-full")`` is written as
``2026-01-02 03:04:05,678 INFO stoker.activator refused model=default/digits
reason=queue-full``, or as an object whose keys are ``time`` (RFC 3339, UTC), ``level``,
``logger``, ``message``, then the fields, and ``exception`` where there is a traceback.
What comes from clients goes into fields: there a control character cannot begin a line.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_BARE = re.compile(r"[!#-&(-<>-\[\]-~]+")


def tell(log: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None are left out."""
    if log.isEnabledFor(level):
        log.log(level, message, extra={"fields": fields})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


def shown(value: object) -> str:
    """A field's value in a text line: quoted where it is not one plain word."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


class TextFormatter(logging.Formatter):
    """The message, then ``name=value`` for each field."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        line = super().formatMessage(record)
        return line + "".join(f" {name}={shown(v)}" for name, v in _fields(record).items())


class JsonFormatter(logging.Formatter):
    """One object per line."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            plain = isinstance(value, str | int | float)
            document.setdefault(name, value if plain else str(value))
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def rfc3339(wall: float) -> str:
    """``2026-01-02T03:04:05.678Z``."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
    return f"{seconds}.{int(wall % 1 * 1000):03d}Z"


def set_up(level: str, *, as_json: bool, console: Console | None = None) -> None:
    """Send all log lines to stderr, or through ``console`` where a live table is drawn."""
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
    elif console is not None:
        handler = RichHandler(console=console, show_path=False, log_time_format="%Y-%m-%d %X")
        handler.setFormatter(TextFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
