"""Every Service as it was before Stoker, with nobody else's help: for ``stoker uninstall``.

Each write is the one that ``traffic.step`` asks for, as in a running Stoker that gives a Service
back. What is different is that nobody wakes a model here: a Deployment that is asleep is scaled
to one first, so that there is somebody to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.clock import Clock
from stoker.errors import ApiError, PlatformError
from stoker.platforms.kubernetes import adoption, models, pods, services, survey
from stoker.platforms.kubernetes.client import Client, Obj
from stoker.platforms.kubernetes.traffic import (
    SETTLE,
    DeleteSlice,
    Done,
    ServiceView,
    SetKey,
    SliceView,
    Wait,
    selects,
    step,
)
from stoker.vocabulary import ModelKey, Phase

# How often everything is looked at anew.
LOOK_SECONDS = 0.5
WRITE_SECONDS = 10.0
# How long after the timeout it is tried on, before it is said that somebody works against it.
PATIENCE_SECONDS = 30.0

Key = tuple[str, str]


@dataclass(slots=True)
class Found:
    """What there is of Stoker in some namespaces."""

    services: dict[Key, ServiceView] = field(default_factory=dict)
    slices: dict[Key, dict[str, SliceView]] = field(default_factory=dict)
    deployments: list[Obj] = field(default_factory=list)
    pods: list[Obj] = field(default_factory=list)

    def to_restore(self) -> list[ServiceView]:
        """Services with anything of Stoker's on them, by name."""
        return [
            service
            for key, service in sorted(self.services.items())
            if survey.left_over(service, self.slices.get(key, {}).values())
        ]

    def asleep(self) -> list[models.DeploymentView]:
        """Models without a replica whose Services will need one."""
        views = [models.view(obj) for obj in self.deployments if adoption.is_managed(obj)]
        restored = self.to_restore()
        return [
            view
            for view in views
            if not view.replicas
            and any(
                s.namespace == view.key.namespace and selects(s, dict(view.labels))
                for s in restored
            )
        ]

    def marked(self) -> list[tuple[Obj, dict[str, Any]]]:
        """Pods that Stoker wanted to end, each with the patch that lets it live."""
        return [(p, patch) for p in self.pods if (patch := survey.unmarked(p)) is not None]

    def ready(self, service: ServiceView) -> int:
        """How many ready pods would answer for it."""
        return sum(
            pod["metadata"]["namespace"] == service.namespace
            and selects(service, pod["metadata"].get("labels") or {})
            and (view := pods.view(pod)) is not None
            and view.phase is Phase.READY
            for pod in self.pods
        )


async def look(client: Client, namespaces: Sequence[str]) -> Found:
    """All of it, as it is now; no namespaces: everywhere. Raises ApiError."""
    found = Found()
    for root in tuple(f"/namespaces/{name}" for name in namespaces) or ("",):
        every, _ = await client.list(f"/api/v1{root}/services")
        for obj in every:
            if view := services.view(obj):
                found.services[view.namespace, view.name] = view
        every, _ = await client.list(f"/apis/discovery.k8s.io/v1{root}/endpointslices")
        for obj in every:
            if part := services.slice_view(obj):
                key = obj["metadata"]["namespace"], part.service
                found.slices.setdefault(key, {})[part.name] = part
        found.deployments += (await client.list(f"/apis/apps/v1{root}/deployments"))[0]
        found.pods += (await client.list(f"/api/v1{root}/pods"))[0]
    return found


async def wake(client: Client, model: ModelKey) -> None:
    """One replica, for a Deployment that has none. Raises ApiError."""
    path = f"/apis/apps/v1/namespaces/{model.namespace}/deployments/{model.name}/scale"
    await client.patch(path, {"spec": {"replicas": 1}}, timeout=WRITE_SECONDS)


class Restoring:
    """Used once: ``run`` does it all. ``tell`` is told each write, in words."""

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str],
        clock: Clock,
        tell: Callable[[str], None],
        *,
        timeout: float,
        settle: float = SETTLE,
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._clock = clock
        self._tell = tell
        self._deadline = clock.now() + timeout
        self._settle = settle
        self._direct_since: dict[Key, float] = {}
        self._unanswered: list[str] = []

    async def run(self) -> list[str]:
        """Until nothing of Stoker's is left on any Service. Returns those that have nobody who
        answers: no pod of theirs was ready within ``timeout``.

        Raises ApiError where the API server refuses; PlatformError, when somebody puts back what
        is taken away.
        """
        found = await look(self._client, self._namespaces)
        for view in found.asleep():
            await wake(self._client, view.key)
            self._tell(f"Deployment {view.key}: asleep, scaled to 1")
        for pod, patch in found.marked():
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            if await self._written(self._client.patch(path, patch, timeout=WRITE_SECONDS)):
                self._tell(f"Pod {metadata['namespace']}/{metadata['name']}: may go on")
        while left := found.to_restore():
            over = self._clock.now() - self._deadline
            if over > PATIENCE_SECONDS:
                names = ", ".join(f"{s.namespace}/{s.name}" for s in left)
                raise PlatformError(
                    f"not restored: {names}: somebody puts back what is taken away; is a Stoker"
                    " running there?"
                )
            for service in left:
                await self._restore(found, service, late=over >= 0)
            await asyncio.sleep(LOOK_SECONDS)
            found = await look(self._client, self._namespaces)
        return self._unanswered

    async def _restore(self, found: Found, service: ServiceView, *, late: bool) -> None:
        """The next write for one Service, if anything may be written yet."""
        key, now = (service.namespace, service.name), self._clock.now()
        slices = found.slices.get(key, {})
        filled = not service.taken and any(s.ready for s in slices.values() if not s.ours)
        if not filled:
            self._direct_since.pop(key, None)
        since = self._direct_since.setdefault(key, now) if filled else now
        ready = found.ready(service)
        then = step(
            service,
            slices.values(),
            wanted=False,
            activators=(),
            # Once it has taken too long, the better address is that of pods that may come yet,
            # not that of activators that have gone.
            ready=max(ready, 1) if late else ready,
            direct_for=self._settle if late else now - since,
            settle=self._settle,
        )
        if isinstance(then, Done | Wait):
            return
        doing = services.perform(self._client, service, slices, then, WRITE_SECONDS)
        if not await self._written(doing):
            return
        name = f"{service.namespace}/{service.name}"
        if isinstance(then, SetKey):
            self._tell(f"Service {name}: its selector is its own again")
            if not ready:
                self._unanswered.append(name)
        elif isinstance(then, DeleteSlice):
            self._tell(f"Service {name}: EndpointSlice {then.name} deleted")

    @staticmethod
    async def _written(doing: Any) -> bool:
        """False: it has changed meanwhile, or is gone; it is looked at again."""
        try:
            await doing
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        return True
