"""Leads the traffic of models' Services: the I/O around ``traffic.step``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from stoker.clock import Clock
from stoker.errors import PlatformError
from stoker.platforms.kubernetes import services
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.reflection import Changed, Delta, Key
from stoker.platforms.kubernetes.reflector import Reflector
from stoker.platforms.kubernetes.traffic import (
    SETTLE,
    Activator,
    Annotate,
    Done,
    ServiceView,
    SetKey,
    SliceView,
    Wait,
    step,
)
from stoker.vocabulary import ModelKey

logger = logging.getLogger(__name__)

# After a write that failed.
RETRY = 1.0
# Services that are written to at the same time.
MOST_AT_ONCE = 16
# Looked at in one go, 50 us each, before anything else may run: 5,000 are 250 ms.
LOOKS_PER_SLICE = 50
# Somebody takes our key out again and again: it is put back ever later, so that two who mean
# well write twice in five minutes, not as fast as they can.
FIRST_TRUCE, LONGEST_TRUCE = 1.0, 300.0


class Lead(NamedTuple):
    """Whose a Service's traffic is: ``wanted`` through the activators or past them, with so
    many replicas ``ready``."""

    model: ModelKey
    wanted: bool
    ready: int


@dataclass(slots=True)
class _Service:
    """``plain_since``: without our key; ``direct_since``: and the cluster's slice is filled."""

    view: ServiceView | None = None
    slices: dict[str, SliceView] = field(default_factory=dict)
    # A write was made and has not been seen yet: until then what is known is outdated.
    unseen: bool = False
    plain_since: float | None = None
    direct_since: float | None = None
    waiting: str = ""
    # We took the key out ourselves, or are about to.
    giving_back: bool = False
    contested: int = 0
    truce_until: float = 0.0
    # The ports that it is noted to have, before the annotation is seen too.
    ports: frozenset[int] = frozenset()

    def count(self, now: float) -> None:
        """Note since when things are as they are."""
        plain = self.view is not None and not self.view.taken
        filled = any(s.ready for s in self.slices.values() if not s.ours)
        if not plain:
            self.plain_since = None
        elif self.plain_since is None:
            self.plain_since = now
        if not (plain and filled):
            self.direct_since = None
        elif self.direct_since is None:
            self.direct_since = now


class Routing:
    """``lead`` says whose a Service is (None: nobody's), ``activators`` who takes requests.

    ``look()`` makes it look at every Service again; ``ports`` is which model the activators'
    ports are for: whoever runs an activator accepts on them, and ``on_ports`` is called when
    they change. ``leads``: whether anything may be written; see ``look`` for when that changes.
    ``settle`` seconds: see ``traffic.SETTLE``.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        budget: Callable[[], float],
        activators: Callable[[], Sequence[Activator]],
        lead: Callable[[ServiceView], Lead | None],
        on_contested: Callable[[ServiceView, int], None] = lambda service, times: None,
        on_ports: Callable[[], None] = lambda: None,
        leads: Callable[[], bool] = lambda: True,
        settle: float = SETTLE,
    ) -> None:
        self.ports: Mapping[int, ModelKey] = {}
        self._ports_stale = True
        # The Services that have a port in their annotation: more than one where it was copied.
        self._allocated: dict[int, set[Key]] = {}
        self._on_ports = on_ports
        self._leads = leads
        self._settle = settle
        self._client = client
        self._clock = clock
        self._budget = budget
        self._activators = activators
        self._lead = lead
        self._on_contested = on_contested
        self._services: dict[Key, _Service] = {}
        self._due: set[Key] = set()
        # One look at a Service at a time; several Services at the same time.
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._looks: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def reflectors(self, root: str, *, writes: bool = True) -> list[Reflector[Any]]:
        """What has to be watched below ``root`` ("" or ``/namespaces/NAME``); without
        ``writes`` only what ``ports`` needs.
        """
        path, clock = f"/api/v1{root}/services", self._clock
        of_services = Reflector(
            self._client, path, services.view, self._services_changed, clock=clock
        )
        if not writes:
            return [of_services]
        path = f"/apis/discovery.k8s.io/v1{root}/endpointslices"
        of_slices = Reflector(
            self._client, path, services.slice_view, self._slices_changed, clock=clock
        )
        return [of_services, of_slices]

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write no more; what is taken over stays so. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for timer in self._timers.values():
            timer.cancel()
        looks = tuple(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def look(self, namespace: str = "") -> None:
        """Something changed that Services do not tell: activators, who leads; or models, then
        of one ``namespace``."""
        keys = self._services.keys()
        self._due |= {key for key in keys if key[0] == namespace} if namespace else keys
        self._ports_stale = True
        self._stir.set()

    def ready_changed(self) -> None:
        """So did the replicas of a model: only what waits is concerned."""
        waiting = {key for key, known in self._services.items() if known.waiting}
        if waiting:
            self._due |= waiting
            self._stir.set()

    def _find_ports(self) -> None:
        """The activators' ports, each with the model that its requests are for."""
        self._ports_stale = False
        found: dict[int, ModelKey] = {}
        for known in self._services.values():
            if known.view is not None and known.view.allocated:
                view = self._own_ports(known.view)
                if lead := self._lead(view):
                    found.update((port, lead.model) for _, port in view.allocated)
        if found != self.ports:
            self.ports = found
            self._on_ports()

    def _own_ports(self, service: ServiceView) -> ServiceView:
        """``service`` without ports that an older Service has too: somebody copied them with
        all its annotations, and gets others."""
        mine = _seniority(service)
        kept = tuple(
            (name, port)
            for name, port in service.allocated
            if not any(
                other.view is not None and _seniority(other.view) < mine
                for other in (self._services[key] for key in self._allocated[port])
            )
        )
        return service if kept == service.allocated else replace(service, allocated=kept)

    def _note_ports(self, key: Key, known: _Service, pairs: Iterable[tuple[str, int]]) -> None:
        before, known.ports = known.ports, frozenset(port for _, port in pairs)
        for port in before - known.ports:
            self._allocated[port].discard(key)
            if not self._allocated[port]:
                del self._allocated[port]
        for port in known.ports:
            self._allocated.setdefault(port, set()).add(key)

    def waiting(self) -> Mapping[Key, str]:
        """What keeps Services from being as wanted, for people."""
        return {key: known.waiting for key, known in self._services.items() if known.waiting}

    # --- what is watched --------------------------------------------------------------------

    def _services_changed(self, deltas: Iterable[Delta[ServiceView]]) -> None:
        for delta in deltas:
            known = self._services.setdefault(delta.key, _Service())
            known.view = delta.new if isinstance(delta, Changed) else None
            self._note_ports(delta.key, known, known.view.allocated if known.view else ())
            self._ports_stale = True
            if delta.old and delta.old.taken and known.view and not known.view.taken:
                self._key_gone(known, known.view)
            self._seen(delta.key, known)

    def _slices_changed(self, deltas: Iterable[Delta[SliceView]]) -> None:
        for delta in deltas:
            namespace, name = delta.key
            if delta.old is not None:
                key = (namespace, delta.old.service)
                known = self._services.setdefault(key, _Service())
                known.slices.pop(name, None)
                self._seen(key, known)
            if isinstance(delta, Changed):
                key = (namespace, delta.new.service)
                known = self._services.setdefault(key, _Service())
                known.slices[name] = delta.new
                self._seen(key, known)

    def _seen(self, key: Key, known: _Service) -> None:
        known.unseen = False
        known.count(self._clock.now())
        if known.view is None and not known.slices:
            self._services.pop(key, None)
        self._due.add(key)
        self._stir.set()

    def _key_gone(self, known: _Service, service: ServiceView) -> None:
        """The key is out of the selector: was that us?"""
        if known.giving_back:
            known.giving_back = False
            return
        known.contested += 1
        truce = min(FIRST_TRUCE * 2.0 ** min(known.contested - 1, 20), LONGEST_TRUCE)
        known.truce_until = self._clock.now() + truce
        self._on_contested(service, known.contested)

    # --- what is written --------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._stir.clear()
            if self._ports_stale:
                self._find_ports()
            due, self._due = self._due, set()
            for number, key in enumerate(due if self._leads() else ()):
                if number % LOOKS_PER_SLICE == LOOKS_PER_SLICE - 1:
                    await asyncio.sleep(0)
                if key in self._looks:
                    self._due.add(key)  # again, once that look is over
                else:
                    task = asyncio.get_running_loop().create_task(self._look_at(key))
                    self._looks[key] = task
            await self._stir.wait()

    async def _look_at(self, key: Key) -> None:
        """Do what there is to do for one Service; of 5,000, no slow answer stops the others."""
        try:
            async with self._at_once:
                self._due.discard(key)
                known = self._services.get(key)
                pause = None if known is None else await self._lead_on(key, known)
        except Exception:  # what nobody has thought of must not end the leading of all
            logger.exception("%s/%s: looking at it failed", *key)
            pause = RETRY
        finally:
            del self._looks[key]
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if pause is not None:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(pause, self._look_later, key)
        if key in self._due:
            self._stir.set()

    def _look_later(self, key: Key) -> None:
        self._timers.pop(key, None)
        self._due.add(key)
        self._stir.set()

    async def _lead_on(self, key: Key, known: _Service) -> float | None:
        """One write for this Service at most; in how many seconds to look again, if at all."""
        service = known.view
        if service is None or known.unseen:
            return None
        lead = self._lead(service)
        if lead is None and not service.allocated:
            return None  # none of ours, and never was
        service = self._own_ports(service)
        now = self._clock.now()
        # A model that is no more has nobody who knows its replicas: its pods answer, or nobody.
        since = known.direct_since if lead is not None else known.plain_since
        then = step(
            service,
            known.slices.values(),
            wanted=lead is not None and lead.wanted,
            activators=self._activators(),
            ready=lead.ready if lead is not None else 1,
            direct_for=0.0 if since is None else now - since,
            used_ports=self._allocated.keys(),
            settle=self._settle,
        )
        known.waiting = then.why if isinstance(then, Wait) else ""
        if isinstance(then, Done):
            return None
        if isinstance(then, Wait):
            return None if since is None else max(0.01, self._settle - (now - since))
        if then == SetKey(True) and now < known.truce_until:
            known.waiting = f"somebody took the key out of its selector ({known.contested} times)"
            return known.truce_until - now
        known.giving_back = known.giving_back or then == SetKey(False)
        known.unseen = True
        if isinstance(then, Annotate):
            # At once: the next Service must not get the same.
            self._note_ports(key, known, then.ports)
        try:
            await services.perform(self._client, service, known.slices, then, self._budget())
        except PlatformError as error:
            # Refused, or nobody knows: what is known may be outdated, nothing is settled.
            known.unseen, known.plain_since, known.direct_since = False, None, None
            known.count(self._clock.now())
            self._note_ports(key, known, known.view.allocated if known.view else ())
            logger.info("%s/%s: %s: %s", service.namespace, service.name, then, error)
            return RETRY
        logger.info("%s/%s: %s", service.namespace, service.name, then)
        return None


def _seniority(service: ServiceView) -> tuple[str, bool, str]:
    """Who of those that claim a port has it: the smallest. Kubernetes' times are in seconds."""
    return service.created, not service.taken, service.uid
