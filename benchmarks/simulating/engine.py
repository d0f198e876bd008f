"""One model through the full brain; one queue against SimPy."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from simulations.draws import Exponential
from simulations.engine import Run, simulate
from simulations.services import Drawn
from simulations.trace import Trace
from simulations.world import World, parse_start
from stoker.vocabulary import ModelKey, ModelSpec, ScalingConfig, ServingConfig

MODEL = ModelKey("benchmark", "model")
SERVERS, UTILISATION, SERVICE = 16, 0.7, 0.01


class Speed(NamedTuple):
    """Requests, the seconds of wall time they took, decisions made, mean wait in seconds."""

    requests: int
    seconds: float
    decisions: int
    wait: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def timed(run: Run) -> Speed:
    """Simulate it and look at the clock."""
    begun = perf_counter()
    result = simulate(run)
    seconds = perf_counter() - begun
    assert result.totals.unfinished == 0
    return Speed(result.totals.requests, seconds, result.decisions, result.waits.mean)


def bursts(requests: int, seed: int = 1) -> Trace:
    """500 requests a second on average, for a minute 900 and for a minute 100, in turn."""
    rng = np.random.default_rng(seed)
    rates = np.where(np.arange(requests) // 30_000 % 2 == 0, 900.0, 100.0)
    times = np.cumsum(rng.exponential(1.0, requests) / rates)
    return Trace((MODEL,), times, np.zeros(requests, np.int32), float(times[-1]))


def full_brain(requests: int) -> Speed:
    """From zero, up and down with the load: admission, slots, windows, panic, every 2 s."""
    spec = ModelSpec(
        MODEL,
        scaling=ScalingConfig(target=7.0, capacity=10.0, initial_scale=0),
        serving=ServingConfig(container_concurrency=10, queue_requests=100_000),
    )
    world = World(Drawn(Exponential(0.05)), parse_start("2s"))
    return timed(Run(bursts(requests), {MODEL: spec}, world, max_queued_requests=100_000))


def queue(requests: int, seed: int = 1) -> Speed:
    """M/M/16 at 70 %: one replica with 16 slots, and still the whole way of each request."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(SERVICE / (SERVERS * UTILISATION), requests))
    source = Trace((MODEL,), times, np.zeros(requests, np.int32), float(times[-1]))
    spec = ModelSpec(
        MODEL,
        scaling=ScalingConfig(min_scale=1, max_scale=1),
        serving=ServingConfig(container_concurrency=SERVERS, queue_requests=requests),
    )
    world = World(Drawn(Exponential(SERVICE)), parse_start("0s"))
    return timed(Run(source, {MODEL: spec}, world, max_queued_requests=requests))


def simpy_queue(requests: int, seed: int = 1) -> Speed:
    """The same queue as SimPy's users write it. Raises ImportError where it is not there."""
    import simpy

    rng = np.random.default_rng(seed)
    gaps = rng.exponential(SERVICE / (SERVERS * UTILISATION), requests).tolist()
    services = rng.exponential(SERVICE, requests).tolist()
    environment = simpy.Environment()
    slots = simpy.Resource(environment, capacity=SERVERS)
    waited = 0.0

    def request(service: float) -> Generator[Any, Any, None]:
        nonlocal waited
        came = environment.now
        with slots.request() as slot:
            yield slot
            waited += environment.now - came
            yield environment.timeout(service)

    def arrivals() -> Generator[Any, Any, None]:
        for gap, service in zip(gaps, services, strict=True):
            yield environment.timeout(gap)
            environment.process(request(service))

    environment.process(arrivals())
    begun = perf_counter()
    environment.run()
    return Speed(requests, perf_counter() - begun, 0, waited / requests)
