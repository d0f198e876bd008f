"""Latency at the same fixed rate for all, below the saturation of the slowest.

h2load sends on schedule whether or not answers come (an open loop), so that a proxy which
falls behind shows it. Rounds start with another proxy each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common import Report, Spread, ratio
from benchmarks.contenders import LOAD_CORE, STOKER, Contender
from benchmarks.h2load import Rated, run_h2load
from benchmarks.proxying.load import inference_request

CLIENTS = 64
SHARE_OF_SLOWEST = 0.4
LIMIT_OF_ENVOY = 1.0
TITLE = "Latency at a fixed rate"
COLUMNS = (
    *("proxy", "connections", "requests/s", "p50 µs", "p99 µs", "low–high", "p99.9 µs"),
    "p99 × Envoy",
)

Results = dict[str, list[Rated]]


def measure(
    h2load: str, found: Sequence[Contender], slowest: float, rounds: int, seconds: float
) -> Results:
    """``slowest``: requests/s of the slowest at saturation. Raises RuntimeError on failures."""
    per_client = max(1.0, round(SHARE_OF_SLOWEST * slowest / CLIENTS))
    results: Results = {contender.name: [] for contender in found}
    for turn in range(rounds):
        first = turn % len(found)
        for contender in (*found[first:], *found[:first]):
            rated = run_h2load(
                *(h2load, contender.port, inference_request()),
                clients=CLIENTS,
                per_client=per_client,
                seconds=seconds,
                core=LOAD_CORE,
            )
            if rated.failed:
                raise RuntimeError(f"{contender.name}: {rated.failed} requests failed")
            results[contender.name].append(rated)
    return results


def tabulate(report: Report, results: Results) -> None:
    """One row per proxy; the figure is p99 against Envoy's."""
    report.table(TITLE, COLUMNS)
    for name, rounds in results.items():
        p99 = Spread.of([rated.percentile(0.99) for rated in rounds])
        report.row(
            *(name, CLIENTS),
            round(Spread.of([rated.per_second for rated in rounds]).median),
            Spread.of([rated.percentile(0.5) for rated in rounds]).median,
            *(p99.median, p99.range),
            Spread.of([rated.percentile(0.999) for rated in rounds]).median,
            _against(results, name, "Envoy"),
        )
    value = _against(results, STOKER, "Envoy")
    report.figure("p99 at a fixed rate, against Envoy's", value, "×", LIMIT_OF_ENVOY)


def _against(results: Results, name: str, peer: str) -> float | None:
    if name not in results or peer not in results:
        return None
    pairs = zip(results[name], results[peer], strict=True)
    return Spread.of([ratio(a.percentile(0.99), b.percentile(0.99)) for a, b in pairs]).median
