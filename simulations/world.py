"""What a simulated world is like: how long things take, what fails, what it costs. Pure.

All randomness is drawn from a numpy generator that is given; times are seconds. What is
given here are assumptions of a run and are printed with its result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulations.draws import parse_draw, shown
from simulations.trace import Trace
from stoker.vocabulary import Phase

Floats = NDArray[np.float64]


class Draw(Protocol):
    """A distribution of seconds."""

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        """``count`` values of 0 or more."""

    @property
    def mean(self) -> float: ...

    def __str__(self) -> str:
        """As a user would write it: ``0.5s``, ``lognormal(mean=2s, cv=0.5)``."""


class Service(Protocol):
    """How long requests are in a replica."""

    def seconds(self, block: Trace, rng: np.random.Generator) -> Floats:
        """For each arrival of ``block``, the seconds it takes in a replica of its own.

        What the trace says of a request comes first, where the service goes by it.
        """

    def slowdown(self, in_flight: int) -> float:
        """The factor by which a replica with so many requests, the new one among them, is
        slower for a request that joins it: 1 where requests do not disturb each other.
        """

    def __str__(self) -> str: ...


STEPS: Mapping[str, Phase] = {
    "schedule": Phase.PENDING_NODE,
    "node": Phase.PENDING_NODE,
    "image": Phase.PULLING_IMAGE,
    "artifact": Phase.FETCHING_ARTIFACT,
    "start": Phase.STARTING,
    "warm-up": Phase.STARTING,
}
"""What a start goes through, in this order, and the phase that each step belongs to."""


@dataclass(frozen=True, slots=True)
class Start:
    """How long each step of a replica's start takes; steps that are not named take no time.

    Raises ValueError for a step that there is not.
    """

    steps: Mapping[str, Draw]

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise ValueError(f"{step} is no step of a start; allowed: {', '.join(STEPS)}")

    @property
    def mean(self) -> float:
        """Seconds from the wish to readiness, on average."""
        return sum(draw.mean for draw in self.steps.values())

    def sample(self, rng: np.random.Generator) -> list[tuple[Phase, float]]:
        """One start: its phases in order, and the seconds of each."""
        phases: dict[Phase, float] = {}
        for step, phase in STEPS.items():
            draw = self.steps.get(step)
            if draw is not None:
                phases[phase] = phases.get(phase, 0.0) + float(draw.sample(rng, 1)[0])
        return list(phases.items()) or [(Phase.STARTING, 0.0)]

    def __str__(self) -> str:
        return ", ".join(f"{step}={draw}" for step, draw in self.steps.items())


def parse_start(text: str) -> Start:
    """``30s`` (all of it in the step ``start``), or ``schedule=2s, image=40s, start=8s`` with any
    distribution of ``simulations.draws`` for a step. Raises ValueError; the caller names the
    option.
    """
    parts = re.split(r",\s*(?=[a-z-]+\s*=[^,()]*(?:\([^()]*\))?\s*(?:,|$))", text.strip())
    named = [re.fullmatch(r"([a-z-]+)\s*=\s*(.*)", part.strip(), re.DOTALL) for part in parts]
    if not any(named):
        return Start({"start": parse_draw(text)})
    steps: dict[str, Draw] = {}
    for part, match in zip(parts, named, strict=True):
        if match is None:
            raise ValueError(f"{part!r} names no step; allowed: {', '.join(STEPS)}")
        if match[1] in steps:
            raise ValueError(f"{match[1]} is given twice")
        steps[match[1]] = parse_draw(match[2])
    return Start(steps)


@dataclass(frozen=True, slots=True)
class Failures:
    """``crash_after``: seconds of readiness until a replica dies; None: it does not.
    ``failed_starts``: the share of starts that come to nothing. ``slow_starts``: the share
    that takes ``slow_factor`` times as long.
    """

    crash_after: Draw | None = None
    failed_starts: float = 0.0
    slow_starts: float = 0.0
    slow_factor: float = 5.0


@dataclass(frozen=True, slots=True)
class Clients:
    """``timeout``: seconds until a client gives up, 0: never; it then tries again up to
    ``retries`` times, ``backoff`` seconds later, doubling. Refused ones do the same.
    """

    timeout: float = 0.0
    retries: int = 0
    backoff: float = 1.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars. ``replica_hour`` is paid from a start's begin to the replica's end.

    ``accelerators``: what a replica occupies, for GPU-hours. Where ``node_hour`` is set,
    nodes are paid instead, each with room for ``replicas_per_node``.
    """

    replica_hour: float = 1.0
    accelerators: float = 1.0
    node_hour: float = 0.0
    replicas_per_node: int = 1


@dataclass(frozen=True, slots=True)
class Capacity:
    """Room for replicas of all models together; 0: no bound. Who finds none stays pending.

    ``later``: room that is added, as pairs of the second and for how many replicas: nodes that
    come when they have booted.
    """

    replicas: int = 0
    later: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a run assumes of the world around Stoker."""

    service: Service
    start: Start
    failures: Failures = Failures()
    clients: Clients = Clients()
    prices: Prices = Prices()
    capacity: Capacity = Capacity()
    network: float = 0.0
    """Seconds added to each answer on its way through Stoker and back."""
    drain: float = 0.0
    """Seconds a replica still exists after its last request when it is scaled away."""
    learned: Mapping[str, str] = field(default_factory=dict)
    """Where assumptions came from, when they were learned: what to whence."""

    def assumptions(self) -> list[str]:
        """All of this in words, for who reads the result."""
        prices, clients, failures = self.prices, self.clients, self.failures
        lines = [
            f"service: {self.service}",
            f"start of a replica: {self.start} ({shown(self.start.mean)} on average)",
        ]
        if prices.node_hour:
            lines.append(
                f"price: {prices.node_hour:g} $ per node and hour,"
                f" {prices.replicas_per_node} replicas each"
            )
        else:
            lines.append(f"price: {prices.replica_hour:g} $ per replica and hour")
        lines.append(f"accelerators per replica: {prices.accelerators:g}")
        if clients.timeout or clients.retries:
            patience = f"give up after {shown(clients.timeout)}" if clients.timeout else "wait"
            lines.append(
                f"clients: {patience}, then try {clients.retries} more times,"
                f" {shown(clients.backoff)} later, doubling"
            )
        if failures.crash_after is not None:
            lines.append(f"a replica dies {failures.crash_after} after it was ready")
        if failures.failed_starts:
            lines.append(f"{100 * failures.failed_starts:g} % of starts fail")
        if failures.slow_starts:
            lines.append(
                f"{100 * failures.slow_starts:g} % of starts take {failures.slow_factor:g} times"
                " as long"
            )
        if self.capacity.replicas:
            more = (f", for {count} more from {shown(at)} on" for at, count in self.capacity.later)
            lines.append(f"room for {self.capacity.replicas} replicas{''.join(more)}")
        if self.network:
            lines.append(f"network: {shown(self.network)} per answer")
        if self.drain:
            lines.append(f"a replica ends {shown(self.drain)} after its last request")
        lines += [f"{what}: {whence}" for what, whence in self.learned.items()]
        return lines
