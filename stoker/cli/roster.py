"""Which worker processes there should be, and who accepts from which queue. Pure.

A slot is a place for one worker and has a queue of its own: the kernel spreads connections
over the queues, and they outlive the workers. A worker is known by its number, never reused.

What happened goes in with ``now``; what is to be done comes back as effects, in order. A
queue whose worker is away is served by another one meanwhile: connections that the kernel
has put there must not wait for a process to start.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

NEVER = float("inf")
# One that served for this long has not failed at the start: its successor need not wait.
STEADY_SECONDS = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


class Stage(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRING = "retiring"


class Cause(enum.StrEnum):
    """Why a worker ended: replaced, stopped with all the others, or by itself."""

    REPLACED = "replaced"
    STOPPED = "stopped"
    DIED = "died"


@dataclass(frozen=True, slots=True)
class Start:
    """Start worker ``worker`` for ``slot``."""

    worker: int
    slot: int


@dataclass(frozen=True, slots=True)
class Serve:
    """The worker is to accept from exactly these queues."""

    worker: int
    queues: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Retire:
    """The worker is to let its requests finish and exit."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The worker does not do what it should: end it."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker is gone. ``pause``: seconds until another takes its place, if one has to."""

    worker: int
    cause: Cause
    pause: float | None


@dataclass(frozen=True, slots=True)
class Rolled:
    """Every worker that was to be replaced has been, or (``failed``) that was given up."""

    failed: bool


Effect = Start | Serve | Retire | Kill | Ended | Rolled


@dataclass(slots=True)
class Worker:
    """One worker process. ``since`` is when its stage began, ``heard`` when it last spoke."""

    number: int
    slot: int
    since: float
    heard: float
    stage: Stage = Stage.STARTING
    queues: tuple[int, ...] = ()
    killed: bool = False


@dataclass(slots=True)
class _Slot:
    failures: int = 0
    start_at: float = NEVER
    workers: dict[int, Worker] = field(default_factory=dict)


class Roster:
    """``patience`` bounds starting and being silent, ``retire_patience`` retiring (seconds)."""

    def __init__(self, slots: int, *, patience: float = 60.0, retire_patience: float) -> None:
        self.workers: dict[int, Worker] = {}
        self.stopping = False
        self.retire_patience = retire_patience
        self._slots = [_Slot() for _ in range(slots)]
        self._numbers = itertools.count(1)
        self._patience = patience
        # The workers that are to be replaced, and the successor that is on its way.
        self._outdated: dict[int, None] = {}
        self._rolling = False
        self._successor: int | None = None

    # --- to see ---

    def serving(self) -> list[Worker]:
        """Those that accept, or are just being told to, by slot."""
        found = [worker for worker in self.workers.values() if worker.stage is Stage.SERVING]
        return sorted(found, key=lambda worker: worker.slot)

    @property
    def complete(self) -> bool:
        """Whether every slot has a worker that serves."""
        return {worker.slot for worker in self.serving()} == set(range(len(self._slots)))

    @property
    def rolling(self) -> bool:
        return self._rolling

    def wake_at(self) -> float:
        """When ``tick`` must be called next."""
        times = [slot.start_at for slot in self._slots]
        times += [self._end_of_patience(worker) for worker in self.workers.values()]
        return min(times, default=NEVER)

    # --- what happens ---

    def begin(self, now: float) -> list[Effect]:
        """Start one worker in each slot."""
        return [self._start(slot, now) for slot in range(len(self._slots))]

    def ready(self, number: int, now: float) -> list[Effect]:
        """The worker knows what it must and can serve."""
        worker = self.workers.get(number)
        if worker is None or worker.stage is not Stage.STARTING or self.stopping:
            return []
        worker.stage, worker.since, worker.heard = Stage.SERVING, now, now
        effects: list[Effect] = []
        before = [w for w in self.serving() if w.slot == worker.slot and w is not worker]
        for old in before:
            old.stage, old.since = Stage.RETIRING, now
            self._outdated.pop(old.number, None)
        # The new one listens before the old one stops: the queue is never without anybody.
        effects += self._assign()
        effects += [Retire(old.number) for old in before]
        return effects

    def heard(self, number: int, now: float) -> None:
        """The worker has said something: it has not hung."""
        if number in self.workers:
            self.workers[number].heard = now

    def exited(self, number: int, now: float) -> list[Effect]:
        """The worker's process has ended."""
        worker = self.workers.pop(number, None)
        if worker is None:
            return []
        slot = self._slots[worker.slot]
        del slot.workers[number]
        self._outdated.pop(number, None)
        if self.stopping:
            return [Ended(number, Cause.STOPPED, None), *self._assign()]
        effects: list[Effect] = []
        if worker.stage is Stage.RETIRING:
            effects.append(Ended(number, Cause.REPLACED, None))
        elif any(other.stage is not Stage.RETIRING for other in slot.workers.values()):
            # A successor that failed, or one whose successor is on its way.
            effects.append(Ended(number, Cause.DIED, None))
        else:
            effects.append(Ended(number, Cause.DIED, self._again(slot, worker, now)))
        effects += self._assign()
        if number == self._successor:
            self._successor = None
            if worker.stage is Stage.STARTING:
                effects += self._give_up()
        return effects + self.tick(now)

    def roll(self, now: float) -> list[Effect]:
        """Replace all workers that serve now, one by one."""
        self._rolling = True
        self._outdated.update(dict.fromkeys(worker.number for worker in self.serving()))
        return self._next(now)

    def leave(self, number: int, now: float) -> list[Effect]:
        """Replace this one worker."""
        worker = self.workers.get(number)
        if worker is not None and worker.stage is Stage.SERVING:
            self._rolling = True
            self._outdated[number] = None
        return self._next(now)

    def stop(self) -> None:
        """Nothing is started or replaced any more: all ends."""
        self.stopping = True
        for slot in self._slots:
            slot.start_at = NEVER

    def tick(self, now: float) -> list[Effect]:
        """Do what is due by now."""
        effects: list[Effect] = []
        for number, slot in enumerate(self._slots):
            if slot.start_at <= now:
                slot.start_at = NEVER
                effects.append(self._start(number, now))
        for worker in self.workers.values():
            if self._end_of_patience(worker) <= now:
                worker.killed = True
                effects.append(Kill(worker.number, _WHY[worker.stage]))
        return effects + self._next(now)

    # --- inside ---

    def _start(self, slot: int, now: float) -> Start:
        worker = Worker(next(self._numbers), slot, now, now)
        self.workers[worker.number] = self._slots[slot].workers[worker.number] = worker
        return Start(worker.number, slot)

    def _again(self, slot: _Slot, worker: Worker, now: float) -> float:
        """Have the slot started anew: at once, or later the more often it failed in a row."""
        steady = worker.stage is Stage.SERVING and now - worker.since >= STEADY_SECONDS
        slot.failures = 1 if steady else slot.failures + 1
        pause = 0.0
        if slot.failures > 1:
            pause = min(FIRST_PAUSE * 2.0 ** (slot.failures - 2), LONGEST_PAUSE)
        slot.start_at = now + pause
        return pause

    def _next(self, now: float) -> list[Effect]:
        """The next step of a roll: one at a time, each to its end."""
        if not self._rolling or self.stopping:
            return []
        if any(w.stage is Stage.RETIRING for w in self.workers.values()):
            return []
        if self._successor in self.workers and not self._settled(self._successor):
            return []
        self._successor = None
        if not self._outdated:
            self._rolling = False
            return [Rolled(failed=False)]
        worker = self.workers[next(iter(self._outdated))]
        effect = self._start(worker.slot, now)
        self._successor = effect.worker
        return [effect]

    def _settled(self, number: int | None) -> bool:
        return number is not None and self.workers[number].stage is not Stage.STARTING

    def _give_up(self) -> list[Effect]:
        """A successor could not start: those that serve are better than none."""
        self._outdated.clear()
        self._rolling = False
        return [Rolled(failed=True)]

    def _assign(self) -> list[Effect]:
        """Give every queue to its slot's worker; while there is none, to who has it already
        or else to any. So in one step a worker is given queues or relieved of some, never both.
        """
        serving = self.serving()
        queues: dict[int, list[int]] = {worker.number: [] for worker in serving}
        takers = {queue: worker for worker in serving for queue in worker.queues}
        takers |= {worker.slot: worker for worker in serving}
        for queue in range(len(self._slots)) if serving else ():
            queues[takers.get(queue, serving[queue % len(serving)]).number].append(queue)
        return self._changed(serving, queues)

    @staticmethod
    def _changed(serving: Iterable[Worker], queues: dict[int, list[int]]) -> list[Effect]:
        more: list[Effect] = []
        less: list[Effect] = []
        for worker in serving:
            wanted = tuple(queues[worker.number])
            if wanted != worker.queues:
                grows = set(wanted) - set(worker.queues)
                (more if grows else less).append(Serve(worker.number, wanted))
                worker.queues = wanted
        return more + less

    def _end_of_patience(self, worker: Worker) -> float:
        if worker.killed:
            return NEVER
        if self.stopping or worker.stage is Stage.RETIRING:
            # Stopping has its own end, which the shell keeps.
            return NEVER if self.stopping else worker.since + self.retire_patience
        if worker.stage is Stage.STARTING:
            return worker.since + self._patience
        return max(worker.since, worker.heard) + self._patience


_WHY = {
    Stage.STARTING: "it did not get ready",
    Stage.SERVING: "it has not been heard of",
    Stage.RETIRING: "it did not end",
}
