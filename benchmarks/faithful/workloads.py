"""What is asked: three workloads, each drawn by seed, and the settings of their models.

They begin one after the other: twelve replicas that start at once on two cores would be in
each other's way, and of that the simulator knows nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simulations.draws import Lognormal
from simulations.trace import Floats
from simulations.traces.generators import Shape, on_off, poisson

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 3.0
END_SECONDS = 0.3
SERVICE = Lognormal(mean=0.25, cv=0.4)
LEAD_SECONDS = 2.0
"""Before the first arrival: both sides have ticked and reported by then."""
QUIET_SECONDS = 13.0
"""Behind the last arrival: a window of 7 s, a tick of 2 s, and what was still to be served."""

# A window of 6 s would be three ticks: whether panic mode has ended at the third is then decided
# by which of two ticks came more milliseconds late, live, and never by what is compared.
DEFAULTS = {"stable-window": "7s", "initial-scale": 0, "container-concurrency": 4, "max-scale": 4}


def model(**settings: object) -> dict[str, Any]:
    """A model of sleeping servers, as in Stoker's YAML file."""
    server = str(ROOT / "benchmarks" / "faithful" / "sleeper.py")
    times = (str(START_SECONDS), str(END_SECONDS))
    command = [sys.executable, "-S", server, "{port}", *times]
    return {"command": command, "readiness": "tcp", **settings}


@dataclass(frozen=True, slots=True)
class Workload:
    """``arrivals`` draws times up to so many seconds. What ends before ``warm_up`` is not
    counted, live and simulated alike. ``settings``: of its model, besides ``DEFAULTS``.
    """

    name: str
    arrivals: Callable[[float, np.random.Generator], Floats]
    warm_up: float = 0.0
    settings: Mapping[str, object] = field(default_factory=dict)

    def drawn(self, seconds: float, seed: int) -> Asked:
        """The same seed asks the same."""
        rng = np.random.default_rng((seed, *self.name.encode()))
        times = self.arrivals(seconds, rng)
        return Asked(self, LEAD_SECONDS + times, SERVICE.sample(rng, len(times)))


@dataclass(frozen=True, slots=True)
class Asked:
    """When requests are sent, and how long the server sleeps over each (s)."""

    workload: Workload
    times: Floats
    service: Floats


def _steady(seconds: float, rng: np.random.Generator) -> Floats:
    """Six at once on average, where replicas are to have four each and may have ten."""
    return poisson(Shape(rate=24.0), seconds, rng)


def _bursts(seconds: float, rng: np.random.Generator) -> Floats:
    """60 requests within a second, each 30 s: fifteen times what a replica takes at once."""
    begins = np.arange(6.0, seconds - 1.0, 30.0)
    return np.sort((begins[:, None] + rng.uniform(0.0, 1.0, (len(begins), 60))).ravel())


def _on_off(seconds: float, rng: np.random.Generator) -> Floats:
    """6 s at 10/s, 14 s of silence, in which it falls asleep."""
    return 3.0 + on_off(Shape(rate=3.0, on=6.0, off=14.0), seconds - 3.0, rng)


WORKLOADS = (
    Workload(
        "steady",
        _steady,
        warm_up=8.0,
        settings={"container-concurrency": 10, "container-concurrency-target-percentage": 40},
    ),
    Workload("burst", _bursts),
    Workload("on-off", _on_off),
)
