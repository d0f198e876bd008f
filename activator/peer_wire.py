"""What goes over a connection between two members: who is there, then frames of JSON. Sans-IO.

Whoever accepts a connection speaks first, with a number nobody used before. The other side
proves with it, its own number and the token that it is a member, and says what the
connection is for: the link between two members, or requests. The answer proves the same of
the side that accepted. The token itself never goes over the wire. After that come, on a
link, frames: four bytes of length, then a JSON array. Nothing is encrypted.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

VERSION: Final = "stoker-peer/1"
LINK: Final = "link"
REQUESTS: Final = "requests"
LONGEST_LINE: Final = 512
LONGEST_FRAME: Final = 64 * 1024 * 1024
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


class WireError(Exception):
    """What came is not what a member would send, or not from one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a connecting member says: who it is, whom it takes the other for, what for."""

    role: str
    name: str
    target: str
    nonce: str


def proof(token: bytes, side: str, challenge: str, claim: Claim) -> str:
    """What only somebody who knows the token can say about this very connection."""
    said = "\n".join((side, challenge, claim.role, claim.name, claim.target, claim.nonce))
    return hmac.new(token, said.encode(), sha256).hexdigest()


def challenge(nonce: str) -> bytes:
    """The first line, from who accepts. ``nonce``: 32 hexadecimal digits."""
    return f"{VERSION} {nonce}\n".encode()


def read_challenge(line: bytes) -> str:
    """The nonce in it. Raises WireError."""
    version, _, nonce = _text(line).partition(" ")
    if version != VERSION or not _NONCE.fullmatch(nonce):
        raise WireError("it does not speak as a peer port does: is that the right port?")
    return nonce


def introduction(token: bytes, nonce: str, claim: Claim) -> bytes:
    """The second line, from who connects; ``nonce`` is the one of the challenge."""
    said = " ".join((claim.role, claim.name, claim.target, claim.nonce))
    return f"{said} {proof(token, 'connects', nonce, claim)}\n".encode()


def read_introduction(token: bytes, nonce: str, line: bytes) -> Claim:
    """Who connects. Raises WireError."""
    words = _text(line).split(" ")
    if len(words) != 5:
        raise WireError("its introduction is none")
    *said, mac = words
    claim = Claim(*said)
    good = (
        claim.role in (LINK, REQUESTS)
        and _NAME.fullmatch(claim.name)
        and _NAME.fullmatch(claim.target)
        and _NONCE.fullmatch(claim.nonce)
    )
    if not good:
        raise WireError("its introduction is none")
    if not hmac.compare_digest(mac, proof(token, "connects", nonce, claim)):
        raise WireError("it does not have the same peer-token-file")
    return claim


def welcome(token: bytes, nonce: str, claim: Claim) -> bytes:
    """The third line, from who accepts."""
    return f"ok {proof(token, 'accepts', nonce, claim)}\n".encode()


def refusal(why: str) -> bytes:
    """... or this, and the end."""
    return f"no {why}\n".encode()[:LONGEST_LINE]


def check_welcome(token: bytes, nonce: str, claim: Claim, line: bytes) -> None:
    """Raises WireError unless it is a member's."""
    word, _, rest = _text(line).partition(" ")
    if word == "no":
        raise WireError(f"it says: {rest}")
    if word != "ok" or not hmac.compare_digest(rest, proof(token, "accepts", nonce, claim)):
        raise WireError("it could not prove that it has the same peer-token-file")


def _text(line: bytes) -> str:
    if len(line) > LONGEST_LINE or not line.isascii():
        raise WireError("it sent a line that no peer would send")
    return line.decode().removesuffix("\n")


def frame(items: list[Any]) -> bytes:
    """Items of talk as bytes."""
    data = json.dumps(items, separators=(",", ":")).encode()
    return len(data).to_bytes(4, "big") + data


class Frames:
    """Bytes in, items out."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The items that are complete with ``data``. Raises WireError."""
        self._data += data
        items: list[Any] = []
        while len(self._data) >= 4:
            length = int.from_bytes(self._data[:4], "big")
            if length > LONGEST_FRAME:
                raise WireError(f"it sent a frame of {length} bytes; allowed: {LONGEST_FRAME}")
            if len(self._data) < 4 + length:
                break
            try:
                content = json.loads(self._data[4 : 4 + length])
            except (ValueError, RecursionError):
                raise WireError("it sent a frame that is not JSON") from None
            if not isinstance(content, list):
                raise WireError("it sent a frame that is no list")
            items += content
            del self._data[: 4 + length]
        return items
