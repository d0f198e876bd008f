"""What a simulated world is like: how long things take, what fails, what it costs. Pure.

All randomness is drawn from a numpy generator that is given; times are seconds. What is
given here are assumptions of a run and are printed with its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Start:
    """How long a replica's start takes: each phase on its way, in ``Phase``'s order.

    ``warm_up``: seconds from the server's listening to its readiness; they belong to
    STARTING. ``node``: drawn only when the world has to boot a node first.
    """

    phases: Mapping[Phase, Draw]
    warm_up: Draw | None = None


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
    """Room for replicas of all models together; 0: no bound. Who finds none stays pending."""

    replicas: int = 0


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
