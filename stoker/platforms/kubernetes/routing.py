"""Leads the traffic of models' Services: the I/O around ``traffic.step``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    Done,
    ServiceView,
    SetKey,
    SliceView,
    Wait,
    step,
)
from stoker.vocabulary import ModelKey

logger = logging.getLogger(__name__)

# After a write that failed, and at most between two looks at what only time changes.
RETRY, LOOK_AGAIN = 1.0, 3600.0
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
    ports are for: whoever runs an activator accepts on them. ``settle`` seconds: see
    ``traffic.SETTLE``.
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
        settle: float = SETTLE,
    ) -> None:
        self._settle = settle
        self._client = client
        self._clock = clock
        self._budget = budget
        self._activators = activators
        self._lead = lead
        self._on_contested = on_contested
        self._services: dict[Key, _Service] = {}
        self._due: set[Key] = set()
        self._later: set[Key] = set()
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def reflectors(self, root: str) -> list[Reflector[Any]]:
        """What has to be watched below ``root`` ("" or ``/namespaces/NAME``)."""
        paths = (f"/api/v1{root}/services", f"/apis/discovery.k8s.io/v1{root}/endpointslices")
        return [
            Reflector(
                self._client, paths[0], services.view, self._services_changed, clock=self._clock
            ),
            Reflector(
                self._client, paths[1], services.slice_view, self._slices_changed, clock=self._clock
            ),
        ]

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write no more; what is taken over stays so. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def look(self) -> None:
        """Something changed that Services do not tell: activators, models."""
        self._due |= self._services.keys()
        self._stir.set()

    def ready_changed(self) -> None:
        """So did the replicas of a model: only what waits is concerned."""
        waiting = {key for key, known in self._services.items() if known.waiting}
        if waiting:
            self._due |= waiting
            self._stir.set()

    @property
    def ports(self) -> Mapping[int, ModelKey]:
        """The activators' ports, each with the model that its requests are for."""
        found: dict[int, ModelKey] = {}
        for known in self._services.values():
            if known.view is not None and (lead := self._lead(known.view)):
                found.update((port, lead.model) for _, port in known.view.allocated)
        return found

    def waiting(self) -> Mapping[Key, str]:
        """What keeps Services from being as wanted, for people."""
        return {key: known.waiting for key, known in self._services.items() if known.waiting}

    # --- what is watched --------------------------------------------------------------------

    def _services_changed(self, deltas: Iterable[Delta[ServiceView]]) -> None:
        for delta in deltas:
            known = self._services.setdefault(delta.key, _Service())
            known.view = delta.new if isinstance(delta, Changed) else None
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
            due, self._due = self._due, set()
            pauses = [LOOK_AGAIN]
            for key in due:
                if known := self._services.get(key):
                    pause = await self._lead_on(known)
                    if pause is not None:
                        self._later.add(key)
                        pauses.append(pause)
            timer = asyncio.get_running_loop().call_later(min(pauses), self._look_later)
            try:
                await self._stir.wait()
            finally:
                timer.cancel()

    def _look_later(self) -> None:
        self._due |= self._later
        self._later.clear()
        self._stir.set()

    async def _lead_on(self, known: _Service) -> float | None:
        """One write for this Service at most; in how many seconds to look again, if at all."""
        service = known.view
        if service is None or known.unseen:
            return None
        lead = self._lead(service)
        if lead is None and not service.allocated:
            return None  # none of ours, and never was
        now = self._clock.now()
        # A model that is no more has nobody who knows its replicas: its pods answer, or nobody.
        since = known.direct_since if lead is not None else known.plain_since
        others = [k.view for k in self._services.values() if k.view and k.view is not service]
        then = step(
            service,
            known.slices.values(),
            wanted=lead is not None and lead.wanted,
            activators=self._activators(),
            ready=lead.ready if lead is not None else 1,
            direct_for=0.0 if since is None else now - since,
            used_ports={port for view in others for _, port in view.allocated},
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
        try:
            await services.perform(self._client, service, known.slices, then, self._budget())
        except PlatformError as error:
            # Refused, or nobody knows: what is known may be outdated, nothing is settled.
            known.unseen, known.plain_since, known.direct_since = False, None, None
            known.count(self._clock.now())
            logger.info("%s/%s: %s: %s", service.namespace, service.name, then, error)
            return RETRY
        logger.info("%s/%s: %s", service.namespace, service.name, then)
        return None
