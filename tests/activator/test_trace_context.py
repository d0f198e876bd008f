"""W3C trace context in header fields: found, judged, replaced."""

from __future__ import annotations

import pytest

from activator.trace_context import (
    carrier,
    referer_and_trace,
    trace_id,
    valid,
    values,
    with_carrier,
    without,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def fields(*pairs: tuple[str, str]) -> list[bytes]:
    """As the parser leaves them."""
    return [p for name, value in pairs for p in (name.encode(), b": ", value.encode(), b"\r\n")]


@pytest.mark.parametrize(
    ("parent", "good"),
    [
        (PARENT, True),
        (f"00-{TRACE}-b7ad6b7169203331-00", True),
        (f"cc-{TRACE}-b7ad6b7169203331-01", True),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-will-come", True),
        (f"{PARENT}-more", False),
        (f"cc-{TRACE}-b7ad6b7169203331-01.more", False),
        (f"ff-{TRACE}-b7ad6b7169203331-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (PARENT.upper(), False),
        (PARENT[:-1], False),
        ("", False),
    ],
)
def test_what_a_traceparent_must_be(parent: str, good: bool) -> None:
    """By section 3.2 of the standard; later versions may go on behind a dash."""
    assert valid(parent.encode()) is good


def test_the_trace_is_told_by_exactly_one_parent() -> None:
    """None or several name no trace."""
    assert trace_id(fields(("Accept", "*/*"), ("TraceParent", f" {PARENT} "))) == TRACE
    assert trace_id(fields(("accept", "*/*"))) == ""
    assert trace_id(fields(("traceparent", PARENT), ("traceparent", PARENT))) == ""
    assert trace_id(fields(("traceparent", "nonsense"))) == ""


def test_one_pass_tells_the_same() -> None:
    """Trace and referer, as the access log wants them."""
    several: tuple[tuple[tuple[str, str], ...], ...] = (
        (),
        (("TraceParent", f" {PARENT} "), ("Referer", "x"), ("eleven-long", "y"), ("seven-7", "z")),
        (("traceparent", PARENT), ("traceparent", PARENT)),
        (("traceparent", "nonsense"), ("referer", " y ")),
    )
    for pairs in several:
        referer, trace = referer_and_trace(fields(*pairs))
        assert trace == trace_id(fields(*pairs))
        assert [referer] == (values(fields(*pairs), b"referer") or [b""])


def test_a_carrier_for_the_propagator() -> None:
    """Several tracestates are one list; without a valid parent there is nothing."""
    several = fields(("traceparent", PARENT), ("tracestate", "a=1"), ("Tracestate", "b=2"))
    assert carrier(several) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert carrier(fields(("traceparent", PARENT))) == {"traceparent": PARENT}
    assert carrier(fields(("tracestate", "a=1"))) == {}


def test_the_context_is_replaced_and_nothing_else() -> None:
    """Other fields keep their order and spelling."""
    before = fields(("A", "1"), ("Traceparent", PARENT), ("tracestate", "x"), ("B", "2"))
    assert without(before) == fields(("A", "1"), ("B", "2"))
    new = with_carrier(before, [("traceparent", "new")])
    assert new == fields(("A", "1"), ("B", "2"), ("traceparent", "new"))
    assert values(new, b"traceparent") == [b"new"]
