"""What is kept of a replay to judge settings by; parts of a trace add up. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from simulations.result import Result, Spread


@dataclass(slots=True, eq=False)
class Judged:
    """Counts, spreads and cost of one replay, or of several together.

    ``failed``: requests without an answer: refused, given up, unfinished. ``cold``: answered
    ones that had come when nothing was ready. ``seconds``: of the trace.
    """

    requests: int = 0
    failed: int = 0
    cold: int = 0
    waits: Spread = field(default_factory=Spread)
    latencies: Spread = field(default_factory=Spread)
    dollars: float = 0.0
    replica_seconds: float = 0.0
    seconds: float = 0.0

    @classmethod
    def of(cls, result: Result) -> Judged:
        """What a replay came to."""
        totals = result.totals
        return cls(
            requests=totals.requests,
            failed=totals.refusals + totals.abandoned + totals.unfinished,
            cold=totals.cold,
            waits=result.waits,
            latencies=result.latencies,
            dollars=result.money.dollars,
            replica_seconds=totals.replica_seconds,
            seconds=result.duration,
        )

    def percentile(self, latency: bool, percent: float) -> float:
        """Seconds that so many percent of all requests waited at most, or took until the
        answer; infinity where fewer were answered. 0 without requests."""
        spread = self.latencies if latency else self.waits
        total = spread.count + self.failed
        rank = math.ceil(total * percent / 100)
        if rank > spread.count:
            return math.inf
        return spread.percentile(100 * rank / spread.count) if spread.count else 0.0

    @property
    def cold_share(self) -> float:
        """Of all requests; 0 without any."""
        return self.cold / self.requests if self.requests else 0.0

    @property
    def failed_share(self) -> float:
        """Of all requests; 0 without any."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def dollars_per_hour(self) -> float:
        """0 where nothing was seen."""
        return 3600 * self.dollars / self.seconds if self.seconds else 0.0

    @property
    def replicas(self) -> float:
        """On average."""
        return self.replica_seconds / self.seconds if self.seconds else 0.0


def together(parts: Iterable[Judged]) -> Judged:
    """The sum of them, in a new object."""
    result = Judged()
    for part in parts:
        result.requests += part.requests
        result.failed += part.failed
        result.cold += part.cold
        result.waits.merge(part.waits)
        result.latencies.merge(part.latencies)
        result.dollars += part.dollars
        result.replica_seconds += part.replica_seconds
        result.seconds += part.seconds
    return result


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval for a share (1927), 95 % for ``z`` 1.96. 11 of 12: 0.65 to 0.99.

    Without trials nothing is known: 0 to 1.
    """
    if not trials:
        return 0.0, 1.0
    share = successes / trials
    middle = share + z * z / (2 * trials)
    width = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)
