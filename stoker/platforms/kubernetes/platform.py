"""The Kubernetes platform: the shell that joins reflectors, trackers and writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from stoker.clock import Clock, SystemClock
from stoker.errors import (
    ApiError,
    PlatformClosedError,
    PlatformError,
    SettingsError,
    UnknownModelError,
)
from stoker.platform import (
    ModelChanged,
    ModelRemoved,
    ModelWatcher,
    ReplicaEvent,
    ReplicaWatcher,
    Unsubscribe,
)
from stoker.platforms.kubernetes import models, pods, shared_settings
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.models import DeploymentView, Rival
from stoker.platforms.kubernetes.names import MANAGED_SELECTOR
from stoker.platforms.kubernetes.pods import PodView
from stoker.platforms.kubernetes.recorder import Note, Recorder
from stoker.platforms.kubernetes.reflection import Changed, Delta
from stoker.platforms.kubernetes.reflector import Reflector
from stoker.platforms.kubernetes.routing import Lead, Routing
from stoker.platforms.kubernetes.scaling import Scaling
from stoker.platforms.kubernetes.shared_settings import ConfigMapView, SharedSettings
from stoker.platforms.kubernetes.tracking import Tracker
from stoker.platforms.kubernetes.traffic import SETTLE, Activator, ServiceView, selects, unfit
from stoker.platforms.kubernetes.writing import Budget, Managed, Writer
from stoker.telemetry import BAD_MODEL_SETTINGS, Reading
from stoker.vocabulary import ModelKey, Node, NodePool, Phase, PlatformEvent
from stoker.watches import Watches

logger = logging.getLogger(__name__)

_WARNINGS = ("failed", "refused", "outage")
# Between two tries to begin while the API server is away.
RETRY = 1.0


class KubernetesPlatform:
    """Implements ``stoker.platform.Platform`` over labelled Deployments and their pods.

    ``namespaces`` are the only ones touched; empty: all. ``leads`` says whether this process
    may write at all, and whoever decides that calls ``lead_changed``; ``budget`` bounds every
    write that only the leader may make. ``activators``, if given, says who takes requests: then
    Services are led through them, and whoever runs one calls ``activators_changed``.
    ``on_ports`` is told on which ports activators have to accept, and whose requests come
    there. ``looks_only``: this process never leads, and needs no permission to write, nor to
    look at what only a leader must know; ``on_drained`` is told then what ``drained`` would
    tell here, for whoever leads elsewhere. ``settings``, if given, are under those of each model.
    Used as ``async with KubernetesPlatform(client) as platform:``.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespaces: Sequence[str] = (),
        budget: Budget = lambda: 60.0,
        leads: Callable[[], bool] = lambda: True,
        activators: Callable[[], Sequence[Activator]] | None = None,
        settings: SharedSettings | None = None,
        on_ports: Callable[[Mapping[int, ModelKey]], None] = lambda ports: None,
        looks_only: bool = False,
        on_drained: Callable[[str], None] | None = None,
        settle: float = SETTLE,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._namespaces = tuple(namespaces)
        self._settings = settings
        self._clock: Clock = SystemClock() if clock is None else clock
        self._watches = Watches()
        self._models: dict[ModelKey, Managed] = {}
        self._pods: dict[ModelKey, dict[str, PodView]] = {}
        self._rivals: dict[ModelKey, set[Rival]] = {}
        self._nodes: dict[str, Node] = {}
        self._recorder = Recorder(client, clock=self._clock)
        self._labelled: dict[tuple[str, str, str], set[ModelKey]] = {}
        self._leads: Callable[[], bool] = (lambda: False) if looks_only else leads
        self._looks_only = looks_only
        self._on_ports = on_ports
        self._on_drained = on_drained
        self._listed = False
        if looks_only:
            activators = tuple
        self._routing = activators and Routing(
            client,
            clock=self._clock,
            budget=budget,
            activators=activators,
            lead=self._lead,
            on_contested=self._contested,
            on_ports=self._ports_changed,
            leads=self._leads,
            settle=settle,
        )
        self._reflectors: list[Reflector[Any]] = []
        self._writer = Writer(client, self._models, budget=budget, clock=self._clock)
        self._settle = settle
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to watch; returns once everything has been listed, however long that takes.

        Settings, rivals and pods are listed before Deployments, so that no model is announced that
        would have to be taken back. Raises PlatformError for what may not be listed.
        """
        keda = await self._serves("/apis/keda.sh/v1alpha1")
        first: list[Reflector[Any]] = []
        if not self._looks_only:
            first.append(self._reflector("/api/v1/nodes", models.node, self._nodes_changed))
        if (shared := self._settings) is not None:
            view, changed = shared_settings.view, self._settings_changed
            first.append(self._reflector(shared.path, view, changed, shared.query))
        second: list[Reflector[Any]] = []
        for root in self._roots():
            for group, plural, kind in models.RIVALS if keda else models.RIVALS[:1]:
                path = f"{group}{root}/{plural}"
                first.append(self._reflector(path, models.rival_of(kind), self._rivals_changed))
            first.append(self._reflector(f"/api/v1{root}/pods", pods.view, self._pods_changed))
            path = f"/apis/apps/v1{root}/deployments"
            query = {"labelSelector": MANAGED_SELECTOR}
            second.append(self._reflector(path, models.view, self._deployments_changed, query))
        third: list[Reflector[Any]] = []
        if self._routing:
            writes = not self._looks_only
            third = [
                reflector
                for root in self._roots()
                for reflector in self._routing.reflectors(root, writes=writes)
            ]
        for group_of in (first, second, third):
            for reflector in group_of:
                self._reflectors.append(reflector)
                reflector.start()
            for reflector in group_of:
                await reflector.synced()
        self._listed = True
        self._recorder.start()
        if self._routing:
            self._routing.start()
        if not self._looks_only:
            self._writer.start()

    def _roots(self) -> tuple[str, ...]:
        return tuple(f"/namespaces/{name}" for name in self._namespaces) or ("",)

    async def _serves(self, path: str) -> bool:
        while True:
            try:
                await self._client.get(path)
            except ApiError as error:
                if error.status == 404:
                    return False
                if error.status in (401, 403):
                    raise
                logger.warning("%s: %s; trying again", path, error)
                await asyncio.sleep(max(RETRY, error.retry_after))
            else:
                return True

    def _reflector(
        self,
        path: str,
        project: Callable[[models.Obj], Any],
        on_change: Callable[[Iterable[Delta[Any]]], None],
        query: dict[str, str] | None = None,
    ) -> Reflector[Any]:
        return Reflector(self._client, path, project, on_change, clock=self._clock, query=query)

    # --- the Platform seam ------------------------------------------------------------------

    def watch_models(self, watcher: ModelWatcher) -> Unsubscribe:
        return self._watches.watch_models(watcher)

    def watch_replicas(self, watcher: ReplicaWatcher) -> Unsubscribe:
        return self._watches.watch_replicas(watcher)

    async def scale(self, model: ModelKey, replicas: int, victims: Sequence[str] = ()) -> None:
        """As ``Platform.scale``. Also raises NotLeadingError, ApiError."""
        known = self._known(model)
        if replicas < 0:
            raise ValueError(f"replicas = {replicas}: must be 0 or more")
        known.scaling.want(replicas, victims)
        await self._writer.write(known)

    def nodes(self) -> Sequence[Node]:
        return tuple(self._nodes.values())

    def node_pools(self) -> Sequence[NodePool]:
        return ()

    async def set_traffic(self, model: ModelKey, via_activator: bool) -> None:
        """As ``Platform.set_traffic``; returns when the wish is recorded. Without ``activators``
        Services are not touched, and only what is sent to an activator goes through one."""
        known = self._known(model)
        if self._routing:
            known.via_activator = via_activator
            self._routing.look()
        elif not via_activator:
            raise PlatformError(f"{model}: no Service of it is led through an activator")

    def record_event(self, event: PlatformEvent) -> None:
        known = self._models.get(event.model) if event.model is not None else None
        if known is None or self._closed:
            logger.info("%s: %s: %s", event.model, event.kind, event.message[:1000])
            return
        self._note(known, event.kind, event.message)

    def drained(self, replica_id: str) -> None:
        if self._on_drained is not None:
            self._on_drained(replica_id)
            return
        replica = self._watches.replicas.get(replica_id)
        if replica is not None and (known := self._models.get(replica.model)):
            known.scaling.drained(replica_id, self._clock.now())
            self._writer.look_at(replica.model)

    async def close(self) -> None:
        """Watch and write no more. The pods go on without Stoker: nothing here started them."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(reflector.close() for reflector in self._reflectors))
        await self._recorder.close()
        if self._routing:
            await self._routing.close()
        await self._writer.close()
        for known in self._models.values():
            self._announce(known.tracker.all_gone("Stoker watches no more; the pod goes on"))

    # --- beyond the seam --------------------------------------------------------------------

    def refusals(self) -> dict[ModelKey, str]:
        """Why labelled Deployments are not models, or not with their present annotations."""
        return {key: known.refused for key, known in self._models.items() if known.refused}

    def lead_changed(self) -> None:
        """This process leads from now on, or does no more.

        A new leader decides from what is there: whether a model's initial scale has been given
        to it already nobody can tell by its Deployment, so only those that get the label later
        get theirs. What was wanted as long as another led is wanted no more.
        """
        for known in tuple(self._models.values()):
            known.scaling.stand_down()
            known.initialised = True
            if self._leads() and not known.leaving:
                self._settle_model(known.deployment)
                if known.refused:
                    self._note(known, known.refused_for, known.refused)
        if self._routing:
            self._routing.look()

    def activators_changed(self) -> None:
        """Activators came, are leaving, or accept on other ports."""
        if self._routing:
            self._routing.look()

    def activator_ports(self) -> Mapping[int, ModelKey]:
        """On which ports activators have to accept, and whose requests come there."""
        return self._routing.ports if self._routing else {}

    def _ports_changed(self) -> None:
        self._on_ports(self.activator_ports())
        loop = asyncio.get_running_loop()
        for known in self._models.values():
            if known.leaving and not self._is_led(known):
                loop.call_later(self._settle, self._end_if_due, known)

    def readings(self) -> Iterator[Reading]:
        """For ``telemetry.Exposition``; requests are the client's to tell."""
        for reflector in self._reflectors:
            yield from reflector.readings()
        if self._settings is not None:
            yield from self._settings.readings()
        for key in self.refusals():
            yield Reading(BAD_MODEL_SETTINGS, (str(key),), 1)

    # --- what is watched --------------------------------------------------------------------

    def _settings_changed(self, deltas: Iterable[Delta[ConfigMapView]]) -> None:
        assert self._settings is not None
        changed, notes = self._settings.changed(deltas)
        for note in () if self._looks_only else notes:
            self._recorder.record(note)
        if changed:
            for known in tuple(self._models.values()):
                if not known.removed:
                    self._settle_model(known.deployment)

    def _deployments_changed(self, deltas: Iterable[Delta[DeploymentView]]) -> None:
        for delta in deltas:
            if isinstance(delta, Changed) and not delta.new.deleting:
                self._settle_model(delta.new)
            else:
                view = delta.new if isinstance(delta, Changed) else delta.old
                self._let_go(view.key, remove=True)

    def _settle_model(self, view: DeploymentView) -> None:
        known = self._models.get(view.key)
        if known is None or known.deployment.uid != view.uid:
            self._remove_model(view.key)
            known = Managed(view, Tracker(view.key), Scaling(0.0))
            known.initialised = not self._listed
            self._models[view.key] = known
        known.leaving = known.removed = False
        was = known.announced, known.deployment.labels
        self._unlabel(known)
        known.deployment = view
        for pair in view.labels:
            self._labelled.setdefault((view.key.namespace, *pair), set()).add(view.key)
        self._take_settings(known, view)
        if self._routing and was != (known.announced, view.labels):
            self._routing.look(view.key.namespace)

    def _take_settings(self, known: Managed, view: DeploymentView) -> None:
        known.scaling.observed(view.replicas)
        if rivals := models.refusal(sorted(self._rivals.get(view.key, ()), key=repr)):
            self._let_go(view.key, remove=False)
            self._refuse(known, "ModelRefused", rivals)
            return
        try:
            defaults = self._settings.models if self._settings else None
            annotated, port = models.settings_of(view, defaults)
        except SettingsError as error:
            problems = "; ".join(str(problem) for problem in error.problems)
            kept = "; the last good settings stay" if known.announced else ""
            self._refuse(known, "SettingsRefused", problems + kept)
            return
        known.refused = ""
        known.scaling.drain_timeout = annotated.drain_timeout
        for notice in annotated.notices:
            logger.info("%s: %s", view.key, notice)
        if known.announced and known.tracker.port != port:
            self._announce(known.tracker.all_gone("another port was set"))
            known.announced = False
        spec = annotated.spec
        if known.initialised:
            spec = replace(spec, scaling=replace(spec.scaling, initial_scale=0))
        if self._watches.specs.get(view.key) != spec:
            self._watches.announce_model(ModelChanged(spec))
        if not known.announced:
            known.announced = True
            known.tracker = Tracker(view.key, port)
            found = self._pods.get(view.key, {}).values()
            for pod in sorted(found, key=lambda pod: (pod.created, pod.name)):
                self._pod_changed(known, pod)
        self._writer.look_at(view.key)

    def _let_go(self, key: ModelKey, *, remove: bool) -> None:
        """It is not to be a model any more. As long as its Services lead to the activators, and
        they have somebody to pass requests on to, it stays one that is not scaled."""
        known = self._models.get(key)
        if known is None:
            return
        known.removed = known.removed or remove
        if self._routing and known.announced and self._is_led(known) and known.ready:
            if not known.leaving:
                known.leaving = True
                known.scaling.stand_down()
                self._routing.look(key.namespace)
        else:
            self._end(known)

    def _is_led(self, known: Managed) -> bool:
        return known.deployment.key in self.activator_ports().values()

    def _end(self, known: Managed) -> None:
        known.leaving = False
        if known.removed:
            self._remove_model(known.deployment.key)
        else:
            self._withdraw(known)
            if self._routing:
                self._routing.look(known.deployment.key.namespace)

    def _end_if_due(self, known: Managed) -> None:
        """Requests may be on their way to a port for a while after it is nobody's any more."""
        if known.leaving and not (self._is_led(known) and known.ready):
            self._end(known)

    def _remove_model(self, key: ModelKey) -> None:
        known = self._models.pop(key, None)
        if known is not None:
            self._unlabel(known)
            self._withdraw(known)
            if self._routing:
                self._routing.look(key.namespace)

    def _unlabel(self, known: Managed) -> None:
        key = known.deployment.key
        for pair in known.deployment.labels:
            self._labelled.get((key.namespace, *pair), set()).discard(key)

    def _contested(self, service: ServiceView, times: int) -> None:
        if lead := self._lead(service):
            logger.warning("%s: Service %s: its key was taken out", lead.model, service.name)
            # One Event, not one for each time.
            self._note(
                self._models[lead.model],
                "TrafficContested",
                f"somebody takes stoker.dev/direct out of the selector of Service {service.name};"
                " it is put back ever later: let them leave the selector alone, or take the label"
                " stoker.dev/managed away",
            )

    def _lead(self, service: ServiceView) -> Lead | None:
        """Whose traffic a Service's is: nobody's if its pods are of several models."""
        pairs = sorted(service.own_selector.items())
        if not pairs:
            return None
        found = self._labelled.get((service.namespace, *pairs[0]), set())
        owners = [self._models[key] for key in found if self._models[key].announced]
        owners = [known for known in owners if selects(service, dict(known.deployment.labels))]
        if len(owners) != 1:
            return None
        (known,) = owners
        if known.via_activator and not known.leaving and (why := unfit(service)):
            self._note(known, "TrafficRefused", f"Service {service.name} {why}")
        return Lead(known.deployment.key, known.via_activator and not known.leaving, known.ready)

    def _withdraw(self, known: Managed) -> None:
        """It is no model any more; its pods are left alone."""
        if known.announced:
            known.announced = False
            known.scaling = Scaling(0.0)  # what was wanted of it is wanted no more
            self._watches.announce_model(ModelRemoved(known.deployment.key))
            self._announce(known.tracker.all_gone("no longer managed; the pod goes on"))

    def _refuse(self, known: Managed, reason: str, why: str) -> None:
        if known.refused != why:
            known.refused, known.refused_for = why, reason
            logger.warning("%s: %s", known.deployment.key, why)
            self._note(known, reason, why)

    def _rivals_changed(self, deltas: Iterable[Delta[Rival]]) -> None:
        for delta in deltas:
            touched = []
            if delta.old is not None:
                self._rivals.get(delta.old.target, set()).discard(delta.old)
                touched.append(delta.old.target)
            if isinstance(delta, Changed):
                self._rivals.setdefault(delta.new.target, set()).add(delta.new)
                touched.append(delta.new.target)
            for key in touched:
                if (known := self._models.get(key)) and not known.removed:
                    self._settle_model(known.deployment)

    def _pods_changed(self, deltas: Iterable[Delta[PodView]]) -> None:
        for delta in deltas:
            pod = delta.new if isinstance(delta, Changed) else delta.old
            key = ModelKey(pod.namespace, pod.owner)
            known = self._models.get(key)
            if delta.old is not None and delta.old.uid != pod.uid:
                self._pod_gone(known, delta.old)
            if isinstance(delta, Changed):
                self._pods.setdefault(key, {})[pod.uid] = pod
                if known is not None and known.announced:
                    self._pod_changed(known, pod)
            else:
                self._pod_gone(known, pod)

    def _pod_changed(self, known: Managed, pod: PodView) -> None:
        now = self._clock.now()
        events = known.tracker.changed(pod, now, self._clock.wall())
        replica = known.tracker.current(pod)
        if replica is not None and replica.phase is Phase.DRAINING:
            if pod.terminating:
                known.scaling.gone(replica.id)
            else:
                known.scaling.seen_draining(replica, now)
        self._announce(events)
        if known.leaving and not known.ready:
            self._end(known)
            return
        self._writer.look_at(known.deployment.key)

    def _pod_gone(self, known: Managed | None, pod: PodView) -> None:
        key = ModelKey(pod.namespace, pod.owner)
        kept = self._pods.get(key, {})
        kept.pop(pod.uid, None)
        if not kept:
            self._pods.pop(key, None)
        if known is None or not known.announced:
            return
        if replica := known.tracker.current(pod):
            known.scaling.gone(replica.id)
        self._announce(known.tracker.gone(pod, self._clock.now()))
        if known.leaving and not known.ready:
            self._end(known)
            return
        self._writer.look_at(key)

    def _nodes_changed(self, deltas: Iterable[Delta[Node]]) -> None:
        for delta in deltas:
            name = delta.key[1]
            if isinstance(delta, Changed):
                self._nodes[name] = delta.new
            else:
                self._nodes.pop(name, None)

    def _announce(self, events: Iterable[ReplicaEvent]) -> None:
        for event in events:
            self._watches.announce_replica(event)
        if self._routing:
            self._routing.ready_changed()

    # --- within -------------------------------------------------------------------------------

    def _note(self, known: Managed, kind: str, message: str) -> None:
        if not self._leads():
            return  # whoever does tells it, once
        deployment = known.deployment
        warning = any(word in kind.lower() for word in _WARNINGS)
        self._recorder.record(Note(deployment.key, deployment.uid, kind, message, warning))

    def _known(self, model: ModelKey) -> Managed:
        if self._closed:
            raise PlatformClosedError("the Kubernetes platform is closed")
        known = self._models.get(model)
        if known is None or known.leaving or not known.announced:
            why = f": {known.refused}" if known is not None and known.refused else ""
            raise UnknownModelError(f"{model}: no such model{why}")
        return known
