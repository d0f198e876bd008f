"""``stoker cluster``: activator, autoscaler and Kubernetes platform in one process.

What a person needs to try it, and what fits one small cluster: one process takes all
requests. A second one waits for the lease and takes requests too, but decides nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import uvloop

from activator.server import Activator
from activator.service_ports import ServicePorts
from autoscaler.reconciler import Autoscaler
from stoker.admin import Admin
from stoker.admin_token import VARIABLE, AdminToken
from stoker.cli.advertised import advertised
from stoker.cli.documents import Documents
from stoker.cli.pods import Shown, begun, identity, own_name, own_namespace, told_to_stop
from stoker.cli.seen import Seen, seen
from stoker.cli.started import Started
from stoker.clock import SystemClock
from stoker.exposition import Exposition
from stoker.link import MemoryLink
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.leadership import Election
from stoker.platforms.kubernetes.lease import LeaseElection
from stoker.platforms.kubernetes.names import LEASE
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.platforms.kubernetes.shared_settings import SharedSettings
from stoker.platforms.kubernetes.traffic import Activator as Taker
from stoker.telemetry import LOST_REPORTS, Reading
from stoker.vocabulary import ModelKey

log = logging.getLogger("stoker")


def run_cluster(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ListenError, PlatformError."""
    started = begun(arguments)
    access = Access(arguments.kubeconfig, arguments.context)
    addresses = advertised(arguments.advertise, os.environ)
    return uvloop.run(_run(started, access, arguments.namespace, addresses))


async def _run(
    started: Started,
    access: Access,
    namespaces: Sequence[str],
    addresses: Mapping[str, str],
) -> int:
    stop = told_to_stop()
    async with (
        await Client.connect(access) as client,
        ClusterStoker(started, client, namespaces, addresses) as stoker,
    ):
        for listener, address in stoker.activator.addresses.items():
            log.info("listening on %s%s", address, f" ({listener})" if listener else "")
        log.info("admin on %s", stoker.admin.address)
        await stop.wait()
        log.info("stopping: letting requests finish")
        if left := await stoker.activator.drain(stoker.activator.process.drain_timeout):
            log.warning("%d requests did not finish within drain-timeout", left)
    log.info("stopped")
    return 0


class ClusterStoker:
    """The whole of Stoker over a cluster. Use as an async context manager.

    ``addresses``, by family: where Services of models are led to; without any they are left
    alone. Entering raises ListenError, PlatformError; leaving leaves every pod running.
    """

    def __init__(
        self,
        started: Started,
        client: Client,
        namespaces: Sequence[str],
        addresses: Mapping[str, str],
    ) -> None:
        process = started.process({})
        home = own_namespace(namespaces)
        self._addresses = addresses
        self.clock = SystemClock()
        self.link = MemoryLink()
        self.election = LeaseElection(
            client,
            home,
            LEASE,
            Election(identity()),
            clock=self.clock,
            on_start=self._lead,
            on_stop=self._follow,
        )
        self.platform = KubernetesPlatform(
            client,
            namespaces=namespaces,
            budget=self.election.left,
            leads=lambda: self.election.leading,
            activators=self._activators if addresses else None,
            on_ports=lambda ports: self.ports.set(ports),
            settings=SharedSettings(home, started.config_map, accept=self._configure),
            clock=self.clock,
        )
        self._started = started
        self.autoscaler = Autoscaler(self.platform, self.clock, tick_interval=process.tick_interval)
        self.activator = Activator(
            process, self.platform, self.link, self.clock, eta=self.autoscaler.eta
        )
        self.ports = ServicePorts(
            self.activator, process.listen.host, self.platform.activators_changed
        )
        self._documents = Documents(Shown(self.platform), self.autoscaler, self.clock, self._seen)
        self.admin = Admin(
            process.admin,
            Exposition(
                [
                    self.activator.reading_parts,
                    self.autoscaler.reading_parts,
                    self.platform.readings,
                    self.ports.readings,
                    self.election.readings,
                    client.readings,
                    self._readings,
                ]
            ),
            self._documents.models,
            self._explain,
            self._ready,
            token=AdminToken(process.admin_token_file, os.environ.get(VARIABLE, "")),
            open_paths=process.admin_open_paths,
        )
        self._stack = AsyncExitStack()
        self._knows = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            # The sockets first: a taken port must be said before anything is decided.
            await self.admin.start()
            stack.push_async_callback(self.admin.close)
            stack.push_async_callback(self.platform.close)
            await self.activator.start()
            stack.push_async_callback(self.activator.close)
            self.ports.start()
            stack.push_async_callback(self.ports.close)
            await self.platform.start()
            self._knows = True
            self._documents.start()
            self.election.start()
            stack.push_async_callback(self.election.close)
            self.link.attach(self.autoscaler)
            stack.callback(self.link.attach, None)
            self.autoscaler.pause()
            await self.autoscaler.start()
            stack.push_async_callback(self.autoscaler.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _configure(self, shared: Mapping[str, str]) -> None:
        """Settings of the process from the ConfigMap. Raises SettingsError."""
        self.activator.reconfigure(self._started.process(shared))

    # --- who leads, and who takes requests ---

    def _lead(self) -> None:
        log.info("leading: decisions are made here")
        self.platform.lead_changed()
        self.autoscaler.resume()

    def _follow(self) -> None:
        log.warning("not leading: nothing is decided here")
        self.autoscaler.pause()
        self.platform.lead_changed()

    def _activators(self) -> Sequence[Taker]:
        if self.activator.leaving:
            return ()
        return [Taker(own_name(), self._addresses, self.ports.accepting)]

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self.activator.leaving or self.activator.draining:
            return False, "stopping"
        if not self._knows:
            return False, "starting: the cluster's models are not known yet"
        return True, "leading" if self.election.leading else f"following {self.election.holder}"

    def _seen(self, key: ModelKey) -> Seen | None:
        model = self.activator.models.get(key)
        return None if model is None else seen(model)

    def _explain(self, name: str) -> dict[str, Any] | None:
        key = self._documents.named(name)
        state = None if key is None else self._documents.model(key)
        if key is None or state is None:
            return None
        return {
            "state": state,
            "requests": self.activator.models[key].explain(self.clock.now()),
            **self.autoscaler.explain(key),
        }

    def _readings(self) -> Iterator[Reading]:
        yield Reading(LOST_REPORTS, ("report",), self.link.lost_reports)
        yield Reading(LOST_REPORTS, ("poke",), self.link.lost_pokes)
