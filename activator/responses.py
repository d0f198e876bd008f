"""Stoker's own answers: errors, and endpoints that name no model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from activator.tickets import Reason, Refusal

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
# Between members of a cluster only: told apart from a replica's own 421 by its phrase.
MOVED: Final = b"HTTP/1.1 421 Moved\r\nContent-Length: 0\r\n\r\n"
MOVED_CLOSE: Final = b"HTTP/1.1 421 Moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

# Which status a client gets for what (the table in docs/status-codes.md).
STATUS_OF: Final[Mapping[Reason, int]] = {
    Reason.QUEUE_FULL: 429,
    Reason.QUEUE_BYTES_FULL: 429,
    Reason.TENANT_QUEUE_FULL: 429,
    Reason.DISPLACED: 429,
    Reason.TOTAL_FULL: 503,
    Reason.TOTAL_BYTES_FULL: 503,
    Reason.OUTAGE: 503,
    Reason.HOLD_DEADLINE: 504,
    Reason.DEADLINE_UNREACHABLE: 504,
    Reason.DEADLINE_PASSED: 504,
    Reason.CLIENT_GONE: 499,
    Reason.MODEL_REMOVED: 404,
    Reason.REPLICA_FAILED: 502,
    Reason.REPLICA_DIED_MID_RESPONSE: 502,
    Reason.REPLICA_TIMEOUT: 504,
    Reason.SHUTDOWN: 503,
}


def status_line(status: int) -> bytes:
    """``HTTP/1.1 503 Service Unavailable`` with its line end."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


def json_answer(
    status: int,
    content: Any,
    *,
    keep_alive: bool = True,
    head_only: bool = False,
    retry_after: float | None = None,
    lines: bytes = b"",
) -> bytes:
    """A whole answer with a JSON body. ``lines``: further lines of its head."""
    body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    parts = [
        status_line(status),
        b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body),
    ]
    if retry_after is not None:
        parts.append(b"Retry-After: %d\r\n" % max(1, math.ceil(retry_after)))
    if lines:
        parts.append(lines)
    parts.append(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
    if not head_only:
        parts.append(body)
    return b"".join(parts)


def error_content(status: int, message: str, reason: str, target: bytes = b"") -> Any:
    """An error as clients of that path expect it: V2 wants a string, OpenAI an object."""
    if target.startswith(b"/v2"):
        return {"error": message}
    return {"error": {"message": message, "type": reason, "code": status}}


def refusal_message(model: str, refusal: Refusal) -> str:
    """One sentence for the caller: which model, what happened, how it stands."""
    opening = {
        Reason.QUEUE_FULL: "too many requests wait for model",
        Reason.QUEUE_BYTES_FULL: "too many bytes wait for model",
        Reason.TOTAL_FULL: "Stoker holds too many requests to take one for model",
        Reason.TOTAL_BYTES_FULL: "Stoker cannot hold more bytes for model",
        Reason.TENANT_QUEUE_FULL: "too much of this tenant waits for model",
        Reason.DISPLACED: "made room for another request for model",
        Reason.OUTAGE: "cannot start model",
        Reason.HOLD_DEADLINE: "gave up waiting for a slot of model",
        Reason.DEADLINE_UNREACHABLE: "cannot answer before the deadline for model",
        Reason.DEADLINE_PASSED: "its deadline passed before an answer of model",
        Reason.MODEL_REMOVED: "no longer serving model",
        Reason.REPLICA_FAILED: "no answer from a replica of model",
        Reason.REPLICA_TIMEOUT: "a replica took too long to answer for model",
        Reason.SHUTDOWN: "Stoker is shutting down and cannot wait for model",
    }.get(refusal.reason, refusal.reason.value + " for model")
    return f"{opening} {model}: {refusal.detail}" if refusal.detail else f"{opening} {model}"
