"""What the access log is to say of requests, noted on their way and made into lines later.

A line takes as long as a fifth of a request's whole way, and more where its code has gone from
the caches meanwhile. So the request path notes what is known, and many lines are made at a time:
with LINES_AT_ONCE of them the loop stands still for a fifth of a millisecond, and the code and
its data are fetched once instead of 32 times.
"""

from __future__ import annotations

import time
from typing import Any, Final

from activator import access_lines
from activator.access_lines import Entry
from activator.access_log import AccessLog
from stoker.settings import ProcessConfig
from stoker.settings.process_rows import AccessLogFormat, QueryInLog

LINES_AT_ONCE: Final = 32

_QUERY: Final = {
    QueryInLog.DROP: access_lines.drop_query,
    QueryInLog.NAMES: access_lines.query_names,
    QueryInLog.KEEP: access_lines.keep_query,
}
_COMBINED_TIME: Final = "%d/%b/%Y:%H:%M:%S +0000"
_JSON_TIME: Final = "%Y-%m-%dT%H:%M:%S"

# An Entry's fields in their order; bytes where they have yet to be decoded.
Note = tuple[Any, ...]


class Notes:
    """What was noted for ``log`` and is no line yet. ``write`` is to be called now and then."""

    __slots__ = ("_json", "_line", "_noted", "_query", "_second", "_stamp", "log")

    def __init__(self, log: AccessLog, process: ProcessConfig) -> None:
        self.log = log
        self._query = _QUERY[process.access_log_query]
        self._json = process.access_log_format is AccessLogFormat.JSON
        self._line: access_lines.Line = (
            access_lines.as_json if self._json else access_lines.combined
        )
        self._noted: list[Note] = []
        self._second = 0
        self._stamp = ""

    def add(self, note: Note) -> None:
        """One request is over."""
        noted = self._noted
        noted.append(note)
        if len(noted) >= LINES_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Make lines of all that was noted, and give them to the log."""
        noted, self._noted = self._noted, []
        for note in noted:
            (peer, tenant, wall, method, target, version, status, sent, referer, agent) = note[:10]
            entry = Entry(
                *(peer, tenant, wall, method.decode("latin-1")),
                self._query(target.decode("latin-1")),
                *(version, status, sent),
                self._query(referer.decode("latin-1")) if referer else "",
                agent.decode("latin-1"),
                *note[10:],
            )
            self.log.add(self._line(entry, self._time(wall)).encode("latin-1", "replace"))

    def _time(self, wall: float) -> str:
        second = int(wall)
        if second != self._second:
            how = _JSON_TIME if self._json else _COMBINED_TIME
            self._second, self._stamp = second, time.strftime(how, time.gmtime(second))
        if self._json:
            return f"{self._stamp}.{int(wall % 1 * 1000):03d}Z"
        return self._stamp
