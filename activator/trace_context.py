"""W3C trace context (Trace Context, level 1) in a request's header fields. Pure.

Fields are as the parser leaves them: name, ``b": "``, value, ``b"\\r\\n"`` in turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from activator.headers import names_of

_VALID: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"
REFERER: Final = b"referer"


def values(fields: Sequence[bytes], name: bytes) -> list[bytes]:
    """Every value of the field ``name`` (in lower case)."""
    length = len(name)
    return [
        fields[at + 2].strip()
        for at in range(0, len(fields), 4)
        if len(fields[at]) == length and fields[at].lower() == name
    ]


def is_told(fields: Sequence[bytes]) -> bool:
    """Whether anything is said of a trace, be it valid or not."""
    names = names_of(fields)
    return PARENT in names or STATE in names


def valid(parent: bytes) -> bool:
    """Whether this is a traceparent: of version 00, or of a later one that goes on behind it."""
    match = _VALID.fullmatch(parent)
    return match is not None and (match[1] != b"00" or match[5] is None)


def trace_id(fields: Sequence[bytes]) -> str:
    """The trace that a request belongs to; empty: none that is told as it must be."""
    parents = values(fields, PARENT)
    if len(parents) != 1 or not valid(parents[0]):
        return ""
    return parents[0][3:35].decode()


def referer_and_trace(fields: Sequence[bytes]) -> tuple[bytes, str]:
    """What the access log wants to know, in one pass; empty where there is none."""
    names = names_of(fields)
    if PARENT not in names and REFERER not in names:
        return b"", ""
    referer, parent, parents = b"", b"", 0
    for at in range(0, len(fields), 4):
        name = fields[at]
        length = len(name)
        if length == 11 and name.lower() == PARENT:
            parent = fields[at + 2].strip()
            parents += 1
        elif length == 7 and name.lower() == REFERER:
            referer = fields[at + 2].strip()
    return referer, parent[3:35].decode() if parents == 1 and valid(parent) else ""


def without(fields: Sequence[bytes]) -> list[bytes]:
    """The fields but for the trace context's."""
    kept: list[bytes] = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() not in (PARENT, STATE):
            kept += fields[at : at + 4]
    return kept


def carrier(fields: Sequence[bytes]) -> dict[str, str]:
    """What a propagator reads: several tracestates are one list, as if they were one field."""
    parents = values(fields, PARENT)
    if len(parents) != 1 or not valid(parents[0]):
        return {}
    found = {"traceparent": parents[0].decode("latin-1")}
    states = values(fields, STATE)
    if states:
        found["tracestate"] = b",".join(states).decode("latin-1")
    return found


def with_carrier(fields: Sequence[bytes], pairs: Iterable[tuple[str, str]]) -> list[bytes]:
    """The fields with this trace context instead of their own."""
    new = without(fields)
    for name, value in pairs:
        new += (name.encode(), b": ", value.encode("latin-1"), b"\r\n")
    return new
