"""What a request may claim: whose it is, how urgent, until when."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.claims import (
    ClaimError,
    Tenants,
    make_tenants,
    read_deadline,
    read_priority,
)
from stoker.vocabulary import Tenancy

SECRET = b"s" * 32


def fields(*pairs: tuple[bytes, bytes]) -> list[bytes]:
    """A head as the parser keeps it."""
    return [piece for name, value in pairs for piece in (name, b": ", value, b"\r\n")]


@pytest.mark.parametrize(
    ("value", "priority"), [(b"0", 0), (b"7", 7), (b"+7", 7), (b"-1000", -1000), (b"1000", 1000)]
)
def test_priorities(value: bytes, priority: int) -> None:
    """Whole numbers in range."""
    assert read_priority(value) == priority


@pytest.mark.parametrize(
    "value", [b"", b"high", b"1.5", b"1001", b"-1001", b"1e2", b" 1", b"\xb2", b"0x1", b"9" * 4000]
)
def test_what_is_no_priority(value: bytes) -> None:
    """Said with its value and range, of which no more than fits a line."""
    with pytest.raises(ClaimError, match="from -1000 to 1000") as caught:
        read_priority(value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((b"2.5", 2.5), (b"30", 30.0), (b"0", 0.0), (b"-1.5", -1.5)),
        *((b"800ms", 0.8), (b"1m30s", 90.0), (b"0.0001", 0.0001), (b"8760h", 365 * 86400.0)),
    ],
)
def test_deadlines(value: bytes, seconds: float) -> None:
    """Seconds or a duration; one that has passed is no mistake."""
    assert read_deadline(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"soon", b"1e3", b"nan", b"inf", b"@1790000000", b"2,5", b"8761h", b"1s1m", b"9" * 4000],
)
def test_what_is_no_deadline(value: bytes) -> None:
    """Said with its value and what is allowed."""
    with pytest.raises(ClaimError, match=r"2\.5, or a duration such as 800ms") as caught:
        read_deadline(value)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """Nothing else is raised."""
    for read in (read_priority, read_deadline):
        with suppress(ClaimError):
            assert isinstance(read(value), int | float)


def test_no_tenancy_no_tenants() -> None:
    """Nobody is asked who he is."""
    assert make_tenants(Tenancy.OFF, "stoker-tenant", SECRET) is None
    assert make_tenants(Tenancy.HEADER, "stoker-tenant", SECRET) is not None


class TestHeader:
    def test_is_believed_of_trusted_peers_only(self) -> None:
        """A stoker-* one or any other; without it the tenant is nobody."""
        own = Tenants(Tenancy.HEADER, "stoker-tenant", SECRET)
        assert own.of([], {b"stoker-tenant": b"gold"}, trusted=True) == "gold"
        assert own.of([], {b"stoker-tenant": b"gold"}, trusted=False) == ""
        assert own.of([], None, trusted=True) == ""
        other = Tenants(Tenancy.HEADER, "x-team", SECRET)
        head = fields((b"Accept", b"*/*"), (b"X-Team", b" blue "))
        assert other.of(head, None, trusted=True) == "blue"
        assert other.of(head, {b"stoker-priority": b"1"}, trusted=True) == "blue"
        assert other.of(head, None, trusted=False) == ""
        assert other.of(head[:4], None, trusted=True) == ""

    def test_of_what_a_member_passes_on_is_what_the_member_says(self) -> None:
        """It knows whether the client was trusted; here the field would be anybody's."""
        tenants = Tenants(Tenancy.HEADER, "x-team", SECRET)
        head = fields((b"X-Team", b"blue"))
        said = {b"stoker-tenant": b"green"}
        assert tenants.of(head, said, trusted=True, passed_on=True) == "green"
        assert tenants.of(head, {}, trusted=True, passed_on=True) == ""
        assert tenants.of(head, None, trusted=True, passed_on=True) == ""


class TestApiKey:
    def test_is_told_by_any_of_the_usual_headers(self) -> None:
        """In any spelling; the first that there is counts; peers need not be trusted."""
        tenants = Tenants(Tenancy.API_KEY, "stoker-tenant", SECRET)
        ways = [
            fields((b"Authorization", b"Bearer sk-123")),
            fields((b"authorization", b"bearer  sk-123 ")),
            fields((b"X-API-Key", b"sk-123")),
            fields((b"api-key", b"sk-123"), (b"x-other", b"1")),
            fields((b"X-Api-Key", b"sk-123"), (b"api-key", b"another")),
        ]
        names = {tenants.of(head, None, trusted=False) for head in ways}
        assert len(names) == 1
        assert "" not in names

    def test_none_is_everybody_without_one(self) -> None:
        """Also where Authorization holds something that is new with each request."""
        tenants = Tenants(Tenancy.API_KEY, "stoker-tenant", SECRET)
        for head in (
            [],
            fields((b"Authorization", b"Digest nonce=1")),
            fields((b"Authorization", b"Bearer ")),
            fields((b"X-Api-Key", b"")),
        ):
            assert tenants.of(head, {b"stoker-tenant": b"gold"}, trusted=True) == ""

    def test_is_never_kept(self) -> None:
        """The name tells nothing of the key, and another process calls the same key otherwise."""
        head = fields((b"Authorization", b"Bearer sk-123"))
        one = Tenants(Tenancy.API_KEY, "", SECRET).of(head, None, trusted=False)
        other = Tenants(Tenancy.API_KEY, "", b"t" * 32).of(head, None, trusted=False)
        assert one != other
        assert len(one) == len(other) == 16
        assert "sk-123" not in one + other
