"""TLS to replicas: contexts, made once and again when their file changes; failures in words."""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

from stoker.vocabulary import Address, ReplicaTls, ServingConfig


class Tls(NamedTuple):
    """What connecting to one replica takes."""

    context: ssl.SSLContext
    server_name: str


def tls_of(serving: ServingConfig) -> tuple[ReplicaTls, str, str]:
    """What of a model's settings decides how its replicas are spoken to."""
    return serving.replica_tls, serving.replica_tls_ca, serving.replica_tls_server_name


class Contexts:
    """SSL contexts by mode and file of authorities. One per activator."""

    def __init__(self) -> None:
        self._made: dict[tuple[ReplicaTls, str], tuple[tuple[int, int], ssl.SSLContext]] = {}

    def for_replica(self, serving: ServingConfig, address: Address) -> Tls | None:
        """None where replicas are spoken to without TLS. Raises OSError for a bad file."""
        mode = serving.replica_tls
        if mode is ReplicaTls.OFF:
            return None
        path = serving.replica_tls_ca
        stamp = (0, 0)
        if path and mode is ReplicaTls.ON:
            found = os.stat(path)
            stamp = (found.st_mtime_ns, found.st_size)
        made = self._made.get((mode, path))
        if made is None or made[0] != stamp:
            made = self._made[mode, path] = (stamp, _context(mode, path))
        return Tls(made[1], serving.replica_tls_server_name or address.host)


def _context(mode: ReplicaTls, path: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=path or None)
    if mode is ReplicaTls.INSECURE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif path:
        # A file that holds the replica's own certificate is as good as its issuer's.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def why(error: BaseException, serving: ServingConfig) -> str:
    """What went wrong in connecting, and for TLS what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        name = "replica-tls-server-name says whom it must be for"
        hint = name if "match" in error.verify_message else "replica-tls-ca says whom to trust"
        return f"its certificate is not accepted: {error.verify_message} ({hint})"
    if isinstance(error, ssl.SSLError):
        known = getattr(error, "reason", None) or error.strerror or str(error)
        reason = known.lower().replace("_", " ")
        return f"TLS failed: {reason} (replica-tls = {serving.replica_tls.value})"
    if isinstance(error, OSError) and error.filename:
        return f"replica-tls-ca cannot be read: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
