"""Runs a trace through the decisions of production, under a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoscaler.policies import Policy
from simulations.result import Result
from simulations.trace import Source
from simulations.world import World
from stoker.vocabulary import ModelKey, ModelSpec

Progress = Callable[[float], None]
"""Told the virtual second that was reached, now and then."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be simulated.

    ``specs``: the settings of every model of ``source``. ``policy``: makes what decides in
    place of what the settings say (a baseline); None: what they say. ``max_queued_requests``
    and ``max_queued_bytes`` bound all models together. ``step``: seconds per entry of the
    result's series; 0: chosen so that there are at most 2,000. ``warm_up``: seconds at the
    beginning that are simulated, and left out of what is counted.
    """

    source: Source
    specs: Mapping[ModelKey, ModelSpec]
    world: World
    label: str = ""
    trace: str = ""
    seed: int = 0
    policy: Callable[[], Policy] | None = None
    tick_interval: float = 2.0
    max_queued_requests: int = 10_000
    max_queued_bytes: int = 1 << 30
    request_bytes: int = 300
    step: float = 0.0
    warm_up: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)


def simulate(run: Run, progress: Progress | None = None) -> Result:
    """Run it. Deterministic: the same run gives the same result, whatever the machine.

    Raises KeyError when a model has no spec, ValueError on what cannot be simulated.
    """
    raise NotImplementedError
