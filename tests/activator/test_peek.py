"""The model field of a JSON body, found without reading all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from activator.peek import Peek, find_model, find_prefix
from tests.properties import costly

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
@costly(25)
def test_equals_json_loads(data: st.DataObject, document: Any) -> None:
    """A whole document: exactly what a real parser finds."""
    text = data.draw(spelled(document))
    assert find_model(text.encode(), complete=True) == expected(text)


@given(data=st.data(), document=DOCUMENTS)
@costly(40)
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


def prompt_of(document: Any, chars: int) -> tuple[str, str] | Peek:
    """What ``find_prefix`` must find in a whole document of the known shapes."""
    messages = next((document[key] for key in PROMPTS if key in document), None)
    text = ""
    if isinstance(messages, str):
        text = messages
    elif isinstance(messages, list):
        texts = [m for m in messages if isinstance(m, str)]
        said: list[tuple[str, str]] = []
        for message in messages:
            if isinstance(message, dict):
                content = message.get("content")
                if isinstance(content, list):
                    content = next((part["text"] for part in content if "text" in part), None)
                if isinstance(content, str) and content:
                    said.append((message.get("role", ""), content))
        users = [content for role, content in said if role == "user"]
        text = next(iter([*texts, *users, *(content for _, content in said)]), "")
    model = document.get("model")
    return (model if isinstance(model, str) else "", text[:chars]) if text else Peek.ABSENT


PROMPTS = ("prompt", "messages", "input", "inputs")
TEXTS = st.text(min_size=1, max_size=12)
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS})
    | st.just({"type": "image_url", "image_url": {"url": "data:..."}}),
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS | PARTS},
    optional={"name": TEXTS, "tool": st.just({"content": "no", "role": "user"})},
)
OTHERS = st.fixed_dictionaries({"stream": st.booleans(), "text": TEXTS, "stop": st.just(["x"])})


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A body as clients send it, its fields in any order."""
    fields = {
        **draw(OTHERS),
        draw(st.sampled_from(PROMPTS)): draw(
            TEXTS | st.lists(TEXTS, max_size=3) | st.lists(MESSAGES, max_size=4) | st.just([1, [2]])
        ),
    }
    if draw(st.booleans()):
        fields["model"] = draw(TEXTS)
    return dict(draw(st.permutations(list(fields.items()))))


@given(document=requests(), chars=st.integers(1, 15), ascii_only=st.booleans(), data=st.data())
def test_prompts_are_found_as_a_parser_would(
    document: dict[str, Any], chars: int, ascii_only: bool, data: st.DataObject
) -> None:
    """In a whole body, and in a part of it either the same or a request for more."""
    body = json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        json.loads(body)
    except UnicodeDecodeError:
        return  # half a surrogate pair, unescaped: no JSON
    found = find_prefix(body, True, chars)
    assert found == prompt_of(document, chars)
    part = find_prefix(body[: data.draw(st.integers(0, len(body)))], False, chars)
    if part is not Peek.NEED_MORE:
        assert part == found


@given(
    body=st.binary(max_size=80)
    | st.text(alphabet='{}[]",:\\\\u0model', max_size=60).map(str.encode)
)
def test_no_bytes_break_the_search_for_a_prompt(body: bytes) -> None:
    """Nothing is raised, and a complete body is never waited for."""
    for complete in (True, False):
        found = find_prefix(b'{"messages":' + body, complete, 5)
        assert found is not Peek.NEED_MORE or not complete
        assert not isinstance(found, tuple) or 0 < len(found[1]) <= 5


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"prompt":"0123456789', ("", "01234")),
        (b'{"prompt":"0123', ("", "0123")),
        (b'{"prompt":"0\\u00', ("", "0")),
        (b'{"prompt":"0\\\\', ("", "0\\")),
        (b'{"prompt":"\\ud83d\\ude00ab\\ud83d\\ude00cdef', ("", "😀ab😀c")),
        ('{"prompt":"ab😀'.encode()[:-1], ("", "ab")),
        (b'{"prompt":"\\q"}', Peek.ABSENT),
        (b'{"prompt":""}', Peek.ABSENT),
        (b'{"prompt":["","b"]}', Peek.ABSENT),
        (b'{"messages":[{"role":"user","content":"who', ("", "who")),
        (b'{"messages":[{"role":"system","content":"be', ("", "be")),
        (b'{"messages":[{"role":"system","content":"a"},{"content":"b","ro', ("", "a")),
        (b'{"messages":{"role":"user","content":"b"}}', Peek.ABSENT),
        (b'{"model":[1],"model":"m","prompt":"x"}', ("m", "x")),
        (b'{"model":"\\ud83d","prompt":"x"}', ("", "x")),
        (b'{"prompt":"x"}}}}', ("", "x")),
        (b'{"a":1}', Peek.ABSENT),
        (b'["prompt"]', Peek.ABSENT),
        (b"", Peek.ABSENT),
    ],
)
def test_prompts_of_odd_bodies(body: bytes, found: tuple[str, str] | Peek) -> None:
    """Cut off, badly escaped, of another shape: what there is, or nothing."""
    assert find_prefix(body, True, 5) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", Peek.NEED_MORE),
        (b"x", Peek.ABSENT),
        (b'{"prompt":"0123456789', Peek.NEED_MORE),
        (b'{"prompt":"' + b"0" * 80, Peek.NEED_MORE),
        (b'{"model":"m","prompt":"' + b"0" * 80, ("m", "00000")),
        (b'{"model":"m","prompt":"' + b"0" * 60, Peek.NEED_MORE),
        (b'{"prompt":"x",', Peek.NEED_MORE),
        (b'{"prompt":"x","model":"m",', ("m", "x")),
        (b'{"model":"m","messages":[{"content":"' + b"0" * 80, Peek.NEED_MORE),
        (b'{"model":1,"messages":[{"role":"system","content":"' + b"0" * 80, Peek.NEED_MORE),
        (b'{"model":"m","messages":[{"role":"user","content":"' + b"0" * 80, ("m", "00000")),
        (b'{"text":"' + b"0" * 80, Peek.NEED_MORE),
    ],
)
def test_prompts_of_beginnings(body: bytes, found: tuple[str, str] | Peek) -> None:
    """As soon as it is sure, and no sooner."""
    assert find_prefix(body, False, 5) == found


def test_the_search_for_a_prompt_ends() -> None:
    """Behind some thousand tokens nothing is looked for."""
    body = b'{"prompt":"x","a":[' + b"1," * 10_000 + b'],"model":"m"}'
    assert find_prefix(body, True, 5) == ("", "x")
    assert find_prefix(b'{"a":' + b"[" * 10_000, False, 5) is Peek.ABSENT
