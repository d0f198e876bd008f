"""Which header fields are special to a proxy. Looked up by the bytes as they came."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, cast


class Field(enum.IntEnum):
    """What to do with a header field."""

    PLAIN = 0
    DROP = 1
    HOST = 2
    CONTENT_LENGTH = 3
    TRANSFER_ENCODING = 4
    CONNECTION = 5
    EXPECT = 6
    UPGRADE = 7
    FORWARDED = 8
    STOKER_MODEL = 9
    USER_AGENT = 10


# Looking a member up on its class costs as much as a call; the request path uses these.
PLAIN: Final = Field.PLAIN
HOST: Final = Field.HOST
CONTENT_LENGTH: Final = Field.CONTENT_LENGTH
TRANSFER_ENCODING: Final = Field.TRANSFER_ENCODING
CONNECTION: Final = Field.CONNECTION
USER_AGENT: Final = Field.USER_AGENT

# Hop by hop (RFC 9110, 7.6.1), and what Stoker writes or reads itself.
_COMMON: Final = {
    b"connection": Field.CONNECTION,
    b"content-length": Field.CONTENT_LENGTH,
    b"keep-alive": Field.DROP,
    b"proxy-authenticate": Field.DROP,
    b"proxy-connection": Field.DROP,
    b"te": Field.DROP,
    b"trailer": Field.DROP,
    b"transfer-encoding": Field.TRANSFER_ENCODING,
    b"upgrade": Field.UPGRADE,
}
_REQUEST: Final = _COMMON | {
    b"expect": Field.EXPECT,
    b"forwarded": Field.FORWARDED,
    b"host": Field.HOST,
    b"proxy-authorization": Field.DROP,
    b"stoker-model": Field.STOKER_MODEL,
    b"user-agent": Field.USER_AGENT,
    b"x-forwarded-for": Field.FORWARDED,
    b"x-forwarded-host": Field.FORWARDED,
    b"x-forwarded-port": Field.FORWARDED,
    b"x-forwarded-prefix": Field.FORWARDED,
    b"x-forwarded-proto": Field.FORWARDED,
    b"x-forwarded-server": Field.FORWARDED,
    b"x-forwarded-ssl": Field.FORWARDED,
}

# Values of Connection that name no further field.
COMMON_CONNECTION: Final = frozenset((b"keep-alive", b"close"))

# Spellings come from clients: what they send must not grow a table without bound.
CACHED_SPELLINGS: Final = 1024


class Fields:
    """Classifies field names; remembers spellings so that most cost one look-up."""

    __slots__ = ("_kinds", "spellings")

    def __init__(self, kinds: dict[bytes, Field]) -> None:
        self._kinds = kinds
        self.spellings: dict[bytes, Field] = {}

    def classify(self, name: bytes) -> Field:
        """The kind of a field by its name in any spelling."""
        kind = self._kinds.get(name.lower(), Field.PLAIN)
        if len(self.spellings) < CACHED_SPELLINGS:
            self.spellings[name] = kind
        return kind


REQUEST: Final = Fields(_REQUEST)
RESPONSE: Final = Fields(_COMMON)


# Where trailers go: it takes everything and keeps nothing. Typed as what it stands in for;
# nothing but += is done with either.
NOWHERE: Final = cast("list[bytes]", deque(maxlen=0))


def drop_named(head: list[bytes], connection: bytes) -> None:
    """Remove from ``head`` (name, b": ", value, b"\\r\\n" in turn) what Connection names."""
    names = {token.strip().lower() for token in connection.split(b",")}
    names -= {b"close", b"keep-alive", b"upgrade", b""}
    if not names:
        return
    kept: list[bytes] = []
    for at in range(0, len(head), 4):
        if head[at].lower() not in names:
            kept += head[at : at + 4]
    head[:] = kept
