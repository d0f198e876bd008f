"""What a setting's value can be: how its text is read, shown, and what to say when it is bad.

Every scalar arrives as text, whether it comes from a YAML file, an environment variable, a
ConfigMap or an annotation, so there is one reader per kind and no guessing by YAML (``no``
is a word, ``1_000`` is not a number, ``true`` is never 1). None is a key without a value.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.quantities import format_duration, format_size, parse_duration, parse_size
from stoker.vocabulary import Address

Raw = str | None | Sequence["Raw"] | Mapping[str, "Raw"]


class BadValueError(ValueError):
    """A value that cannot be read. ``message`` follows "key = value: ".

    ``shown`` replaces the value in the report (a secret stays out of it, an item of a
    list is named alone); ``inner`` is the rest of the key's path.
    """

    def __init__(
        self,
        message: str,
        allowed: str = "",
        hint: str = "",
        *,
        shown: str | None = None,
        inner: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.allowed = allowed
        self.hint = hint
        self.shown = shown
        self.inner = inner


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one kind are read and shown. ``expects`` completes "allowed: "."""

    name: str
    expects: str
    read: Callable[[Raw], Any]
    show: Callable[[Any], str] = str


def scalar(raw: Raw) -> str:
    """The text of a single value. Raises BadValueError for none, a list or a mapping."""
    if raw is None:
        raise BadValueError("has no value", hint="write one or remove the key", shown="")
    if not isinstance(raw, str):
        what = "a mapping" if isinstance(raw, Mapping) else "a list"
        raise BadValueError(f"is {what} where one value belongs")
    return raw


def _scalar_kind(
    name: str, expects: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str
) -> Kind:
    def read(raw: Raw) -> Any:
        try:
            return parse(scalar(raw))
        except BadValueError as bad:
            bad.allowed = bad.allowed or expects
            raise
        except ValueError as error:
            raise BadValueError(str(error), expects) from None

    return Kind(name, expects, read, show)


def read_count(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,10}", text):
        raise ValueError("is not a whole number")
    return int(text)


def _workers(text: str) -> int:
    """0 for auto."""
    if text == "auto":
        return 0
    if (count := read_count(text)) == 0:
        raise ValueError("is out of range")
    return count


def _number(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        raise ValueError("is not a number")
    value = float(text)
    if math.isinf(value):
        raise ValueError("is not a finite number")
    return value


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def _whole_seconds(text: str) -> float:
    value = parse_duration(text)
    if value != int(value):
        raise ValueError("is finer than a second")
    return value


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


def parse_address(text: str) -> Address:
    """``host:port`` or ``[v6]:port``; port 0 asks for any free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("is ambiguous: an IPv6 address goes in brackets")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("does not end in a port from 0 to 65535")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError("names no host to listen on")
    return Address(host, int(port))


def _readiness(text: str) -> str:
    """The path to ask for, or "" when a TCP connection is enough."""
    if text == "tcp":
        return ""
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError("is neither tcp nor a path starting with /")
    return text


def _namespace(text: str) -> str:
    if not is_label(text):
        raise ValueError("is not a DNS label")
    return text


def _model_name(text: str) -> str:
    namespace, slash, name = text.rpartition("/")
    if text and (not is_label(name) or (slash and not is_label(namespace))):
        raise ValueError("is not a model's name")
    return text


_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_RULE = "1 to 63 of a-z, 0-9 and -, neither starting nor ending with -"


def is_label(text: str) -> bool:
    """Whether ``text`` can be one part of a host name, as a model's name must be."""
    return _LABEL.fullmatch(text) is not None


def _server_name(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", text):
        raise ValueError("is not a host name")
    return text


def _header(text: str) -> str:
    """A field name in lower case."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", text):
        raise ValueError("is not the name of a header")
    if text.lower() in _NO_IDENTITY:
        raise ValueError("is a header with a meaning of its own")
    return text.lower()


# Stoker or the protocol reads these; none says who somebody is.
_NO_IDENTITY = frozenset(
    (
        *("connection", "content-length", "expect", "host", "stoker-deadline", "stoker-model"),
        *("stoker-priority", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


def _show_number(value: float) -> str:
    return f"{value:g}"


def _show_boolean(value: bool) -> str:
    return "true" if value else "false"


DURATION = _scalar_kind(
    "duration", "a duration such as 250ms, 90s, 1m30s, 1h", parse_duration, format_duration
)
WHOLE_SECONDS = _scalar_kind(
    "whole seconds", "whole seconds such as 90s, 1m30s, 1h", _whole_seconds, format_duration
)
SIZE = _scalar_kind("size", "bytes such as 512, 64Ki, 100M, 1Gi", parse_size, format_size)
COUNT = _scalar_kind("count", "a whole number", read_count)
WORKERS = _scalar_kind("workers", "a whole number", _workers, lambda count: str(count or "auto"))
NUMBER = _scalar_kind("number", "a number", _number, _show_number)
PERCENTAGE = _scalar_kind("percentage", "a percentage such as 70", _number, _show_number)
BOOLEAN = _scalar_kind("boolean", "true or false", _boolean, _show_boolean)
PATH = _scalar_kind("path", "a path", _path, lambda path: path or "none")
LOG_FILE = _scalar_kind("path", "- for stdout, or a path", _path, lambda path: path or "none")
ADDRESS = _scalar_kind("address", "host:port such as 127.0.0.1:8080 or [::1]:8080", parse_address)
READINESS = _scalar_kind(
    "readiness",
    "tcp, or an HTTP path such as /v2/health/ready",
    _readiness,
    lambda path: path or "tcp",
)
SERVER_NAME = _scalar_kind(
    "host name",
    "a host name such as models.example.org",
    _server_name,
    lambda name: name or "none",
)
HEADER = _scalar_kind("header", "a header's name such as x-tenant", _header)
MODEL_NAME = _scalar_kind(
    "model", "a model's name, or namespace/name", _model_name, lambda name: name or "none"
)
NAMESPACE = _scalar_kind("namespace", LABEL_RULE, _namespace)


def choice(options: type[enum.StrEnum]) -> Kind:
    """The kind whose values are the members of ``options``."""
    expects = " | ".join(options)

    def parse(text: str) -> enum.StrEnum:
        try:
            return options(text)
        except ValueError:
            raise ValueError("is not one of the choices") from None

    return _scalar_kind("choice", expects, parse)
