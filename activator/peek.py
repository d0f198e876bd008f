"""Find the ``model`` field of a JSON body, or what its prompt begins with, without decoding it.

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


# Where prompts are: OpenAI's completions and chat, its responses, text-generation-inference.
_PROMPTS = frozenset((b'"prompt"', b'"messages"', b'"input"', b'"inputs"'))
# A character takes at most so many bytes in JSON: two escaped halves of a surrogate pair.
_CHARACTER = 12
# So many tokens are looked at: some hundred messages of a conversation.
_MOST_TOKENS = 4096
# As much of a string as ends with a whole escape.
_ESCAPES = re.compile(rb"(?:[^\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+", re.DOTALL)


def find_prefix(body: bytes, complete: bool, chars: int) -> tuple[str, str] | Peek:
    """The top-level ``model`` ("": none) and the first ``chars`` characters of the prompt.

    The prompt is a text under ``prompt``, ``input`` or ``inputs``, or the first of a list of
    them; or of a list of messages the content of the first whose role is user, else of the
    first that has any: its text, or the first text among its parts. NEED_MORE and ABSENT as
    in ``find_model``; ABSENT means that no prompt was found, with or without a model. What is
    found does not depend on how much more of the body has come.
    """
    start = _START.match(body)
    if start is None:
        return Peek.ABSENT if complete or body.strip() else Peek.NEED_MORE
    walk = _Walk()
    for number, match in enumerate(_TOKEN.finditer(body, start.end())):
        token = match.group()
        if number == _MOST_TOKENS:
            complete = True
            break
        if token == b'"':  # a string whose end has not arrived
            rest = body[match.start() :]
            enough = walk.model_seen and len(rest) > _CHARACTER * (chars + 1)
            if (complete or enough) and walk.is_prompt(complete):
                walk.text(rest)
                walk.message_over()
                complete = True
            break
        if walk.over(token):
            complete = True
            break
    if not complete:
        return Peek.NEED_MORE
    prompt = walk.prompt or walk.fallback
    text = _beginning(prompt, chars) if prompt else ""
    return (walk.model, text) if text else Peek.ABSENT


class _Walk:
    """Where in a body the tokens have come to, and what was found so far."""

    def __init__(self) -> None:
        self.model = ""
        self.prompt = b""
        self.fallback = b""
        self.model_seen = False
        self._open = [b"{"]
        self._keys = [b""]
        self._value = False  # what comes next is the value of the last key
        self._role = b""
        self._content = b""

    def over(self, token: bytes) -> bool:
        """Take in a whole token. True: there is nothing more to find."""
        if token in b"{[":
            if token == b"{" and self._path() == 2:
                self._role = self._content = b""
            self._open.append(token)
            self._keys.append(b"")
            self._value = token == b"["
        elif token in b"}]":
            self._open.pop()
            self._keys.pop()
            if not self._open:
                return True
            if token == b"}" and self._path() == 2:
                self.message_over()
            self._value = False
        elif token == b":":
            self._value = True
        elif token == b",":
            self._value = self._open[-1] == b"["
        elif not self._value:
            self._keys[-1] = token
        else:
            self.text(token)
        return self.model_seen and bool(self.prompt)

    def text(self, token: bytes) -> None:
        """A string where a value belongs, whole or the beginning of one."""
        depth, key = len(self._open), self._keys[-1]
        if depth == 1 and key == b'"model"' and not self.model_seen:
            found = _decode(token)
            self.model_seen = True
            self.model = found if isinstance(found, str) else ""
        elif depth == 3 and key == b'"role"' and self._path() == 3:
            self._role = token
        elif self._is_text():
            if depth <= 2:
                self.prompt = self.prompt or token
            else:
                self._content = self._content or token

    def is_prompt(self, complete: bool) -> bool:
        """Whether a string that comes next is the prompt, as far as is known."""
        if not self._value or self.prompt or not self._is_text():
            return False
        return len(self._open) <= 2 or complete or self._role == b'"user"'

    def _path(self) -> int:
        """How deep below the root it is, if all of that is below a prompt; else 0."""
        return len(self._open) if self._keys[0] in _PROMPTS else 0

    def _is_text(self) -> bool:
        depth = self._path()
        if depth <= 1:
            return depth == 1
        if self._open[1] != b"[":
            return False
        key = self._keys[-1]
        return (
            depth == 2
            or (depth == 3 and key == b'"content"')
            or (depth == 5 and key == b'"text"' and self._keys[2] == b'"content"')
        )

    def message_over(self) -> None:
        """All of a message has been seen, as far as it counts."""
        if self._role == b'"user"':
            self.prompt = self.prompt or self._content
        self.fallback = self.fallback or self._content


def _beginning(token: bytes, chars: int) -> str:
    """The first ``chars`` characters of a string of JSON, which may be cut off."""
    most = _CHARACTER * (chars + 1)
    if len(token) <= most and _TOKEN.fullmatch(token):
        token = token[:-1]
    # Always matches, if only nothing.
    raw = _ESCAPES.match(token, 1, most)[0]  # type: ignore[index]
    # A character cut in half at the end is beyond those that count.
    text = raw.decode(errors="ignore")
    try:
        value: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return ""
    return value[:chars]


def _decode(token: bytes) -> str | Peek:
    try:
        value: str = json.loads(token.decode())
        value.encode()  # half a surrogate pair is a string to JSON, and a name to nobody
    except ValueError:
        return Peek.ABSENT
    return value
