"""TokenReview: who the bearer of a token is. Nothing of it is stored."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.api.errors import bad_request
from tests.kubernetes.api.kinds import Kind, Obj

KIND = Kind(
    *("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "V1TokenReview"),
    namespaced=False,
)
PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


def review(body: Any, tokens: dict[str, tuple[str, str]]) -> Obj:
    """The answer; ``tokens``: each with its user's name and the audience that it is for."""
    if not isinstance(body, dict) or body.get("kind") != "TokenReview":
        raise bad_request("the body is no TokenReview")
    spec = body.get("spec") or {}
    if unknown := (body.keys() - {"apiVersion", "kind", "spec", "metadata"}) | (
        spec.keys() - {"token", "audiences"}
    ):
        raise bad_request(f"unknown fields: {sorted(unknown)}")
    user, audience = tokens.get(spec.get("token", ""), ("", ""))
    good = user != "" and audience in (spec.get("audiences") or [audience])
    status: Obj = {"error": "[invalid bearer token]"}
    if good:
        status = {"authenticated": True, "user": {"username": user}, "audiences": [audience]}
    return {**body, "status": status}
