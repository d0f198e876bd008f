"""A real ``stoker up`` that speaks TLS: with curl and Python's own client, through a renewal."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import PATIENCE, Running, cli, echo_command, wait_until
from tests.pki import Pair, make_pair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """Two pairs, for all tests to copy from."""
    directory = tmp_path_factory.mktemp("made")
    return make_pair(directory, "one"), make_pair(directory, "two")


@pytest.fixture
def pair(tmp_path: Path, made: tuple[Pair, Pair]) -> Pair:
    """The pair beside the settings file."""
    mine = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    mine.install(made[0])
    return mine


def settings(**stoker: Any) -> dict[str, Any]:
    """A file with an echo server; the pair is named as it is seen from there."""
    tls = {"tls-certificate": "server.pem", "tls-key": "server.key"}
    model = {"command": echo_command(), "readiness": "/healthz", "initial-scale": 0}
    return {"stoker": {**tls, **stoker}, "models": {"echo": model}}


def ask(port: int, context: ssl.SSLContext) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    client = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
    try:
        client.request("POST", "/x", b"hello", {"Host": "echo.localhost"})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def test_up_with_tls_and_a_renewed_certificate(
    tmp_path: Path, pair: Pair, made: tuple[Pair, Pair]
) -> None:
    """A cold start over TLS; a kept connection outlives the renewal, new ones see the new one."""
    curl = shutil.which("curl")
    assert curl, "this test needs curl"
    with Running(tmp_path, settings()) as running:
        status, _ = ask(running.port, made[0].client_context())
        assert status == 200
        kept = http.client.HTTPSConnection(
            "127.0.0.1", running.port, timeout=PATIENCE, context=made[0].client_context()
        )
        kept.request("GET", "/v1/models")
        assert kept.getresponse().read()
        url = f"https://localhost:{running.port}/v1/models"
        common = [curl, "--silent", "--show-error", "--fail", "--max-time", "30", url]
        done = subprocess.run(
            [*common, "--cacert", str(pair.certificate), "--write-out", "%{http_version}"],
            capture_output=True,
            check=True,
        )
        assert b'"echo"' in done.stdout
        assert done.stdout.endswith(b"1.1")
        pair.install(made[1])
        wait_until(
            lambda: running.metric('stoker_certificate_loads_total{outcome="applied"}') == 2,
            why="the new certificate",
        )
        assert ask(running.port, made[1].client_context())[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(running.port, made[0].client_context())
        kept.request("GET", "/v1/models")
        assert kept.getresponse().read()
        kept.close()
        status, text, _ = running.request("/v1/models")
        assert (status, b"https://" in text) == (400, True)
        assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def test_up_refuses_a_wrong_pair(tmp_path: Path, pair: Pair, made: tuple[Pair, Pair]) -> None:
    """Before anything is started, with a sentence instead of a traceback; so does check."""
    pair.key.write_bytes(made[1].key.read_bytes())
    running = Running(tmp_path, settings())
    for command in ("up", "check"):
        done = cli(command, str(running.file))
        assert done.returncode == 1
        assert "is not the key of tls-certificate = " in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
