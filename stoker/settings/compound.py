"""Kinds of settings that hold more than one value: lists, mappings, commands."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from stoker.quantities import parse_size
from stoker.settings.kinds import (
    ADDRESS,
    LABEL_RULE,
    NUMBER,
    BadValueError,
    Kind,
    Raw,
    is_label,
    parse_address,
    read_count,
    scalar,
)
from stoker.vocabulary import Address, Resources


def words(raw: Raw) -> list[str]:
    """A list of single values; a text is split at commas. Raises BadValueError."""
    if isinstance(raw, Mapping):
        raise BadValueError("is a mapping where a list belongs")
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        return [scalar(item) for item in raw]
    return [item.strip() for item in scalar(raw).split(",") if item.strip()]


def _list_kind(name: str, expects: str, parse: Callable[[str], str]) -> Kind:
    def read(raw: Raw) -> tuple[str, ...]:
        items = []
        for item in words(raw):
            try:
                items.append(parse(item))
            except ValueError as error:
                raise BadValueError(str(error), expects, shown=item) from None
        return tuple(dict.fromkeys(items))

    return Kind(name, expects, read, lambda items: ", ".join(items) or "none")


def normal_host(text: str) -> str:
    """A host name as requests are matched by: lower case, no trailing dot. Raises ValueError."""
    host = text.lower().removesuffix(".")
    if ":" in host:
        raise ValueError("has a port: hosts are matched without one")
    if len(host) > 253 or not all(is_label(part) for part in host.split(".")):
        raise ValueError("is not a host name")
    return host


def _alias(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,253}", text):
        raise ValueError("is not usable as a name")
    return text


def _user_agent(text: str) -> str:
    if not re.fullmatch(r"[ -~]{1,253}", text):
        raise ValueError("is not a User-Agent prefix")
    return text


def _request_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]{0,252}", text) or "?" in text:
        raise ValueError("is not a path")
    return text


def _peer(text: str) -> str:
    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is neither an address nor a network") from None
    raise ValueError(f"has bits set behind its prefix: write {meant} for the whole network")


def _label(text: str) -> str:
    if not is_label(text):
        raise ValueError("is not a name")
    return text


def _read_addresses(raw: Raw) -> tuple[tuple[str, Address], ...]:
    """A mapping name → address, or the text ``name=address,...``."""
    if isinstance(raw, Mapping):
        pairs = [(name, scalar(value)) for name, value in raw.items()]
    else:
        pairs = [(name, address) for name, _, address in (w.partition("=") for w in words(raw))]
    named: dict[str, Address] = {}
    for name, text in pairs:
        if not is_label(name) or name in named:
            raise BadValueError("is not a new name", LABEL_RULE, shown=name)
        try:
            named[name] = parse_address(text)
        except ValueError as error:
            raise BadValueError(str(error), ADDRESS.expects, shown=text, inner=(name,)) from None
    return tuple(named.items())


def _read_weights(raw: Raw) -> tuple[tuple[str, float], ...]:
    """A mapping name → number, or the text ``name=number,...``."""
    if isinstance(raw, Mapping):
        pairs = [(name, scalar(value)) for name, value in raw.items()]
    else:
        pairs = [(name, number) for name, _, number in (w.rpartition("=") for w in words(raw))]
    weights: dict[str, float] = {}
    for name, text in pairs:
        if not re.fullmatch(r"[!-~]{1,100}", name) or name in weights:
            raise BadValueError("is not a new name of a tenant", WEIGHTS.expects, shown=name)
        try:
            weight = NUMBER.read(text)
        except BadValueError as error:
            raise BadValueError(error.message, WEIGHTS.expects, shown=text, inner=(name,)) from None
        if not 0.01 <= weight <= 1000:
            raise BadValueError("is out of range", WEIGHTS.expects, shown=text, inner=(name,))
        weights[name] = weight
    return tuple(weights.items())


def _read_command(raw: Raw) -> tuple[str, ...]:
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        command = tuple(scalar(item) for item in raw)
    else:
        try:
            command = tuple(shlex.split(scalar(raw)))
        except ValueError as error:
            raise BadValueError(
                f"cannot be split into words: {error}", hint="check its quotes"
            ) from None
    if not command or not command[0]:
        raise BadValueError("names no program", COMMAND.expects)
    if any("\0" in word for word in command):
        raise BadValueError("holds a NUL character", shown="")
    if not any("{port}" in word for word in command):
        raise BadValueError(
            "does not contain {port}",
            COMMAND.expects,
            "Stoker chooses the port: pass it on, for example --port {port}",
        )
    return command


def _read_environment(raw: Raw) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, Mapping):
        raise BadValueError("is not a mapping", ENVIRONMENT.expects, shown="")
    pairs = []
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BadValueError("is not a name of a variable", ENVIRONMENT.expects, shown=name)
        if not isinstance(value, str) or "\0" in value:
            # The value itself may be a secret, so it is not repeated.
            raise BadValueError(
                "is not a text", ENVIRONMENT.expects, 'write "" for empty', shown="", inner=(name,)
            )
        pairs.append((name, value))
    return tuple(pairs)


def _cpu_millis(text: str) -> int:
    if match := re.fullmatch(r"([0-9]{1,9})m", text):
        return int(match[1])
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise ValueError("is not a number of CPUs")
    return round(float(text) * 1000)


_RESOURCES: dict[str, tuple[str, Callable[[str], int]]] = {
    "cpu": ("cpu_millis", _cpu_millis),
    "memory": ("memory_bytes", parse_size),
    "accelerators": ("accelerators", read_count),
}


def _read_resources(raw: Raw) -> Resources:
    if not isinstance(raw, Mapping):
        raise BadValueError("is not a mapping", RESOURCES.expects)
    fields: dict[str, int] = {}
    for key, value in raw.items():
        if key not in _RESOURCES:
            raise BadValueError("is not a resource", RESOURCES.expects, shown=key)
        field, parse = _RESOURCES[key]
        try:
            fields[field] = parse(scalar(value))
        except BadValueError:
            raise
        except ValueError as error:
            raise BadValueError(
                str(error), RESOURCES.expects, shown=scalar(value), inner=(key,)
            ) from None
        if fields[field] < 0:
            raise BadValueError("is negative", RESOURCES.expects, shown=scalar(value), inner=(key,))
    return Resources(**fields)


HOSTS = _list_kind("host names", "host names such as digits.example.org", normal_host)
ALIASES = _list_kind("names", "1 to 253 printable characters without spaces each", _alias)
AGENTS = _list_kind("User-Agent prefixes", "a list of User-Agent prefixes", _user_agent)
PATHS = _list_kind("paths", "paths such as /healthz, without a query", _request_path)
PEERS = _list_kind("networks", "networks such as 10.0.0.0/8 or ::1, and the word unix", _peer)
LISTENER_NAMES = _list_kind("listener names", "names under stoker.listeners", _label)
ADDRESSES = Kind(
    "named addresses",
    "a mapping name: host:port",
    _read_addresses,
    lambda named: ", ".join(f"{name}={address}" for name, address in named) or "none",
)
WEIGHTS = Kind(
    "weights by name",
    "a mapping name: weight from 0.01 to 1000, such as gold: 10",
    _read_weights,
    lambda weights: ", ".join(f"{name}={weight:g}" for name, weight in weights) or "none",
)
COMMAND = Kind("command", "a text or a list of words containing {port}", _read_command, shlex.join)
ENVIRONMENT = Kind("variables", "a mapping NAME: text", _read_environment, lambda pairs: "none")
RESOURCES = Kind(
    "resources",
    "a mapping of cpu (500m, 2), memory (1Gi), accelerators (1)",
    _read_resources,
    lambda resources: "none",
)
