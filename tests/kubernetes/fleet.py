"""Activators and autoscalers as pods would run them: processes that find each other."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.kubernetes.api.server import ApiServer
from tests.kubernetes.conftest import Cluster
from tests.kubernetes.processes import Running, running

TOKEN = "token-of-the-activators-account"
LOCAL = ("--admin", "127.0.0.1:0")


class Fleet:
    """``stack`` ends every process that was started here, in the end."""

    def __init__(self, cluster: Cluster, server: ApiServer, directory: Path) -> None:
        self.cluster = cluster
        self.autoscalers: list[Running] = []
        self.activators: dict[str, Running] = {}
        self.addresses: dict[str, str] = {}
        self.stack = AsyncExitStack()
        self._directory = directory
        self._started = 0
        account = f"system:serviceaccount:{cluster.namespace}:stoker-activator"
        server.tokens[TOKEN] = (account, "stoker-autoscaler")

    async def autoscaler(self) -> Running:
        """One more, ready."""
        env = {"POD_NAMESPACE": self.cluster.namespace, "POD_NAME": f"s{len(self.autoscalers)}"}
        flags = ("--stats", "127.0.0.1:0", *LOCAL)
        made = running(self.cluster, "autoscaler", *flags, env=env)
        started = await self.stack.enter_async_context(made)
        await started.listens("stats", "admin")
        self.autoscalers.append(started)
        return started

    async def activator(self, name: str, **settings: str) -> Running:
        """One more, ready: its pod is in the Service's slice before it is."""
        self._started += 1
        address = str(self.cluster.addresses[-10 - self._started])
        self.addresses[name] = address
        await self._publish()
        env = {
            "POD_NAMESPACE": self.cluster.namespace,
            "POD_NAME": name,
            "POD_IP": address,
            "STOKER_PEER_LISTEN": f"{address}:9092",
            "STOKER_PEER_TOKEN_FILE": await self._mounted_secret(),
            **settings,
        }
        token = self._directory / "token"
        token.write_text(TOKEN)
        flags = ["--listen", f"{address}:0", "--token-file", str(token), *LOCAL]
        for autoscaler in self.autoscalers:
            flags += ["--autoscaler", autoscaler.found["stats"]]
        made = running(self.cluster, "activator", *flags, env=env)
        started = await self.stack.enter_async_context(made)
        await started.listens("listening", "admin")
        self.activators[name] = started
        return started

    async def gone(self, name: str) -> None:
        """Its pod is no more."""
        del self.addresses[name]
        await self._publish()

    async def leader(self) -> Running:
        """The autoscaler that leads, once one does."""
        while True:
            for autoscaler in self.autoscalers:
                if autoscaler.process.returncode is None and await autoscaler.metric(
                    "stoker_leading"
                ):
                    return autoscaler

    async def document(self, path: str) -> Any:
        """What an autoscaler's admin port answers."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.autoscalers[-1].admin}{path}") as answer,
        ):
            return await answer.json()

    async def _mounted_secret(self) -> str:
        """The Secret that the autoscaler makes, as the kubelet would mount it."""
        secret = await self.cluster.client.get(self.cluster.path("secrets", "stoker-peers"))
        file = self._directory / "peer-token"
        file.write_bytes(base64.b64decode(secret["data"]["token"]))
        return str(file)

    async def _publish(self) -> None:
        client, path = self.cluster.client, self.cluster.path("endpointslices")
        endpoints = [
            {
                "addresses": [address],
                "conditions": {"ready": False},
                "targetRef": {"kind": "Pod", "name": name},
            }
            for name, address in self.addresses.items()
        ]
        body: dict[str, Any] = {"endpoints": endpoints}
        name = "stoker-activator-1"
        if any(s["metadata"]["name"] == name for s in (await client.list(path))[0]):
            await client.patch(f"{path}/{name}", body)
            return
        labels = {
            "kubernetes.io/service-name": "stoker-activator",
            "endpointslice.kubernetes.io/managed-by": "tests",
        }
        body |= {"metadata": {"name": name, "labels": labels}, "addressType": "IPv4"}
        await client.create(path, body | {"ports": [{"name": "peers", "port": 9092}]})


@asynccontextmanager
async def fleet(cluster: Cluster, server: ApiServer, directory: Path) -> AsyncIterator[Fleet]:
    """None is started yet; all that are end in the end."""
    made = Fleet(cluster, server, directory)
    async with made.stack:
        yield made
