"""What to do to know a resource, after whatever came from the API server: pure.

A ``Reflection`` is told what happened and says what to do next: list, watch from a revision,
or wait. The rules are those of client-go's reflector and of the API conventions ("Efficient
detection of changes"), with what kubernetes_asyncio's Watch gets wrong put right:

- a watch goes on from the revision of the last list, event or bookmark, never from an older
  one; 410 means to list anew, not to ask for the same revision again;
- whatever ends soon after it began counts as a failure, also a proper end: with load balancers
  that close at once, going on without a pause made 1,800 requests in 1.5 s;
- pauses double up to a cap and are drawn from the whole of [0, pause) ("full jitter"), so that
  thousands of watches that were cut off together do not come back together;
- a list replaces what is known: what it does not name is gone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Obj = Mapping[str, Any]
Key = tuple[str, str]

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
# A watch that lived this long was a good one; servers end them after minutes.
GOOD_LIFE = 5.0
# So many failures to watch from one revision, and it is given up: list anew.
FAILURES_BEFORE_LIST = 5


class Cause(enum.StrEnum):
    """Why a list or a watch is over, for counting."""

    EXPIRED = "expired"
    ENDED_EARLY = "ended-early"
    NO_ANSWER = "no-answer"
    REFUSED = "refused"
    THROTTLED = "throttled"
    GARBAGE = "garbage"


@dataclass(frozen=True, slots=True)
class List:
    """List everything, then call ``listed``."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch from this resourceVersion."""

    revision: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before this moment, then ask again."""

    until: float


Step = List | Watch | Wait


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """An object appeared or changed. ``old`` is what was known of it."""

    key: Key
    new: T
    old: T | None


@dataclass(frozen=True, slots=True)
class Gone(Generic[T]):
    """An object is no more. ``old`` is what was known of it last."""

    key: Key
    old: T


Delta = Changed[T] | Gone[T]


class Reflection(Generic[T]):
    """One resource as it is known. ``project`` takes from an object what is to be kept (so
    that 20,000 pods need not be kept whole); None: the object does not matter here.

    ``synced`` is true from the first complete list on.
    """

    def __init__(self, project: Callable[[Obj], T | None]) -> None:
        self.known: dict[Key, T] = {}
        self.synced = False
        self.heard_at: float | None = None
        self.last_failure = ""
        self._project = project
        self._versions: dict[Key, str] = {}
        self._revision = ""
        self._failures = 0
        self._failures_here = 0
        self._watching_since = 0.0
        self._pause_until = 0.0

    def next(self, now: float) -> Step:
        """What to do now."""
        if now < self._pause_until:
            return Wait(self._pause_until)
        if not self._revision:
            return List()
        self._watching_since = now
        return Watch(self._revision)

    # --- what came ------------------------------------------------------------------------

    def listed(self, items: Iterable[Obj], revision: str, now: float) -> list[Delta[T]]:
        """A complete list came: what has changed by it."""
        deltas: list[Delta[T]] = []
        seen: set[Key] = set()
        for obj in items:
            key = key_of(obj)
            seen.add(key)
            deltas += self._take(key, obj)
        for key in [key for key in self._versions if key not in seen]:
            deltas += self._drop(key)
        self._revision = revision
        self._failures_here = 0
        self.synced = True
        self.heard_at = now
        return deltas

    def event(self, event: Obj, now: float, chance: float) -> list[Delta[T]] | None:
        """An event of the watch; what has changed by it. None: the watch is of no more use."""
        obj, kind = event["object"], event.get("type")
        if kind == "ERROR":
            code, message = obj.get("code", 0), str(obj.get("message", "an error"))
            self.failed(cause_of(int(code)), message, now, chance)
            return None
        try:
            revision = str(obj["metadata"]["resourceVersion"])
            match kind:
                case "BOOKMARK":
                    deltas: list[Delta[T]] = []
                case "ADDED" | "MODIFIED":
                    deltas = list(self._take(key_of(obj), obj))
                case "DELETED":
                    deltas = list(self._drop(key_of(obj)))
                case _:
                    raise KeyError(f"type {kind!r}")
        except (KeyError, TypeError, AttributeError) as error:
            self.failed(Cause.GARBAGE, f"an event without {error}", now, chance)
            return None
        self._revision = revision
        self._failures_here = 0
        self.heard_at = now
        return deltas

    def ended(self, now: float, chance: float) -> bool:
        """The server ended the watch. True: so soon that it counts as a failure."""
        if now - self._watching_since >= GOOD_LIFE:
            self._failures = 0
            return False
        self.failed(Cause.ENDED_EARLY, "ended as soon as it had begun", now, chance)
        return True

    def failed(
        self, cause: Cause, why: str, now: float, chance: float, retry_after: float = 0.0
    ) -> None:
        """A list or a watch failed. ``chance`` in [0, 1) draws the pause; ``retry_after``
        seconds that the server asked for are waited in any case."""
        self.last_failure = why
        lived = now - self._watching_since
        if self._revision and lived >= GOOD_LIFE and cause is not Cause.EXPIRED:
            self._failures = 0
        self._failures += 1
        self._failures_here += 1
        if cause is Cause.EXPIRED or self._failures_here >= FAILURES_BEFORE_LIST:
            self._revision = ""
            self._failures_here = 0
        longest = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE)
        self._pause_until = now + retry_after + longest * chance

    # --- what is known ----------------------------------------------------------------------

    def _take(self, key: Key, obj: Obj) -> Iterator[Delta[T]]:
        version = str(obj["metadata"]["resourceVersion"])
        if self._versions.get(key) == version:
            return
        self._versions[key] = version
        new, old = self._project(obj), self.known.get(key)
        if new is not None:
            self.known[key] = new
            if new != old:
                yield Changed(key, new, old)
        elif old is not None:
            yield Gone(key, self.known.pop(key))

    def _drop(self, key: Key) -> Iterator[Delta[T]]:
        self._versions.pop(key, None)
        if key in self.known:
            yield Gone(key, self.known.pop(key))


def key_of(obj: Obj) -> Key:
    """Namespace ("" for what has none) and name."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def cause_of(status: int) -> Cause:
    """What an HTTP status, or the code of a Status, means here; 0: no answer came."""
    match status:
        case 0:
            return Cause.NO_ANSWER
        case 410:
            return Cause.EXPIRED
        case 429:
            return Cause.THROTTLED
        case _:
            return Cause.REFUSED
