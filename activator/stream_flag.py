"""Whether a request asks for a stream of events. Pure.

By ``Accept: text/event-stream``, or by a top-level ``"stream": true`` of a JSON body, as
OpenAI's clients do. Only true itself counts: who is given a stream unasked cannot read it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# A whole string, a punctuation mark, or a word (numbers and literals).
_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]:,"]|[^\s{}\[\]:,"]++', re.DOTALL)
_START: Final = re.compile(rb"\s*\{")


def accepts(fields: Sequence[bytes], kind: bytes) -> bool:
    """Whether an Accept field names the media type ``kind`` itself, and not with q=0.

    ``fields``: name, b": ", value, b"\\r\\n" in turn.
    """
    for at in range(0, len(fields), 4):
        if fields[at].lower() != b"accept":
            continue
        for part in fields[at + 2].lower().split(b","):
            name, *parameters = (piece.strip() for piece in part.split(b";"))
            if name == kind and not any(_is_zero(parameter) for parameter in parameters):
                return True
    return False


def _is_zero(parameter: bytes) -> bool:
    return re.fullmatch(rb"q\s*=\s*0(\.0*)?", parameter) is not None


def asks_for_stream(body: bytes) -> bool:
    """Whether the beginning ``body`` of a JSON object says ``"stream": true``.

    Of several the last one counts, as for most parsers, as far as they have come.
    """
    start = _START.match(body)
    if start is None:
        return False
    depth, is_value, key, found = 1, False, b"", False
    for match in _TOKEN.finditer(body, start.end()):
        token = match.group()
        if token == b'"':
            break  # a string whose end has not arrived
        if token in (b"{", b"["):
            depth += 1
            if depth == 2 and is_value and key == b'"stream"':
                found = False
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                break
        elif depth > 1:
            continue
        elif token == b":":
            is_value = True
        elif token == b",":
            is_value = False
        elif not is_value:
            key = token
        elif key == b'"stream"':
            # A word at the very end may have more to come: trueish is not true.
            found = token == b"true" and match.end() < len(body)
    return found
