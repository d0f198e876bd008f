"""What an API server answers instead of an object: Status objects, worded as the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.kubernetes.api.kinds import Kind, Obj


class Cause(NamedTuple):
    """One thing wrong with an object."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class StatusError(Exception):
    """An answer that is a Status: ``code`` is the HTTP status, ``reason`` Kubernetes' word."""

    def __init__(
        self, code: int, reason: str, message: str, details: Obj | None = None, wait: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.wait = wait
        self.status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }
        details = dict(details or {})
        if wait:
            details["retryAfterSeconds"] = wait
        if details:
            self.status["details"] = details


def _details(kind: Kind, name: str) -> Obj:
    details = {"name": name, "kind": kind.plural}
    return details | {"group": kind.group} if kind.group else details


def not_found(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(kind, name))


def already_exists(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> StatusError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version"
        " and try again"
    )
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(kind, name))


def apply_conflict(causes: Sequence[Cause]) -> StatusError:
    """Others own what an apply would change."""
    listed = "\n".join(f"{cause.message}: {cause.field}" for cause in causes)
    plural = "conflicts" if len(causes) > 1 else "conflict"
    text = f"Apply failed with {len(causes)} {plural}: {listed}"
    return StatusError(409, "Conflict", text, {"causes": _listed(causes)})


def _listed(causes: Sequence[Cause]) -> list[Obj]:
    return [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> StatusError:
    listed = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    if len(causes) > 1:
        listed = f"[{listed}]"
    full = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = _details(kind, name) | {"kind": kind.kind}
    details["causes"] = _listed(causes)
    return StatusError(422, "Invalid", f'{full} "{name}" is invalid: {listed}', details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> StatusError:
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(kind, name))


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def unsupported_patch(accepted: Sequence[str]) -> StatusError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return StatusError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message)
