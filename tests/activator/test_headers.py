"""Which header fields a proxy must treat specially."""

from __future__ import annotations

import pytest

from activator.headers import (
    _COMMON,
    _REQUEST,
    CACHED_SPELLINGS,
    NOWHERE,
    REQUEST,
    RESPONSE,
    Field,
    Fields,
    drop_named,
    names_of,
    trailer_lines,
)

HOP_BY_HOP = [
    *("connection", "keep-alive", "proxy-connection", "te"),
    *("transfer-encoding", "upgrade"),
]


@pytest.mark.parametrize("name", HOP_BY_HOP)
@pytest.mark.parametrize("fields", [REQUEST, RESPONSE])
def test_hop_by_hop_fields_are_never_plain(fields: Fields, name: str) -> None:
    """What belongs to one connection is not passed on, in any spelling."""
    for spelling in (name, name.upper(), name.title()):
        assert fields.classify(spelling.encode()) is not Field.PLAIN


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Host", Field.HOST),
        (b"content-LENGTH", Field.CONTENT_LENGTH),
        (b"Expect", Field.EXPECT),
        (b"Stoker-Model", Field.STOKER_MODEL),
        (b"User-Agent", Field.USER_AGENT),
        (b"X-Forwarded-For", Field.FORWARDED),
        (b"X-Forwarded-Port", Field.FORWARDED),
        (b"X-Forwarded-Client-Cert", Field.FORWARDED),
        (b"X-Forwarded-Anything", Field.FORWARDED),
        (b"X-Real-IP", Field.FORWARDED),
        (b"X-Forwarded", Field.PLAIN),
        (b"Stoker-Anything", Field.CONTROL),
        (b"stoker-", Field.CONTROL),
        (b"stoker", Field.PLAIN),
        (b"X-Stoker-Model", Field.PLAIN),
        (b"Trailer", Field.TRAILER),
        (b"x_forwarded_for", Field.DROP),
        (b"X-Forwarded-Client_Cert", Field.FORWARDED),
        (b"X_Forwarded_User", Field.DROP),
        (b"X_Real_IP", Field.DROP),
        (b"Stoker_Model", Field.DROP),
        (b"HOST_", Field.PLAIN),
        (b"my_field", Field.PLAIN),
        (b"Forwarded", Field.FORWARDED),
        (b"Proxy-Authorization", Field.DROP),
        (b"Authorization", Field.PLAIN),
        (b"Content-Type", Field.PLAIN),
    ],
)
def test_a_requests_fields(name: bytes, kind: Field) -> None:
    """Each field of a request that means something to the proxy is recognised."""
    assert Fields(_REQUEST, controls=True).classify(name) is kind


def test_an_answers_fields() -> None:
    """An answer's Host or User-Agent means nothing, its framing does."""
    assert Fields(_COMMON).classify(b"User-Agent") is Field.PLAIN
    assert Fields(_COMMON).classify(b"X-Forwarded-For") is Field.PLAIN
    assert Fields(_COMMON).classify(b"Proxy-Authenticate") is Field.DROP
    assert Fields(_COMMON).classify(b"Content-Length") is Field.CONTENT_LENGTH
    assert Fields(_COMMON).classify(b"Stoker-Model") is Field.PLAIN
    assert Fields(_COMMON).classify(b"content_length") is Field.PLAIN


def test_spellings_are_remembered_but_not_without_bound() -> None:
    """A client that invents names cannot grow the table; names are still told apart."""
    fields = Fields(_REQUEST)
    assert fields.classify(b"hOST") is Field.HOST
    assert fields.spellings == {b"hOST": Field.HOST}
    for number in range(2 * CACHED_SPELLINGS):
        fields.classify(b"X-Junk-%d" % number)
    assert len(fields.spellings) == CACHED_SPELLINGS
    assert fields.classify(b"Transfer-encoding") is Field.TRANSFER_ENCODING
    assert b"Transfer-encoding" not in fields.spellings


def test_nowhere_keeps_nothing() -> None:
    """What is added to it is gone, so trailers never join a head."""
    head = NOWHERE
    head += (b"X-Trailer", b": ", b"1", b"\r\n")
    assert len(head) == 0


def head_of(*fields: tuple[bytes, bytes]) -> list[bytes]:
    """Fields in the shape in which the parser collects them."""
    return [part for name, value in fields for part in (name, b": ", value, b"\r\n")]


def test_trailers_that_may_be_passed_on() -> None:
    """In their order and as they came; what the head alone may say is left out."""
    fields = head_of((b"X-Sum", b"1"), (b"AUTHORIZATION", b"x"), (b"x-hop", b"2"), (b"b", b""))
    assert trailer_lines(fields) == b"X-Sum: 1\r\nx-hop: 2\r\nb: \r\n"
    assert trailer_lines(fields, b"X-Hop,") == b"X-Sum: 1\r\nb: \r\n"


def test_fields_that_connection_names_are_dropped() -> None:
    """All of them, in any spelling and however often they appear; the others stay."""
    head = head_of((b"X-One", b"1"), (b"Accept", b"x-one"), (b"x-two", b"2"), (b"X-ONE", b"3"))
    drop_named(head, b"close, X-one ,,X-Two,")
    assert head == head_of((b"Accept", b"x-one"))


def test_connection_options_name_no_fields() -> None:
    """``close``, ``keep-alive`` and ``upgrade`` say something about the connection itself."""
    fields = head_of((b"Close", b"no"), (b"Keep-Alive", b"5"), (b"Upgrade", b"h2c"))
    head = list(fields)
    drop_named(head, b"close,Keep-Alive, upgrade,")
    assert head == fields


def test_names_in_any_number_and_spelling() -> None:
    """Lower case, in order, also of more names and longer ones than are remembered."""
    names = [b"X-%d" % n for n in range(2 * CACHED_SPELLINGS)] + [b"A" * 500, b"Host", b"HOST"]
    fields = [part for name in names for part in (name, b": ", b"Value", b"\r\n")]
    for _ in range(2):
        assert names_of(fields) == [name.lower() for name in names]
    assert names_of([]) == []
