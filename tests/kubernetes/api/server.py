"""The API server: HTTP on loopback in front of ``Verbs`` and ``Watch``.

Stricter than a real one in one way: a request for a path that it does not serve is written
down in ``unknown``, and fails the test at its end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import yaml
from aiohttp import web

from tests.kubernetes.api import discovery, errors, faults, reviews
from tests.kubernetes.api.applying import APPLY, Manager
from tests.kubernetes.api.kinds import Kind, Obj, at
from tests.kubernetes.api.rbac import Asked, Authorizer
from tests.kubernetes.api.store import Change, Store, Stored
from tests.kubernetes.api.verbs import Page, Verbs
from tests.kubernetes.api.watching import Watch, WatchQuery, error_line

_PROBED = ("/openapi/",)  # what kubectl looks for and does without
_MODEL_VERBS = {
    "GET": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse(path: str) -> Target | None:
    """The target of ``/api/v1/...`` or ``/apis/GROUP/VERSION/...``; None where there is none."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = at(group, version, rest[0])
    name, subresource = [*rest[1:], "", ""][:2]
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        return None
    if subresource and subresource not in kind.subresources:
        return None
    if kind.namespaced and name and not namespace:
        return None
    return Target(kind, namespace, name, subresource)


class ApiServer:
    """Used as ``async with ApiServer() as server:``; ``server.url`` is where it listens.

    ``now`` is its clock; ``token``, if given, is the only bearer token that it takes.
    ``tokens`` are what TokenReviews say: each with its user's name and its audience.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        log_size: int = 1000,
        loopback: bool = False,
        token: str = "",
        bookmark_interval: float = 60.0,
    ) -> None:
        self.store = Store(log_size)
        self.verbs = Verbs(self.store, now, loopback=loopback)
        self.faults = faults.Faults()
        self.authorizer = Authorizer(self.store)
        self.token = token
        self.tokens: dict[str, tuple[str, str]] = {}
        self.unknown: list[str] = []
        self.requests: list[faults.Request] = []
        self.url = ""
        self._bookmark_interval = bookmark_interval
        self._watches: dict[object, _Stream] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=4 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await self.listen(0)
        return self

    async def listen(self, port: int) -> None:
        """Accept connections (again), on the port that it had if that is given."""
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.faults.lift()
        self.end_watches()
        await self._runner.cleanup()

    # --- what a test may cause and look at -------------------------------------------------

    def end_watches(self) -> None:
        """End every watch that is open, properly."""
        for stream in tuple(self._watches.values()):
            stream.end()

    def reset_watches(self) -> None:
        """Break every open watch off."""
        for stream in tuple(self._watches.values()):
            stream.reset()

    def bookmark(self) -> None:
        """Send a bookmark to everyone who asked for them."""
        for stream in tuple(self._watches.values()):
            stream.bookmark()

    def count(self, verb: str, path: str = "", agent: str = "") -> int:
        """How many requests came with this verb, and these parts of path and agent."""
        return sum(r.verb == verb and path in r.path and agent in r.agent for r in self.requests)

    # --- requests ------------------------------------------------------------------------

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(http)
        except errors.StatusError as error:
            headers = {"Retry-After": str(error.wait)} if error.wait else None
            return web.json_response(error.status, status=error.code, headers=headers)

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        if self.token and http.headers.get("Authorization") != f"Bearer {self.token}":
            raise errors.unauthorized()
        known = discovery.document(http.path) if http.method == "GET" else None
        if known is not None:
            return web.json_response(known)
        target = parse(http.path)
        if http.path == reviews.PATH and http.method == "POST":
            return await self._review(http)
        if target is None:
            if not http.path.startswith(_PROBED):
                self.unknown.append(f"{http.method} {http.path}")
            return web.Response(status=404, text="404 page not found\n")
        request = faults.Request(_verb(http, target), http.path, http.headers.get("User-Agent", ""))
        self.requests.append(request)
        self._authorize(http, target, request.verb)
        fault = self.faults.meet(request)
        if fault is not None:
            return await self._fail(http, target, request, fault)
        return await self._serve(http, target, request.verb)

    def _authorize(self, http: web.Request, target: Target, verb: str) -> None:
        # A list or watch of one object by its name counts as of that name.
        only = http.query.get("fieldSelector", "").removeprefix("metadata.name=")
        name = target.name or (only if only.isascii() and "=" not in only else "")
        asked = Asked(verb, target.kind, target.namespace, name, target.subresource)
        self.authorizer.check(_token(http), asked)

    async def _review(self, http: web.Request) -> web.StreamResponse:
        request = faults.Request("create", http.path, http.headers.get("User-Agent", ""))
        self.requests.append(request)
        self.authorizer.check(_token(http), Asked("create", reviews.KIND))
        fault = self.faults.meet(request)
        if fault is not None and isinstance(fault.action, faults.Answer):
            return web.Response(status=fault.action.status, text=fault.action.text)
        return web.json_response(reviews.review(await _body(http), self.tokens), status=201)

    async def _fail(
        self, http: web.Request, target: Target, request: faults.Request, fault: faults.Fault
    ) -> web.StreamResponse:
        match fault.action:
            case faults.Answer() as answer:
                headers = {"Content-Type": answer.content_type}
                if answer.retry_after is not None:
                    headers["Retry-After"] = str(answer.retry_after)
                return web.Response(status=answer.status, text=answer.text, headers=headers)
            case faults.Hang(after) | faults.Reset(after, False):
                if after:
                    await self._serve(http, target, request.verb)
                if isinstance(fault.action, faults.Hang):
                    await fault.lifted.wait()
                return _aborted(http)
            case _:
                if request.verb != "watch":
                    raise AssertionError(f"{fault.action} is for watches, not {request}")
                return await self._watch(http, target, fault.action)

    async def _serve(self, http: web.Request, target: Target, verb: str) -> web.StreamResponse:
        kind, namespace, name, sub = target.kind, target.namespace, target.name, target.subresource
        query = http.query
        dry_run = query.get("dryRun") == "All"
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        verbs, by = self.verbs, _manager(http)
        match verb:
            case "watch":
                return await self._watch(http, target)
            case "list":
                limit, token = int(query.get("limit", 0)), query.get("continue", "")
                if not token:
                    self._check_version(kind, query.get("resourceVersion", ""))
                return _list(kind, verbs.list(kind, namespace, labels, fields, limit, token))
            case "get":
                return _object(verbs.get(kind, namespace, name, sub))
            case "create":
                body = await _body(http)
                if sub == "binding":
                    verbs.bind(namespace, name, body)
                    return web.json_response({"kind": "Status", "status": "Success"}, status=201)
                return _object(verbs.create(kind, namespace, body, dry_run=dry_run, by=by), 201)
            case "update":
                body = await _body(http)
                done = verbs.update(kind, namespace, name, body, sub, dry_run=dry_run, by=by)
                return _object(done)
            case "patch":
                body = await _body(http)
                media = http.content_type
                if media == APPLY:
                    if "fieldManager" not in query:
                        raise errors.bad_request("PatchOptions: fieldManager: Required value")
                    done, made = verbs.apply(
                        kind, namespace, name, body, sub, dry_run=dry_run, by=by
                    )
                    return _object(done, 201 if made else 200)
                done = verbs.patch(kind, namespace, name, media, body, sub, dry_run=dry_run, by=by)
                return _object(done)
            case "delete":
                options = await _body(http) or {}
                for field in ("propagationPolicy", "gracePeriodSeconds"):
                    if field in query:
                        value = query[field]
                        options[field] = int(value) if value.isdigit() else value
                last, gone = verbs.delete(kind, namespace, name, options, dry_run=dry_run)
                if not gone or kind.kind == "Pod":
                    return _object(last)
                details = {"name": name, "kind": kind.plural, "uid": last.data["metadata"]["uid"]}
                success = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
                return web.json_response(success | {"status": "Success", "details": details})
            case "deletecollection":
                deleted = verbs.delete_all(kind, namespace, labels, fields, await _body(http) or {})
                return _list(kind, Page(list(deleted), self.store.revision))
            case _:
                raise errors.method_not_allowed()

    def _check_version(self, kind: Kind, version: str) -> None:
        if version not in ("", "0") and int(version) > self.store.revision:
            message = f"Too large resource version: {version}, current: {self.store.revision}"
            raise errors.StatusError(504, "Timeout", message, wait=1)

    # --- watches ---------------------------------------------------------------------------

    async def _watch(
        self, http: web.Request, target: Target, fault: faults.Action | None = None
    ) -> web.StreamResponse:
        query = http.query
        initial = query.get("sendInitialEvents")
        watch = Watch(
            self.store,
            WatchQuery(
                target.kind,
                target.namespace,
                target.name,
                query.get("labelSelector", ""),
                query.get("fieldSelector", ""),
                query.get("resourceVersion", ""),
                query.get("resourceVersionMatch", ""),
                query.get("allowWatchBookmarks") in ("true", "1"),
                None if initial is None else initial in ("true", "1"),
            ),
        )
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        stream = _Stream(watch, bookmarks, fault)
        token = object()
        self._watches[token] = stream
        unlisten = self.store.listen(stream.tell)
        try:
            timeout = float(query.get("timeoutSeconds", 1800))
            return await stream.run(http, timeout, self._bookmark_interval)
        finally:
            unlisten()
            del self._watches[token]


class _Stream:
    """A watch's connection: lines are kept until they are written."""

    def __init__(self, watch: Watch, bookmarks: bool, fault: faults.Action | None) -> None:
        self._watch = watch
        self._bookmarks = bookmarks
        self._fault = fault
        self._lines: list[bytes] = []
        self._stir = asyncio.Event()
        self._ended = self._reset = False

    def tell(self, change: Change) -> None:
        self._put(*self._watch.told(change))

    def bookmark(self) -> None:
        if self._bookmarks:
            self._put(self._watch.bookmark())

    def end(self) -> None:
        self._ended = True
        self._stir.set()

    def reset(self) -> None:
        self._reset = True
        self._stir.set()

    def _put(self, *lines: bytes) -> None:
        self._lines += lines
        self._stir.set()

    async def run(
        self, http: web.Request, timeout: float, bookmark_interval: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        try:
            # Before anything can be told: what begins here ends where changes go on.
            self._lines = [*self._watch.begin(), *self._lines]
        except errors.StatusError as error:
            self._lines = [error_line(error)]
            self._ended = True
        match self._fault:
            case faults.EndOfFile():
                self._lines, self._ended = [], True
            case faults.Garbage(text):
                self._lines.insert(0, text.encode() + b"\n")
        await response.prepare(http)
        loop = asyncio.get_running_loop()
        over = loop.call_later(timeout, self.end)
        every: asyncio.TimerHandle | None = None

        def remind() -> None:
            nonlocal every
            self.bookmark()
            every = loop.call_later(bookmark_interval, remind)

        every = loop.call_later(bookmark_interval, remind)
        try:
            while True:
                lines, self._lines = self._lines, []
                if lines and self._fault == faults.Reset(mid_event=True):
                    await response.write(lines[0][: len(lines[0]) // 2])
                    self._reset = True
                elif lines:
                    await response.write(b"".join(lines))
                if self._reset:
                    return _aborted(http)
                if self._ended and not self._lines:
                    break
                if not self._lines:
                    self._stir.clear()
                    await self._stir.wait()
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client has left
        finally:
            over.cancel()
            every.cancel()
        return response


def _verb(http: web.Request, target: Target) -> str:
    verb = _MODEL_VERBS.get(http.method, "")
    if target.name:
        # The old way to watch one object: its name in a field selector is what clients do.
        return "watch" if verb == "get" and http.query.get("watch") in ("1", "true") else verb
    if verb == "get":
        return "watch" if http.query.get("watch") in ("1", "true") else "list"
    return {"delete": "deletecollection", "create": "create"}.get(verb, "")


def _token(http: web.Request) -> str:
    return http.headers.get("Authorization", "").removeprefix("Bearer ")


def _manager(http: web.Request) -> Manager:
    """Who writes: as it says, else what its User-Agent begins with."""
    agent = http.headers.get("User-Agent", "").partition("/")[0]
    force = http.query.get("force") in ("true", "1")
    return Manager(http.query.get("fieldManager", agent), force=force)


async def _body(http: web.Request) -> Any:
    raw = await http.read()
    if not raw:
        return {} if http.method == "POST" else None
    try:
        return yaml.safe_load(raw) if "yaml" in http.content_type else json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"the body cannot be read: {error}") from error


def _object(stored: Stored, status: int = 200) -> web.Response:
    return web.Response(body=stored.encoded, status=status, content_type="application/json")


def _list(kind: Kind, page: Page) -> web.Response:
    metadata: Obj = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
    head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
    items = b",".join(s.encoded if kind.custom else s.item for s in page.items)
    body = json.dumps(head)[:-1].encode() + b',"items":[' + items + b"]}"
    return web.Response(body=body, content_type="application/json")


def _aborted(http: web.Request) -> web.StreamResponse:
    """Reset the connection; what is returned goes nowhere."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response()
