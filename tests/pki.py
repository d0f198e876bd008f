"""Certificates for tests, made by the openssl command: of themselves, or of an authority."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Pair(NamedTuple):
    """A self-signed certificate for localhost and 127.0.0.1, and its key."""

    certificate: Path
    key: Path

    def install(self, other: Pair) -> None:
        """Put ``other`` in place of this pair, each file in one step, as renewal tools do."""
        for old, new in zip(self, other, strict=True):
            fresh = old.with_suffix(".new")
            shutil.copyfile(new, fresh)
            os.replace(fresh, old)

    def der(self) -> bytes:
        """What a client gets to see of it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))


def openssl(*arguments: str | Path) -> None:
    """Run the openssl command."""
    program = shutil.which("openssl")
    assert program, "these tests need the openssl command: install the package openssl"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def make_pair(directory: Path, name: str) -> Pair:
    """A new pair ``name.pem`` and ``name.key``."""
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(
        "req", "-x509", *_KEY, "-days", "3", "-out", pair.certificate, "-keyout", pair.key, *names
    )
    return pair


def self_signed(directory: Path, name: str, *also: str, authority: bool = False) -> Pair:
    """A certificate that vouches for itself. ``also``: ``DNS:...`` or ``IP:...``."""
    made = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    names = ",".join([f"DNS:{name}", *also])
    use = f"basicConstraints=critical,CA:{'TRUE' if authority else 'FALSE'}"
    extensions = ("-addext", f"subjectAltName={names}", "-addext", use)
    files = ("-keyout", made.key, "-out", made.certificate)
    openssl("req", "-x509", *_KEY, "-days", "3", "-subj", f"/CN={name}", *extensions, *files)
    return made


def issued_by(authority: Pair, directory: Path, name: str, *also: str) -> Pair:
    """A certificate that ``authority`` vouches for."""
    made = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    extensions.write_text(
        f"subjectAltName={','.join([f'DNS:{name}', *also])}\nbasicConstraints=CA:FALSE\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
    signing = ("-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial")
    end = ("-days", "3", "-extfile", extensions, "-out", made.certificate)
    openssl("x509", "-req", "-in", request, *signing, *end)
    return made
