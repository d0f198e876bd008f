"""The admin port: metrics, health, models, explain. aiohttp; bound to loopback by default.

It shows what others know; what it shows is given to it as functions.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from stoker.admin_arrivals import stream
from stoker.admin_token import AdminToken
from stoker.arrivals import Recording, Recordings
from stoker.errors import ControlError, ListenError
from stoker.exposition import Exposition
from stoker.sockets import bind
from stoker.vocabulary import Address, ModelKey

log = logging.getLogger("stoker.admin")

# What a wrong token waits for its answer. So many wait at once; those beyond are told so
# at once, so that they cannot pile up.
WRONG_SECONDS: Final = 0.5
MOST_WRONG: Final = 32
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Document = Mapping[str, Any]
_T = TypeVar("_T")
Maybe: TypeAlias = _T | Awaitable[_T]


class Arrivals(NamedTuple):
    """Arrivals to be recorded: by whom, how one begins with it, which model a name means."""

    recordings: Recordings
    begin: Callable[[Sequence[ModelKey]], Recording]
    named: Callable[[str], ModelKey | None]


class Admin:
    """``models`` lists every model's state; ``explain`` tells all about one, None: unknown.

    ``ready`` answers ``/readyz``: whether, and why not. ``refresh`` is awaited before a scrape:
    where readings have to be fetched first. The others may be coroutine functions for that.
    ``arrivals``: what can be recorded; None: nothing.
    All but ``open_paths`` ask for ``token``, if there is one.
    """

    def __init__(
        self,
        address: Address,
        exposition: Exposition,
        models: Callable[[], Maybe[Sequence[Document]]],
        explain: Callable[[str], Maybe[Document | None]],
        ready: Callable[[], tuple[bool, str]],
        *,
        refresh: Callable[[], Awaitable[None]] | None = None,
        workers: Callable[[], Sequence[Document]] = tuple,
        arrivals: Arrivals | None = None,
        token: AdminToken | None = None,
        open_paths: tuple[str, ...] = (),
    ) -> None:
        self._wanted = address
        self._exposition = exposition
        self._models = models
        self._explain = explain
        self._ready = ready
        self._refresh = refresh
        self._workers = workers
        self._arrivals = arrivals
        self._token = token or AdminToken()
        self._open_paths = open_paths
        self._runner: web.AppRunner | None = None
        self.address = address

    async def start(self) -> None:
        """Bind and serve. Raises ListenError."""
        app = web.Application(middlewares=[guard(self._token, self._open_paths)])
        app.add_routes(
            [
                web.get("/metrics", self._get_metrics),
                web.get("/healthz", self._get_healthz),
                web.get("/readyz", self._get_readyz),
                web.get("/api/models", self._get_models),
                web.get("/api/explain/{model:.+}", self._get_explain),
                web.get("/api/workers", self._get_workers),
                web.get("/api/arrivals", self._get_arrivals),
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
        if not self._token.is_set and not _is_loopback(self.address.host):
            log.warning(
                "admin = %s can be reached from other machines and asks for no token: set"
                " admin-token-file, or admin to an address of this machine only",
                self.address,
            )

    async def close(self) -> None:
        """Stop serving. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _get_metrics(self, request: web.Request) -> web.Response:
        # The sources are the loop's own, so they are read here. Rendering is done in a thread:
        # with thousands of models it takes long enough to be felt by requests on the data path.
        if self._refresh is not None:
            await self._refresh()
        readings = await self._exposition.collect_in_slices()
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(None, self._exposition.render_gently, readings)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _get_healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _get_readyz(self, request: web.Request) -> web.Response:
        ready, why = self._ready()
        return web.Response(text=f"{why}\n", status=200 if ready else 503)

    async def _get_models(self, request: web.Request) -> web.Response:
        return web.json_response({"models": list(await _got(self._models()))})

    async def _get_workers(self, request: web.Request) -> web.Response:
        return web.json_response({"workers": list(self._workers())})

    async def _get_explain(self, request: web.Request) -> web.Response:
        name = request.match_info["model"]
        document = await _got(self._explain(name))
        return await self._unknown(name) if document is None else web.json_response(document)

    async def _unknown(self, name: str) -> web.Response:
        known = ", ".join(sorted(str(m["model"]) for m in await _got(self._models()))[:20])
        message = f"no model named {name!r}; known: {known or 'none'}"
        return web.json_response({"error": message}, status=404)

    async def _get_arrivals(self, request: web.Request) -> web.StreamResponse:
        arrivals = self._arrivals
        if arrivals is None:
            return web.json_response({"error": "arrivals cannot be recorded here"}, status=404)
        models: list[ModelKey] = []
        for name in request.query.getall("model", ()):
            key = arrivals.named(name)
            if key is None:
                return await self._unknown(name)
            models.append(key)
        try:
            recording = arrivals.begin(models)
        except ControlError as caught:
            return web.json_response({"error": str(caught)}, status=503)
        return await stream(request, arrivals.recordings, recording)


async def _got(value: Maybe[_T]) -> _T:
    """The value itself, or what comes of it where it has to be fetched first."""
    return await value if inspect.isawaitable(value) else value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(token: AdminToken, open_paths: tuple[str, ...]) -> Middleware:
    """Middleware that answers 401 to whoever does not send ``Authorization: Bearer TOKEN``."""
    waiting = 0

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal waiting
        if not token.is_set or request.path in open_paths:
            return await handler(request)
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.accepts(
            sent.strip().encode("utf-8", "surrogateescape")
        ):
            return await handler(request)
        if not sent:
            return _refusal("the admin port asks for a token: Authorization: Bearer TOKEN")
        log.warning("wrong admin token from %s for %s", request.remote, request.path)
        if waiting >= MOST_WRONG:
            return _refusal("too many wrong tokens at once; wait a second", 429)
        waiting += 1
        try:
            await asyncio.sleep(WRONG_SECONDS)
        finally:
            waiting -= 1
        return _refusal("that is not the admin token")

    return check


def _refusal(message: str, status: int = 401) -> web.Response:
    headers = {"WWW-Authenticate": 'Bearer realm="stoker"'} if status == 401 else {}
    headers |= {"Retry-After": "1"} if status == 429 else {}
    return web.json_response({"error": message}, status=status, headers=headers)
