"""Which header fields are special to a proxy. Looked up by the bytes as they came."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Sequence
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
    CONTROL = 11
    TRAILER = 12
    PROBE = 13
    TE = 14
    TOLD = 15


# Looking a member up on its class costs as much as a call; the request path uses these.
PLAIN: Final = Field.PLAIN
HOST: Final = Field.HOST
CONTENT_LENGTH: Final = Field.CONTENT_LENGTH
TRANSFER_ENCODING: Final = Field.TRANSFER_ENCODING
CONNECTION: Final = Field.CONNECTION
USER_AGENT: Final = Field.USER_AGENT
UPGRADE: Final = Field.UPGRADE

# Hop by hop (RFC 9110, 7.6.1), and what Stoker writes or reads itself.
_COMMON: Final = {
    b"connection": Field.CONNECTION,
    b"content-length": Field.CONTENT_LENGTH,
    b"keep-alive": Field.DROP,
    b"proxy-authenticate": Field.DROP,
    b"proxy-connection": Field.DROP,
    b"te": Field.DROP,
    b"transfer-encoding": Field.TRANSFER_ENCODING,
    b"upgrade": Field.UPGRADE,
}
_REQUEST: Final = _COMMON | {
    b"trailer": Field.TRAILER,
    b"expect": Field.EXPECT,
    b"forwarded": Field.FORWARDED,
    b"host": Field.HOST,
    b"k-kubelet-probe": Field.PROBE,
    b"proxy-authorization": Field.DROP,
    b"stoker-model": Field.STOKER_MODEL,
    b"te": Field.TE,
    b"user-agent": Field.USER_AGENT,
    b"x-real-ip": Field.FORWARDED,
}

# Values of Connection that name no further field.
COMMON_CONNECTION: Final = frozenset((b"keep-alive", b"close"))

# Spellings come from clients: what they send must not grow a table without bound.
CACHED_SPELLINGS: Final = 1024
LONGEST_SPELLING: Final = 64


# Fields so named tell Stoker what to do: from trusted peers only, and never for replicas.
CONTROLS: Final = b"stoker-"
# And these tell replicas where a request came from, or who is behind it (-User, -Client-Cert
# and whatever else a proxy invents): for proxies to say, not for clients.
SAID_OF_IT: Final = b"x-forwarded-"

# What may not come behind a body (RFC 9110, 6.5.1): it would change how what came before is
# framed, routed, authenticated or understood, by whoever merges trailers into the head.
_NO_TRAILERS: Final = frozenset(
    (
        *(b"accept", b"accept-encoding", b"age", b"authorization", b"cache-control"),
        *(b"content-disposition", b"content-encoding", b"content-language", b"content-location"),
        *(b"content-range", b"content-type", b"cookie", b"cookie2", b"date", b"expect", b"expires"),
        *(b"host", b"if-match", b"if-modified-since", b"if-none-match", b"if-range"),
        *(b"if-unmodified-since", b"location", b"max-forwards", b"pragma", b"origin"),
        *(b"proxy-authenticate", b"proxy-authorization", b"range", b"referer", b"retry-after"),
        *(b"set-cookie", b"set-cookie2", b"user-agent", b"vary", b"warning", b"www-authenticate"),
        *(b"traceparent", b"tracestate", b"x-real-ip", b"x-http-method-override"),
    )
)


class Fields:
    """Classifies field names; remembers spellings so that most cost one look-up.

    ``controls``: names beginning with ``stoker-`` are CONTROL, those with ``x-forwarded-``
    FORWARDED, and names that a server which takes ``_`` for ``-`` (as CGI and WSGI do) would
    take for special ones are dropped.
    """

    __slots__ = ("_controls", "_kinds", "spellings")

    def __init__(self, kinds: dict[bytes, Field], *, controls: bool = False) -> None:
        self._kinds = kinds
        self._controls = controls
        self.spellings: dict[bytes, Field] = {}

    def classify(self, name: bytes) -> Field:
        """The kind of a field by its name in any spelling."""
        known = name.lower()
        kind = self._kinds.get(known, Field.PLAIN)
        if kind is Field.PLAIN and self._controls:
            if known.startswith(CONTROLS):
                kind = Field.CONTROL
            elif known.startswith(SAID_OF_IT):
                kind = Field.FORWARDED
            elif b"_" in known:
                meant = known.replace(b"_", b"-")
                if meant in self._kinds or meant.startswith((CONTROLS, SAID_OF_IT)):
                    kind = Field.DROP
        if len(self.spellings) < CACHED_SPELLINGS:
            self.spellings[name] = kind
        return kind


REQUEST: Final = Fields(_REQUEST, controls=True)
# What Stoker's answers tell is not for replicas to say; another activator may.
TOLD: Final = Field.TOLD
TOLD_NAMES: Final = (
    b"stoker-cold-start",
    b"stoker-fallback",
    b"stoker-queued-ms",
    b"stoker-replica",
)
RESPONSE: Final = Fields(_COMMON | dict.fromkeys(TOLD_NAMES, TOLD))


# Where trailers go: it takes everything and keeps nothing. Typed as what it stands in for;
# nothing but += is done with either.
NOWHERE: Final = cast("list[bytes]", deque(maxlen=0))


def names_of(fields: Sequence[bytes]) -> list[bytes]:
    """The names, in lower case, of fields that are name, separator, value, line end in turn."""
    return [*map(_lower, fields[::4])]


class _Lower(dict[bytes, bytes]):
    """Names in lower case, by the spelling: to look one up takes half of making it anew."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(self) < CACHED_SPELLINGS and len(name) <= LONGEST_SPELLING:
            self[name] = lower
        return lower


_lower: Final = _Lower().__getitem__


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


def trailer_lines(trailers: Iterable[bytes], connection: bytes = b"") -> bytes:
    """Those of ``trailers`` (name, b": ", value, b"\\r\\n" in turn) that may be passed on.

    ``connection`` is what Connection said: what it names belongs to that connection alone.
    """
    fields = list(trailers)
    if connection:
        drop_named(fields, connection)
    return b"".join(
        b"".join(fields[at : at + 4])
        for at in range(0, len(fields), 4)
        if fields[at].lower() not in _NO_TRAILERS
    )
