"""``stoker activator``: takes requests; one of any number. Decides nothing about replicas."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from activator.cluster import Cluster
from activator.peer_identity import read_token
from activator.server import Activator
from activator.service_ports import ServicePorts
from stoker.admin import Admin
from stoker.admin_token import VARIABLE, AdminToken
from stoker.cli.advertised import advertised
from stoker.cli.forecasts import Forecasts
from stoker.cli.pods import begun, own_name, own_namespace, told_to_stop, until_told
from stoker.cli.seen import seen
from stoker.cli.started import Started
from stoker.clock import SystemClock
from stoker.errors import Problem, SettingsError
from stoker.exposition import Exposition
from stoker.platform import ReplicaEvent, ReplicaGone
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.members import Members
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.platforms.kubernetes.shared_settings import SharedSettings
from stoker.platforms.kubernetes.tracking import pod_part
from stoker.settings.kinds import BadValueError, parse_address
from stoker.stats_sender import StatsSender
from stoker.vocabulary import Address, ModelKey

log = logging.getLogger("stoker")

DEFAULT_PEERS: Final = Address("0.0.0.0", 9092)
DEFAULT_AUTOSCALER: Final = "stoker-autoscaler:9091"
# How long a start waits for links to all others: who has died is known to be gone only later.
MEETING_SECONDS: Final = 10.0


class Around(NamedTuple):
    """What there is around an activator. ``addresses``: its own, by family, to be told."""

    namespaces: Sequence[str]
    addresses: Mapping[str, str]
    autoscalers: Sequence[Address]
    service: str
    token_file: str


def run_activator(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ListenError, PlatformError."""
    started = begun(arguments)
    around = Around(
        arguments.namespace,
        advertised(arguments.advertise, os.environ),
        [_address("--autoscaler", text) for text in arguments.autoscaler or [DEFAULT_AUTOSCALER]],
        arguments.service,
        arguments.token_file,
    )
    return uvloop.run(_run(started, Access(arguments.kubeconfig, arguments.context), around))


async def _run(started: Started, access: Access, around: Around) -> int:
    stop = told_to_stop()
    async with await Client.connect(access, "activator") as client:
        activator = ActivatorProcess(started, client, around)
        return await until_told(stop, activator.start, activator.drain, activator.close)


class ActivatorProcess:
    """Composition root. ``close`` may be called whatever became of ``start``."""

    def __init__(self, started: Started, client: Client, around: Around) -> None:
        process = started.process({})
        self._started = started
        self.clock = SystemClock()
        self._around = around
        self._ready_to_serve = False
        self._empty: set[str] = set()
        self._forecasts = Forecasts()
        name = process.peer_name or own_name()
        home = own_namespace(around.namespaces)
        self.platform = KubernetesPlatform(
            client,
            namespaces=around.namespaces,
            looks_only=True,
            on_ports=lambda ports: self.ports.set(ports),
            on_drained=self._drained,
            settings=SharedSettings(home, started.config_map, accept=self._configure),
            clock=self.clock,
        )
        self.cluster = Cluster(
            name,
            process.peer_listen or DEFAULT_PEERS,
            token=read_token(process.peer_token_file),
            slot_expiry=process.slot_expiry,
            heartbeat=process.peer_heartbeat,
            share_slots=process.peer_share_slots,
            collects_drains=True,
        )
        self.sender = StatsSender(
            name, around.autoscalers, self._token, self._state, self._answer, self.clock
        )
        self.activator = Activator(
            process,
            self.platform,
            self.sender,
            self.clock,
            name=name,
            eta=self._forecasts.eta,
            cluster=self.cluster,
        )
        self.ports = ServicePorts(self.activator, process.listen.host, self.sender.changed)
        self.members = Members(
            client,
            home,
            around.service,
            self._set_peers,
            self.clock,
        )
        self.admin = Admin(
            process.admin,
            Exposition(
                [
                    self.activator.reading_parts,
                    self.platform.readings,
                    self.members.readings,
                    self.ports.readings,
                    self.sender.readings,
                    client.readings,
                ]
            ),
            self._models,
            self._explain,
            self._ready,
            token=AdminToken(process.admin_token_file, os.environ.get(VARIABLE, "")),
            open_paths=process.admin_open_paths,
        )
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Returns once it serves. Raises ListenError, PlatformError."""
        stack = self._stack
        await self.admin.start()
        stack.push_async_callback(self.admin.close)
        log.info("admin on %s", self.admin.address)
        self._forecasts.watch(self.platform)
        self.platform.watch_replicas(self._replica_event)
        stack.push_async_callback(self.platform.close)
        await self.activator.start()
        stack.push_async_callback(self.activator.close)
        log.info("peers on %s", self.cluster.address)
        await self.platform.start()
        await self.members.start()
        stack.push_async_callback(self.members.close)
        await self._meet()
        self.ports.start()
        stack.push_async_callback(self.ports.close)
        await self.sender.start()
        stack.push_async_callback(self.sender.close)
        self._ready_to_serve = True
        for listener, address in self.activator.addresses.items():
            log.info("listening on %s%s", address, f" ({listener})" if listener else "")

    async def drain(self) -> None:
        """Say that it leaves, accept for ``drain-delay`` longer, let requests finish."""
        log.info("stopping: letting requests finish")
        self.activator.leaving = True
        self.sender.changed()
        if left := await self.activator.drain(self.activator.process.drain_timeout):
            log.warning("%d requests did not finish within drain-timeout", left)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _meet(self) -> None:
        """What is in the replicas is known from the others: first the links, then requests."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MEETING_SECONDS):
                while True:
                    if self.cluster.settled:
                        return
                    await asyncio.sleep(0.02)
        log.warning("serving without links to all peers: %s", self.cluster.view()["peers"])

    def _set_peers(self, found: Mapping[str, str]) -> None:
        port = (self.activator.process.peer_listen or DEFAULT_PEERS).port
        self.cluster.set_peers({name: Address(host, port) for name, host in found.items()})

    # --- what it tells autoscalers ---

    async def _token(self) -> str:
        """Read anew each time: it is renewed within the hour."""
        try:
            return (await asyncio.to_thread(Path(self._around.token_file).read_text)).strip()
        except OSError as caught:
            raise ValueError(
                f"--token-file {self._around.token_file}: {caught.strerror or caught}"
            ) from None

    def _state(self) -> dict[str, Any]:
        return {
            "addresses": dict(self._around.addresses),
            "ports": sorted(self.ports.accepting),
            "leaving": self.activator.leaving,
            "empty": sorted(self._empty),
        }

    def _answer(self, what: str, argument: Any) -> Any:
        """What an autoscaler asks for people: None where there is nothing to tell."""
        match what:
            case "seen":
                models = self.activator.models.items()
                return {str(key): seen(model)._asdict() for key, model in models}
            case "explain":
                model = self.activator.models.get(ModelKey.parse(str(argument)))
                return None if model is None else model.explain(self.clock.now())
        return None

    def _drained(self, replica_id: str) -> None:
        self._empty.add(pod_part(replica_id))
        self.sender.changed()

    # --- what it learns ---

    def _configure(self, shared: Mapping[str, str]) -> None:
        """Settings of the process from the ConfigMap. Raises SettingsError."""
        self.activator.reconfigure(self._started.process(shared))

    def _replica_event(self, event: ReplicaEvent) -> None:
        if isinstance(event, ReplicaGone):
            self._empty.discard(pod_part(event.replica.id))

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self.activator.leaving or self.activator.draining:
            return False, "stopping"
        if not self._ready_to_serve:
            return False, "starting: not all models, Services and peers are known yet"
        return True, f"ready, linked to {self.sender.up} autoscalers"

    def _models(self) -> list[dict[str, Any]]:
        models = sorted(self.activator.models.items())
        return [{"model": str(key), **seen(model)._asdict()} for key, model in models]

    def _explain(self, name: str) -> dict[str, Any] | None:
        key = self.activator.router.names().get(name)
        if key is None:
            return None
        return {"requests": self.activator.models[key].explain(self.clock.now())}


def _address(flag: str, text: str) -> Address:
    try:
        return parse_address(text)
    except BadValueError as caught:
        allowed = "host:port such as stoker-autoscaler:9091"
        raise SettingsError("flags", [Problem(flag, text, str(caught), allowed)]) from None
