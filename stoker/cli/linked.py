"""What an autoscaler knows of the activators that are linked to it, and does about it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from stoker.clock import Clock
from stoker.columns import StatColumns
from stoker.platform import (
    ReplicaChanged,
    ReplicaEvent,
    ReplicaGone,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.platforms.kubernetes.emptiness import Emptiness
from stoker.platforms.kubernetes.tracking import pod_part
from stoker.platforms.kubernetes.traffic import FIRST_PORT, LAST_PORT
from stoker.platforms.kubernetes.traffic import Activator as Taker
from stoker.stats_receiver import Linked
from stoker.vocabulary import Phase, StatReport

log = logging.getLogger("stoker")

# How often what only time changes is looked at.
LOOK_SECONDS: Final = 0.5
# One whose link broke is named in slices for so long: a link comes back within that.
GRACE_SECONDS: Final = 1.0
# A new leader changes no slice before all activators there are have said what they accept on;
# one that never does is waited for so long.
MEETING_SECONDS: Final = 10.0


class Told(NamedTuple):
    """What an activator says of itself."""

    addresses: Mapping[str, str]
    ports: frozenset[int]
    leaving: bool
    empty: frozenset[str]


def told_by(state: Mapping[str, Any]) -> Told:
    """Read what came over the link. Raises ValueError, TypeError, LookupError."""
    if not isinstance(state["addresses"], dict):
        raise TypeError("its addresses are none")
    addresses = {str(family): str(address) for family, address in state["addresses"].items()}
    for family, address in addresses.items():
        if f"IPv{ipaddress.ip_address(address).version}" != family:
            raise ValueError(f"{address} is no address of {family}")
    ports = frozenset(map(int, state["ports"]))
    if not all(FIRST_PORT <= port <= LAST_PORT for port in ports):
        raise ValueError(f"a port that is not within {FIRST_PORT} and {LAST_PORT}")
    return Told(addresses, ports, bool(state["leaving"]), frozenset(map(str, state["empty"])))


class Led(Protocol):
    """What of the platform is needed here."""

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe: ...

    def drained(self, replica_id: str) -> None: ...

    def activators_changed(self) -> None: ...


class Hears(Protocol):
    """What of the autoscaler is needed here."""

    def report(self, report: StatReport | StatColumns) -> None: ...


class LinkedActivators:
    """Tells the platform who takes requests and which replicas are empty, and the autoscaler
    of load.
    """

    def __init__(self, platform: Led, autoscaler: Hears, clock: Clock) -> None:
        self._platform = platform
        self._autoscaler = autoscaler
        self._clock = clock
        self._told: dict[str, Told] = {}
        self._lost: dict[str, float] = {}
        self._members: Mapping[str, str] = {}
        self._leads_since = clock.now()
        self._emptiness = Emptiness()
        self._draining: dict[str, str] = {}
        self._last: dict[str, StatColumns] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch replicas, and time."""
        self._platform.watch_replicas(self._replica_event)
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- what activators say ---

    def report(self, columns: StatColumns) -> None:
        """One interval's load of one activator."""
        self._last[columns.reporter] = columns
        self._autoscaler.report(columns)

    def state(self, linked: Linked) -> None:
        """What it is. Raises ValueError, TypeError, LookupError for what none would say."""
        told = told_by(linked.state)
        before = self._told.get(linked.name)
        self._lost.pop(linked.name, None)
        self._told[linked.name] = told
        if before is None or before[:3] != told[:3]:
            self._platform.activators_changed()
        self._end(self._emptiness.said(linked.name, told.empty))

    def lost(self, linked: Linked) -> None:
        """Its link ended."""
        name = linked.name
        told = self._told.get(name)
        last = self._last.pop(name, None)
        if told is not None and told.leaving:
            del self._told[name]
            self._end(self._emptiness.left(name))
            if last is not None:
                # Else its last numbers would stand until silent-reporter-timeout.
                args = last.reporter, last.epoch, last.sequence + 1, self._clock.now(), 1.0, ()
                self._autoscaler.report(StatReport(*args))
        else:
            self._lost[name] = self._clock.now()
            self._emptiness.lost(name, self._clock.now())

    def members_changed(self, found: Mapping[str, str]) -> None:
        """The activators whose pods there are."""
        self._members = found
        self._end(self._emptiness.there(list(found)))
        self._platform.activators_changed()

    # --- what follows ---

    def lead_changed(self) -> None:
        """This process leads from now on."""
        self._leads_since = self._clock.now()

    def takers(self) -> Sequence[Taker]:
        """Who takes requests. Nobody while a new leader does not know all of them: slices stay
        as they are then."""
        missing = self._members.keys() - self._told.keys()
        if missing and self._clock.now() - self._leads_since < MEETING_SECONDS:
            return ()
        return [
            Taker(name, told.addresses, told.ports)
            for name, told in sorted(self._told.items())
            if not told.leaving
        ]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Time has passed."""
        now = self._clock.now()
        gone = [name for name, at in self._lost.items() if now - at >= GRACE_SECONDS]
        for name in gone:
            log.warning("activator %s is lost: Services are led past it", name)
            del self._lost[name]
            self._told.pop(name, None)
        if gone or 0 <= now - self._leads_since - MEETING_SECONDS < 2 * LOOK_SECONDS:
            self._platform.activators_changed()
        self._end(self._emptiness.tick(now))

    def _replica_event(self, event: ReplicaEvent) -> None:
        match event:
            case ReplicaGone(replica):
                pod = pod_part(replica.id)
                self._draining.pop(pod, None)
                self._emptiness.gone(pod)
            case ReplicaChanged(replica) if replica.phase is Phase.DRAINING:
                pod = pod_part(replica.id)
                if pod not in self._draining:
                    self._draining[pod] = replica.id
                    self._end(self._emptiness.draining(pod))

    def _end(self, pods: Sequence[str]) -> None:
        for pod in pods:
            self._platform.drained(self._draining[pod])
