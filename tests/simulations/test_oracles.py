"""The engine against queueing theory: exact results within their confidence intervals.

Services are short, so that ticks are few; where time matters (cold starts) they are long.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from simulations.draws import Constant, Exponential, Known, Lognormal
from simulations.result import Result
from simulations.services import Drawn
from simulations.world import Start
from tests.simulations.runs import fixed, poisson, run, spec, world

MEAN = 0.01
RUNS = 8
T_999 = 5.41
"""Student's t for 7 degrees of freedom, two-sided 99.9 %."""


def erlang_c(servers: int, load: float) -> float:
    """The share of arrivals that wait in M/M/c; ``load`` in erlangs."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    rho = load / servers
    return blocked / (1 - rho * (1 - blocked))


def mmc_wait(servers: int, rho: float) -> float:
    """The mean wait in M/M/c, seconds."""
    return erlang_c(servers, servers * rho) * MEAN / (servers * (1 - rho))


def queue(
    servers: int,
    rho: float,
    service: Known,
    seed: int,
    slots: int | None = None,
    requests: int = 6_000,
) -> Result:
    """One queue in front of ``servers`` slots, in replicas of ``slots`` each."""
    slots = slots or servers
    source = poisson(servers * rho / MEAN, requests, seed)
    model = spec(
        scaling=fixed(servers // slots),
        container_concurrency=slots,
        queue_requests=10**6,
        hold_timeout=1e6,
        hold_timeout_cap=1e6,
    )
    return run(
        source,
        model,
        in_world=world(Drawn(service), 0.0),
        seed=seed,
        warm_up=1.0,
        max_queued_requests=10**6,
    )


def interval(measure: Callable[[int], float]) -> tuple[float, float]:
    """A 99.9 % confidence interval for the mean of ``measure`` over independent runs."""
    values = np.array([measure(seed) for seed in range(RUNS)])
    margin = T_999 * values.std(ddof=1) / math.sqrt(RUNS)
    return values.mean() - margin, values.mean() + margin


def check_mmc(servers: int, slots: int, requests: int, width: float) -> None:
    """An interval of at most ``width`` times Erlang's wait, with Erlang's wait in it."""
    rho = 0.7
    low, high = interval(
        lambda seed: queue(servers, rho, Exponential(MEAN), seed, slots, requests).waits.mean
    )
    assert low <= mmc_wait(servers, rho) <= high
    assert high - low < width * mmc_wait(servers, rho)  # or anything would pass


@pytest.mark.parametrize(
    ("servers", "slots", "requests"), [(1, 1, 3_000), (16, 16, 24_000), (6, 1, 6_000)]
)
def test_mmc(servers: int, slots: int, requests: int) -> None:
    """Poisson arrivals, exponential services, one line: Erlang's C, in one replica or many."""
    check_mmc(servers, slots, requests, 1.0)


@pytest.mark.long
@pytest.mark.parametrize(("servers", "slots"), [(1, 1), (16, 16), (6, 1)])
def test_mmc_long(servers: int, slots: int) -> None:
    """The same, narrower."""
    check_mmc(servers, slots, 60_000, 0.6)


def test_share_that_waits() -> None:
    """Not the mean alone: the share of requests that find no slot is Erlang's C itself."""
    low, high = interval(
        lambda seed: queue(4, 0.7, Exponential(MEAN), seed, requests=12_000).waits.share_above(0.0)
    )
    assert low <= erlang_c(4, 2.8) <= high
    assert high - low < 0.1


@pytest.mark.parametrize("cv", [0.5, 1.5])
def test_mg1(cv: float) -> None:
    """One slot, lognormal services: Pollaczek and Khinchine, rate·E[S²] / (2(1-rho))."""
    rho = 0.6
    expected = rho / MEAN * MEAN**2 * (1 + cv**2) / (2 * (1 - rho))
    low, high = interval(lambda seed: queue(1, rho, Lognormal(MEAN, cv), seed).waits.mean)
    assert low <= expected <= high
    assert high - low < expected


def test_mdc() -> None:
    """Constant services: Cosmetatos' correction of half of M/M/c's wait, good to 2 %."""
    servers, rho = 4, 0.7
    factor = 1 + (1 - rho) * (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * rho * servers)
    expected = mmc_wait(servers, rho) / 2 * factor
    low, high = interval(
        lambda seed: queue(servers, rho, Constant(MEAN), seed, requests=12_000).waits.mean
    )
    assert low / 1.02 <= expected <= high * 1.02
    assert high - low < expected / 2


def setup_queue(
    rate: float, service: float, setup: float, keep: float
) -> tuple[float, float, float]:
    """One replica that is switched off after ``keep`` idle seconds and needs ``setup`` to come
    back (constant): mean wait, share of cold requests, share of time that it is there.

    The M/G/1 queue with set-up times (Welch 1964), with a timer in front of the set-up.
    """
    rho, off = rate * service, math.exp(-rate * keep)
    second = 2 * service**2  # exponential services
    waiting = rate * second / (2 * (1 - rho)) + off * (2 * setup + rate * setup**2) / (
        2 * (1 + rate * off * setup)
    )
    cold = off * (1 - rho) / (1 + rate * off * setup)
    busy = (service + off * setup) / (1 - rho)
    on = ((1 - off) / rate + busy) / (1 / rate + busy)
    return waiting, cold, on


def asleep_and_awake(count: int, seed: int) -> Result:
    """Requests every 20 s, 2 s each, starts of 10 s, gone about 27 s after the last."""
    model = spec(
        scaling={
            "max_scale": 1,
            "stable_window": 6.0,
            "panic_window": 1.0,
            "scale_to_zero_pod_retention_period": 20.0,
        },
        hold_timeout=1e6,
        hold_timeout_cap=1e6,
    )
    start = Start({"image": Constant(4.0), "start": Constant(6.0)})
    return run(
        poisson(1 / 20, count, seed),
        model,
        in_world=world(Drawn(Exponential(2.0)), start),
        seed=seed,
    )


def check_setup_queue(count: int) -> None:
    """Averages over RUNS runs against theory, for the shortest and the longest keep-alive.

    The last second with load leaves the window after 6 to 7 s, is seen by a tick up to 2 s
    later, and the retention of 20 s begins there: the replica goes 26 to 29 s after its last
    answer.
    """
    results = [asleep_and_awake(count, seed) for seed in range(RUNS)]
    measures = {
        "wait": [r.waits.mean for r in results],
        "cold": [_first_ones(r) for r in results],
        "on": [r.totals.replica_seconds / r.duration for r in results],
    }
    soon, late = (setup_queue(1 / 20, 2.0, 10.0, keep) for keep in (26.0, 29.0))
    for (name, values), early, tardy in zip(measures.items(), soon, late, strict=True):
        margin = T_999 * float(np.std(values, ddof=1)) / math.sqrt(RUNS)
        low, high = min(early, tardy), max(early, tardy)
        mean = float(np.mean(values))
        assert low - margin <= mean <= high + margin, (name, mean, margin, low, high)
        assert margin < mean / 2, name


def _first_ones(result: Result) -> float:
    """The theory's cold requests: those who find the replica off, not those who find it on its
    way.
    """
    return result.totals.activations / result.totals.answered


def test_setup_queue() -> None:
    """The one-replica queue with cold starts, through the whole brain."""
    check_setup_queue(150)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_setup_queue_long() -> None:
    """The same, narrower."""
    check_setup_queue(4000)
