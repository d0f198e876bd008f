"""A kubelet that runs pods as processes of this machine, against any API server."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from stoker.clock import SystemClock
from stoker.errors import ApiError
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.reflection import Changed, Delta
from stoker.platforms.kubernetes.reflector import Reflector
from tests.kubernetes.cluster.rules import condition

Obj = dict[str, Any]

SLEEP = ("sleep", "infinity")


@dataclass
class Image:
    """What an image stands for here. ``{address}`` in ``command`` is the pod's.

    ``takes``: the container's arguments and environment are given to the command. As pods share
    the machine's addresses here, 0.0.0.0 in them is the pod's own; ``environment`` is added, and
    ``argument`` says what becomes of an argument, for names that no DNS here knows.

    ``pull``: set when it may be pulled. ``missing``: it cannot be, with this message.
    ``killed_as``: the reason that is told when the process is killed (OOMKilled).
    """

    command: tuple[str, ...] = SLEEP
    missing: str = ""
    killed_as: str = "Error"
    takes: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    argument: Callable[[str], Sequence[str]] = lambda argument: [argument]
    pull: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pull.set()


class Kubelet:
    """Used as ``async with Kubelet(access, addresses) as kubelet:``. One node.

    ``images``: by name; any other runs ``sleep infinity``. ``restart_pause`` is the first pause
    before a restart, ``probe_period`` replaces what probes say (real kubelets: seconds).
    ``accounts``: the kubeconfig and the projected token of a ServiceAccount, by its name;
    ``directory``: where volumes are, if pods have any that count.
    """

    def __init__(
        self,
        access: Access,
        addresses: ipaddress.IPv4Network,
        *,
        node: str = "stoker-test",
        restart_pause: float = 0.05,
        probe_period: float = 0.02,
    ) -> None:
        self.images: dict[str, Image] = {}
        self.accounts: dict[str, tuple[str, str]] = {}
        self.directory: Path | None = None
        self.node = node
        self.restart_pause = restart_pause
        self.probe_period = probe_period
        self._access = access
        # Not the first ones always: several test processes share the machine.
        self._addresses = _from(addresses, os.getpid() * 61)
        self._free: list[str] = []
        self.pods: dict[str, _Pod] = {}  # by uid

    async def __aenter__(self) -> Self:
        self.client = await Client.connect(self._access, "kubelet")
        self.session = aiohttp.ClientSession()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        try:
            await self.client.create("/api/v1/nodes", {"metadata": {"name": self.node}})
        except ApiError as error:
            if error.status != 409:
                raise
        status = {"conditions": [ready], "capacity": {"cpu": "4", "memory": "8Gi", "pods": "999"}}
        await self.client.patch(f"/api/v1/nodes/{self.node}/status", {"status": status})
        self._reflector: Reflector[Obj] = Reflector(
            self.client,
            "/api/v1/pods",
            dict,
            self._changed,
            clock=SystemClock(),
            query={"fieldSelector": f"spec.nodeName={self.node}"},
        )
        self._reflector.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reflector.close()
        await asyncio.gather(*(pod.abandon() for pod in tuple(self.pods.values())))
        await self.session.close()
        await self.client.close()

    def address(self) -> str:
        return self._free.pop() if self._free else str(next(self._addresses))

    def released(self, pod: _Pod) -> None:
        self.pods.pop(pod.uid, None)
        self._free.insert(0, pod.address)

    def pod(self, name: str) -> _Pod:
        """The running pod of this name."""
        (found,) = [pod for pod in self.pods.values() if pod.name == name]
        return found

    def _changed(self, deltas: Iterable[Delta[Obj]]) -> None:
        for delta in deltas:
            if isinstance(delta, Changed):
                self._take(delta.new)
            elif pod := self.pods.get(delta.old["metadata"]["uid"]):
                pod.vanish()

    def _take(self, obj: Obj) -> None:
        uid = obj["metadata"]["uid"]
        if uid not in self.pods:
            self.pods[uid] = _Pod(self, obj)
        if obj["metadata"].get("deletionTimestamp"):
            self.pods[uid].terminate(obj["metadata"].get("deletionGracePeriodSeconds", 0))


class _Pod:
    """One pod, with one container that counts: the first."""

    def __init__(self, kubelet: Kubelet, obj: Obj) -> None:
        self._kubelet = kubelet
        self._obj = obj
        self.uid: str = obj["metadata"]["uid"]
        self.name: str = obj["metadata"]["name"]
        self.address = kubelet.address()
        self.process: asyncio.subprocess.Process | None = None
        self._restarts = 0
        self._last: Obj = {}
        self.ready = False
        self._grace: float | None = None
        self._told: Obj = {}
        self._ending = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._live())

    def terminate(self, grace: float) -> None:
        self._grace = grace if self._grace is None else min(grace, self._grace)
        self._ending.set()

    def vanish(self) -> None:
        """Deleted by force: nobody waits for it."""
        self.terminate(0)

    async def abandon(self) -> None:
        """The machine is gone."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A crash."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, number)

    async def _live(self) -> None:
        try:
            lives = asyncio.create_task(self._containers())
            ends = asyncio.create_task(self._ending.wait())
            try:
                await asyncio.wait([lives, ends], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (lives, ends):
                    task.cancel()
                await asyncio.gather(lives, ends, return_exceptions=True)
            await self._stop()
            await self._remove()
        finally:
            self.kill()
            if self.process is not None:
                await self.process.wait()
            self._kubelet.released(self)

    async def _containers(self) -> None:
        """Pull, then run and run again."""
        container = self._obj["spec"]["containers"][0]
        image = self._kubelet.images.setdefault(container["image"], Image())
        await self._tell({"waiting": {"reason": "ContainerCreating"}})
        failures = 0
        while image.missing:
            reason = "ImagePullBackOff" if failures else "ErrImagePull"
            await self._tell({"waiting": {"reason": reason, "message": image.missing}})
            failures += 1
            await asyncio.sleep(self._kubelet.restart_pause)
        await image.pull.wait()
        while True:
            # Looked at each time: a test may mend an image.
            command = [part.replace("{address}", self.address) for part in image.command]
            environment: dict[str, str] | None = None
            if image.takes:
                arguments, given = self._expanded(container, await self._mounted(container))
                for argument in arguments:
                    command += image.argument(argument.replace("0.0.0.0", self.address))
                given = {key: v.replace("0.0.0.0", self.address) for key, v in given.items()}
                environment = {**os.environ, **given, **image.environment}
                account = self._obj["spec"].get("serviceAccountName", "")
                if account in self._kubelet.accounts:
                    environment["KUBECONFIG"] = self._kubelet.accounts[account][0]
            self.process = await asyncio.create_subprocess_exec(
                *command,
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
            )
            since = _stamp()
            probe = asyncio.create_task(self._probe(container.get("readinessProbe"), since))
            try:
                code = await self.process.wait()
            finally:
                probe.cancel()
                await asyncio.gather(probe, return_exceptions=True)
            reason = image.killed_as if code < 0 else "Error" if code else "Completed"
            ended = {"exitCode": 128 - code if code < 0 else code, "reason": reason}
            ended |= {"startedAt": since, "finishedAt": _stamp()}
            self.ready = False
            await self._tell({"terminated": ended})
            self._last = {"terminated": ended}
            pause = self._kubelet.restart_pause * 2 ** min(self._restarts, 8)
            if self._restarts:
                message = f"back-off {pause:g}s restarting failed container"
                await self._tell({"waiting": {"reason": "CrashLoopBackOff", "message": message}})
            self._restarts += 1
            await asyncio.sleep(pause)

    async def _mounted(self, container: Obj) -> dict[str, str]:
        """Where its volumes are here, by where the container has them: Secrets as soon as there
        are any, the tokens of its account, and empty ones."""
        spec, root = self._obj["spec"], self._kubelet.directory
        if root is None:
            return {}
        volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
        found = {}
        for mount in container.get("volumeMounts") or ():
            folder = root / self.uid / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            found[mount["mountPath"]] = str(folder)
            volume = volumes[mount["name"]]
            if "secret" in volume:
                for key, text in (await self._secret(volume["secret"]["secretName"])).items():
                    (folder / key).write_bytes(base64.b64decode(text))
            for source in volume.get("projected", {}).get("sources", ()):
                token = self._kubelet.accounts[spec["serviceAccountName"]][1]
                (folder / source["serviceAccountToken"]["path"]).write_text(token)
        return found

    async def _secret(self, name: str) -> Obj:
        namespace = self._obj["metadata"]["namespace"]
        while True:
            try:
                path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
                return dict((await self._kubelet.client.get(path))["data"])
            except ApiError as error:
                if error.status != 404:
                    raise
            await asyncio.sleep(self._kubelet.restart_pause)

    def _expanded(
        self, container: Obj, mounts: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The container's arguments and environment, with what the downward API says, and with
        its volumes where they are here."""
        places = "|".join(sorted(map(re.escape, mounts), key=len, reverse=True))

        def here(text: str) -> str:
            pattern = rf"({places})(?=/|$)"
            return re.sub(pattern, lambda m: mounts[m[1]], text) if places else text

        fields = {
            "metadata.name": self.name,
            "metadata.namespace": self._obj["metadata"]["namespace"],
            "status.podIP": self.address,
            "status.podIPs": self.address,
        }
        environment = {}
        for variable in container.get("env") or ():
            source = variable.get("valueFrom")
            environment[variable["name"]] = (
                fields[source["fieldRef"]["fieldPath"]] if source else variable.get("value", "")
            )
        arguments = [here(argument) for argument in container.get("args") or ()]
        return arguments, {key: here(value) for key, value in environment.items()}

    async def _probe(self, probe: Obj | None, since: str) -> None:
        """Ready once the probe passes, and again and again."""
        state = {"running": {"startedAt": since}}
        if probe is None:
            self.ready = True
            await self._tell(state)
            return
        await self._tell(state)
        http = probe["httpGet"]
        ports = self._obj["spec"]["containers"][0].get("ports") or ()
        named = {port.get("name"): port["containerPort"] for port in ports}
        url = f"http://{self.address}:{named.get(http['port'], http['port'])}{http['path']}"
        while True:
            try:
                async with self._kubelet.session.get(url) as answer:
                    passed = 200 <= answer.status < 400
            except aiohttp.ClientError:
                passed = False
            if passed != self.ready:
                self.ready = passed
                await self._tell(state)
            await asyncio.sleep(self._kubelet.probe_period)

    async def _stop(self) -> None:
        process, grace = self.process, self._grace or 0
        if process is None or process.returncode is not None:
            return
        if grace:
            self.kill(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
        self.kill()
        await process.wait()

    async def _remove(self) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        with suppress(ApiError):
            await self._kubelet.client.send("delete", "DELETE", self._path(), body)

    def _path(self, subresource: str = "") -> str:
        namespace = self._obj["metadata"]["namespace"]
        return f"/api/v1/namespaces/{namespace}/pods/{self.name}{subresource}"

    async def _tell(self, state: Obj) -> None:
        ready = "True" if self.ready else "False"
        conditions: list[Obj] = []
        for kind, holds in (
            ("PodScheduled", "True"),
            ("Initialized", "True"),
            ("ContainersReady", ready),
            ("Ready", ready),
        ):
            was = condition(self._told, kind)
            since = was["lastTransitionTime"] if was.get("status") == holds else _stamp()
            conditions.append({"type": kind, "status": holds, "lastTransitionTime": since})
        container = self._obj["spec"]["containers"][0]
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": self.ready,
            "started": "running" in state,
            "restartCount": self._restarts,
            "state": state,
            "lastState": self._last,
        }
        running = self._restarts or "waiting" not in state
        body: Obj = {
            "phase": "Running" if running else "Pending",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "hostIP": "127.0.0.1",
            "conditions": conditions,
            "containerStatuses": [status],
        }
        self._told = {"status": body}
        with suppress(ApiError):  # deleted meanwhile
            await self._kubelet.client.patch(self._path("/status"), self._told)


def _from(network: ipaddress.IPv4Network, start: int) -> Iterator[ipaddress.IPv4Address]:
    """Every address of it that a host may have, beginning somewhere."""
    hosts = network.num_addresses - 2
    return (network[1 + (start + number) % hosts] for number in range(hosts))


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
