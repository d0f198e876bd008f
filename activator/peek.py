"""Find the ``model`` field of a JSON body without decoding all of it.

OpenAI-style requests name their model in the body. The body may be megabytes (images in
base64) and may not have arrived in full, so this walks tokens and stops at the field.
"""

from __future__ import annotations

import enum
import json
import re


class Peek(enum.Enum):
    """What a look at the beginning of a body may tell besides a name."""

    NEED_MORE = "need more"
    ABSENT = "absent"


# A whole string, or one punctuation mark; everything else (numbers, literals, blanks) is
# passed over by the search itself, in C.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]:,"]', re.DOTALL)
_START = re.compile(rb"\s*\{")


def find_model(body: bytes, complete: bool) -> str | Peek:
    """The top-level ``model`` string of a JSON object.

    ``complete``: no more will come. NEED_MORE only where it is False; ABSENT where the
    body is no object, has no such field or holds something other than a string there.
    Of several ``model`` fields the first counts.
    """
    start = _START.match(body)
    if start is None:
        return Peek.ABSENT if complete or body.strip() else Peek.NEED_MORE
    depth, after_colon, is_model = 1, False, False
    for match in _TOKEN.finditer(body, start.end()):
        token = match.group()
        if token == b'"':
            break  # a string whose end has not arrived
        if token in b"{[":
            if depth == 1 and is_model:
                return Peek.ABSENT
            depth += 1
        elif token in b"}]":
            depth -= 1
            if depth == 0:
                return Peek.ABSENT
        elif depth == 1:
            if token == b":":
                after_colon = True
            elif token == b",":
                if is_model:
                    return Peek.ABSENT  # a number or a literal stood there
                after_colon = False
            elif not after_colon:
                is_model = token == b'"model"' or (b"\\" in token and _decode(token) == "model")
            elif is_model:
                return _decode(token)
    return Peek.ABSENT if complete else Peek.NEED_MORE


def _decode(token: bytes) -> str | Peek:
    try:
        value: str = json.loads(token.decode())
        value.encode()  # half a surrogate pair is a string to JSON, and a name to nobody
    except ValueError:
        return Peek.ABSENT
    return value
