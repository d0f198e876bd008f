"""Requests to the API server: plain JSON, a time limit on each, answers that say what failed.

kubernetes_asyncio's own calls are left aside (36.1): no limit unless given, a dict sent as
JSON patch, a text 503 delivered as an event of a watch, and classes built for each of 20,000
pods. Its session is used, with its TLS and credentials.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, Self

import aiohttp

from stoker import __version__
from stoker.errors import ApiError
from stoker.platforms.kubernetes.access import Access, configured
from stoker.telemetry import API_REQUESTS, Reading

Obj = dict[str, Any]
Query = Mapping[str, str]

FIELD_MANAGER = "stoker"
MERGE_PATCH = "application/merge-patch+json"
PAGE = 500
# The largest object etcd takes is 1.5 MiB; JSON of what an API server adds to it stays below.
LONGEST_LINE = 8 * 2**20
NO_ANSWER = 0


class Client:
    """Used as ``async with await Client.connect(access) as client:``.

    Every method raises ApiError, whose ``status`` is 0 where no answer came. ``agent`` is told
    to the server, which logs it.
    """

    def __init__(self, api: Any, access: Access, agent: str = "") -> None:
        self._api = api
        self._session: aiohttp.ClientSession = api.rest_client.pool_manager
        self._host: str = api.configuration.host.rstrip("/")
        self._timeout = access.timeout
        self._agent = f"stoker/{__version__}" + (f" ({agent})" if agent else "")
        self.outcomes: Counter[tuple[str, str]] = Counter()

    @classmethod
    async def connect(cls, access: Access, agent: str = "") -> Self:
        """Find credentials; nothing is asked of the server yet. Raises PlatformError."""
        return cls(await configured(access), access, agent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._api.close()

    def readings(self) -> Iterator[Reading]:
        """Requests by verb and status, for ``telemetry.Exposition``."""
        for labels, count in self.outcomes.items():
            yield Reading(API_REQUESTS, labels, count)

    # --- one object ---------------------------------------------------------------------

    async def get(self, path: str, *, timeout: float | None = None) -> Obj:
        return await self.send("get", "GET", path, timeout=timeout)

    async def create(self, path: str, body: Obj, *, timeout: float | None = None) -> Obj:
        """``path`` is the collection's."""
        return await self.send("create", "POST", path, body, timeout=timeout)

    async def replace(self, path: str, body: Obj, *, timeout: float | None = None) -> Obj:
        """For small objects that are Stoker's own, with their resourceVersion: else ``patch``."""
        return await self.send("update", "PUT", path, body, timeout=timeout)

    async def patch(self, path: str, body: Obj, *, timeout: float | None = None) -> Obj:
        """A merge patch: only what is named changes, whatever was written meanwhile."""
        return await self.send("patch", "PATCH", path, body, MERGE_PATCH, timeout=timeout)

    async def delete(self, path: str, *, uid: str = "", timeout: float | None = None) -> Obj:
        """``uid``, if given, must be the object's: else 409."""
        body: Obj = {"preconditions": {"uid": uid}} if uid else {}
        return await self.send("delete", "DELETE", path, body, timeout=timeout)

    # --- many -----------------------------------------------------------------------------

    async def list(self, path: str, query: Query | None = None) -> tuple[list[Obj], str]:
        """Every object, asked for in pages, and the resourceVersion of them all.

        410 while pages are fetched: what was listed so far is outdated, begin again.
        """
        items: list[Obj] = []
        token = ""
        while True:
            page_query = {**(query or {}), "limit": str(PAGE)}
            if token:
                page_query["continue"] = token
            page = await self.send("list", "GET", path, query=page_query)
            items += page.get("items") or ()
            token = page["metadata"].get("continue", "")
            if not token:
                return items, page["metadata"]["resourceVersion"]

    async def watch(self, path: str, query: Query, *, silence: float) -> AsyncGenerator[Obj, None]:
        """Events as they come, until the server ends the watch; ``silence`` is the longest
        time without a byte before it is given up. Raises ApiError also for what is no event.
        """
        limits = aiohttp.ClientTimeout(connect=self._timeout, sock_read=silence)
        status = NO_ANSWER
        try:
            headers, url = await self._prepared(path)
            async with self._session.get(
                url, params={**query, "watch": "1"}, headers=headers, timeout=limits
            ) as response:
                status = response.status
                if status != 200:
                    raise _refusal(status, response.headers, await response.read())
                async for line in _lines(response.content):
                    yield _event(line)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            status = NO_ANSWER
            raise ApiError(NO_ANSWER, _words(error, f"nothing for {silence:g} s")) from error
        finally:
            self.outcomes["watch", str(status)] += 1

    # --- how ------------------------------------------------------------------------------

    async def send(
        self,
        verb: str,
        method: str,
        path: str,
        body: Obj | None = None,
        media_type: str = "application/json",
        *,
        query: Query | None = None,
        timeout: float | None = None,
    ) -> Obj:
        """Any request; what the others are made of. ``verb`` as RBAC has it, for counting."""
        limit = self._timeout if timeout is None else min(timeout, self._timeout)
        parameters = dict(query or {})
        if method in ("POST", "PUT", "PATCH"):
            parameters["fieldManager"] = FIELD_MANAGER
        data = None if body is None else json.dumps(body)
        status = NO_ANSWER
        try:
            async with asyncio.timeout(limit):
                headers, url = await self._prepared(path)
                if data is not None:
                    headers["Content-Type"] = media_type
                async with self._session.request(
                    method, url, params=parameters, data=data, headers=headers
                ) as response:
                    raw = await response.read()
                    status = response.status
            if status >= 300:
                raise _refusal(status, response.headers, raw)
            decoded = json.loads(raw)
            if not isinstance(decoded, dict):
                raise ValueError("the answer is no object")
            return decoded
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            status = NO_ANSWER
            raise ApiError(NO_ANSWER, _words(error, f"no answer within {limit:g} s")) from error
        finally:
            self.outcomes[verb, str(status)] += 1

    async def _prepared(self, path: str) -> tuple[dict[str, str], str]:
        headers = {"User-Agent": self._agent, "Accept": "application/json"}
        try:
            async with asyncio.timeout(self._timeout):  # a token may have to be fetched
                await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        except TimeoutError:
            raise
        except Exception as error:  # an exec plugin, a file: whatever can go wrong there
            raise ApiError(NO_ANSWER, f"no credentials: {error}") from error
        return headers, self._host + path


def _words(error: Exception, timeout: str) -> str:
    if isinstance(error, TimeoutError):
        return timeout
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(status: int, headers: Mapping[str, str], raw: bytes) -> ApiError:
    """An error answer: a Status object, or whatever something in between wrote."""
    try:
        found = json.loads(raw)
        message, reason = str(found.get("message", "")), str(found.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = raw[:200].decode(errors="replace").strip(), ""
    wait = headers.get("Retry-After", "")
    return ApiError(status, message, reason, float(wait) if wait.isdecimal() else 0.0)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    kept: list[bytes] = []
    length = 0
    async for chunk in content.iter_any():
        first, *rest = chunk.split(b"\n")
        kept.append(first)
        length += len(first)
        for part in rest:
            if line := b"".join(kept):
                yield line
            kept, length = [part], len(part)
        if length > LONGEST_LINE:
            raise ValueError(f"an event of more than {LONGEST_LINE} bytes")
    if any(kept):
        raise ValueError("the connection ended within an event")


def _event(line: bytes) -> Obj:
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise ValueError(f"no event of a watch: {line[:100]!r}")
    return event
