"""Log lines as text and as JSON: fields, stable keys, nothing that forges a line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from stoker import logs
from stoker.logs import JsonFormatter, TextFormatter, rfc3339, shown, tell
from stoker.vocabulary import ModelKey

log = logging.getLogger("stoker.test_logs")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(formatter: logging.Formatter, level: int = logging.INFO) -> tuple[io.StringIO, object]:
    """What is written from now on, in that format."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level)
    return out, handler


def test_fields_in_text() -> None:
    """name=value; quoted where a value is not one plain word; None is left out."""
    out, _ = lines(TextFormatter(logs.TEXT_FORMAT))
    tell(log, logging.INFO, "refused", model="a/b", detail="no slot\nfree", n=3, at=0.5, x=None)
    line = out.getvalue()
    assert line.endswith(
        'INFO stoker.test_logs refused model=a/b detail="no slot\\nfree" n=3 at=0.5\n'
    )
    assert line.count("\n") == 1
    assert shown("") == '""'
    assert shown('a"b') == '"a\\"b"'
    assert shown("a=b") == '"a=b"'
    assert shown("\x1b[31m") == '"\\u001b[31m"'
    assert shown("\u2028") == '"\\u2028"'


def test_json_has_stable_keys() -> None:
    """One object per line: time, level, logger, message, then the fields."""
    out, _ = lines(JsonFormatter())
    tell(log, logging.WARNING, "refused", model="a/b", detail="no\nslot", retry=None, time="not")
    log.info("plain %s", "line")
    tell(log, logging.INFO, "of", model=ModelKey.parse("a"))
    first, second, third = (json.loads(line) for line in out.getvalue().splitlines())
    assert list(first) == ["time", "level", "logger", "message", "model", "detail"]
    assert first["level"] == "warning"
    assert first["detail"] == "no\nslot"
    assert first["time"] != "not"
    assert second["message"] == "plain line"
    assert third["model"] == "default/a"


def test_a_traceback_stays_on_its_line_in_json() -> None:
    """Under ``exception``; in text it follows as always."""
    out, _ = lines(JsonFormatter())
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    (line,) = out.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_what_is_below_the_level_costs_no_line() -> None:
    """debug lines are not made at info."""
    out, _ = lines(TextFormatter("%(message)s"))
    tell(log, logging.DEBUG, "detail")
    assert out.getvalue() == ""


def test_times_are_utc_with_milliseconds() -> None:
    """RFC 3339."""
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1767323045.6785) == "2026-01-02T03:04:05.678Z"


def test_set_up(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Text or JSON to stderr, or through the console that draws the table."""
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)
    logs.set_up("info", as_json=True)
    tell(log, logging.INFO, "one", a=1)
    logs.set_up("info", as_json=False)
    tell(log, logging.INFO, "two", a=1)
    written = capsys.readouterr().err.splitlines()
    assert json.loads(written[0])["a"] == 1
    assert written[1].endswith("two a=1")
    out = io.StringIO()
    logs.set_up("warning", as_json=False, console=Console(file=out, width=200))
    tell(log, logging.INFO, "three")
    tell(log, logging.WARNING, "four", a=1)
    assert "four a=1" in out.getvalue()
    assert "three" not in out.getvalue()
