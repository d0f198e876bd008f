"""What a planner tells a journal: every input, and what each changed decision rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from autoscaler.table import Floats, Ints
from stoker.vocabulary import Decision, ModelKey, ScalingConfig


class Evidence(NamedTuple):
    """Everything one decision was made from; ``autoscaler.replay.again`` makes it anew.

    ``policy`` and ``to_zero`` are the memories before the decision (the noted answers of a
    scale-down delay: after it, which changes nothing, for they only count by their highest;
    of what a policy has learned, what it looked at).
    """

    config: ScalingConfig
    stable: float
    panic: float
    valid: bool
    ready: int
    starting: int
    start_seconds: float
    asked: float
    policy: Mapping[str, object]
    to_zero: Mapping[str, object]


class Noted(NamedTuple):
    """A decision and what of its evidence it does not say itself."""

    decision: Decision
    config: ScalingConfig
    start_seconds: float
    asked: float
    policy: Mapping[str, object]
    to_zero: Mapping[str, object]

    @property
    def evidence(self) -> Evidence:
        """Made when somebody looks: of a hundred decisions that are noted, hardly one is."""
        made = self.decision
        return Evidence(
            self.config,
            made.stable,
            made.panic,
            made.valid,
            made.ready,
            made.starting,
            self.start_seconds,
            self.asked,
            self.policy,
            self.to_zero,
        )


class Recorder(Protocol):
    """Who is told of every input and of what changed; ``autoscaler.journal.Journal`` is one."""

    def config(self, now: float, row: int, model: ModelKey, config: ScalingConfig) -> None: ...
    def removed(self, now: float, row: int, model: ModelKey) -> None: ...
    def counts(self, now: float, model: ModelKey, ready: int, starting: int) -> None: ...
    def start_seconds(self, now: float, model: ModelKey, seconds: float) -> None: ...
    def opened(self, second: int) -> None: ...
    def load(self, second: int, rows: Ints, values: Floats) -> None: ...
    def service(self, rows: Ints, busy: Floats, completions: Floats) -> None: ...
    def gave_up(self, now: float, model: ModelKey) -> None: ...
    def restored(self, snapshot: Mapping[str, object], shift: int) -> None: ...
    def ticked(self, now: float, rows: Ints | None) -> None: ...
    def decided(self, noted: Iterable[Noted]) -> None: ...
