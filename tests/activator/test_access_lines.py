"""The lines of the access log: formats, and what clients cannot do to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activator.access_lines import (
    LONGEST,
    Entry,
    as_json,
    combined,
    drop_query,
    escaped,
    keep_query,
    query_names,
)

TIME = "02/Jan/2026:03:04:05 +0000"
ENTRY = Entry(
    peer="10.0.0.1",
    tenant="acme",
    wall=0.0,
    method="POST",
    target="/v1/chat",
    version="HTTP/1.1",
    status=200,
    sent=1234,
    referer="",
    agent="curl/8",
    seconds=1.25,
    queued=0.5,
    model="default/digits",
    replica="digits-1",
    retries=1,
    trace="0af7651916cd43dd8448eb211c80319c",
    reason="",
)


def test_combined() -> None:
    """The fields that tools read, then ours: seconds, queued ms, model, replica, retries ..."""
    assert combined(ENTRY, TIME) == (
        f'10.0.0.1 - acme [{TIME}] "POST /v1/chat HTTP/1.1" 200 1234 "-" "curl/8" 1.250000 500'
        " default/digits digits-1 1 0af7651916cd43dd8448eb211c80319c -\n"
    )


def test_json() -> None:
    """One object with every key, also those that are empty."""
    document = json.loads(as_json(ENTRY, "2026-01-02T03:04:05.678Z"))
    assert document == {
        "time": "2026-01-02T03:04:05.678Z",
        "peer": "10.0.0.1",
        "tenant": "acme",
        "method": "POST",
        "target": "/v1/chat",
        "version": "HTTP/1.1",
        "status": 200,
        "bytes": 1234,
        "referer": "",
        "user_agent": "curl/8",
        "seconds": 1.25,
        "queued_ms": 500.0,
        "model": "default/digits",
        "replica": "digits-1",
        "retries": 1,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "reason": "",
    }


LATIN = st.text(st.characters(max_codepoint=255))


@given(LATIN, LATIN, LATIN, LATIN)
def test_no_client_forges_a_line(target: str, agent: str, tenant: str, referer: str) -> None:
    """Whatever is in it, a request is one line with its fields in their places."""
    entry = ENTRY._replace(target=target, agent=agent, tenant=tenant, referer=referer)
    line = combined(entry, TIME)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert all(" " <= character <= "~" for character in line[:-1])
    assert line.count('"') == 6
    assert line.rsplit(" ", 7)[1:4] == ["1.250000", "500", "default/digits"]
    assert line.split(" ")[3] == f"[{TIME.split(' ')[0]}"
    text = as_json(entry, TIME)
    assert text.count("\n") == 1
    if len(target) <= LONGEST:
        assert json.loads(text)["target"] == target


def test_escapes() -> None:
    """Control characters, quotes and backslashes by their codes; the rest as it is."""
    assert escaped('a"b\\c\r\n\x00\x7f\xe9') == "a\\x22b\\x5Cc\\x0D\\x0A\\x00\\x7F\\xE9"
    assert escaped("/plain?q=1") == "/plain?q=1"


def test_what_is_long_is_cut() -> None:
    """A head of 32 KB does not make a line of 32 KB."""
    long = ENTRY._replace(target="/" + "x" * 10_000, agent="y" * 10_000)
    assert len(combined(long, TIME)) < 2 * LONGEST + 500
    assert json.loads(as_json(long, TIME))["target"].endswith("x...")


@pytest.mark.parametrize(
    ("target", "dropped", "names"),
    [
        ("/a", "/a", "/a"),
        ("/a?", "/a", "/a?*"),
        ("/a?key=secret&b=2", "/a", "/a?key=*&b=*"),
        ("/a?sk-secret", "/a", "/a?*"),
        ("/a?a=1;b=2#token=3", "/a", "/a?a=*&b=*"),
        ("/a#secret", "/a", "/a"),
    ],
)
def test_query_strings_may_hold_credentials(target: str, dropped: str, names: str) -> None:
    """Dropped by default; names alone, where a name is what stands before an =; or kept."""
    assert drop_query(target) == dropped
    assert query_names(target) == names
    assert keep_query(target) == target


@pytest.mark.parametrize("odd", ["caf\u00e9", "\u20ac", "a\\b", 'a"b', "a\x7fb", "a\nb", "plain"])
def test_json_means_the_same_however_it_is_made(odd: str) -> None:
    """What has to be escaped anywhere comes back as it was, and so does all the rest."""
    for field in ("tenant", "target", "referer", "agent", "model", "replica", "reason"):
        values: dict[str, Any] = ENTRY._asdict() | {field: odd}
        entry = Entry(**values)
        document = json.loads(as_json(entry, TIME))
        key = "user_agent" if field == "agent" else field
        assert document[key] == odd
        assert (document["method"], document["bytes"], document["seconds"]) == ("POST", 1234, 1.25)
