"""The model field of a JSON body, found without reading all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activator.peek import Peek, find_model

NAMES = st.one_of(st.just("model"), st.sampled_from(["models", "Model", "", '"model"', "m\\"]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(['"model":"no"', "{", "}", "[", "]", ":", ",", '"', "\\", '\\"', "é", "😀"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


class Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that duplicate keys can be told apart."""


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> str:
    """``value`` in one of the many ways in which JSON can be written."""
    blank = draw(st.sampled_from(["", "", " ", "\n\t", " \r\n"]))
    if isinstance(value, Object):
        pairs = [
            f"{blank}{draw(spelled(key))}{blank}:{blank}{draw(spelled(item))}"
            for key, item in value
        ]
        return "{" + f"{blank},".join(pairs) + blank + "}"
    if isinstance(value, dict):
        return draw(spelled(Object(value.items())))
    if isinstance(value, list):
        return "[" + ",".join(blank + draw(spelled(item)) for item in value) + blank + "]"
    if isinstance(value, str) and value and draw(st.booleans()):
        # Any character may be written as an escape.
        units = value.encode("utf-16-be", "surrogatepass")
        codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
        return '"' + "".join(f"\\u{code}" for code in codes) + '"'
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


OBJECTS = st.lists(st.tuples(NAMES | st.text(max_size=5), VALUES), max_size=5).map(Object)
DOCUMENTS = st.one_of(OBJECTS, OBJECTS, OBJECTS, VALUES)


def expected(text: str) -> str | Peek:
    """What json.loads says: the first ``model`` of the outermost object, if it is a string."""
    document = json.loads(text, object_pairs_hook=Object)
    if isinstance(document, Object):
        for key, value in document:
            if key == "model":
                return value if isinstance(value, str) else Peek.ABSENT
    return Peek.ABSENT


@given(data=st.data(), document=DOCUMENTS)
def test_equals_json_loads(data: st.DataObject, document: Any) -> None:
    """A whole document: exactly what a real parser finds."""
    text = data.draw(spelled(document))
    assert find_model(text.encode(), complete=True) == expected(text)


@given(data=st.data(), document=DOCUMENTS)
def test_a_part_is_never_answered_wrongly(data: st.DataObject, document: Any) -> None:
    """However little has arrived: the right answer, or a wish for more; all of it: no wish."""
    text = data.draw(spelled(document))
    body, truth = text.encode(), expected(text)
    certain = False
    for end in range(len(body) + 1):
        found = find_model(body[:end], complete=False)
        assert found in (truth, Peek.NEED_MORE)
        assert not (certain and found is Peek.NEED_MORE), "what was known is forgotten"
        certain = found is not Peek.NEED_MORE
    if isinstance(truth, str):
        assert certain


@given(body=st.binary(max_size=60), complete=st.booleans())
@example(b'{"model', False)
@example(b'{"model":"\\', False)
@example(b'{"model":"\xff"}', True)
@example(b"}{", True)
def test_anything_is_survived(body: bytes, complete: bool) -> None:
    """Bytes that are no JSON raise nothing, and are not waited for once complete."""
    found = find_model(body, complete)
    assert isinstance(found, str | Peek)
    assert not (complete and found is Peek.NEED_MORE)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"model":"digits"}', "digits"),
        (b' \r\n{ "model" : "digits" ', "digits"),
        (b'{"messages":[{"model":"inner"}],"model":"outer"}', "outer"),
        (b'{"a":{"model":"inner"}}', Peek.ABSENT),
        (b'{"a":"model","b":"x"}', Peek.ABSENT),
        (b'{"model":"one","model":"two"}', "one"),
        (b'{"model":1,"model":"two"}', Peek.ABSENT),
        (b'{"model":null}', Peek.ABSENT),
        (b'{"model":{"model":"x"}}', Peek.ABSENT),
        (b'{"model":["x"]}', Peek.ABSENT),
        (b'{"mod\\u0065l":"one","model":"two"}', "one"),
        (b'{"\\x":"one","model":"two"}', "two"),
        ('{"model":"modèle 😀"}'.encode(), "modèle 😀"),
        (b'{"model":"a\\"b\\\\"}', 'a"b\\'),
        (b'{"model":"\\ud83d\\ude00"}', "😀"),
        (b'{"model":"\\ud83d"}', Peek.ABSENT),
        (b'{"model":"\\q"}', Peek.ABSENT),
        (b'{"model":"a\nb"}', Peek.ABSENT),
        (b'{"model":"\xff"}', Peek.ABSENT),
        (b'{"model":"\x00a"}', Peek.ABSENT),
        (b'["model","x"]', Peek.ABSENT),
        (b'"model"', Peek.ABSENT),
        (b"", Peek.ABSENT),
        (b"{}", Peek.ABSENT),
        (b'{"model":"cut', Peek.ABSENT),
        (b'{"prompt":"cut', Peek.ABSENT),
        (b"--boundary\r\n", Peek.ABSENT),
    ],
)
def test_whole_bodies(body: bytes, found: str | Peek) -> None:
    """Each kind of document, and what is no document, once."""
    assert find_model(body, complete=True) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", Peek.NEED_MORE),
        (b"  ", Peek.NEED_MORE),
        (b"{", Peek.NEED_MORE),
        (b'{"model":"cut', Peek.NEED_MORE),
        (b'{"model":"cut\\"', Peek.NEED_MORE),
        (b'{"model":12', Peek.NEED_MORE),
        (b'{"model":12,', Peek.ABSENT),
        (b'{"model":[', Peek.ABSENT),
        (b"hello", Peek.ABSENT),
        (b"[1,", Peek.ABSENT),
        (b'{"model":"x","rest', "x"),
    ],
)
def test_beginnings_of_bodies(body: bytes, found: str | Peek) -> None:
    """More is asked for only where more could tell."""
    assert find_model(body, complete=False) == found


def test_a_long_string_before_the_field_is_passed_over() -> None:
    """Megabytes of base64, escapes included, do not hide what follows, nor does their lack."""
    image = b"QUJD\\/" * 200_000
    body = b'{"image":"' + image + b'","model":"vision"}'
    assert find_model(body, complete=True) == "vision"
    assert find_model(body[: len(image)], complete=False) is Peek.NEED_MORE


def test_a_deep_document_is_no_danger() -> None:
    """Nesting costs no stack."""
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"x"}'
    assert find_model(deep, complete=True) == "x"
