"""Which model a request is for. Pure tables, rebuilt when models change.

The first that says something decides: the listener it came in on, the header
``stoker-model``, Host, path, body. Where a request names no model but asks for something
that is true of the whole set (``/v1/models``, ``/v2/health/ready`` ...) Stoker answers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from stoker.vocabulary import DEFAULT_NAMESPACE, ModelKey, ModelSpec

HOST_SUFFIX = ".localhost"
# Hosts come from clients: what they send must not grow a table without bound.
CACHED_HOSTS = 4096
# How much of what was not found, and of what could have been, an answer tells.
LONGEST_NAME = 253
KNOWN_NAMES = 20

_V1, _V2 = b"/v1/models/", b"/v2/models/"  # of one length


class Builtin(enum.Enum):
    """Endpoints that name no model: answered for the whole set."""

    V1_MODELS = "/v1/models"
    V2_METADATA = "/v2"
    V2_LIVE = "/v2/health/live"
    V2_READY = "/v2/health/ready"


_BUILTINS = {builtin.value.encode(): builtin for builtin in Builtin}
_BUILTINS[b"/v2/"] = Builtin.V2_METADATA
_BUILTINS[b"/v1/models/"] = Builtin.V1_MODELS


@dataclass(frozen=True, slots=True)
class NotFound:
    """No model answers to that. ``looked_for`` says by what it was looked up."""

    looked_for: str
    known: tuple[str, ...] = ()


class NeedBody(enum.Enum):
    """Only the body can tell: call ``by_body`` with the name found there."""

    NEED_BODY = "need body"


Route = ModelKey | Builtin | NotFound | NeedBody


class Router:
    """Routing tables over all models."""

    def __init__(self) -> None:
        self._read: Callable[[], Iterable[ModelSpec]] = tuple
        self._stale = False
        self._listeners: dict[str, ModelKey] = {}
        self._ports: dict[str, ModelKey] = {}
        self._keys: frozenset[ModelKey] = frozenset()
        self._hosts: dict[str, ModelKey] = {}
        self._names: dict[str, ModelKey] = {}
        self._host_cache: dict[bytes, ModelKey | None] = {}
        self._known: tuple[str, ...] | None = None

    def set_models(self, specs: Callable[[], Iterable[ModelSpec]]) -> None:
        """Replace all tables. A bare name means the model of the default namespace first."""
        # Read and built when first asked: models come one by one at the start, and 20,000
        # tables of up to 20,000 models would take minutes (8 of 21 s of a start with 5,000
        # were spent on only listing them anew for each).
        self._read = specs
        self._stale = True

    def set_ports(self, ports: Mapping[str, ModelKey]) -> None:
        """Listeners that the platform has opened for one model each, besides those that models
        name themselves."""
        self._ports = dict(ports)
        self._stale = True

    def _build(self) -> None:
        self._stale = False
        specs = tuple(self._read())
        self._keys = frozenset(spec.key for spec in specs)
        self._listeners, self._hosts, self._names, self._host_cache = {}, {}, {}, {}
        self._known = None
        for spec in specs:
            key = spec.key
            for listener in spec.listeners:
                self._listeners[listener] = key
            for host in spec.hosts:
                self._hosts[host.lower()] = key
            self._hosts[f"{key.name}.{key.namespace}{HOST_SUFFIX}".lower()] = key
            self._names[str(key)] = key
            for alias in spec.aliases:
                self._names[alias] = key
            if key.namespace == DEFAULT_NAMESPACE:
                self._hosts[f"{key.name}{HOST_SUFFIX}".lower()] = key
                self._names[key.name] = key
            else:
                self._hosts.setdefault(f"{key.name}{HOST_SUFFIX}".lower(), key)
                self._names.setdefault(key.name, key)
        self._listeners.update(self._ports)

    def names(self) -> Mapping[str, ModelKey]:
        """Every name a body, a path or the header may use."""
        if self._stale:
            self._build()
        return self._names

    def route(
        self, listener: str, method: bytes, target: bytes, host: bytes, header: bytes
    ) -> Route:
        """``target`` in origin form; ``header``: the value of ``stoker-model`` or empty."""
        if self._stale:
            self._build()
        if self._listeners:
            key = self._listeners.get(listener)
            if key is not None:
                # A port may outlive its model for a while.
                return key if key in self._keys else self._not_found(f"the Service of {key}")
        if header:
            name = header.decode("utf-8", "replace").strip()
            return self._names.get(name) or self._not_found(f"header stoker-model: {name}")
        try:
            key = self._host_cache[host]
        except KeyError:
            key = self._look_up_host(host)
        if key is not None:
            return key
        return self._by_path(method, target, host)

    def by_body(self, name: str | None, host: bytes = b"") -> ModelKey | NotFound:
        """Route by the ``model`` field of the body; None: it had none. ``host`` for messages."""
        if name is not None:
            looked_for = f'model "{name[:LONGEST_NAME]}" of the body'
            return self.names().get(name) or self._not_found(looked_for)
        hostname = _without_port(host.decode("latin-1"))
        where = f"host {hostname} and " if hostname else ""
        return self._not_found(
            f"{where}a JSON body without a text field model in its first json-peek-bytes"
        )

    def _not_found(self, looked_for: str) -> NotFound:
        if self._known is None:
            self._known = tuple(sorted(self._names)[:KNOWN_NAMES])
        return NotFound(looked_for, self._known)

    def _look_up_host(self, host: bytes) -> ModelKey | None:
        key = self._hosts.get(_without_port(host.decode("latin-1")).lower().rstrip("."))
        if len(self._host_cache) < CACHED_HOSTS:
            self._host_cache[host] = key
        return key

    def _by_path(self, method: bytes, target: bytes, host: bytes) -> Route:
        path = target.partition(b"?")[0]
        if method in (b"GET", b"HEAD") and path in _BUILTINS:
            return _BUILTINS[path]
        names = _names_in_path(path)
        for name in names:
            if name in self._names:
                return self._names[name]
        if names:
            return self._not_found(f"path {path.decode('latin-1')}")
        if method == b"POST":
            return NeedBody.NEED_BODY
        hostname = _without_port(host.decode("latin-1"))
        if hostname.lower().endswith(HOST_SUFFIX):
            return self._not_found(f"host {hostname}")
        return self._not_found(f"host {hostname} and path {path.decode('latin-1')}")


def implied_hosts(key: ModelKey) -> tuple[str, ...]:
    """The hosts that mean a model without being configured."""
    return f"{key.name}{HOST_SUFFIX}", f"{key.name}.{key.namespace}{HOST_SUFFIX}"


def _names_in_path(path: bytes) -> tuple[str, ...]:
    """What NAME may be in ``/v1/models/NAME[:verb]`` and ``/v2/models/NAME[/...]``.

    Names may contain colons: the longer reading comes first. Empty: no such path.
    """
    if not path.startswith((_V1, _V2)):
        return ()
    raw = path[len(_V1) :].partition(b"/")[0]
    if not raw:
        return ()
    shorter = raw.rpartition(b":")[0]
    if shorter and path.startswith(_V1):
        return _decode(raw), _decode(shorter)
    return (_decode(raw),)


def _decode(raw: bytes) -> str:
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8", "replace")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
