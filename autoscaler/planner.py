"""All models' rows, and one tick for all of them: load and replica counts in, a Plan out.

The arithmetic is done on arrays; objects (Decision, ScaleTo, WakeAt) and their reasons are
made only for the rows whose outcome changed, or that are asked about. Every input passes
one of the methods here, so that a recording of the calls reproduces every decision bit for
bit (``autoscaler.journal``, ``autoscaler.replay``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import cast

import numpy as np

from autoscaler.decider import Decider
from autoscaler.evidence import Noted, Recorder
from autoscaler.policies import Floor, Policy
from autoscaler.policies import Frozen as PolicyFrozen
from autoscaler.policies.per_model import PerModel
from autoscaler.ring import NO_EDGE
from autoscaler.rows import Rows
from autoscaler.scale_to_zero import NEVER
from autoscaler.state import UNKNOWN
from autoscaler.table import (
    At,
    Bools,
    Floats,
    Ints,
    Scalar,
    every,
    places_of,
    rows_of,
)
from autoscaler.window import Averages
from stoker.vocabulary import (
    Command,
    Decision,
    Metric,
    ModelKey,
    Plan,
    ScaleTo,
    ScalingConfig,
    WakeAt,
)

_OWN = ("ready", "starting", "counts_starting", "by_rate")
"""What a snapshot does not bring: it is known from the world and from the settings."""


_Frozen = tuple[PolicyFrozen, Callable[[Ints], list[dict[str, Scalar]]]]
"""The memories of the policy and of scale-to-zero as they were before a decision."""


class Planner:
    """Decides for all models. ``journal`` None: nothing is recorded.

    ``policy``: one for all models, whatever their settings say; None: what they say.
    """

    def __init__(self, policy: Policy | None = None, journal: Recorder | None = None) -> None:
        self.rows = Rows()
        self.decider = Decider(policy or PerModel())
        self.windows = self.decider.windows
        self.policy = self.decider.policy
        self.to_zero = self.decider.to_zero
        self.state = self.decider.state
        self.journal = journal
        self._configs: list[ScalingConfig] = []
        self._rates = 0
        self._restored: dict[ModelKey, Mapping[str, object]] = {}

    # --- inputs ---------------------------------------------------------------

    def set_model(self, model: ModelKey, config: ScalingConfig, now: float) -> int:
        """A model appeared or its settings changed; returns its row. Its history stays."""
        row = self.rows.add(model)
        if row >= len(self._configs):
            self._configs.append(config)
            self.decider.reserve(len(self._configs))
        self._configs[row] = config
        self._rates += (config.metric is Metric.RPS) - int(self.state.by_rate[row])
        self.decider.configure(row, config, now)
        if self.journal:
            self.journal.config(now, row, model, config)
        restored = self._restored.pop(model, None)
        if restored is not None:
            self._put(row, restored)
        return row

    def remove_model(self, model: ModelKey, now: float) -> None:
        """The model is gone; its row is emptied for the next one. Unknown models are ignored."""
        if model not in self.rows.index:
            return
        row = self.rows.remove(model)
        self._rates -= int(self.state.by_rate[row])
        self.policy.reset(row)
        self.to_zero.reset(row)
        self.windows.remove(row)
        self.state.reset(row)
        if self.journal:
            self.journal.removed(now, row, model)

    def set_counts(self, model: ModelKey, ready: int, starting: int, now: float) -> None:
        """How many replicas there are. Unknown models are ignored."""
        row = self.rows.index.get(model)
        if row is None:
            return
        self.state.ready[row] = ready
        self.state.starting[row] = starting
        if self.journal:
            self.journal.counts(now, model, ready, starting)

    def set_start_seconds(self, model: ModelKey, seconds: float, now: float) -> None:
        """What a start of the model takes, as measured (0: unknown). Unknown models are ignored."""
        row = self.rows.index.get(model)
        if row is None or self.state.start_seconds[row] == seconds:
            return
        self.state.start_seconds[row] = seconds
        if self.journal:
            self.journal.start_seconds(now, model, seconds)

    def open_second(self, second: int) -> None:
        """Everybody said zero for ``second`` unless load is added to it."""
        self.windows.open(second)
        if self.journal:
            self.journal.opened(second)

    def add_load(self, second: int, rows: Ints, values: Floats) -> None:
        """Add average load in ``second`` to distinct rows that exist."""
        self.windows.add(second, rows, values)
        self.policy.observe(second, rows, values)
        if self.journal:
            self.journal.load(second, rows, values)

    def add_service(self, rows: Ints, busy: Floats, completions: Floats) -> None:
        """Distinct rows that exist served requests: seconds in service of all requests
        together, and how many completed. Needed only while ``measures_service``."""
        self.policy.serve(rows, busy, completions)
        if self.journal:
            self.journal.service(rows, busy, completions)

    @property
    def scales_on_rates(self) -> bool:
        """Whether any model is scaled on arrivals, so that they have to be read."""
        return self._rates > 0

    @property
    def measures_service(self) -> bool:
        """Whether any model is sized by its service times, so that they have to be added."""
        return self.policy.measures_service

    def load_of(self, rows: Ints, concurrency: Floats, rates: Floats, queued: Floats) -> Floats:
        """What each row is scaled on: its concurrency (of which ``queued`` wait), where some
        policy weighs those that wait differently, or its arrivals per second."""
        load = concurrency
        if self.measures_service:
            load = load - queued * (1.0 - self.policy.weight_of_queued(rows))
        if not self.scales_on_rates:
            return load
        return np.where(self.state.by_rate[rows], rates, load)

    def forget_asked(self, model: ModelKey, now: float) -> None:
        """What was asked for did not happen and is given up: ask again at the next tick."""
        row = self.rows.index.get(model)
        if row is None:
            return
        self.state.asked[row] = UNKNOWN
        if self.journal:
            self.journal.gave_up(now, model)

    # --- deciding -------------------------------------------------------------

    def decide(self, now: float, models: Iterable[ModelKey] | None = None) -> Plan:
        """One tick: for all models, or (poked) for ``models`` only; unknown ones are skipped."""
        rows: Ints | None = None
        if models is not None:
            found = self.rows.resolve(models).rows
            rows = np.unique(found[found >= 0])
        if self.journal:
            self.journal.ticked(now, rows)
        count = len(self.rows)
        at: At
        if rows is None:
            at = slice(0, count)
        elif len(rows) == 1:
            # Most pokes are for one model, and a slice costs a third less than an index array.
            at = slice(int(rows[0]), int(rows[0]) + 1)
        else:
            at = rows
        return self.conclude(at, self.windows.averages(now, count, rows), now)

    def conclude(self, at: At, averages: Averages, now: float) -> Plan:
        """Decide for the rows ``at`` from given averages (one entry per row of ``at``)."""
        state = self.state
        begun = state.begun[at]
        if not every(begun):
            self._begin(at, begun, now)
        frozen = (
            (self.policy.freeze(at, state.start_seconds[at], now), self.to_zero.memory.freeze(at))
            if self.journal
            else None
        )
        there, asked, verdict, outcome = self.decider.conclude(at, averages, now)
        looks = outcome.look_again != state.look_again[at]
        changed = (
            (outcome.desired != state.desired[at])
            | (outcome.desired != asked)
            | (outcome.kept != state.kept[at])
            | looks
            | (verdict.panicking != state.panicking[at])
            | (averages.valid != state.valid[at])
            | (state.decided[at] == NEVER)
        )
        if verdict.floor is not None:
            self._explain(at, verdict.floor, changed)
        places = places_of(changed)
        rows, before = rows_of(at, places), asked[places]
        state.stable[at], state.panic[at], valid = averages
        state.wanted[at] = verdict.wanted if every(valid) else np.where(valid, verdict.wanted, -1.0)
        state.excess[at] = verdict.excess_burst_capacity
        state.asked[at] = outcome.desired
        state.decided[at] = now
        self.decider.sleep(at, outcome.desired + there == 0)
        if not len(places):
            return Plan(now)
        # The rest is written where it changed: everywhere else the same stands there already.
        state.valid[rows], state.panicking[rows] = valid[places], verdict.panicking[places]
        state.desired[rows], state.kept[rows], state.look_again[rows] = (
            column[places] for column in outcome
        )
        return self._plan(rows, places, before, looks[places], frozen, now)

    def _begin(self, at: At, begun: Bools, now: float) -> None:
        for row in rows_of(at, places_of(~begun)):
            self.state.begun[row] = True
            if self.rows.models[row] is not None:
                self.policy.begin(int(row), float(self.state.ready[row]), now)

    def _explain(self, at: At, floor: Floor, changed: Bools) -> None:
        """Note why there is a floor; one for another reason is a change where it counts."""
        rows = rows_of(at, floor.places)
        changed[floor.places] |= floor.why != self.state.why[rows]
        self.state.why[rows], self.state.figure[rows] = floor.why, floor.figure

    def _plan(
        self,
        rows: Ints,
        places: Ints,
        before: Floats,
        looks: Bools,
        frozen: _Frozen | None,
        now: float,
    ) -> Plan:
        """Names, reasons and commands for the rows that changed. ``before``: asked for then."""
        if len(self.rows.index) < len(self.rows):
            used = np.array([self.rows.models[row] is not None for row in rows.tolist()], np.bool_)
            rows, places, before, looks = rows[used], places[used], before[used], looks[used]
        decisions = self._decisions(rows)
        asked = before.tolist()
        commands: list[Command] = []
        later = np.where(looks, self.state.look_again[rows], NEVER).tolist()
        for decision, was, time in zip(decisions, asked, later, strict=True):
            if decision.desired != was:
                commands.append(ScaleTo(decision.model, decision.desired, decision.reason))
            if time > now:
                commands.append(WakeAt(decision.model, time, decision.reason))
        if self.journal and frozen:
            configs = [self._configs[row] for row in rows.tolist()]
            start = self.state.start_seconds[rows].tolist()
            memories = [memory(places) for memory in frozen]
            self.journal.decided(map(Noted, decisions, configs, start, asked, *memories))
        return Plan(now, tuple(decisions), tuple(commands))

    # --- reading --------------------------------------------------------------

    def decision(self, model: ModelKey) -> Decision | None:
        """The last decision for ``model``; None when it is unknown or not decided on yet."""
        row = self.rows.index.get(model)
        if row is None or self.state.decided[row] == NEVER:
            return None
        return self._decisions(np.array([row]))[0]

    def config(self, model: ModelKey) -> ScalingConfig:
        """The settings in force for ``model``. Raises KeyError when it is unknown."""
        return self._configs[self.rows.index[model]]

    def _decisions(self, rows: Ints) -> list[Decision]:
        """The last decisions for rows in use."""
        models = [cast(ModelKey, self.rows.models[row]) for row in rows.tolist()]
        configs = [self._configs[row] for row in rows.tolist()]
        initialised = self.to_zero.memory.initialised[rows].tolist()
        return self.state.decisions(rows, models, configs, initialised)

    # --- what a new leader starts from -----------------------------------------

    def snapshot(self, now: float) -> dict[str, object]:
        """All memory as plain JSON values: windows, panics, delays, ways to zero."""
        return {
            "time": now,
            "opened": self.windows.opened,
            "models": [
                {
                    "model": list(model),
                    "row": row,
                    "config": asdict(self._configs[row]),
                    "policy": self.policy.take(row),
                    "to_zero": self.to_zero.memory.take(row),
                    "window": self.windows.take(row),
                    "state": self.state.take(row),
                }
                for model, row in self.rows.index.items()
            ],
        }

    def restore(self, snapshot: Mapping[str, object], shift: int = 0) -> None:
        """Take over a snapshot; models not set yet get theirs when they are.

        ``shift``: whole seconds that this world's clock is ahead of the snapshot's. Raises
        KeyError or ValueError when the snapshot is not one.
        """
        if self.journal:
            self.journal.restored(snapshot, shift)
        opened = cast(int, snapshot["opened"])
        if opened != NO_EDGE:
            self.windows.opened = max(self.windows.opened, opened + shift)
        for entry in cast(list[dict[str, object]], snapshot["models"]):
            namespace, name = cast(tuple[str, str], entry["model"])
            model = ModelKey(namespace, name)
            row = self.rows.index.get(model)
            if row is None:
                self._restored[model] = {**entry, "shift": shift}
            else:
                self._put(row, {**entry, "shift": shift})

    def _put(self, row: int, entry: Mapping[str, object]) -> None:
        shift = cast(int, entry["shift"])
        part = cast(Mapping[str, dict[str, object]], entry)
        self.policy.put(row, part["policy"], shift)
        self.to_zero.put(row, part["to_zero"], shift)
        self.windows.put(row, part["window"], shift)
        state = part["state"]
        self.state.put(
            row,
            {name: cast(float, value) for name, value in state.items() if name not in _OWN},
        )
        for name in ("look_again", "decided"):
            column = getattr(self.state, name)
            if column[row] != NEVER:
                column[row] += shift
