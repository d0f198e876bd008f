"""The digits server, a real process: the V2 protocol, its errors, and a graceful end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.processes import free_ports, running, wait_until
from examples.digits import train

INFER = "/v2/models/digits/infer"


class Answer(NamedTuple):
    """A status and its JSON."""

    status: int
    json: Any
    type: str


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly trained model file."""
    file = tmp_path_factory.mktemp("model") / "model.pickle"
    train.train(file)
    return file


def command(model: Path, port: int) -> list[str]:
    """The server's command line."""
    server = [sys.executable, "-m", "examples.digits.server"]
    return [*server, "--port", str(port), "--model", str(model)]


@pytest.fixture(scope="module")
def port(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running server."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("server") / "log"
    with running(command(model, port), port=port, log=log):
        yield port


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        kind = response.headers.get_content_type()
        return Answer(response.status, json.loads(response.read()), kind)
    finally:
        connection.close()


def tensor(**changes: object) -> dict[str, object]:
    """A valid input tensor of one blank image, with changes."""
    return {"name": "image", "datatype": "FP64", "shape": [1, 64], "data": [0] * 64} | changes


def infer(port: int, request: object, path: str = INFER) -> Answer:
    """POST a request as JSON."""
    return ask(port, "POST", path, json.dumps(request).encode())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/digits/ready", {"name": "digits", "ready": True}),
        ("/v2/models/digits/versions/1/ready", {"name": "digits", "ready": True}),
    ],
)
def test_health(port: int, path: str, body: object) -> None:
    """Live and ready, as JSON."""
    assert ask(port, "GET", path) == (200, body, "application/json")


def test_server_metadata(port: int) -> None:
    """Name, version, and no extensions."""
    answer = ask(port, "GET", "/v2")
    assert answer.status == 200
    assert set(answer.json) == {"name", "version", "extensions"}
    assert answer.json["extensions"] == []


@pytest.mark.parametrize("path", ["/v2/models/digits", "/v2/models/digits/versions/1"])
def test_model_metadata_describes_every_tensor(port: int, path: str) -> None:
    """Inputs and outputs with name, datatype and shape, -1 for any number of images."""
    answer = ask(port, "GET", path)
    assert answer.status == 200
    assert (answer.json["name"], answer.json["versions"]) == ("digits", ["1"])
    assert answer.json["inputs"] == [{"name": "image", "datatype": "FP64", "shape": [-1, 64]}]
    shapes = {output["name"]: output["shape"] for output in answer.json["outputs"]}
    assert shapes == {"label": [-1], "scores": [-1, 10]}


def test_held_out_images_are_recognised(port: int) -> None:
    """All 360 images it was not trained on, in one request: at least 97 % are right."""
    split = train.load_split()
    count = len(split.held_out_labels)
    data = split.held_out_images.ravel().tolist()
    answer = infer(port, {"id": "all", "inputs": [tensor(shape=[count, 64], data=data)]})
    assert answer.status == 200
    assert (answer.json["model_name"], answer.json["model_version"]) == ("digits", "1")
    assert answer.json["id"] == "all"
    label, scores = answer.json["outputs"]
    assert (label["name"], label["datatype"], label["shape"]) == ("label", "INT64", [count])
    assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP64", [count, 10])
    assert len(scores["data"]) == count * 10
    right = sum(a == b for a, b in zip(label["data"], split.held_out_labels, strict=True))
    assert right >= 0.97 * count


@pytest.mark.parametrize("datatype", ["UINT8", "INT32", "INT64", "FP32", "FP64"])
def test_nested_and_flat_data_of_every_datatype_mean_the_same(port: int, datatype: str) -> None:
    """An image given as a row of 64 and as a list with one row gets the same scores."""
    pixels = [int(value) for value in train.load_split().held_out_images[3]]
    flat = infer(port, {"inputs": [tensor(datatype=datatype, data=pixels)]})
    nested = infer(port, {"inputs": [tensor(datatype=datatype, data=[pixels])]})
    assert flat == nested
    assert flat.status == 200
    assert flat.json["outputs"][0]["data"] == [int(train.load_split().held_out_labels[3])]


def test_only_the_outputs_asked_for_come_back(port: int) -> None:
    """Without an id there is none in the answer either."""
    answer = infer(port, {"inputs": [tensor()], "outputs": [{"name": "label"}]})
    assert [output["name"] for output in answer.json["outputs"]] == ["label"]
    assert "id" not in answer.json


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ([], "must be a JSON object"),
        ({}, "inputs: must be a list"),
        ({"inputs": []}, "inputs: must be a list"),
        ({"inputs": ["image"], "id": 7}, "id = 7: must be a string"),
        ({"inputs": [tensor(name="picture")]}, 'inputs = ["picture"]'),
        ({"inputs": [tensor(), tensor()]}, "exactly one tensor named image"),
        ({"inputs": [tensor(datatype="BYTES")]}, 'datatype of image = "BYTES": must be one of'),
        ({"inputs": [tensor(shape=[64])]}, "shape of image = [64]: must be [images, 64]"),
        ({"inputs": [tensor(shape=[1, 63])]}, "shape of image = [1, 63]"),
        ({"inputs": [tensor(shape=[0, 64], data=[])]}, "shape of image = [0, 64]"),
        ({"inputs": [tensor(shape=[100000, 64])]}, "with 1 to 1024 images"),
        ({"inputs": [tensor(shape="1x64" * 100)]}, "..."),
        ({"inputs": [tensor(data=[0] * 63)]}, "data of image: [63] values, but the shape says"),
        ({"inputs": [tensor(shape=[2, 64], data=[[0] * 64, [0]])]}, "rows of different lengths"),
        ({"inputs": [tensor(data=["0"] * 64)]}, "must be a list of numbers"),
        ({"inputs": [tensor(data=[True] * 64)]}, "must be a list of numbers"),
        ({"inputs": [tensor(data=7)]}, "must be a list of numbers"),
        ({"inputs": [tensor(datatype="UINT8", data=[0.5] * 64)]}, "whole numbers, as UINT8 says"),
        ({"inputs": [tensor(data=[17] * 64)]}, "from 0 (paper) to 16 (ink)"),
        ({"inputs": [tensor(data=[float("nan")] * 64)]}, "from 0 (paper) to 16 (ink)"),
        ({"inputs": [tensor()], "outputs": "label"}, 'outputs = "label": must be a list'),
        ({"inputs": [tensor()], "outputs": [{"name": "sum"}]}, 'no output "sum"; there are label'),
        ({"inputs": [tensor()], "outputs": [[]]}, "no output []"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(port: int, request_: object, said: str) -> None:
    """Status 400 and one error text with the value and what is allowed."""
    answer = infer(port, request_)
    assert answer.status == 400
    assert set(answer.json) == {"error"}
    assert said in answer.json["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused(port: int, body: bytes) -> None:
    """Empty, cut off, not UTF-8, or nested without end."""
    answer = ask(port, "POST", INFER, body)
    assert (answer.status, answer.type) == (400, "application/json")
    assert "not JSON" in answer.json["error"]


def test_binary_tensors_are_refused_by_name(port: int) -> None:
    """An extension of the protocol that this server does not list."""
    answer = ask(port, "POST", INFER, b"{}", Inference_Header_Content_Length="2")
    assert answer.status == 400
    assert "binary tensors are not supported" in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/faces", 404, "no model 'faces' here; there is digits"),
        ("POST", "/v2/models/faces/infer", 404, "no model 'faces'"),
        ("GET", "/v2/models/digits/versions/2/ready", 404, "no version '2' of digits"),
        ("GET", "/v3", 404, "Not Found"),
        ("GET", INFER, 405, "Method Not Allowed"),
    ],
)
def test_what_is_not_there_is_said_in_json(
    port: int, method: str, path: str, status: int, said: str
) -> None:
    """Unknown models, versions, paths and methods."""
    answer = ask(port, method, path)
    assert (answer.status, answer.type) == (status, "application/json")
    assert said in answer.json["error"]


def test_a_body_that_is_too_large_is_refused(port: int) -> None:
    """More than 8 MiB."""
    assert ask(port, "POST", INFER, b" " * (8 * 1024 * 1024 + 1)).status == 413


def test_the_steps_of_the_start_are_told_in_order(port: int) -> None:
    """Process, imports, model, listening: seconds since the epoch, never going back."""
    steps = ask(port, "GET", "/startup").json
    assert list(steps) == ["process", "imports", "model", "listening"]
    assert list(steps.values()) == sorted(steps.values())


def test_sigterm_finishes_what_is_at_work(model: Path) -> None:
    """A request whose body is still coming at SIGTERM is answered; then the exit status is 0."""
    (port,) = free_ports(1)
    body = json.dumps({"inputs": [tensor()]}).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with running(command(model, port), port=port) as process:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            # The answer to an earlier request proves that this connection is being served.
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b'"live": true' in client.recv(65536)
            client.sendall(head + body[:10])
            connections = f"/proc/{process.pid}/net/tcp"
            wait_until(lambda: _all_read(connections, port), "the first part to be read")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not _listens(connections, port), "the port to be closed")
            client.sendall(body[10:])
            answer = b""
            while b'"outputs"' not in answer:
                piece = client.recv(65536)
                assert piece, f"closed without an answer after {answer!r}"
                answer += piece
        assert process.wait(20) == 0


def _sockets(table: str, port: int) -> list[list[str]]:
    """The kernel's rows of the sockets on this local port."""
    rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return [row for row in rows if int(row[1].partition(":")[2], 16) == port]


def _listens(table: str, port: int) -> bool:
    return any(row[3] == "0A" for row in _sockets(table, port))


def _all_read(table: str, port: int) -> bool:
    """Nothing waits in the receive queue of an established connection to this port."""
    return all(row[4].endswith(":00000000") for row in _sockets(table, port) if row[3] == "01")


def test_a_missing_model_file_says_how_to_make_it(tmp_path: Path) -> None:
    """Exit status 1 and the command to run."""
    (port,) = free_ports(1)
    ended = subprocess.run(command(tmp_path / "none", port), capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no such file; python -m examples.digits.train makes it" in ended.stderr


def test_a_port_that_is_taken_is_named(model: Path, port: int) -> None:
    """Exit status 1, the address and the reason."""
    ended = subprocess.run(command(model, port), capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr


def test_training_is_done_once(tmp_path: Path) -> None:
    """Again only when the file is gone or its facts are from another scikit-learn."""
    file = tmp_path / "deep" / "model.pickle"
    facts, trained = train.ensure_trained(file)
    assert trained
    assert facts.accuracy >= 0.97
    assert facts.trained_on + facts.held_out == 1797
    assert train.ensure_trained(file) == (facts, False)
    stored = json.loads(train.facts_file(file).read_text())
    train.facts_file(file).write_text(json.dumps(stored | {"scikit_learn": "0.1"}))
    assert train.ensure_trained(file) == (facts, True)
    file.unlink()
    assert train.ensure_trained(file) == (facts, True)
