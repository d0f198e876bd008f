"""Tunables of what callers of a model that is asleep or busy see."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.settings import kinds
from stoker.settings.tunable import Section, Tunable
from stoker.vocabulary import AnswerHeaders, PlaceholderFor


def holding_rows() -> Iterator[Tunable]:
    yield Tunable(
        *("answer-headers", Section.SERVING, kinds.choice(AnswerHeaders), "held"),
        "Which answers tell what a request waited for (stoker-cold-start, stoker-queued-ms,"
        " stoker-replica): those to requests that were held, all, or none. off where callers"
        " are not to learn the names of replicas.",
    )
    yield Tunable(
        *("hold-comments", Section.SERVING, kinds.DURATION, "0s"),
        "How often a held caller that asked for an event stream gets a comment with phase and"
        " estimate, so that nothing on the way takes the connection for dead; its first one"
        " commits the answer to 200, and errors become events. 0s: never.",
        low="100ms",
        high="10m",
        also="0s",
    )
    yield Tunable(
        *("fallback", Section.SERVING, kinds.MODEL_NAME, ""),
        "The model that answers instead while this one is asleep, cannot start or has a full"
        " queue; requests reach it as they are, so it must know the name they use. Unset: none.",
    )
    yield Tunable(
        *("fallback-after", Section.SERVING, kinds.DURATION, "0s"),
        "How long a request is held before the fallback gets it; 0s: at once where no replica is"
        " ready.",
        low="0s",
        high="1h",
    )
    yield Tunable(
        *("placeholder", Section.SERVING, kinds.PATH, ""),
        "A file of at most 1 MiB that is answered at once while no replica is ready, for instance"
        " a page that reloads itself; the model is woken all the same. Unset: callers are held.",
    )
    yield Tunable(
        *("placeholder-status", Section.SERVING, kinds.COUNT, "503"),
        "The status of that answer; 503 keeps caches and crawlers from taking it for the real one.",
        low="200",
        high="599",
    )
    yield Tunable(
        *("placeholder-for", Section.SERVING, kinds.choice(PlaceholderFor), "html"),
        "Who gets it: html, GET and HEAD requests that accept text/html, as browsers do; or all.",
    )
