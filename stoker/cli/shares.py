"""What makes a worker one of several: its name, its share of common bounds, its peers as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stoker.settings import ProcessConfig
from stoker.telemetry import Kind, Reading

# What the others are called in metrics, all together.
ALL_PEERS = "workers"


def worker_name(number: int) -> str:
    """What a worker is called. Of two the younger has the greater name: the older one makes
    the connection between them (see ``Cluster``), once the younger knows it.
    """
    return f"worker-{number:04d}"


def without_names(readings: Iterable[Reading]) -> Iterator[Reading]:
    """Workers come and go: with a series for each as a peer there would be no end of them."""
    for reading in readings:
        if reading.spec.labels != ("peer",):
            yield reading
        elif reading.spec.kind is Kind.COUNTER:
            yield reading._replace(labels=(ALL_PEERS,))


# What the settings bound for the whole of Stoker; each worker gets its share.
SHARED = (
    *("max_queued_requests", "max_queued_bytes", "spool_bytes", "replay_bytes"),
    "max_connections",
)


def share(process: ProcessConfig, workers: int) -> ProcessConfig:
    """One worker's part of the settings: common bounds are divided, rounded up."""
    parts = {name: -(-getattr(process, name) // workers) for name in SHARED}
    return replace(process, **parts)
