"""What is noted of requests becomes lines, many at a time and in order."""

from __future__ import annotations

import json
from pathlib import Path

from activator.access_log import AccessLog
from activator.access_notes import LINES_AT_ONCE, Notes
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import AccessLogFormat, QueryInLog


def note(number: int) -> tuple[object, ...]:
    """Of one request; each in another second."""
    return (
        *("10.0.0.1", "acme", 1.0e9 + 1.25 * number, b"GET", b"/%d?a=b" % number, "HTTP/1.1"),
        *(
            200,
            7,
            b"http://x/?secret",
            b"caf\xe9",
            0.5,
            0.0,
            "default/digits",
            "digits-1",
            0,
            "",
            "",
        ),
    )


def test_lines_come_many_at_a_time_and_in_order(tmp_path: Path) -> None:
    """As soon as there are enough they are made; the rest when it is asked for."""
    log = AccessLog(str(tmp_path / "access.log"))
    query = QueryInLog.NAMES
    process = ProcessConfig(access_log_format=AccessLogFormat.JSON, access_log_query=query)
    notes = Notes(log, process)
    for number in range(LINES_AT_ONCE + 3):
        notes.add(note(number))
        made = LINES_AT_ONCE if number >= LINES_AT_ONCE - 1 else 0
        assert len(log._batch) == made
    notes.write()
    notes.write()
    log.close()
    found = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [line["target"] for line in found] == [f"/{n}?a=*" for n in range(LINES_AT_ONCE + 3)]
    assert [line["time"] for line in found[:3]] == [
        *("2001-09-09T01:46:40.000Z", "2001-09-09T01:46:41.250Z", "2001-09-09T01:46:42.500Z"),
    ]
    assert (found[0]["referer"], found[0]["user_agent"]) == ("http://x/?*", "café")
