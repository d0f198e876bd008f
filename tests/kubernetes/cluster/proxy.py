"""A stand-in for kube-proxy: a Service's port answers on an address of this machine."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Self

from stoker.clock import SystemClock
from stoker.platforms.kubernetes.access import Access
from stoker.platforms.kubernetes.client import Client
from stoker.platforms.kubernetes.reflection import Changed, Delta
from stoker.platforms.kubernetes.reflector import Reflector

Obj = dict[str, Any]
_RESET = struct.pack("ii", 1, 0)
_Port = tuple[str, str]  # a Service, and the name of one of its ports


class KubeProxy:
    """Used as ``async with KubeProxy(access, namespace) as proxy:``; of one namespace.

    As the real one does: a new connection goes to any endpoint that is ready in any of the
    Service's slices, is refused where there is none, and stays where it went. ``hold()`` and
    ``go()``: have it learn of changes late. ``refused`` counts connections that found nobody.
    """

    def __init__(self, access: Access, namespace: str) -> None:
        self.refused = 0
        self._access = access
        self._namespace = namespace
        self._slices: dict[str, Obj] = {}
        self._shown: dict[str, Obj] = {}
        self._holding = False
        self._opening = asyncio.Lock()
        self._servers: dict[_Port, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._client = await Client.connect(self._access, "kube-proxy")
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace}/endpointslices"
        self._reflector: Reflector[Obj] = Reflector(
            self._client, path, dict, self._changed, clock=SystemClock()
        )
        self._reflector.start()
        await self._reflector.synced()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reflector.close()
        await self._client.close()

    def hold(self) -> None:
        self._holding = True

    def go(self) -> None:
        self._holding = False
        self._shown = dict(self._slices)

    async def address(self, service: str, port: str = "") -> str:
        """``HOST:PORT`` at which the Service's port of this name is reached, from now on."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._forward(service, port, reader, writer)

        async with self._opening:
            if (service, port) not in self._servers:
                made = await asyncio.start_server(serve, "127.0.0.1", 0)
                self._servers[service, port] = made
        host, number = self._servers[service, port].sockets[0].getsockname()[:2]
        return f"{host}:{number}"

    def endpoints(self, service: str, port: str = "") -> list[tuple[str, int]]:
        """Who gets connections to the Service's port now."""
        found = []
        for slice_ in self._shown.values():
            if slice_["metadata"]["labels"].get("kubernetes.io/service-name") != service:
                continue
            for number in (p["port"] for p in slice_["ports"] if p.get("name", "") == port):
                for endpoint in slice_.get("endpoints") or ():
                    if (endpoint.get("conditions") or {}).get("ready", True):
                        found += [(address, number) for address in endpoint["addresses"]]
        return found

    def _changed(self, deltas: Iterable[Delta[Obj]]) -> None:
        for delta in deltas:
            name = delta.key[1]
            if isinstance(delta, Changed):
                self._slices[name] = delta.new
            else:
                self._slices.pop(name, None)
        if not self._holding:
            self._shown = dict(self._slices)

    async def _forward(
        self,
        service: str,
        port: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            endpoints = self.endpoints(service, port)
            back, upstream = await asyncio.open_connection(*random.choice(endpoints))
        except (IndexError, OSError):
            self.refused += 1
            _reset(writer)
        else:
            self._open.add(upstream)
            ways = (_copy(reader, upstream), _copy(back, writer))
            outcomes = await asyncio.gather(*ways, return_exceptions=True)
            if any(outcomes):
                _reset(writer)
            await self._close(upstream)
        finally:
            await self._close(writer)
            self._tasks.discard(task)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._open.discard(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
