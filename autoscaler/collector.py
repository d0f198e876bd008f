"""Reports and pokes in, seconds of load out: who is believed, and for which second.

Each reporter's report fills one second of every model it mentions; reporters are summed. As
long as one is alive, every second is opened with zero for every model. Rules:

- an older epoch, or a sequence number not above the last, is dropped and counted;
- a report belongs to the second it ends in. Jitter may bring two into one second: the
  later then moves on to the next, one second ahead at most, beyond which it only replaces
  what is held;
- a reporter that misses a second is taken to say what it said last, for ``patience``
  seconds; then it is dropped until it speaks again;
- a poke lifts the last second its reporter filled to the level it tells of, so that the
  decision it asks for sees that level, and the report that follows is not counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import floor, inf, isfinite
from typing import NamedTuple

import numpy as np

from autoscaler.planner import Planner
from autoscaler.rows import Handles
from autoscaler.table import Floats, Ints, every, some
from stoker.columns import StatColumns
from stoker.vocabulary import ModelKey, Poke, Stat, StatReport

MAX_SKEW = 5.0
"""Seconds a report's time may be off ours before its arrival is taken instead."""

_FEW = 8
"""Values that are looked at one by one in less time than both their extremes take."""

_NOTHING = Handles(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


class _Said(NamedTuple):
    """A report by columns. ``arrivals``, ``queued`` and ``completions`` are only right where
    the planner asks for them; reading them costs as much as the rest."""

    concurrency: Floats
    arrivals: Floats
    queued: Floats
    completions: Floats


class _Read(NamedTuple):
    """Rows that exist, what each is scaled on, and what it served (None: nobody asks)."""

    handles: Handles
    values: Floats
    busy: Floats | None = None
    completions: Floats | None = None


_SILENCE = _Read(_NOTHING, np.zeros(0))


class _Reporter:
    """What is known of one reporter in its present epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.sequence = -1
        self.heard = 0.0
        self.second: int | None = None
        self.names: list[ModelKey] = []
        self.numbered = _NOTHING
        self.ids = _NOTHING.rows
        self.chosen = _NOTHING
        self.models: list[ModelKey] = []
        self.resolved = _NOTHING
        self.layout = -1
        self.held = _NOTHING
        self.values = np.zeros(0)
        self.poked: dict[int, float] = {}


class Collector:
    """The load side of a planner. ``dropped`` counts reports and pokes refused, by reason."""

    def __init__(self, planner: Planner, patience: float = 10.0) -> None:
        self.dropped: Counter[str] = Counter()
        self._planner = planner
        self._patience = patience
        self._reporters: dict[str, _Reporter] = {}
        self._opened: int | None = None

    @property
    def reporters(self) -> int:
        """How many are believed to be alive."""
        return len(self._reporters)

    def take(self, report: StatReport | StatColumns, now: float) -> bool:
        """Take one report in; False when it was dropped."""
        if not (isfinite(report.time) and 0 < report.interval < inf):
            return self._drop("bad-value")
        reporter = self._reporter(report.reporter, report.epoch)
        if reporter is None:
            return self._drop("old-epoch")
        if report.sequence <= reporter.sequence:
            return self._drop("old-sequence")
        read = (
            self._read_stats(reporter, report.stats, report.interval)
            if isinstance(report, StatReport)
            else self._read_columns(reporter, report)
        )
        if isinstance(read, str):
            return self._drop(read)
        self._reporters[report.reporter] = reporter
        handles, values, busy, completions = read
        if busy is not None and completions is not None:
            self._planner.add_service(handles.rows, busy, completions)
        reporter.sequence = report.sequence
        reporter.heard = now
        time = report.time if abs(report.time - now) <= MAX_SKEW else now
        second = floor(time)
        last = reporter.second
        if last is not None and second <= last:
            second = last + 1
        if last is None or second <= floor(time) + 1:
            self._fill(reporter, second - 1)
            self._add(reporter, second, handles, values)
        else:
            self.dropped["merged"] += 1
        reporter.held, reporter.values = handles, values
        return True

    def poke(self, poke: Poke, now: float) -> ModelKey | None:
        """Take a poke in; the model to decide for now, or None when it was dropped."""
        reporter = self._reporter(poke.reporter, poke.epoch)
        if reporter is None:
            self._drop("old-epoch")
            return None
        row = self._planner.rows.index.get(poke.model)
        if row is None:
            self._drop("unknown-model")
            return None
        if poke.queued < 0 or poke.active < 0:
            self._drop("bad-value")
            return None
        if reporter.second is None:
            reporter.heard = now
            reporter.second = floor(now) - 1
        self._reporters[poke.reporter] = reporter
        one = np.array([row])
        queued = np.array([float(poke.queued)])
        level = float(self._planner.load_of(one, queued + poke.active, queued, queued)[0])
        self._fill(reporter, floor(now) - 1)
        lifted = level - self._said(reporter, row)
        if lifted > 0:
            self._planner.add_load(reporter.second, one, np.array([lifted]))
            reporter.poked[row] = level
        return poke.model

    def advance(self, now: float) -> None:
        """Before a tick: fill in for late reporters, give up silent ones."""
        for name, reporter in list(self._reporters.items()):
            if now - reporter.heard > self._patience:
                del self._reporters[name]
                self.dropped["silent-reporter"] += 1
            else:
                self._fill(reporter, floor(now) - 1)

    # --- which second -----------------------------------------------------------

    def _fill(self, reporter: _Reporter, through: int) -> None:
        """Let the reporter repeat itself for the seconds it missed."""
        if reporter.second is None:
            return
        begin = max(reporter.second + 1, through - floor(self._patience))
        for second in range(begin, through + 1):
            self._add(reporter, second, reporter.held, reporter.values)

    def _add(self, reporter: _Reporter, second: int, handles: Handles, values: Floats) -> None:
        self._open(second)
        reporter.second = second
        reporter.poked.clear()
        if len(values):
            if reporter.layout != self._planner.rows.layout:
                valid = self._planner.rows.valid(handles)
                if not valid.all():
                    handles, values = Handles(*(part[valid] for part in handles)), values[valid]
            self._planner.add_load(second, handles.rows, values)

    def _open(self, second: int) -> None:
        if self._opened is None or second - self._opened > self._patience + 1:
            self._opened = second - 1
        for each in range(self._opened + 1, second + 1):
            self._planner.open_second(each)
            self._opened = each

    def _said(self, reporter: _Reporter, row: int) -> float:
        """What the reporter has contributed to ``row`` in its last second."""
        poked = reporter.poked.get(row)
        if poked is not None:
            return poked
        at = np.flatnonzero((reporter.held.rows == row) & self._planner.rows.valid(reporter.held))
        return float(reporter.values[at[0]]) if len(at) else 0.0

    # --- whose rows --------------------------------------------------------------

    def _reporter(self, name: str, epoch: int) -> _Reporter | None:
        """The reporter in this epoch, a new one for a newer epoch, None for an older one."""
        reporter = self._reporters.get(name)
        if reporter is None:
            return _Reporter(epoch)
        if epoch < reporter.epoch:
            return None
        if epoch > reporter.epoch:
            successor = _Reporter(epoch)
            # What its predecessor filled is not filled again.
            successor.second = reporter.second
            successor.heard = reporter.heard
            return successor
        return reporter

    def _read_stats(
        self, reporter: _Reporter, stats: Sequence[Stat], interval: float
    ) -> _Read | str:
        if not stats:
            return _SILENCE
        models = [stat[0] for stat in stats]
        layout = self._planner.rows.layout
        # Most reports name the same models as the last: comparing is cheaper than looking up.
        if reporter.layout != layout or models != reporter.models:
            if len(set(models)) != len(models):
                return "bad-value"
            reporter.resolved = self._planner.rows.resolve(models)
            reporter.models = models
            reporter.layout = layout
        concurrency = np.array([stat[1] + stat[2] for stat in stats], dtype=np.float64)
        if self._planner.scales_on_rates:
            arrivals = np.array([stat[3] for stat in stats], dtype=np.float64)
        else:
            arrivals = concurrency
        if self._planner.measures_service:
            queued = np.array([stat[1] for stat in stats], dtype=np.float64)
            completions = np.array([stat[4] for stat in stats], dtype=np.float64)
        else:
            queued = completions = concurrency
        said = _Said(concurrency, arrivals, queued, completions)
        return self._checked(reporter.resolved, said, interval)

    def _read_columns(self, reporter: _Reporter, columns: StatColumns) -> _Read | str:
        if columns.known != len(reporter.names):
            return "missed-names"
        ids = np.asarray(columns.ids, dtype=np.int64)
        concurrency = np.add(columns.queued, columns.active, dtype=np.float64)
        # As with objects, most reports are of the same models as the last.
        same = len(ids) == len(reporter.ids) and every(ids == reporter.ids)
        names = columns.known + len(columns.new_models)
        if not len(ids) == len(concurrency) == len(columns.arrivals) or not (
            same or _distinct(ids, names)
        ):
            return "bad-value"
        arrivals = concurrency
        if self._planner.scales_on_rates:
            arrivals = np.asarray(columns.arrivals, dtype=np.float64)
        reporter.names.extend(columns.new_models)
        if columns.new_models or reporter.layout != self._planner.rows.layout:
            self._renumber(reporter)
            same = False
        if not same:
            reporter.ids = ids.copy()
            reporter.chosen = Handles(*(each[ids] for each in reporter.numbered))
        handles = reporter.chosen
        if self._planner.measures_service:
            queued = np.asarray(columns.queued, dtype=np.float64)
            completions = np.asarray(columns.completions, dtype=np.float64)
            if not len(queued) == len(completions) == len(ids):
                return "bad-value"
        else:
            queued = completions = concurrency
        said = _Said(concurrency, arrivals, queued, completions)
        return self._checked(handles, said, columns.interval)

    def _renumber(self, reporter: _Reporter) -> None:
        """Look up the models whose row is unknown or has another tenant now."""
        rows = self._planner.rows
        count = len(reporter.names)
        numbered = Handles(np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64))
        for new, old in zip(numbered, reporter.numbered, strict=True):
            new[: len(old)] = old
        stale = np.flatnonzero(~rows.valid(numbered))
        fresh = rows.resolve(reporter.names[place] for place in stale.tolist())
        numbered.rows[stale], numbered.generations[stale] = fresh
        reporter.numbered = numbered
        reporter.layout = rows.layout

    def _checked(self, handles: Handles, said: _Said, interval: float) -> _Read | str:
        concurrency, arrivals, queued, completions = said
        if not len(concurrency):
            return _SILENCE
        values = self._planner.load_of(handles.rows, concurrency, arrivals / interval, queued)
        if not _sound(values):
            return "bad-value"
        busy: Floats | None = None
        if self._planner.measures_service:
            busy = (concurrency - queued) * interval
            if not (_sound(queued) and _sound(busy) and _sound(completions)):
                return "bad-value"
        if some(handles.rows < 0):
            known = handles.rows >= 0
            self.dropped["unknown-model"] += int(len(known) - known.sum())
            handles, values = Handles(*(part[known] for part in handles)), values[known]
            busy, completions = None if busy is None else busy[known], completions[known]
        return _Read(handles, values, busy, None if busy is None else completions)

    def _drop(self, reason: str) -> bool:
        self.dropped[reason] += 1
        return False


def _distinct(ids: Ints, names: int) -> bool:
    """Whether each of ``ids`` is a number of one of ``names`` names, another one's each."""
    if every(ids[1:] > ids[:-1]):  # of 100,000 a twentieth of the time of what follows
        return not len(ids) or bool(ids[0] >= 0 and ids[-1] < names)
    return bool(ids.min() >= 0 and ids.max() < names and np.bincount(ids).max() == 1)


def _sound(values: Floats) -> bool:
    """Whether all are numbers from 0 on, and finite."""
    if len(values) <= _FEW:
        return all(0.0 <= value < inf for value in values.tolist())
    return bool(values.min() >= 0 and values.max() < inf)
