"""Who leads: the holder of a Lease, who stops before anybody else can begin. Pure.

The rules of client-go's leader election, with two things changed. The holder's right to act
is a matter of its clock alone, not of what a request came to: whatever hangs, it ends. And it
ends well before the lease does::

    renewal sent at t ─────── acts until t + 2/3 d ──────── others may take it from t + d on

Others count from when they *saw* the lease change, which is after ``t``: their clocks need
not agree with the holder's about the time, only about how fast it goes. A third of the
duration (5 s of 15 s) is left for clocks that differ in that and for writes under way: each
is given no more time than the holder may act.

A renewal of unknown outcome (no answer) extends nothing; the lease is read before the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ACTING_SHARE = 2 / 3


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease as it was read. ``version`` is its resourceVersion, ``holder`` "" when released;
    ``duration`` in seconds is what its holder said, not what we would."""

    holder: str
    duration: float
    version: str
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """Read the lease, then call ``read``."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the lease, held by us, then call ``wrote``."""


@dataclass(frozen=True, slots=True)
class Take:
    """Write ourselves as the holder over exactly this version, then call ``wrote``.

    ``renewal``: we hold it already; else ``transitions`` is one more than it was.
    """

    version: str
    transitions: int
    renewal: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before this moment."""

    until: float


Step = Read | Create | Take | Wait


class Election:
    """One candidate. ``identity`` must be unique to this run of this process.

    ``duration`` in seconds is how long a lease of ours holds; ``retry`` how often a candidate
    looks, ``renew`` how often the holder renews.
    """

    def __init__(
        self, identity: str, *, duration: float = 15.0, renew: float = 3.0, retry: float = 2.0
    ) -> None:
        if not 0 < renew < duration * ACTING_SHARE / 2:
            raise ValueError(
                f"renew = {renew:g}: must be below {duration * ACTING_SHARE / 2:g}, a third of"
                " the duration, so that one renewal may fail"
            )
        self.identity = identity
        self.duration = duration
        self._renew = renew
        self._retry = retry
        self._seen: LeaseRecord | None = None
        self._seen_at = -math.inf
        self._absent = False
        self._stale = True
        self._acts_until = -math.inf
        self._next_at = -math.inf

    # --- who leads ------------------------------------------------------------------------

    @property
    def acts_until(self) -> float:
        """Until when we may act, if nothing else comes; minus infinity: not at all."""
        return self._acts_until

    def leads(self, now: float) -> bool:
        """Whether we may act at ``now``."""
        return now < self._acts_until

    def left(self, now: float) -> float:
        """The longest that anything begun at ``now`` may take; 0: begin nothing."""
        return max(0.0, self._acts_until - now)

    @property
    def holder(self) -> str:
        """Who held it when it was last read; "" nobody, or unknown."""
        return self._seen.holder if self._seen is not None else ""

    # --- what to do -----------------------------------------------------------------------

    def next(self, now: float, chance: float) -> Step:
        """What to do now. ``chance`` in [0, 1) spreads candidates that look at the same time."""
        if now < self._next_at:
            return Wait(self._next_at)
        if self._stale:
            return Read()
        if self._absent:
            return Create()
        assert self._seen is not None
        seen = self._seen
        if seen.holder == self.identity:
            return Take(seen.version, seen.transitions, renewal=True)
        free_at = self._seen_at + seen.duration if seen.holder else -math.inf
        if now >= free_at:
            return Take(seen.version, seen.transitions + 1, renewal=False)
        # Look again meanwhile: whoever renews has to be noticed, or who releases.
        self._stale = True
        self._next_at = now + self._retry * (1 + 0.2 * chance)
        return Wait(self._next_at)

    def read(self, record: LeaseRecord | None, now: float) -> None:
        """The lease was read; None: there is none."""
        self._stale = False
        self._absent = record is None
        self._observe(record, now)

    def wrote(self, record: LeaseRecord, sent_at: float, now: float) -> None:
        """Create or Take was done: ``record`` is what the server answered, ``sent_at`` when
        the request was begun."""
        self._absent = self._stale = False
        self._observe(record, now)
        self._acts_until = max(self._acts_until, sent_at + self.duration * ACTING_SHARE)
        self._next_at = sent_at + self._renew

    def failed(self, now: float, chance: float) -> None:
        """A read or a write failed, was refused (409: somebody was faster), or its outcome is
        not known. What is known of the lease is not to be trusted."""
        self._stale = True
        # Soon while there is a lease to lose, with what others do in between left room.
        pause = min(self._retry, self._renew / 2) if self.leads(now) else self._retry
        self._next_at = now + pause * (0.5 + 0.5 * chance)

    def resign(self) -> LeaseRecord | None:
        """Stop acting now. The lease to give back, if we hold it as far as we know."""
        held = self._seen if self._seen is not None and self._acts_until > -math.inf else None
        self._acts_until = -math.inf
        self._stale = True
        return held if held is not None and held.holder == self.identity else None

    def _observe(self, record: LeaseRecord | None, now: float) -> None:
        if record is None or self._seen is None or record.version != self._seen.version:
            self._seen_at = now
        self._seen = record
        if record is None or record.holder != self.identity:
            # Taken, or removed by hand: whatever we thought to have is over.
            self._acts_until = -math.inf
