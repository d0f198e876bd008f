"""What becomes of one model's replicas on this machine: pure, ``now`` in, effects out.

``Supervision`` holds the wish (how many, from which launch) and what is known of each
replica, and after every event works out what to start, stop and announce. A replica goes::

    starting ── ready ── draining ── (SIGTERM) ── (SIGKILL) ── gone
        └─ failed (start_timeout) ── (SIGKILL) ── gone

and is gone at once when its process ends by itself. Failed starts are retried one at a
time, after a pause that doubles; after ``failures_before_giving_up`` in a row the model has
an outage and is tried again each ``restart_backoff_cap`` seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from stoker.platform import ModelOutage, ReplicaChanged, ReplicaGone, choose_victims
from stoker.platforms.local.effects import (
    Announce,
    Cause,
    Effect,
    Ending,
    Kill,
    Start,
    Terminate,
)
from stoker.vocabulary import Address, LaunchConfig, ModelSpec, Outage, Phase, Replica


def backoff(launch: LaunchConfig, failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubles up to the cap."""
    if failures < 1:
        return 0.0
    # 2**1023 is the largest a float holds; the cap is reached long before.
    wait = launch.restart_backoff * 2.0 ** min(failures - 1, 1000)
    return min(wait, launch.restart_backoff_cap)


class _Stage(enum.Enum):
    RUNNING = enum.auto()
    DRAINING = enum.auto()
    TERMINATING = enum.auto()
    KILLED = enum.auto()


@dataclass(slots=True)
class _Member:
    replica: Replica
    launch: LaunchConfig
    deadline: float
    stage: _Stage = _Stage.RUNNING
    probe: str = ""

    @property
    def is_ready(self) -> bool:
        return self.replica.phase is Phase.READY


class Supervision:
    """One model's replicas. Every method returns the effects, in order, of what it was told."""

    def __init__(self, spec: ModelSpec, new_ids: Iterator[str], node: str = "") -> None:
        self.spec = spec
        self.desired = 0
        self.removed = False
        self._new_ids = new_ids
        self._node = node
        self._victims: frozenset[str] = frozenset()
        self._members: dict[str, _Member] = {}  # oldest first
        self._failures = 0
        self._last_failure = -math.inf
        self._crashes = 0
        self._next_start = -math.inf
        self._last_reason = ""
        self._outage: Outage | None = None
        self._announced: Outage | None = None
        self._wake = math.inf

    @property
    def launch(self) -> LaunchConfig:
        assert self.spec.launch is not None
        return self.spec.launch

    def pause(self, now: float) -> tuple[str, float] | None:
        """Why no replica is there or being started, and in how many seconds one will be.

        None: there is no such pause.
        """
        if self.desired == 0 or now >= self._next_start:
            return None
        if any(m.stage is _Stage.RUNNING for m in self._members.values()):
            return None
        return self._last_reason, self._next_start - now

    @property
    def is_empty(self) -> bool:
        """No replica exists in any phase."""
        return not self._members

    @property
    def wake_at(self) -> float:
        """When ``tick`` has something to do next; infinity if only events can bring that."""
        return self._wake

    # --- what is wished ---------------------------------------------------------

    def scale(self, replicas: int, victims: Collection[str], now: float) -> list[Effect]:
        self.desired = replicas
        self._victims = frozenset(victims)
        return self._settle(now)

    def respec(self, spec: ModelSpec, now: float) -> list[Effect]:
        """A changed or returning model. A new launch deserves a fresh chance at once."""
        self.removed = False
        if spec.launch != self.spec.launch or spec.generation != self.spec.generation:
            self._forgive(now)
        self.spec = spec
        return self._settle(now)

    def remove(self, now: float) -> list[Effect]:
        """The model is gone: its replicas drain."""
        self.removed = True
        self.desired = 0
        self._outage = None
        return self._settle(now)

    def stop_all(self, now: float) -> list[Effect]:
        """SIGTERM to every replica now, drained or not: the platform is closing."""
        self.removed = True
        self.desired = 0
        self._outage = None
        effects: list[Effect] = []
        for member in self._members.values():
            if member.stage is _Stage.RUNNING:
                self._retire(member, "Stoker is closing", now, effects)
            if member.stage is _Stage.DRAINING:
                self._terminate(member, now, effects)
        return effects + self._settle(now)

    # --- what happens -----------------------------------------------------------

    def placed(self, id: str, address: Address) -> list[Effect]:
        """The replica is being started and will listen at ``address``."""
        member = self._members.get(id)
        if member is None:
            return []
        member.replica = replace(member.replica, address=address)
        return [Announce(ReplicaChanged(member.replica))]

    def probed(self, id: str, outcome: str) -> None:
        """Remember what the last unsuccessful probe met, for the reason of a time-out."""
        if member := self._members.get(id):
            member.probe = outcome

    def ready(self, id: str, now: float) -> list[Effect]:
        """A probe passed."""
        member = self._members.get(id)
        if member is None or member.stage is not _Stage.RUNNING or member.is_ready:
            return []
        _enter(member, Phase.READY, "", now)
        member.deadline = math.inf
        # Only the wanted generation gets here: respec() retires older ones that are not ready.
        self._failures = 0
        self._outage = None
        if self._crashes == 0:
            self._next_start = now
        return [Announce(ReplicaChanged(member.replica)), *self._settle(now)]

    def drained(self, id: str, now: float) -> list[Effect]:
        """No request is left in a draining replica."""
        member = self._members.get(id)
        if member is None or member.stage is not _Stage.DRAINING:
            return []
        effects: list[Effect] = []
        self._terminate(member, now, effects)
        return effects + self._settle(now)

    def ended(self, id: str, ending: Ending, now: float) -> list[Effect]:
        """The replica's process is no more, or could not be started."""
        member = self._members.pop(id, None)
        if member is None:
            return []
        replica = member.replica
        cause, reason = _judge(replica, ending)
        if cause is Cause.STOPPED:
            member.replica = replace(replica, reason=reason)
        else:
            _enter(member, Phase.FAILED, reason, now)
            if replica.generation == self.spec.generation:
                self._count(cause, replica, reason, ending.hopeless, now)
        return [Announce(ReplicaGone(member.replica), cause), *self._settle(now)]

    def tick(self, now: float) -> list[Effect]:
        """Do what has become due by ``now``."""
        effects: list[Effect] = []
        for member in self._members.values():
            if now < member.deadline:
                continue
            match member.stage:
                case _Stage.RUNNING:
                    self._give_up_start(member, now, effects)
                case _Stage.DRAINING:
                    self._terminate(member, now, effects)
                case _:
                    grace = member.launch.grace_period
                    reason = f"{member.replica.reason}; still there {grace:g} s after SIGTERM"
                    member.replica = replace(member.replica, reason=reason)
                    effects.append(Announce(ReplicaChanged(member.replica)))
                    _kill(member, effects)
        return effects + self._settle(now)

    # --- working it out ---------------------------------------------------------

    def _settle(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        generation = self.spec.generation
        running = [m for m in self._members.values() if m.stage is _Stage.RUNNING]
        current = [m for m in running if m.replica.generation == generation]
        self._replace_old(running, current, now, effects)
        reason = "model removed" if self.removed else "scaled down"
        for member in self._victims_among(current, len(current) - self.desired):
            self._retire(member, reason, now, effects)
            current.remove(member)

        failed = sum(m.replica.phase is Phase.FAILED for m in self._members.values())
        missing = self.desired - len(current) - failed
        if self._failures and missing > 0:
            # Try with one replica, once, until a start succeeds again.
            missing = 0 if failed or any(not m.is_ready for m in current) else 1
        if missing > 0 and now >= self._next_start:
            for _ in range(missing):
                self._start(now, effects)
            missing = 0

        if self._outage is not None and self.desired == 0 and now >= self._outage.retry_at:
            # Nobody is waiting, so nothing is tried: let the next caller cause the try.
            self._outage = None
            self._failures = self.launch.failures_before_giving_up - 1
        self._announce_outage(effects)
        self._wake = min((m.deadline for m in self._members.values()), default=math.inf)
        if missing > 0:
            self._wake = min(self._wake, self._next_start)
        if self._outage is not None and self.desired == 0:
            self._wake = min(self._wake, self._outage.retry_at)
        return effects

    def _replace_old(
        self,
        running: Sequence[_Member],
        current: Sequence[_Member],
        now: float,
        effects: list[Effect],
    ) -> None:
        """Replicas of an older launch serve on until as many new ones are ready."""
        reason = "model removed" if self.removed else "replaced: the launch settings changed"
        old = [m for m in running if m.replica.generation != self.spec.generation]
        keep = max(0, self.desired - sum(m.is_ready for m in current))
        serving = [m for m in old if m.is_ready]
        going = self._victims_among(serving, len(serving) - keep)
        for member in [m for m in old if not m.is_ready] + going:
            self._retire(member, reason, now, effects)

    def _victims_among(self, members: Sequence[_Member], count: int) -> list[_Member]:
        chosen = choose_victims([m.replica for m in members], count, self._victims)
        return [self._members[replica.id] for replica in chosen]

    def _start(self, now: float, effects: list[Effect]) -> None:
        replica = Replica(
            model=self.spec.key,
            id=next(self._new_ids),
            generation=self.spec.generation,
            phase=Phase.STARTING,
            since=now,
            node=self._node,
            resources=self.launch.resources,
            created=now,
        )
        deadline = now + self.launch.start_timeout
        self._members[replica.id] = _Member(replica, self.launch, deadline)
        # The process first: each microsecond before it is part of the cold start.
        effects += (Start(replica.id, self.launch), Announce(ReplicaChanged(replica)))

    def _retire(self, member: _Member, reason: str, now: float, effects: list[Effect]) -> None:
        """Begin to stop a running replica. One that was never ready has nothing to drain."""
        was_ready = member.is_ready
        if was_ready:
            self._crashes = 0  # its life ended well: what came before it is forgiven
        _enter(member, Phase.DRAINING, reason, now)
        effects.append(Announce(ReplicaChanged(member.replica)))
        member.stage = _Stage.DRAINING
        member.deadline = now + member.launch.drain_timeout
        if not was_ready:
            self._terminate(member, now, effects)

    def _terminate(self, member: _Member, now: float, effects: list[Effect]) -> None:
        member.stage = _Stage.TERMINATING
        member.deadline = now + member.launch.grace_period
        effects.append(Terminate(member.replica.id))

    def _give_up_start(self, member: _Member, now: float, effects: list[Effect]) -> None:
        reason = f"not ready within {member.launch.start_timeout:g} s"
        if member.probe:
            reason += f" (last probe: {member.probe})"
        _enter(member, Phase.FAILED, reason, now)
        effects.append(Announce(ReplicaChanged(member.replica)))
        _kill(member, effects)

    def _healthy_for(self, crashed: Replica, now: float) -> float:
        """For how long it had been ready, or one that still is."""
        ready = [m.replica for m in self._members.values() if m.is_ready]
        same = [r for r in ready if r.generation == crashed.generation]
        return max(now - replica.since for replica in (crashed, *same))

    def _count(
        self, cause: Cause, replica: Replica, reason: str, hopeless: bool, now: float
    ) -> None:
        launch = self.launch
        self._last_reason = reason
        if cause is Cause.LOST:
            self._next_start = now
        elif cause is Cause.CRASHED:
            pause = backoff(launch, self._crashes)
            if self._crashes and self._healthy_for(replica, now) >= 2.0 * pause:
                # Up for twice the pause that would follow: healthy enough. A replica that
                # crashes every 10 s is thus away for a third of the time at most. Nor is one
                # of several to be waited for because of its own short life: with two that were
                # killed every 12 s at random the pauses grew to 60 s, and nobody was there.
                self._crashes, pause = 0, 0.0
            self._next_start = max(self._next_start, now + pause)
            self._crashes += 1
        elif replica.created >= self._last_failure:
            # Starts that were under way when an earlier one failed are the same failure.
            self._failures += 1
            self._last_failure = now
            if hopeless or self._failures >= launch.failures_before_giving_up:
                self._failures = max(self._failures, launch.failures_before_giving_up)
                since = self._outage.since if self._outage else now
                retry_at = now + launch.restart_backoff_cap
                self._outage = Outage(self.spec.key, reason, since, retry_at)
                self._next_start = retry_at
            else:
                self._next_start = now + backoff(launch, self._failures)

    def _forgive(self, now: float) -> None:
        self._failures = self._crashes = 0
        self._last_failure = self._next_start = now
        self._outage = None

    def _announce_outage(self, effects: list[Effect]) -> None:
        """An outage refuses callers at once, so it is none while a replica is ready."""
        serving = any(m.is_ready for m in self._members.values())
        outage = None if serving else self._outage
        if outage != self._announced:
            self._announced = outage
            effects.append(Announce(ModelOutage(self.spec.key, outage)))


def _judge(replica: Replica, ending: Ending) -> tuple[Cause, str]:
    """Why a replica in this phase ended, and how to say it."""
    match replica.phase:
        case Phase.DRAINING:
            return Cause.STOPPED, f"{replica.reason}; {ending.how}"
        case _ if ending.blameless:
            return Cause.LOST, ending.reason()
        case Phase.READY:
            return Cause.CRASHED, ending.reason()
        case Phase.FAILED:
            return Cause.FAILED_START, replace(ending, how=replica.reason).reason()
        case _:
            context = "" if ending.hopeless else " before it was ready"
            return Cause.FAILED_START, ending.reason(context)


def _enter(member: _Member, phase: Phase, reason: str, now: float) -> None:
    """Begin a phase; one that goes on only gets another reason."""
    replica = member.replica
    if replica.phase is phase:
        member.replica = replace(replica, reason=reason)
        return
    member.replica = replace(
        replica,
        phase=phase,
        since=now,
        reason=reason,
        phase_seconds=(*replica.phase_seconds, (replica.phase, now - replica.since)),
    )


def _kill(member: _Member, effects: list[Effect]) -> None:
    member.stage = _Stage.KILLED
    member.deadline = math.inf
    effects.append(Kill(member.replica.id))
