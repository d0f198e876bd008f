"""The certificate that Stoker shows its clients: loaded, checked, and read again when it changes.

A new pair of files counts once two looks in a row have seen the same files, so that a
certificate which is being replaced is not tried with the old key. What is refused changes
nothing: connections go on being accepted with the last good certificate.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections import Counter
from pathlib import Path

from stoker.errors import CertificateError

_log = logging.getLogger(__name__)

_Signature = tuple[tuple[int, ...], ...]
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NO_PASSWORD = "is encrypted"


def server_context(certificate: str, key: str, min_version: str = "1.2") -> ssl.SSLContext:
    """A context for accepting connections. Raises CertificateError naming the setting."""
    for setting, path in (("tls-certificate", certificate), ("tls-key", key)):
        try:
            text = Path(path).read_bytes()
        except OSError as caught:
            reason = f"cannot be read: {caught.strerror or caught}"
            raise CertificateError(f"{setting} = {path}: {reason}") from None
        wanted = b"-----BEGIN CERTIFICATE-----" if setting == "tls-certificate" else b"PRIVATE KEY"
        if wanted not in text:
            what = "certificate" if setting == "tls-certificate" else "private key"
            raise CertificateError(f"{setting} = {path}: holds no {what} in PEM form")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as caught:
        raise CertificateError(_what_is_wrong(certificate, key, caught)) from None
    except ValueError:
        hint = "decrypt it, for example with openssl pkey, and protect the file instead"
        raise CertificateError(f"tls-key = {key}: {_NO_PASSWORD}; {hint}") from None
    return context


def _refuse_password() -> str:
    # Without this OpenSSL would ask on the terminal, and wait.
    raise ValueError(_NO_PASSWORD)


def _what_is_wrong(certificate: str, key: str, caught: ssl.SSLError) -> str:
    if caught.reason == "KEY_VALUES_MISMATCH":
        return (
            f"tls-key = {key}: is not the key of tls-certificate = {certificate}"
            " (its own certificate must come first in that file)"
        )
    reason = (caught.reason or str(caught)).replace("_", " ").lower()
    return f"tls-certificate = {certificate}, tls-key = {key}: cannot be used: {reason}"


class Certificates:
    """A pair of files and the context made from them. ``refresh`` may run in any one thread."""

    def __init__(self, certificate: str, key: str, min_version: str = "1.2") -> None:
        """Load the pair. Raises CertificateError."""
        self.certificate = certificate
        self.key = key
        self._min_version = min_version
        self.loads: Counter[str] = Counter()
        self._seen = self._settled = self._signature()
        self.context = server_context(certificate, key, min_version)
        """What new connections are to be accepted with."""
        self.loads["applied"] += 1

    def refresh(self) -> bool:
        """Look at the files; whether there is a new context. Never raises."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            return False
        if signature == self._settled:
            return False
        self._settled = signature
        try:
            context = server_context(self.certificate, self.key, self._min_version)
        except CertificateError as error:
            _log.error("certificate refused, the last good one stays in use: %s", error)
            self.loads["refused"] += 1
            return False
        _log.info("new certificate in use for new connections: %s", self.certificate)
        self.loads["applied"] += 1
        self.context = context
        return True

    def _signature(self) -> _Signature:
        """What changes when the files do, also by a rename or a link that points elsewhere."""
        found: list[tuple[int, ...]] = []
        for path in (self.certificate, self.key):
            try:
                stat = os.stat(path)
            except OSError:
                found.append(())
            else:
                found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(found)
