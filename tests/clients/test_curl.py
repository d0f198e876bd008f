"""curl, as people use it, against a real Stoker."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import PATIENCE, Running
from tests.clients.places import ask, example, program

MEGABYTES = 3 * 1024 * 1024 + 17


@pytest.fixture(scope="module")
def stoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The plain example's model, awake as long as the tests last."""
    model = example("plain", **{"stable-window": "1h"})
    with Running(tmp_path_factory.mktemp("stoker"), {"models": {"plain": model}}) as running:
        yield running


@pytest.fixture
def base(stoker: Running) -> str:
    return f"http://plain.localhost:{stoker.port}"


def curl(*arguments: str, given: bytes | None = None) -> str:
    return ask(program("curl"), "--silent", "--show-error", *arguments, given=given)


def told(out: str) -> dict[str, Any]:
    """What ``--write-out %{json}`` wrote on the last line."""
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than a megabyte: curl asks before it sends that much."""
    path = tmp_path_factory.mktemp("upload") / "noise"
    path.write_bytes(os.urandom(MEGABYTES))
    return path


def test_a_large_post_is_asked_for_and_arrives(base: str, file: Path) -> None:
    """Expect: 100-continue is answered while the model is still asleep; then every byte."""
    out = curl(
        *("--verbose", "--stderr", "-", "--expect100-timeout", str(PATIENCE)),
        *("-H", "Content-Type: application/octet-stream", "--data-binary", f"@{file}"),
        f"{base}/upload",
    )
    assert "> Expect: 100-continue" in out
    assert out.index("< HTTP/1.1 100 Continue") < out.index("< HTTP/1.1 200 OK")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in out
    assert f'"bytes": {MEGABYTES}' in out


def test_a_chunked_upload_of_unknown_length(base: str, file: Path) -> None:
    """-T - sends what comes on stdin, chunk by chunk."""
    content = file.read_bytes()
    out = curl("-T", "-", "-X", "POST", f"{base}/upload", given=content)
    assert json.loads(out) == {
        "bytes": MEGABYTES,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_head_gets_headers_only_and_the_connection_goes_on(base: str) -> None:
    """A HEAD, then a GET on the same connection: no byte too many between them."""
    out = curl(
        *("--head", f"{base}/health", "--next", "--silent"),
        *("--write-out", "\n%{num_connects} %{local_port}", f"{base}/health"),
    )
    head, _, rest = out.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "content-length: 16" in head.lower()
    assert rest.splitlines()[0] == '{"ready": true}'
    assert rest.splitlines()[-1].split()[0] == "0"


def test_several_urls_use_one_connection(base: str) -> None:
    """Ten answers, one connection made."""
    out = curl("--write-out", "connects=%{num_connects}\n", *[f"{base}/health"] * 10)
    assert out.count('{"ready": true}') == 10
    connects = [int(line.partition("=")[2]) for line in out.splitlines() if "connects=" in line]
    assert connects == [1] + [0] * 9


def test_events_are_printed_as_they_come(stoker: Running, base: str) -> None:
    """-N: the first event is read while the last cannot have been made, for nobody takes it."""
    command = [program("curl"), "-sSN", f"{base}/countdown?from=1000000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"data: 1000000000\n"
        assert running.stdout.readline() == b"\n"
        assert running.stdout.readline() == b"data: 999999999\n"
        running.terminate()
        running.stdout.close()
    stoker.wait_for("plain", lambda m: m["active"] == 0, "left alone")


def test_json_compression_and_http10(stoker: Running, base: str) -> None:
    """--json, --compressed and -0 as they are: the answer is the same."""
    body = '{"numbers": [1, 2, 39]}'
    for options in (["--json", body], ["--compressed", "-d", body], ["-0", "-d", body]):
        assert json.loads(curl(*options, f"{base}/predict")) == {"total": 42}


def test_an_offer_of_http_2_is_declined_by_silence(base: str) -> None:
    """--http2 offers an upgrade to h2c: the request is answered over HTTP/1.1 as if it did not."""
    out = curl("--http2", "--include", "-d", '{"numbers": [40, 2]}', f"{base}/predict")
    assert out.startswith("HTTP/1.1 200 OK")
    assert out.endswith('{"total": 42}\n')


def test_as_a_proxy_would_be_asked(stoker: Running) -> None:
    """--proxy sends the whole URL in the request line: its host is what counts."""
    proxy = f"http://127.0.0.1:{stoker.port}"
    out = curl("--proxy", proxy, "--noproxy", "", "http://plain.localhost/health")
    assert json.loads(out) == {"ready": True}


def test_a_form_with_a_file(base: str, file: Path) -> None:
    """-F: multipart with its boundary, asked for first, arrives as long as curl says it is."""
    out = curl("-F", f"image=@{file}", "-w", "\n%{json}", f"{base}/upload")
    assert json.loads(out.splitlines()[0])["bytes"] == told(out)["size_upload"] > MEGABYTES


def test_many_at_once_on_few_connections(base: str) -> None:
    """--parallel: forty requests, eight at a time, all answered."""
    out = curl("--parallel", "--parallel-max", "8", *[f"{base}/health"] * 40)
    assert out == '{"ready": true}\n' * 40


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/predict", "{}", 400, "KeyError('numbers')"),
        ("/predict", "{", 400, "JSONDecodeError"),
        ("/v1/models/plain:predict", '{"instances": [["a"]]}', 400, "TypeError"),
        ("/nowhere", "{}", 404, "nothing at /nowhere"),
    ],
)
def test_what_the_server_refuses_arrives_unchanged(
    base: str, path: str, body: str, status: int, says: str
) -> None:
    """Its status and its words, not Stoker's; the connection can be used again."""
    out = curl("-w", "%{http_code} ", "-d", body, f"{base}{path}", f"{base}/health")
    first, second = re.findall(r"(\{.*\})\s+(\d+) ", out)
    assert (int(first[1]), int(second[1])) == (status, 404)  # /health is for GET
    assert says in json.loads(first[0])["error"]


def test_an_unknown_host_is_told_so_with_a_status(stoker: Running) -> None:
    """--fail-with-body: exit code 22 and Stoker's sentence."""
    done = subprocess.run(
        [
            *(program("curl"), "-sS", "--fail-with-body"),
            f"http://ghost.localhost:{stoker.port}/",
        ],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 22
    assert "ghost.localhost" in json.loads(done.stdout)["error"]["message"]


def test_an_upload_is_held_while_the_model_wakes(tmp_path: Path, file: Path) -> None:
    """The body comes long before there is a replica; it is spooled, and arrives whole."""
    model = example("plain", **{"initial-scale": 0})
    process = {"body-memory": "4Ki"}
    with Running(tmp_path, {"models": {"plain": model}, "stoker": process}) as stoker:
        out = curl(
            *("--data-binary", f"@{file}", "--write-out", "\n%{json}"),
            f"http://plain.localhost:{stoker.port}/upload",
        )
        assert told(out)["size_upload"] == MEGABYTES
        assert hashlib.sha256(file.read_bytes()).hexdigest() in out
        assert stoker.metric('stoker_hold_seconds_count{model="default/plain"}') == 1
        assert stoker.metric("stoker_spool_bytes") == 0
