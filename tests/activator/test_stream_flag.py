"""Who asks for a stream of events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.stream_flag import accepts, asks_for_stream

SSE = b"text/event-stream"


def fields(*accept: bytes) -> list[bytes]:
    """A head with these Accept fields among others."""
    head = [b"Host", b": ", b"text/event-stream", b"\r\n"]
    for value in accept:
        head += [b"ACCEPT", b": ", value, b"\r\n"]
    return head


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([b"text/event-stream"], True),
        ([b"application/json, Text/Event-Stream;q=0.5"], True),
        ([b"application/json", b"text/event-stream ; charset=utf-8"], True),
        ([b"text/event-stream;q=0"], False),
        ([b"text/event-stream; q = 0.00"], False),
        ([b"*/*"], False),
        ([b"text/event-streams"], False),
        ([], False),
    ],
)
def test_by_accept(accept: list[bytes], expected: bool) -> None:
    """Named itself and wanted: a wildcard does not ask for events."""
    assert accepts(fields(*accept), SSE) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream": true}', True),
        (b' \n{"model":"m","stream":true,"messages":[{"stream":false}]}', True),
        (b'{"messages":[{"role":"user","content":"\\"stream\\": true"}],"stream" : true }', True),
        (b'{"stream": false}', False),
        (b'{"stream": "true"}', False),
        (b'{"stream": 1}', False),
        (b'{"stream": [true]}', False),
        (b'{"stream": true, "stream": false}', False),
        (b'{"stream": true, "stream": {}}', False),
        (b'{"stream": trueish}', False),
        (b'{"options": {"stream": true}}', False),
        (b'{"options": ["stream", true]}', False),
        (b'{"x": "stream", "y": true}', False),
        (b'{"stream_options": true}', False),
        (b'["stream", true]', False),
        (b"{}", False),
        (b'{}{"stream": true}', False),
        (b"", False),
        (b'{"stream": tru', False),
        (b'{"stream": true', False),
        (b'{"stream": true, "prompt": "begun', True),
        (b'{"prompt": "begun, \\"stream\\": true', False),
    ],
)
def test_by_the_body(body: bytes, expected: bool) -> None:
    """Only true at the top level counts, as far as the body has come."""
    assert asks_for_stream(body) is expected


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.just("stream"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text() | st.just("stream"), _VALUES, max_size=5), st.booleans())
def test_agrees_with_a_json_parser(document: dict[str, object], ascii_only: bool) -> None:
    """Whatever else the document holds."""
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert asks_for_stream(text) is (document.get("stream") is True)


@given(st.binary(max_size=200))
def test_anything_may_come(data: bytes) -> None:
    """Bytes that are no JSON are no error."""
    assert asks_for_stream(b"{" + data) in (True, False)
