"""What a reflection does after whatever came from the API server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.platforms.kubernetes.reflection import (
    FAILURES_BEFORE_LIST,
    FIRST_PAUSE,
    GOOD_LIFE,
    LONGEST_PAUSE,
    Cause,
    Changed,
    Gone,
    List,
    Obj,
    Reflection,
    Wait,
    Watch,
    cause_of,
)

A, B = ("ns", "a"), ("ns", "b")


def obj(name: str, version: int, value: str = "x") -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "value": value}


def event(kind: str, body: Obj) -> Obj:
    return {"type": kind, "object": body}


def value_of(body: Obj) -> str | None:
    value = body.get("value")
    return None if value == "hidden" else value


def reflection() -> Reflection[str]:
    return Reflection(value_of)


def watching(now: float = 0.0) -> Reflection[str]:
    """One that knows ``a`` at revision 5 and watches from there."""
    subject = reflection()
    subject.listed([obj("a", 3)], "5", now)
    assert subject.next(now) == Watch("5")
    return subject


def test_it_lists_first_and_goes_on_from_there() -> None:
    """The watch begins at the list's revision."""
    subject = reflection()
    assert subject.next(0.0) == List()
    assert not subject.synced
    assert subject.listed([obj("a", 3)], "5", 1.0) == [Changed(A, "x", None)]
    assert subject.synced
    assert subject.heard_at == 1.0
    assert subject.next(1.0) == Watch("5")


def test_events_move_the_revision_on() -> None:
    """Each change, deletion and bookmark: a watch that ends goes on behind it."""
    subject = watching()
    assert subject.event(event("ADDED", obj("b", 6, "y")), 1.0, 0.0) == [Changed(B, "y", None)]
    assert subject.event(event("MODIFIED", obj("b", 7, "z")), 1.0, 0.0) == [Changed(B, "z", "y")]
    assert subject.event(event("DELETED", obj("a", 8)), 1.0, 0.0) == [Gone(A, "x")]
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "20"}})
    assert subject.event(bookmark, 2.0, 0.0) == []
    assert subject.heard_at == 2.0
    assert not subject.ended(GOOD_LIFE, 0.5)
    assert subject.next(GOOD_LIFE) == Watch("20")
    assert subject.known == {B: "z"}


def test_what_does_not_matter_is_not_told() -> None:
    """The same version again, a change of what is not kept, objects that are left aside."""
    subject = watching()
    assert subject.event(event("ADDED", obj("a", 3, "other")), 1.0, 0.0) == []
    assert subject.event(event("MODIFIED", obj("a", 6)), 1.0, 0.0) == []
    assert subject.event(event("ADDED", obj("b", 7, "hidden")), 1.0, 0.0) == []
    assert subject.event(event("DELETED", obj("b", 8, "hidden")), 1.0, 0.0) == []
    hidden = event("MODIFIED", obj("a", 9, "hidden"))
    assert subject.event(hidden, 1.0, 0.0) == [Gone(A, "x")]
    shown = event("MODIFIED", obj("a", 10))
    assert subject.event(shown, 1.0, 0.0) == [Changed(A, "x", None)]


def test_a_list_replaces_what_is_known() -> None:
    """What it does not name is gone, hidden objects too."""
    subject = reflection()
    subject.listed([obj("a", 1), obj("b", 2), obj("c", 3, "hidden")], "3", 0.0)
    deltas = subject.listed([obj("a", 5, "y")], "9", 1.0)
    assert deltas == [Changed(A, "y", "x"), Gone(B, "x")]
    assert subject.known == {A: "y"}


@pytest.mark.parametrize("how", ["answer", "event"])
def test_gone_means_to_list_anew(how: str) -> None:
    """410 as an answer or within a watch: the same revision is never asked for again."""
    subject = watching()
    if how == "answer":
        subject.failed(Cause.EXPIRED, "too old", 1.0, 0.0)
    else:
        status = {"kind": "Status", "code": 410, "message": "too old resource version: 5 (9)"}
        assert subject.event(event("ERROR", status), 1.0, 0.0) is None
        assert subject.last_failure == "too old resource version: 5 (9)"
    assert subject.next(1.0) == List()
    assert subject.known == {A: "x"}  # known until the list says otherwise


def test_other_errors_go_on_from_the_same_revision() -> None:
    """After a pause; only after several failures is everything listed again."""
    subject = watching()
    now = 1.0
    for _ in range(FAILURES_BEFORE_LIST - 1):
        assert subject.event(event("ERROR", {"code": 500, "message": "no"}), now, 0.0) is None
        assert subject.next(now) == Watch("5")
    subject.failed(Cause.NO_ANSWER, "nothing", now, 0.0)
    assert subject.next(now) == List()


GARBAGE: dict[str, Obj] = {
    "no revision": {"type": "ADDED", "object": {"metadata": {"name": "b"}}},
    "no metadata": {"type": "ADDED", "object": {}},
    "metadata of another shape": {"type": "MODIFIED", "object": {"metadata": "text"}},
    "a type of the future": {"type": "RENAMED", "object": obj("a", 9)},
    "no type": {"object": obj("a", 9)},
    "no name": {"type": "ADDED", "object": {"metadata": {"resourceVersion": "9"}}},
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_ends_the_watch_and_harms_nothing(case: str) -> None:
    """What is known stays, and so does the revision."""
    subject = watching()
    assert subject.event(GARBAGE[case], 1.0, 0.0) is None
    assert subject.next(1.0) == Watch("5")
    assert subject.known == {A: "x"}


def test_a_storm_of_ends_is_slowed_down() -> None:
    """Pauses double up to the cap, drawn from the whole of them; a good watch forgives all."""
    subject = watching()
    now, longest = 0.0, []
    for _ in range(12):
        assert isinstance(subject.next(now), Watch | List)
        assert subject.ended(now, 0.999)
        step = subject.next(now)
        assert isinstance(step, Wait)
        longest.append(step.until - now)
        now = step.until
        if subject.next(now) == List():
            subject.listed([obj("a", 3)], "5", now)
    assert longest[0] == pytest.approx(FIRST_PAUSE, rel=0.01)
    assert longest[1] == pytest.approx(2 * FIRST_PAUSE, rel=0.01)
    assert longest[-1] == pytest.approx(LONGEST_PAUSE, rel=0.01)
    subject.next(now)
    assert not subject.ended(now + GOOD_LIFE, 0.999)
    now += GOOD_LIFE
    subject.next(now)
    subject.failed(Cause.NO_ANSWER, "broken", now + GOOD_LIFE, 0.999)
    step = subject.next(now + GOOD_LIFE)
    assert isinstance(step, Wait)
    assert step.until - now - GOOD_LIFE == pytest.approx(FIRST_PAUSE, rel=0.01)


def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    """Retry-After, and jitter behind it so that not all come back at once."""
    subject = reflection()
    subject.failed(Cause.THROTTLED, "too many requests", 10.0, 0.5, retry_after=7.0)
    assert subject.next(10.0) == Wait(17.0 + FIRST_PAUSE / 2)
    assert subject.next(17.0 + FIRST_PAUSE / 2) == List()


def test_what_statuses_mean() -> None:
    """0 stands for no answer."""
    told = {status: cause_of(status) for status in (0, 410, 429, 403, 500)}
    assert told == {
        0: Cause.NO_ANSWER,
        410: Cause.EXPIRED,
        429: Cause.THROTTLED,
        403: Cause.REFUSED,
        500: Cause.REFUSED,
    }


@given(st.data())
def test_whatever_happens_it_knows_what_the_server_has(data: st.DataObject) -> None:
    """Against a model of a server: writes, ends, losses and 410 in any order; after the next
    list or the pending events the two agree, and every change was told exactly once."""
    subject = reflection()
    told: dict[tuple[str, str], str] = {}
    truth: dict[str, tuple[int, str]] = {}
    log: list[tuple[int, Obj]] = []
    revision, forgotten, now = 1, 0, 0.0

    def apply(deltas: list[Any] | None) -> None:
        for delta in deltas or ():
            if isinstance(delta, Changed):
                assert told.get(delta.key) == delta.old
                told[delta.key] = delta.new
            else:
                assert told.pop(delta.key) == delta.old

    def proceed(fails: bool) -> None:
        nonlocal now
        step = subject.next(now)
        if isinstance(step, Wait):
            now = step.until
        elif fails:
            subject.failed(Cause.NO_ANSWER, "no answer", now, 0.3)
        elif isinstance(step, List):
            items = [obj(name, at, value) for name, (at, value) in truth.items()]
            apply(subject.listed(items, str(revision), now))
        elif int(step.revision) < forgotten:
            subject.event(event("ERROR", {"code": 410}), now, 0.3)
        else:
            for _, body in [entry for entry in log if entry[0] > int(step.revision)]:
                apply(subject.event(body, now, 0.3))
            subject.ended(now, 0.3)

    for action in data.draw(st.lists(st.sampled_from(["write", "delete", "forget", "go", "fail"]))):
        if action == "write":
            name = data.draw(st.sampled_from("abc"))
            revision += 1
            kind = "MODIFIED" if name in truth else "ADDED"
            truth[name] = (revision, data.draw(st.sampled_from("xyz")))
            log.append((revision, event(kind, obj(name, revision, truth[name][1]))))
        elif action == "delete" and truth:
            revision += 1
            name = min(truth)
            log.append((revision, event("DELETED", obj(name, revision, truth.pop(name)[1]))))
        elif action == "forget":
            forgotten = revision
        elif action in ("go", "fail"):
            proceed(action == "fail")
    for _ in range(12):
        proceed(False)
    wanted = {("ns", name): value for name, (_, value) in truth.items()}
    assert subject.known == told == wanted
