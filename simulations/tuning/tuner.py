"""The way to a recommendation: a sample, a second one around its best, replays, a choice.

Roughly (the fluid pass): half of the budget fills the space, the other half goes near the
front of what was best, for each fold apart, so that no segment has a say in what it judges.
Exactly (the engine): the most promising of each fold and of all, the settings in force and
Knative's defaults, the same requests for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulations.fluid_waits import percentile
from simulations.tuning.choosing import cheapest, front, promising
from simulations.tuning.judged import Judged, together, wilson
from simulations.tuning.rough import Estimates, by_segment
from simulations.tuning.segments import FOLDS
from simulations.tuning.slo import Reference, Seen, Slo
from simulations.tuning.space import (
    Candidate,
    Dimension,
    around,
    dimensions,
    load_of,
    spread,
)
from simulations.tuning.task import Task, Workers, workers

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of that is done."""

OF_ALL, OF_FOLD = 10, 5
"""How many candidates are replayed for the recommendation, and for each fold."""
CURRENT: Candidate = ()


@dataclass(frozen=True, slots=True, eq=False)
class Fared:
    """Settings and how they fared, exactly."""

    candidate: Candidate
    judged: Judged


@dataclass(frozen=True, slots=True, eq=False)
class HeldBack:
    """How the way of choosing fares where it did not look: each segment judged once, with
    settings chosen on the other folds. ``met`` of ``trials`` segments kept the SLO (segments
    without requests are not counted); the other columns are of all of them together.
    """

    met: int
    trials: int
    tuned: Judged
    current: Judged
    knative: Judged
    chosen: tuple[Candidate, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """Of the share met, 95 %."""
        return wilson(self.met, self.trials)


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """``front``: not beaten in cost, p99 wait and cold share at once, the cheapest first.
    ``met``: whether the recommended ones keep the SLO. ``estimated``, ``replayed``:
    candidates; ``ticks``: decided on in the fluid pass.
    """

    task: Task
    slo: Slo
    recommended: Fared
    met: bool
    current: Fared
    knative: Fared
    front: tuple[Fared, ...]
    held_back: HeldBack
    estimated: int
    replayed: int
    ticks: int


def tune(
    task: Task, slo: Slo, budget: int = 256, jobs: int = 1, progress: Progress | None = None
) -> Tuned:
    """Find settings that keep ``slo`` at the least cost. Deterministic, whatever ``jobs``."""
    with workers(task, jobs) as at_work:
        return _Search(at_work, slo, budget, progress or (lambda *_: None)).run()


class _Search:
    def __init__(self, at_work: Workers, slo: Slo, budget: int, progress: Progress) -> None:
        self.task = at_work.task
        self.at_work = at_work
        self.slo = slo
        self.budget = budget
        self.progress = progress
        self.rng = np.random.default_rng(self.task.seed)
        base, trace = self.task.base, self.task.trace
        slots = int(base.resolved(())["container_concurrency"])
        self.dims: Sequence[Dimension] = dimensions(base, load_of(trace, self.task.service, slots))
        self.knative = base.knative()
        self.candidates: list[Candidate] = []
        self.ticks = 0
        segments = self.task.segments
        self.every = list(range(len(segments)))
        self.trainings = [segments.others(fold) for fold in range(FOLDS)]

    def run(self) -> Tuned:
        sample = spread(self.dims, self.task.base, self.budget // 2, self.rng)
        estimates = self._estimate([CURRENT, self.knative, *sample], "a first sample, roughly")
        fresh: dict[Candidate, None] = {}
        for places in (*self.trainings, self.every):
            count = (self.budget - self.budget // 2) // (FOLDS + 1)
            parents = [self.candidates[at] for at in self._best(estimates, places, count)]
            known = [*self.candidates, *fresh]
            new = around(parents, self.dims, self.task.base, count, self.rng, known)
            fresh.update(dict.fromkeys(new))
        if fresh:
            more = self._estimate(list(fresh), "around the best, roughly")
            estimates = estimates.with_more(more)
        shortlists = self._plain(
            [
                (places, self._shortlist(estimates, places, count))
                for places, count in (
                    *((training, OF_FOLD) for training in self.trainings),
                    (self.every, OF_ALL),
                )
            ]
        )
        wanted = dict.fromkeys((CURRENT, self.knative))
        for shortlist in shortlists:
            wanted.update(dict.fromkeys(shortlist))
        self.at_work.replay(list(wanted), lambda share: self.progress("the best, exactly", share))
        return self._concluded(shortlists)

    def _estimate(self, candidates: list[Candidate], what: str) -> Estimates:
        self.candidates += candidates
        flowed = self.at_work.flow(candidates, lambda share: self.progress(what, share))
        self.ticks += flowed.ticks
        task = self.task
        return by_segment(flowed, len(task.trace.models), len(task.segments), task.service)

    def _points(self, estimates: Estimates, places: Sequence[int]) -> list[tuple[float, ...]]:
        """What candidates are compared by, roughly: cost, p99 wait, cold share."""
        return [
            (one.replica_seconds, float(percentile(one.waits, 99)), one.cold_share)
            for one in estimates.of(places)
        ]

    def _rated(
        self, estimates: Estimates, places: Sequence[int]
    ) -> tuple[list[float], list[float]]:
        """Cost, and how far from the SLO."""
        seen = estimates.of(places)
        references: Mapping[Reference, Seen] = {
            Reference.CURRENT: seen[0],
            Reference.KNATIVE: seen[1],
        }
        return (
            [one.replica_seconds for one in seen],
            [self.slo.excess(one, references) for one in seen],
        )

    def _best(self, estimates: Estimates, places: Sequence[int], count: int) -> list[int]:
        """Whose neighbourhood is worth a look."""
        costs, excesses = self._rated(estimates, places)
        return promising(costs, excesses, self._points(estimates, places), max(4, count // 3))

    def _shortlist(
        self, estimates: Estimates, places: Sequence[int], count: int
    ) -> list[Candidate]:
        """Who is replayed."""
        costs, excesses = self._rated(estimates, places)
        best = promising(costs, excesses, self._points(estimates, places), count)
        return [self.candidates[at] for at in best]

    def _plain(
        self, shortlists: Sequence[tuple[Sequence[int], list[Candidate]]]
    ) -> list[list[Candidate]]:
        """The same without what makes no difference: nobody should have to wonder why a
        setting was changed that nothing depends on."""
        base = self.task.base
        everyone = dict.fromkeys(base.changes(one) for _, listed in shortlists for one in listed)
        variants = dict.fromkeys(everyone)
        for one in everyone:
            variants.update(dict.fromkeys(_without(one, setting) for setting in one))
        tried = list(variants)
        flowed = self.at_work.flow(tried, lambda share: self.progress("made plain, roughly", share))
        self.ticks += flowed.ticks
        place_of = {candidate: place for place, candidate in enumerate(tried)}
        task = self.task
        estimates = by_segment(flowed, len(task.trace.models), len(task.segments), task.service)
        result = []
        for places, listed in shortlists:
            points = self._points(estimates, places)
            plain: dict[Candidate, None] = {}
            for one in map(base.changes, listed):
                own = points[place_of[one]]
                kept = tuple(
                    setting
                    for setting in one
                    if not _alike(points[place_of[_without(one, setting)]], own)
                )
                # Each alone may go, and yet not all: then all of them stay.
                plain[kept if base.allows(kept) else one] = None
            result.append(list(plain))
        return result

    # --- from replays ---

    def _judged(self, candidate: Candidate, places: Sequence[int]) -> Judged:
        parts = self.at_work.replays[candidate]
        return together(parts[at] for at in places)

    def _references(self, places: Sequence[int]) -> dict[Reference, Judged]:
        return {
            Reference.CURRENT: self._judged(CURRENT, places),
            Reference.KNATIVE: self._judged(self.knative, places),
        }

    def _choose(
        self, candidates: Sequence[Candidate], places: Sequence[int]
    ) -> tuple[Candidate, bool]:
        judged = [self._judged(candidate, places) for candidate in candidates]
        everywhere = [all(self._kept(one, place) for place in places) for one in candidates]
        at, met = cheapest(judged, self.slo, self._references(places), everywhere)
        return candidates[at], met

    def _kept(self, candidate: Candidate, place: int) -> bool:
        """Whether the SLO was kept in this segment."""
        return self.slo.met(self._judged(candidate, [place]), self._references([place]))

    def _concluded(self, shortlists: Sequence[list[Candidate]]) -> Tuned:
        everyone = list(self.at_work.replays)
        fared = [Fared(one, self._judged(one, self.every)) for one in everyone]
        points = [
            (one.judged.dollars, one.judged.percentile(False, 99), one.judged.cold_share)
            for one in fared
        ]
        recommended, met = self._choose(everyone, self.every)
        by_candidate = {one.candidate: one for one in fared}
        return Tuned(
            task=self.task,
            slo=self.slo,
            recommended=by_candidate[recommended],
            met=met,
            current=by_candidate[CURRENT],
            knative=by_candidate[self.knative],
            front=tuple(fared[at] for at in front(points)),
            held_back=self._held_back(shortlists),
            estimated=len(self.candidates),
            replayed=len(everyone),
            ticks=self.ticks,
        )

    def _held_back(self, shortlists: Sequence[list[Candidate]]) -> HeldBack:
        met = trials = 0
        chosen, parts = [], []
        for fold, training in enumerate(self.trainings):
            pool = list(dict.fromkeys((CURRENT, self.knative, *shortlists[fold])))
            candidate, _ = self._choose(pool, training)
            chosen.append(candidate)
            for place in self.task.segments.fold(fold):
                judged = self._judged(candidate, [place])
                parts.append(judged)
                if judged.requests:
                    trials += 1
                    met += self._kept(candidate, place)
        references = self._references(self.every)
        return HeldBack(
            met,
            trials,
            together(parts),
            references[Reference.CURRENT],
            references[Reference.KNATIVE],
            tuple(chosen),
        )


def _without(candidate: Candidate, setting: tuple[str, str]) -> Candidate:
    return tuple(each for each in candidate if each != setting)


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether costs, waits and cold shares are within half a percent."""
    return all(abs(a - b) <= 0.005 * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))
