"""``stoker autoscaler``: decides about replicas and leads Services' traffic; takes no requests.

Several may run: all hear of load, one leads. See docs/kubernetes.md.
"""

from __future__ import annotations

import argparse
import base64
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import uvloop

from autoscaler.journal import Journal
from autoscaler.reconciler import Autoscaler
from stoker.admin import Admin
from stoker.admin_token import VARIABLE, AdminToken
from stoker.cli.documents import Documents
from stoker.cli.linked import LinkedActivators
from stoker.cli.merging import merged
from stoker.cli.pods import (
    AUDIENCE,
    Shown,
    begun,
    identity,
    own_namespace,
    told_to_stop,
    until_told,
)
from stoker.cli.seen import Seen, summed
from stoker.cli.started import Started
from stoker.clock import SystemClock
from stoker.errors import ApiError, Problem, SettingsError
from stoker.exposition import Exposition
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.leadership import Election
from stoker.platforms.kubernetes.lease import LeaseElection
from stoker.platforms.kubernetes.members import Members
from stoker.platforms.kubernetes.names import LEASE
from stoker.platforms.kubernetes.platform import KubernetesPlatform
from stoker.platforms.kubernetes.shared_settings import SharedSettings
from stoker.platforms.kubernetes.tokens import TokenCheck
from stoker.settings.kinds import BadValueError, parse_address
from stoker.stats_receiver import StatsReceiver
from stoker.vocabulary import Address, ModelKey

log = logging.getLogger("stoker")

DEFAULT_STATS: Final = "0.0.0.0:9091"
PEER_SECRET: Final = "stoker-peers"


class Around(NamedTuple):
    """What there is around an autoscaler. ``account``: the activators' service account."""

    namespaces: Sequence[str]
    stats: Address
    service: str
    account: str


def run_autoscaler(arguments: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ListenError, PlatformError."""
    started = begun(arguments)
    try:
        stats = parse_address(arguments.stats)
    except BadValueError as caught:
        allowed = f"host:port such as {DEFAULT_STATS}"
        problem = Problem("--stats", arguments.stats, str(caught), allowed)
        raise SettingsError("flags", [problem]) from None
    around = Around(arguments.namespace, stats, arguments.service, arguments.account)
    return uvloop.run(_run(started, Access(arguments.kubeconfig, arguments.context), around))


async def _run(started: Started, access: Access, around: Around) -> int:
    stop = told_to_stop()
    async with await Client.connect(access, "autoscaler") as client:
        autoscaler = AutoscalerProcess(started, client, around)
        return await until_told(stop, autoscaler.start, autoscaler.stop, autoscaler.close)


class AutoscalerProcess:
    """Composition root. ``close`` may be called whatever became of ``start``."""

    def __init__(self, started: Started, client: Client, around: Around) -> None:
        process = started.process({})
        self._started = started
        self.clock = SystemClock()
        self._client = client
        self._namespace = namespace = own_namespace(around.namespaces)
        self._stopping = False
        self._seen: dict[ModelKey, Seen] = {}
        self.election = LeaseElection(
            client,
            namespace,
            LEASE,
            Election(identity()),
            clock=self.clock,
            on_start=self._lead,
            on_stop=self._follow,
        )
        self.platform = KubernetesPlatform(
            client,
            namespaces=around.namespaces,
            budget=self.election.left,
            leads=lambda: self.election.leading,
            activators=lambda: self.linked.takers(),
            settings=SharedSettings(namespace, started.config_map, accept=self._configure),
            clock=self.clock,
        )
        self.journal = Journal(path=process.journal_file, max_bytes=process.journal_bytes)
        self.autoscaler = Autoscaler(
            self.platform,
            self.clock,
            tick_interval=process.tick_interval,
            silent_after=process.silent_reporter_timeout,
            journal=self.journal,
        )
        self.linked = LinkedActivators(self.platform, self.autoscaler, self.clock)
        user = f"system:serviceaccount:{namespace}:{around.account}"
        self.receiver = StatsReceiver(
            around.stats,
            TokenCheck(client, user, AUDIENCE, self.clock),
            self.clock,
            on_report=self.linked.report,
            on_poke=self.autoscaler.poke,
            on_state=self.linked.state,
            on_lost=self.linked.lost,
        )
        self.members = Members(
            client, namespace, around.service, self.linked.members_changed, self.clock
        )
        self._documents = Documents(
            Shown(self.platform),
            self.autoscaler,
            self.clock,
            lambda key: self._seen.get(key, Seen()),
        )
        self.admin = Admin(
            process.admin,
            Exposition(
                [
                    self.autoscaler.reading_parts,
                    self.platform.readings,
                    self.members.readings,
                    self.receiver.readings,
                    self.election.readings,
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
        self._stack.callback(self.journal.close)

    async def start(self) -> None:
        """Returns once everything is known. Raises ListenError, PlatformError."""
        stack = self._stack
        await self.admin.start()
        stack.push_async_callback(self.admin.close)
        log.info("admin on %s", self.admin.address)
        await self.receiver.start()
        stack.push_async_callback(self.receiver.close)
        log.info("stats on %s", self.receiver.address)
        stack.push_async_callback(self.platform.close)
        await self._share_secret()
        await self.members.start()
        stack.push_async_callback(self.members.close)
        self.linked.start()
        stack.push_async_callback(self.linked.close)
        await self.platform.start()
        self._documents.start()
        self.autoscaler.pause()
        await self.autoscaler.start()
        stack.push_async_callback(self.autoscaler.close)
        self.election.start()
        stack.push_async_callback(self.election.close)

    async def stop(self) -> None:
        """Nothing has to finish here before ``close``."""
        log.info("stopping")

    async def close(self) -> None:
        """Stop deciding, give the lease back; replicas stay as they are."""
        self._stopping = True
        await self._stack.aclose()

    def _configure(self, shared: Mapping[str, str]) -> None:
        """Settings of the process from the ConfigMap: what of them concerns this one is read at
        its start only. Raises SettingsError for wrong ones, so that they are told."""
        self._started.process(shared)

    async def _share_secret(self) -> None:
        """See that there is a token by which activators know each other."""
        token = base64.b64encode(secrets.token_hex(32).encode()).decode()
        body = {"metadata": {"name": PEER_SECRET}, "type": "Opaque", "data": {"token": token}}
        try:
            await self._client.create(f"/api/v1/namespaces/{self._namespace}/secrets", body)
        except ApiError as error:
            if error.status != 409:  # it is there already
                log.warning(
                    "Secret %s/%s cannot be made (%s): grant create on secrets there, or make"
                    " it yourself, with a random text as its token; activators wait for it",
                    *(self._namespace, PEER_SECRET, error),
                )

    # --- who leads ---

    def _lead(self) -> None:
        log.info("leading: decisions are made here")
        self.platform.lead_changed()
        self.linked.lead_changed()
        self.autoscaler.resume()

    def _follow(self) -> None:
        log.warning("not leading: nothing is decided here")
        self.autoscaler.pause()
        self.platform.lead_changed()

    # --- to see ---

    def _ready(self) -> tuple[bool, str]:
        if self._stopping:
            return False, "stopping"
        return True, "leading" if self.election.leading else f"following {self.election.holder}"

    async def _models(self) -> list[dict[str, Any]]:
        await self._look()
        return self._documents.models()

    async def _look(self) -> None:
        """Ask the activators how things stand."""
        told: dict[ModelKey, list[Seen]] = {}
        for answer in (await self.receiver.ask("seen")).values():
            for name, state in answer.items():
                told.setdefault(ModelKey.parse(name), []).append(Seen(**state))
        self._seen = {key: summed(states) for key, states in told.items()}

    async def _explain(self, name: str) -> dict[str, Any] | None:
        key = self._documents.named(name)
        if key is None:
            return None
        await self._look()
        told = await self.receiver.ask("explain", str(key))
        state = self._documents.model(key)
        if state is None:
            return None
        requests = merged([told[name] for name in sorted(told)]) or {}
        return {"state": state, "requests": requests, **self.autoscaler.explain(key)}
