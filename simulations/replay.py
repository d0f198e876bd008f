"""A decision journal played again: is it what was decided, why, and what would others have done?

The recorded decisions are made anew by the very planner that made them, and compared bit for
bit. Beside it another planner, with other settings, is given the same inputs: loads and
replica counts as recorded, which other decisions would have changed. What that one wants is
therefore what other settings would have *said*, not what would have come of it; the
simulator tells that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from autoscaler.journal import Journal
from autoscaler.journal import Verdict as Decided
from autoscaler.planner import Planner
from autoscaler.replay import Change, Player
from autoscaler.scale_to_zero import NEVER
from autoscaler.table import At, Floats, Table
from stoker.vocabulary import Decision, ModelKey

MOST_MISMATCHES: Final = 10
MOST_SPANS: Final = 1000

Line = Mapping[str, Any]


class Mismatch(NamedTuple):
    """A decision that was not made again as it was recorded. None: there is none."""

    time: float
    model: ModelKey
    recorded: Line | None
    made: Line | None


class Span(NamedTuple):
    """From ``begin`` to ``end`` so many replicas were wanted, and would have been."""

    begin: float
    end: float
    then: float
    now: float


@dataclass(slots=True)
class Compared:
    """One model under recorded and other settings. ``decisions``: ticks that decided for it,
    ``differ``: those that wanted another number; replica-seconds as wanted from tick to tick.
    ``spans``: the first MOST_SPANS in which they differ, ``more``: how many others.
    """

    decisions: int = 0
    differ: int = 0
    seconds_then: float = 0.0
    seconds_now: float = 0.0
    spans: list[Span] = field(default_factory=list)
    more: int = 0


class _Sums(Table):
    """By row: what is wanted under recorded settings (``then``) and under the others, and what
    came together since the row's model got it.
    """

    DEFAULTS = {  # noqa: RUF012 (declared ClassVar by Table)
        "then": 0.0,
        "now": 0.0,
        "decisions": 0.0,
        "differ": 0.0,
        "seconds_then": 0.0,
        "seconds_now": 0.0,
    }
    then: Floats
    now: Floats
    decisions: Floats
    differ: Floats
    seconds_then: Floats
    seconds_now: Floats


class Moment(NamedTuple):
    """What was decided for a model at a time, what it was made from (before it), and what the
    other settings would have decided from the same; None: there are no others.
    """

    time: float
    decided: Decided
    other: Decision | None


class Replay:
    """Plays a journal line by line: ``take`` each, then ``finish``.

    ``change``: the other settings. ``moments``: by the number of the tick (from 0) the models
    whose decision is looked at closely. All times that come out are those of the journal's
    lines, moved by ``offset`` where its snapshots tell the time of day.
    """

    def __init__(
        self,
        change: Change | None = None,
        moments: Mapping[int, Collection[ModelKey]] | None = None,
    ) -> None:
        self.recorded = 0
        self.equal = 0
        self.mismatches: list[Mismatch] = []
        self.more_mismatches = 0
        self.moments: dict[ModelKey, Moment] = {}
        self.compared: dict[ModelKey, Compared] = {}
        self.ticks = 0
        self.starts = 0
        self.offset = 0.0
        self._change = change
        self._wanted = moments or {}
        self._player = Player()
        self._other = None if change is None else Player(change)
        self._expected: dict[ModelKey, Line] = {}
        self._last = 0.0
        self._sums = _Sums()
        self._free: set[int] = set()
        self._open: dict[int, Span] = {}

    def take(self, line: Line) -> None:
        """Raises KeyError, ValueError or TypeError on a line that is none."""
        kind = line["kind"]
        if kind == "decision":
            self._check(line)
            return
        if kind == "snapshot":
            self._snapshot(line)
        elif kind == "tick":
            self._tick(line)
        else:
            if kind == "removed":
                self._forget(ModelKey(*line["model"]), line["t"])
            self._player.take(line)
            if self._other is not None:
                self._other.take(line)
            if kind == "config":
                self._reuse(ModelKey(*line["model"]))

    def finish(self, *, torn: bool = False) -> None:
        """No more lines. ``torn``: what the last tick decided may not have been written."""
        if not torn:
            self._close_tick()
        self._flush()

    # --- is it what was decided? ---

    def _snapshot(self, line: Line) -> None:
        goes_on = self.ticks > 0 and self._player.continues(line)
        if not goes_on:
            # What the last tick before a start decided may have been lost with the process.
            self._expected = {}
            self._flush()
            self.starts += 1
        self._close_tick()
        self._player.take(line, goes_on=goes_on)
        if self._other is not None:
            self._other.take(line, goes_on=goes_on)
        self.offset = line["wall"] - line["time"] if "wall" in line else 0.0

    def _tick(self, line: Line) -> None:
        self._close_tick()
        wanted = self._wanted.get(self.ticks, ())
        before = self._player.planner.snapshot(line["t"]) if wanted else {}
        plan = self._player.take(line)
        assert plan is not None
        self._expected = {d.model: _plain(d) for d in plan.decisions}
        for model in wanted:
            self._look(model, before, line["t"])
        self.ticks += 1
        if self._other is not None:
            self._other.take(line)
            self._compare(line, self._other.planner)

    def _check(self, line: Line) -> None:
        model = ModelKey(*line["model"])
        recorded = {name: line[name] for name in line if name != "kind"}
        made = self._expected.pop(model, None)
        self.recorded += 1
        if recorded == made:
            self.equal += 1
        else:
            self._mismatch(Mismatch(line["time"] + self.offset, model, recorded, made))

    def _close_tick(self) -> None:
        for model, made in self._expected.items():
            self._mismatch(Mismatch(made["time"] + self.offset, model, None, made))
        self._expected = {}

    def _mismatch(self, mismatch: Mismatch) -> None:
        if len(self.mismatches) < MOST_MISMATCHES:
            self.mismatches.append(mismatch)
        else:
            self.more_mismatches += 1

    # --- why? ---

    def _look(self, model: ModelKey, before: Line, now: float) -> None:
        entries = [e for e in before["models"] if ModelKey(*e["model"]) == model]
        snapshot = {**before, "kind": "snapshot", "models": entries}
        decided = _decide(model, snapshot, now, None)
        other = None if self._change is None else _decide(model, snapshot, now, self._change)
        self.moments[model] = Moment(
            now + self.offset, decided, None if other is None else other.decision
        )

    # --- what would others have done? ---

    def _compare(self, line: Line, other: Planner) -> None:
        here, now = self._player.planner, line["t"]
        self._elapse(now)
        count = len(here.rows)
        self._sums.reserve(count)
        sums = self._sums
        models = self._player.decided(line)
        at: At = slice(0, count) if models is None else here.rows.resolve(models).rows
        then, new = here.state.desired[:count], other.state.desired[:count]
        sums.decisions[at] += 1
        sums.differ[at] += then[at] != new[at]
        moved = (then != sums.then[:count]) | (new != sums.now[:count])
        for row in np.flatnonzero(moved).tolist():
            self._close_span(row, now)
            if then[row] != new[row]:
                self._open[row] = Span(now, now, float(then[row]), float(new[row]))
        sums.then[:count], sums.now[:count] = then, new

    def _elapse(self, now: float) -> None:
        """Up to ``now`` as many were wanted as the tick before said."""
        seconds, self._last = now - self._last, now
        self._sums.seconds_then += self._sums.then * seconds
        self._sums.seconds_now += self._sums.now * seconds

    def _settle(self, row: int, end: float) -> None:
        """Its model leaves the row, or all is over."""
        model = self._player.planner.rows.models[row]
        assert model is not None
        self._close_span(row, end)
        sums, compared = self._sums, self.compared.setdefault(model, Compared())
        compared.decisions += int(sums.decisions[row])
        compared.differ += int(sums.differ[row])
        compared.seconds_then += float(sums.seconds_then[row])
        compared.seconds_now += float(sums.seconds_now[row])
        sums.reset(row)

    def _forget(self, model: ModelKey, now: float) -> None:
        """The model is about to be removed."""
        row = self._player.planner.rows.index.get(model)
        if self._other is None or row is None:
            return
        sums = self._sums
        if row < sums.room:
            sums.seconds_then[row] += sums.then[row] * (now - self._last)
            sums.seconds_now[row] += sums.now[row] * (now - self._last)
            self._settle(row, now)
        self._free.add(row)

    def _reuse(self, model: ModelKey) -> None:
        """A model may have got the row of one that is gone: ticks have counted it meanwhile."""
        row = self._player.planner.rows.index[model]
        if row in self._free:
            self._free.remove(row)
            if row < self._sums.room:
                self._sums.reset(row)

    def _close_span(self, row: int, end: float) -> None:
        span, model = self._open.pop(row, None), self._player.planner.rows.models[row]
        if span is None:
            return
        assert model is not None
        compared = self.compared.setdefault(model, Compared())
        if len(compared.spans) < MOST_SPANS:
            begin = span.begin + self.offset
            compared.spans.append(span._replace(begin=begin, end=end + self.offset))
        else:
            compared.more += 1

    def _flush(self) -> None:
        """What was summed up by row goes to the models."""
        for row in self._player.planner.rows.index.values():
            if row < self._sums.room:
                self._settle(row, self._last)
        self._sums = _Sums()
        self._free.clear()


def _decide(model: ModelKey, snapshot: Line, now: float, change: Change | None) -> Decided:
    journal = Journal()
    player = Player(change, journal)
    player.take(snapshot, goes_on=False)
    # As if it had never been decided for: else what did not change would not be told.
    player.planner.state.decided[:] = NEVER
    player.planner.decide(now, [model])
    return journal.verdicts(model)[-1]


def _plain(decision: Decision) -> Line:
    """As it comes back from a file."""
    plain: Line = json.loads(json.dumps(decision._asdict()))
    return plain
