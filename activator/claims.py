"""What a request may claim for itself: whose it is, how urgent, until when. Pure.

Priority, deadline and the tenant's header come from trusted peers; an API key comes from
anybody, and is neither kept nor told: only a hash, keyed with a secret of this process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from activator.headers import names_of
from stoker.quantities import parse_duration
from stoker.vocabulary import Tenancy

PRIORITY = b"stoker-priority"
TENANT = b"stoker-tenant"  # by default, and always between members of a cluster
DEADLINE = b"stoker-deadline"
PRIORITIES = range(-1000, 1001)
LONGEST_DEADLINE = 365 * 86400.0
TENANT_BYTES = 8

_API_KEYS = (b"x-api-key", b"api-key")
_SCHEMES = (b"bearer", b"basic")


class ClaimError(ValueError):
    """A claim that cannot be read; says which, its value and what is allowed."""


def read_priority(value: bytes) -> int:
    """``stoker-priority``. Raises ClaimError."""
    text = value.decode("latin-1")
    if re.fullmatch(r"[+-]?[0-9]{1,4}", text, re.ASCII) and int(text) in PRIORITIES:
        return int(text)
    raise ClaimError(
        f"stoker-priority = {text[:100]!r} is not a whole number from"
        f" {PRIORITIES[0]} to {PRIORITIES[-1]}"
    )


def read_deadline(value: bytes) -> float:
    """``stoker-deadline``: seconds from now, 0 or less when it has passed. Raises ClaimError."""
    text = value.decode("latin-1")
    try:
        if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", text, re.ASCII):
            seconds = float(text)
        else:
            seconds = parse_duration(text)
        if seconds <= LONGEST_DEADLINE:
            return seconds
    except ValueError:
        pass
    raise ClaimError(
        f"stoker-deadline = {text[:100]!r} is not how long the caller waits from now on:"
        " seconds such as 2.5, or a duration such as 800ms or 1m30s, up to a year"
    )


class Tenants:
    """Tells by its header fields whose a request is. ``secret`` keys the hash of API keys."""

    __slots__ = ("_by_key", "_header", "_secret")

    def __init__(self, tenancy: Tenancy, header: str, secret: bytes) -> None:
        """``tenancy`` is not OFF; ``header`` in lower case."""
        self._by_key = tenancy is Tenancy.API_KEY
        self._header = header.encode()
        self._secret = secret

    def of(
        self,
        fields: Sequence[bytes],
        controls: Mapping[bytes, bytes] | None,
        *,
        trusted: bool,
        passed_on: bool = False,
    ) -> str:
        """The tenant, "" when the request does not say (or is not believed).

        ``fields`` are name, separator, value and line end of each in turn; ``controls`` the
        stoker-* ones by lower-case name; ``trusted``: its peer is; ``passed_on``: by another
        member of the cluster, who knows better whether the client was.
        """
        if self._by_key:
            key = _api_key(fields)
            return (
                blake2b(key, digest_size=TENANT_BYTES, key=self._secret).hexdigest() if key else ""
            )
        if not trusted:
            return ""
        wanted = TENANT if passed_on else self._header
        value = None if controls is None else controls.get(wanted)
        if value is None and not passed_on:
            value = _value(fields, names_of(fields), self._header)
        return "" if value is None else value.decode("latin-1").strip()


def make_tenants(tenancy: Tenancy, header: str, secret: bytes) -> Tenants | None:
    """None where callers are not told apart."""
    return None if tenancy is Tenancy.OFF else Tenants(tenancy, header, secret)


def _value(fields: Sequence[bytes], names: Sequence[bytes], wanted: bytes) -> bytes:
    return fields[4 * names.index(wanted) + 2] if wanted in names else b""


def _api_key(fields: Sequence[bytes]) -> bytes:
    names = names_of(fields)
    scheme, _, credentials = _value(fields, names, b"authorization").strip().partition(b" ")
    if credentials and scheme.lower() in _SCHEMES:
        return credentials.strip()
    for name in _API_KEYS:
        key = _value(fields, names, name).strip()
        if key:
            return key
    return b""
