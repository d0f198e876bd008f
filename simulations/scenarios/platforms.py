"""Three platforms of the talk as worlds of the simulator, and how their figures are measured.

The talk ("Serverless for ML serving: genius or folly?") sends 100 requests a second at a model
that is at zero; a worker takes one request at a time. Published are the time to the first
answer, and the time until the platform keeps up. What the simulator needs to know of a
platform is little: how long a start takes, how much longer one that finds nothing prepared,
and how many instances there may be at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np

from simulations.draws import Constant, Lognormal, shown
from simulations.engine import Run, simulate
from simulations.result import Result
from simulations.services import Drawn
from simulations.trace import Trace
from simulations.world import Capacity, Draw, Floats, Start, World
from stoker.vocabulary import ModelKey, ModelSpec, ScalingConfig, ServingConfig

QPS = 100.0
CALM = 0.5
"""Steady: from then on no request waits longer than this for its slot (s)."""
STEP = 0.5
ROUNDS = 6
MODEL = ModelKey("default", "model")
_Z95 = 1.6449
"""Standard deviations from the median to the 95th percentile."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model as what has to be moved and computed: ``bytes``, and ``work`` relative to
    DistilBERT's for one request.
    """

    name: str
    bytes: float
    work: float


# Parameters and times of inference: Sanh et al., DistilBERT (2019), tables 1 and 3: 66 and 110
# million, 410 and 668 s on CPU for the same sentences. Four bytes a parameter as they are saved.
DISTILBERT = Weights("DistilBERT", 66e6 * 4, 1.0)
BERT = Weights("BERT", 110e6 * 4, 668 / 410)


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform as a world. Times in seconds.

    ``p50``, ``p95``: of warm answers to DistilBERT. ``bandwidth``: bytes per second at which a
    model gets to a new instance. ``fixed``: the rest of a start; ``behind``: what it takes
    longer for all but the first instance, which a standby is turned into. ``most``: instances
    at once. ``decides``: seconds between decisions. ``node``: until nodes that are asked for
    are there; until then there is room for one instance; 0: there are nodes.
    """

    name: str
    p50: float
    p95: float
    bandwidth: float
    fixed: float = 0.0
    behind: float = 0.0
    most: int = 500
    decides: float = 2.0
    node: float = 0.0


LAMBDA = Platform("Lambda-like", 0.4885, 0.5341, 85e6, decides=1.0)
CLOUD_RUN = Platform("Cloud-Run-like", 0.3848, 0.4574, 85e6, decides=1.0)
VERTA = Platform("Verta-like", 0.2605, 0.2809, 2e9)


class Standby:
    """A draw of seconds: none for the first start of a run, ``behind`` for every other one.

    It remembers that: a run of its own for each.
    """

    def __init__(self, behind: float) -> None:
        self._behind = behind
        self._taken = False

    def sample(self, rng: np.random.Generator, count: int) -> Floats:
        seconds = np.full(count, self._behind)
        if not self._taken:
            seconds[:1] = 0.0
        self._taken = True
        return seconds

    @property
    def mean(self) -> float:
        return self._behind

    def __str__(self) -> str:
        return f"{shown(self._behind)}, for the first one 0s"


@dataclass(frozen=True, slots=True)
class Measured:
    """``first``: seconds to the first answer; ``steady``: until it keeps up, inf: never within
    the time simulated.
    """

    first: float
    steady: float
    result: Result


def world_of(platform: Platform, model: Weights) -> World:
    """How long requests and starts take on it, and its room."""
    sigma = log(platform.p95 / platform.p50) / _Z95
    mean = platform.p50 * model.work * exp(sigma**2 / 2)
    start: dict[str, Draw] = {
        "artifact": Constant(model.bytes / platform.bandwidth),
        "start": Constant(platform.fixed),
    }
    if platform.behind:
        start["image"] = Standby(platform.behind)
    # Nodes are asked for by the first decision that finds no room; they have room for all.
    arrives = platform.node + platform.decides
    room = Capacity(1, ((arrives, platform.most),)) if platform.node else Capacity()
    service = Drawn(Lognormal(mean, sqrt(exp(sigma**2) - 1)))
    return World(service, Start(start), capacity=room)


def run_of(platform: Platform, model: Weights, times: list[float], duration: float) -> Run:
    """Arrivals at ``times`` for the model at zero. Nothing is refused: who waits is counted."""
    source = Trace((MODEL,), np.array(times), np.zeros(len(times), np.int32), duration)
    spec = ModelSpec(
        MODEL,
        scaling=ScalingConfig(
            target=0.7,
            capacity=1.0,
            initial_scale=0,
            max_scale=platform.most,
        ),
        serving=ServingConfig(
            container_concurrency=1,
            queue_requests=1_000_000,
            hold_timeout=86_400.0,
            hold_timeout_cap=86_400.0,
        ),
    )
    return Run(
        source,
        {MODEL: spec},
        world_of(platform, model),
        label=f"{platform.name}, {model.name}",
        trace=f"{QPS:g} requests/s from zero",
        tick_interval=platform.decides,
        max_queued_requests=1_000_000,
        step=STEP,
        after=0.0,
    )


def first_answer(platform: Platform, model: Weights) -> float:
    """Seconds that the very first request takes, alone: those behind it do not hasten it."""
    result = simulate(replace(run_of(platform, model, [0.0], 600.0), after=600.0))
    return result.latencies.longest


def measured(platform: Platform, model: Weights, seconds: float, qps: float = QPS) -> Measured:
    """``qps`` evenly spaced requests per second for so many ``seconds``."""
    times = (np.arange(int(seconds * qps)) / qps).tolist()
    result = simulate(run_of(platform, model, times, seconds))
    return Measured(first_answer(platform, model), steady_from(result), result)


def steady_from(result: Result) -> float:
    """When the last step ends in which a request got its slot after more than ``CALM``, or in
    which requests waited for one at all and none was given: from then on it keeps up.
    """
    series = result.series
    late = np.flatnonzero((series.wait_max > CALM) | ((series.ready == 0) & (series.queued > 0)))
    end = float(late[-1] + 1) * series.step if len(late) else 0.0
    return end if end < len(series) * series.step else float("inf")


def fitted(platform: Platform, first: float, steady: float, seconds: float, vary: str) -> Platform:
    """The platform whose first answer to DistilBERT takes ``first`` seconds, and which keeps
    up from ``steady`` on.

    What of the start is not moving bytes follows from the former, as everything else of it is
    known. From the latter follows what is to ``vary``: ``most``, bisected, as more instances
    are never later; or ``behind``, by the secant, as it is about proportional.
    """
    spare = first - first_answer(replace(platform, fixed=0.0), DISTILBERT)
    platform = replace(platform, fixed=max(0.0, spare))

    def miss(candidate: Platform) -> float:
        return measured(candidate, DISTILBERT, seconds).steady - steady

    tried: dict[Platform, float] = {}
    if vary == "most":
        low, high = int(QPS * platform.p50) + 1, 1000
        while high - low > 1:
            middle = round(sqrt(low * high)) if high > 2 * low else (low + high) // 2
            candidate = replace(platform, most=middle)
            tried[candidate] = miss(candidate)
            low, high = (middle, high) if tried[candidate] > 0 else (low, middle)
    else:
        behind, slope, last = 0.8 * steady, 1.0, None
        for _ in range(ROUNDS):
            candidate = replace(platform, behind=behind)
            tried[candidate] = missed = miss(candidate)
            if last is not None:
                slope = (missed - last[1]) / (behind - last[0])
            if not missed or not slope:
                break
            last = behind, missed
            behind -= missed / slope
    return min(tried, key=lambda candidate: abs(tried[candidate]))
