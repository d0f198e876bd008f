"""What members say to each other: proved, in order, and nothing else is taken."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.peer_wire import (
    LONGEST_FRAME,
    Claim,
    Frames,
    WireError,
    challenge,
    check_welcome,
    frame,
    introduction,
    read_challenge,
    read_introduction,
    refusal,
    welcome,
)

NONCE, OWN = "0" * 32, "f" * 32
CLAIM = Claim("link", "a", "b", OWN)
TOKEN = b"a token of members"


def test_introduction() -> None:
    """Both sides learn that the other has the token, and who it is."""
    assert read_challenge(challenge(NONCE)) == NONCE
    assert read_introduction(TOKEN, NONCE, introduction(TOKEN, NONCE, CLAIM)) == CLAIM
    check_welcome(TOKEN, NONCE, CLAIM, welcome(TOKEN, NONCE, CLAIM))
    assert TOKEN not in introduction(TOKEN, NONCE, CLAIM) + welcome(TOKEN, NONCE, CLAIM)


@pytest.mark.parametrize(
    ("token", "nonce", "claim"),
    [
        (b"another token", NONCE, CLAIM),
        (TOKEN, "1" * 32, CLAIM),  # what was said on another connection
        (TOKEN, NONCE, Claim("link", "c", "b", OWN)),
    ],
)
def test_who_cannot_prove_it_is_refused(token: bytes, nonce: str, claim: Claim) -> None:
    """Another token, or another connection's words, are worth nothing on either side."""
    said = introduction(token, nonce, claim)
    if claim == CLAIM:
        with pytest.raises(WireError, match="peer-token-file"):
            read_introduction(TOKEN, NONCE, said)
    with pytest.raises(WireError, match="could not prove"):
        check_welcome(TOKEN, NONCE, CLAIM, welcome(token, nonce, claim))


def test_a_name_that_was_changed_on_the_way() -> None:
    """Every word of an introduction is proved."""
    said = introduction(TOKEN, NONCE, CLAIM)
    words = ((b"link", b"requests"), (b" a ", b" c "), (b" b ", b" c "), (b"f" * 32, b"e" * 32))
    for old, new in words:
        with pytest.raises(WireError, match="peer-token-file"):
            read_introduction(TOKEN, NONCE, said.replace(old, new, 1))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\n",
        b"link a b c\n",
        b"tunnel a b " + b"f" * 32 + b" x\n",
        b"link A b " + b"f" * 32 + b" x\n",
        b"link a _ " + b"f" * 32 + b" x\n",
        b"link a b xyz x\n",
        b"\xff\n",
        b"x" * 1000,
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    """Whatever is no introduction, challenge or welcome is not taken for one."""
    with pytest.raises(WireError):
        read_introduction(TOKEN, NONCE, line)
    with pytest.raises(WireError):
        read_challenge(line)
    with pytest.raises(WireError):
        check_welcome(TOKEN, NONCE, CLAIM, line)


def test_refusals_say_why() -> None:
    """Who is not let in reads the reason in his own log."""
    with pytest.raises(WireError, match="it says: this is b, not c"):
        check_welcome(TOKEN, NONCE, CLAIM, refusal("this is b, not c"))


ITEMS = st.lists(st.lists(st.integers() | st.text() | st.none(), max_size=4), max_size=4)


@given(st.lists(ITEMS, max_size=4), st.lists(st.integers(1, 50), max_size=20))
def test_frames_in_any_pieces(batches: list[list[Any]], cuts: list[int]) -> None:
    """However the bytes arrive, the items come out in order."""
    data = b"".join(frame(items) for items in batches)
    frames, heard = Frames(), []
    for cut in cuts:
        heard += frames.feed(data[:cut])
        data = data[cut:]
    heard += frames.feed(data)
    assert heard == [item for items in batches for item in items]


@pytest.mark.parametrize(
    "data",
    [
        (LONGEST_FRAME + 1).to_bytes(4, "big"),
        b"\0\0\0\x02{}",
        b"\0\0\0\x02[x",
        b"\0\0\0\x01\xff",
        (100_000).to_bytes(4, "big") + b"[" * 100_000,
    ],
)
def test_other_frames_are_refused(data: bytes) -> None:
    """Too long, no JSON, no list: the link ends."""
    with pytest.raises(WireError):
        Frames().feed(data)


@given(st.binary(max_size=200))
def test_garbage_never_does_harm(data: bytes) -> None:
    """Any bytes are items or a WireError."""
    with contextlib.suppress(WireError):
        assert isinstance(Frames().feed(data), list)
