"""What is to be simulated. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from autoscaler.policies import Policy
from simulations.trace import Source
from simulations.world import World
from stoker.vocabulary import ModelKey, ModelSpec


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be simulated.

    ``specs``: the settings of every model of ``source``. ``policy``: makes what decides in
    place of what the settings say (a baseline); None: what they say. ``max_queued_requests``
    and ``max_queued_bytes`` bound all models together. ``step``: seconds per entry of the
    result's series; 0: chosen so that there are at most 2,000. ``warm_up``: seconds at the
    beginning that are simulated and left out of what is counted and drawn; requests under way at
    its end count as if they had come then. ``only``: simulate these models alone, with all that
    is drawn as in a run of all; None: all. ``after``: seconds simulated behind the last
    arrival at most, for what is still under way. ``report_phase``: seconds that reports of
    load are behind whole intervals, on which ticks are: what a tick knows is so much less
    than an interval old. 0: the report comes at the same time as the tick, and first.
    """

    source: Source
    specs: Mapping[ModelKey, ModelSpec]
    world: World
    label: str = ""
    trace: str = ""
    seed: int = 0
    policy: Callable[[], Policy] | None = None
    tick_interval: float = 2.0
    report_interval: float = 1.0
    report_phase: float = 0.0
    max_queued_requests: int = 10_000
    max_queued_bytes: int = 1 << 30
    request_bytes: int = 300
    step: float = 0.0
    warm_up: float = 0.0
    only: Collection[ModelKey] | None = None
    after: float = 3600.0
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError on what cannot be simulated."""
        for name, low in (
            ("step", 0.0),
            ("warm_up", 0.0),
            ("after", 0.0),
            ("max_queued_requests", 1),
            ("max_queued_bytes", 1),
            ("request_bytes", 0),
        ):
            value = getattr(self, name)
            if not low <= value < math.inf:
                raise ValueError(f"{name} = {value}: must be {low:g} or more")
        for name in ("tick_interval", "report_interval"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value}: must be above 0 s")
        if not 0 <= self.report_phase < self.report_interval:
            raise ValueError(
                f"report_phase = {self.report_phase}: must be 0 or more, and less than"
                f" report_interval = {self.report_interval:g} s"
            )
        if self.warm_up and self.warm_up >= self.source.duration:
            raise ValueError(
                f"warm_up = {self.warm_up:g} s: must be less than the trace's"
                f" {self.source.duration:g} s"
            )
        missing = [key for key in self.source.models if key not in self.specs]
        if missing:
            raise ValueError(f"no settings for {missing[0]}, a model of the trace")
