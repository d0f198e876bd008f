"""What is to be tuned, and the work that other processes can do for it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from simulations.engine import Run, simulate
from simulations.fluid import UNLIMITED, Flowed, FluidWorld, flow
from simulations.lanes import Floats, Lanes, lanes
from simulations.trace import Trace
from simulations.tuning.judged import Judged
from simulations.tuning.segments import Segments, cut, flattened
from simulations.tuning.space import Base, Candidate
from simulations.world import World

CROWD = 512
"""Requests in one replica up to which its slowing down is tabled where there is no limit."""


@dataclass(frozen=True, eq=False)
class Task:
    """A trace, the world it meets, and the settings in force there."""

    trace: Trace
    world: World
    base: Base
    segments: Segments
    seed: int = 0
    tick_interval: float = 2.0
    max_queued_requests: int = 10_000

    @cached_property
    def service(self) -> Floats:
        """Seconds of each request in a replica of its own."""
        return self.world.service.seconds(self.trace, np.random.default_rng(self.seed))

    @cached_property
    def lanes(self) -> Lanes:
        """Model by model, segment by segment, all lanes."""
        traces = []
        for place, key in enumerate(self.trace.models):
            traces.append((self.trace.only([key]), self.service[self.trace.which == place]))
        return lanes(traces, flattened(self.segments.rough), self.segments.quiet)

    @property
    def fluid_world(self) -> FluidWorld:
        """The world as far as the fluid pass knows it."""
        world, slots = self.world, int(self.base.resolved(())["container_concurrency"])
        factors = np.zeros(0)
        if world.service.slowdown(2) != 1.0:
            crowd = range(1, (slots or CROWD) + 1)
            factors = np.array([1.0, *map(world.service.slowdown, crowd)])
        return FluidWorld(
            slots=float(slots or UNLIMITED),
            start=world.start.mean,
            drain=world.drain,
            most=world.capacity.replicas,
            slowdown=factors,
            tick=max(1, round(self.tick_interval)),
        )

    def flow(
        self, candidates: Sequence[Candidate], progress: Callable[[float], None] | None = None
    ) -> Flowed:
        """All of ``candidates`` roughly, over all lanes."""
        configs = [self.base.scaling(candidate) for candidate in candidates]
        return flow(configs, self.lanes, self.fluid_world, progress=progress)

    def replay(self, candidate: Candidate) -> list[Judged]:
        """One exactly, segment by segment. The same requests, starts and failures are drawn
        for every candidate (common random numbers)."""
        specs = {key: self.base.spec(key, candidate) for key in self.trace.models}
        judged = []
        for stretch in self.segments.exact:
            part, lead = cut(self.trace, stretch, self.segments.quiet)
            run = Run(
                part,
                specs,
                self.world,
                seed=self.seed,
                warm_up=lead,
                tick_interval=self.tick_interval,
                max_queued_requests=self.max_queued_requests,
            )
            judged.append(Judged.of(simulate(run)))
        return judged


@dataclass
class Workers:
    """Does a task's work in ``jobs`` processes, or in this one where that is 1."""

    task: Task
    pool: ProcessPoolExecutor | None = None
    jobs: int = 1
    replays: dict[Candidate, list[Judged]] = field(default_factory=dict)

    def flow(self, candidates: Sequence[Candidate], progress: Callable[[float], None]) -> Flowed:
        """See ``Task.flow``: each process takes a share of the candidates."""
        if self.pool is None:
            return self.task.flow(candidates, progress)
        shares = [list(candidates[at :: self.jobs]) for at in range(self.jobs)]
        shares = [share for share in shares if share]
        done = self._gather(_flow, shares, progress)
        places = np.concatenate(
            [np.arange(len(candidates))[at :: self.jobs] for at in range(self.jobs)]
        )
        order = np.argsort(places)
        return Flowed(
            np.concatenate([flowed.waits for flowed in done])[order],
            np.concatenate([flowed.cold for flowed in done])[order],
            np.concatenate([flowed.replica_seconds for flowed in done])[order],
            sum(flowed.ticks for flowed in done),
        )

    def replay(
        self, candidates: Sequence[Candidate], progress: Callable[[float], None]
    ) -> list[list[Judged]]:
        """See ``Task.replay``, in the order of ``candidates``; what was replayed once is kept."""
        new = [c for c in dict.fromkeys(candidates) if c not in self.replays]
        if self.pool is None:
            for count, candidate in enumerate(new, 1):
                self.replays[candidate] = self.task.replay(candidate)
                progress(count / len(new))
        else:
            self.replays.update(zip(new, self._gather(_replay, new, progress), strict=True))
        return [self.replays[candidate] for candidate in candidates]

    def _gather(
        self, work: Callable[[Any], Any], parts: Sequence[Any], progress: Callable[[float], None]
    ) -> list[Any]:
        assert self.pool is not None
        futures = [self.pool.submit(work, part) for part in parts]
        open_ = set(futures)
        while open_:
            _, open_ = wait(open_, return_when=FIRST_COMPLETED)
            progress(1 - len(open_) / len(futures))
        return [future.result() for future in futures]


@contextmanager
def workers(task: Task, jobs: int) -> Iterator[Workers]:
    """Processes for a task, which end with the block. Each gets the task once."""
    if jobs == 1:
        yield Workers(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _keep, (task,)) as pool:
        yield Workers(task, pool, jobs)


_kept: Mapping[str, Task] = {}


def _keep(task: Task) -> None:
    global _kept
    _kept = {"task": task}


def _flow(candidates: Sequence[Candidate]) -> Flowed:
    return _kept["task"].flow(candidates)


def _replay(candidate: Candidate) -> list[Judged]:
    return _kept["task"].replay(candidate)
