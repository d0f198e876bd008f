"""The admin port: metrics, health, models, explain. aiohttp; bound to loopback by default.

It shows what others know; what it shows is given to it as functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from stoker.errors import ListenError
from stoker.sockets import bind
from stoker.telemetry import Exposition
from stoker.vocabulary import Address

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Document = Mapping[str, Any]


class Admin:
    """``models`` lists every model's state; ``explain`` tells all about one, None: unknown.

    ``ready`` answers ``/readyz``: whether, and why not.
    """

    def __init__(
        self,
        address: Address,
        exposition: Exposition,
        models: Callable[[], Sequence[Document]],
        explain: Callable[[str], Document | None],
        ready: Callable[[], tuple[bool, str]],
    ) -> None:
        self._wanted = address
        self._exposition = exposition
        self._models = models
        self._explain = explain
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self.address = address

    async def start(self) -> None:
        """Bind and serve. Raises ListenError."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._get_metrics),
                web.get("/healthz", self._get_healthz),
                web.get("/readyz", self._get_readyz),
                web.get("/api/models", self._get_models),
                web.get("/api/explain/{model:.+}", self._get_explain),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            sock = bind(self._wanted, "admin")
        except ListenError:
            await self.close()
            raise
        await web.SockSite(self._runner, sock).start()
        self.address = Address(*self._runner.addresses[0][:2])

    async def close(self) -> None:
        """Stop serving. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _get_metrics(self, request: web.Request) -> web.Response:
        # The sources are the loop's own, so they are read here. Rendering is done in a thread:
        # with thousands of models it takes long enough to be felt by requests on the data path.
        readings = self._exposition.collect_readings()
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(None, self._exposition.render, readings)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _get_healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _get_readyz(self, request: web.Request) -> web.Response:
        ready, why = self._ready()
        return web.Response(text=f"{why}\n", status=200 if ready else 503)

    async def _get_models(self, request: web.Request) -> web.Response:
        return web.json_response({"models": list(self._models())})

    async def _get_explain(self, request: web.Request) -> web.Response:
        name = request.match_info["model"]
        document = self._explain(name)
        if document is None:
            known = ", ".join(sorted(str(m["model"]) for m in self._models())[:20])
            message = f"no model named {name!r}; known: {known or 'none'}"
            return web.json_response({"error": message}, status=404)
        return web.json_response(document)
