"""What the processes of one Stoker tell each other, beside platform events and load.

As they are go ``ModelEvent`` and ``ReplicaEvent`` to a worker, and ``StatColumns``, ``Poke``,
``PlatformEvent`` and ``Batch`` (arrivals) from it. Times are monotonic: the same clock for all
processes of a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.estimate import Estimator
from stoker.settings import ProcessConfig
from stoker.telemetry import Reading
from stoker.vocabulary import Address, ModelKey, ModelSpec, Node, NodePool, Outage, Replica

# --- from the parent to a worker ---


@dataclass(frozen=True, slots=True)
class Nodes:
    """The machines of the platform now."""

    nodes: tuple[Node, ...]
    pools: tuple[NodePool, ...]


@dataclass(frozen=True, slots=True)
class World:
    """All that a platform has announced so far."""

    models: tuple[ModelSpec, ...]
    replicas: tuple[Replica, ...]
    outages: tuple[tuple[ModelKey, Outage], ...]
    nodes: Nodes


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: what a worker has to know before it serves.

    ``estimator`` has seen every start up to now; the worker's own goes on from it. ``token``:
    by which workers know each other. ``relay_logs``: send log lines here. ``recording``: see
    ``Record``.
    """

    process: ProcessConfig
    world: World
    estimator: Estimator
    token: bytes
    relay_logs: bool
    recording: bool = False


@dataclass(frozen=True, slots=True)
class Peers:
    """The workers there are, by name, with the address of their peer port."""

    members: Mapping[str, Address]


@dataclass(frozen=True, slots=True)
class Settings:
    """New settings of the process."""

    process: ProcessConfig


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Open the access log anew."""


@dataclass(frozen=True, slots=True)
class Record:
    """Somebody records arrivals, or nobody does any more: send a ``Batch`` now and then."""

    on: bool


@dataclass(frozen=True, slots=True)
class Listen:
    """Accept from these of the inherited queues, and from no others."""

    queues: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Retire:
    """Let requests finish for ``timeout`` seconds, say Goodbye and exit.

    ``stopping``: all of Stoker ends, and callers should be told; else a successor has taken
    the worker's place.
    """

    timeout: float
    stopping: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """End everything now: refuse holds, break off answers, exit."""


# --- from a worker to the parent ---


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker knows the world. ``peer`` is where other workers reach it."""

    peer: Address


@dataclass(frozen=True, slots=True)
class Linked:
    """The worker has links to all others it was told of: it can serve."""


@dataclass(frozen=True, slots=True)
class ReplicaDrained:
    """The worker has no request left in this draining replica."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody asked the worker (not all of Stoker) to end: it wants a successor first."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The worker's last word: its metrics, what it has had to do for each model, and how many
    requests it broke off.
    """

    readings: tuple[Reading, ...]
    seen: Mapping[ModelKey, Any]
    left: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A log line, where the parent shows them."""

    level: int
    logger: str
    text: str
    fields: Mapping[str, Any]
