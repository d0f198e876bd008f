"""MLServer, a real V2 server in an environment of its own, through a real Stoker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.running import Running
from tests.clients.places import example, mlserver

READY = "/v2/models/totals/ready"
INFER = "/v2/models/totals/infer"


@pytest.fixture(scope="module")
def stoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The example's model, asleep, listed twice: under its name and one that is an alias."""
    mlserver()
    model = example("mlserver", **{"stable-window": "1h", "aliases": ["sums"]})
    with Running(tmp_path_factory.mktemp("stoker"), {"models": {"totals": model}}) as running:
        yield running


def request(rows: list[list[float]]) -> bytes:
    """A V2 inference request."""
    tensor = {
        "name": "numbers",
        "datatype": "FP64",
        "shape": [len(rows), len(rows[0])],
        "data": [number for row in rows for number in row],
    }
    return json.dumps({"id": "7", "inputs": [tensor]}).encode()


def infer(stoker: Running, body: bytes, path: str = INFER, host: str = "any") -> Any:
    status, text, headers = stoker.request(
        path, host=host, body=body, headers={"Content-Type": "application/json"}
    )
    assert headers["server"] == "uvicorn"
    return status, json.loads(text)


def test_an_inference_wakes_it_by_path(stoker: Running) -> None:
    """Stoker answers for the whole set without waking; an inference is held, then answered."""
    status, text, _ = stoker.request("/v2/health/ready")
    assert (status, json.loads(text)) == (200, {"ready": True})
    assert stoker.model("totals")["phase"] == "zero"
    status, answer = infer(stoker, request([[1, 2, 3], [4, 5, 6]]))
    assert status == 200
    assert answer["id"] == "7"
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["data"]) == ("totals", "FP64", [6, 15])
    assert answer["parameters"]["pid"] in stoker.pids("totals")
    assert stoker.metric('stoker_hold_seconds_count{model="default/totals"}') == 1


def test_the_rest_of_the_protocol_passes_through(stoker: Running) -> None:
    """Readiness and metadata of the model, by path and by host."""
    assert stoker.request(READY)[0] == 200
    for host, path in (("any", "/v2/models/totals"), ("totals.localhost", "/v2/models/totals")):
        status, text, _ = stoker.request(path, host=host)
        told = json.loads(text)
        assert (status, told["name"]) == (200, "totals")
        assert told["inputs"][0] == {"name": "numbers", "datatype": "FP64", "shape": [-1, -1]}


def test_a_megabyte_of_numbers_arrives_whole(stoker: Running) -> None:
    """200,000 of them in one request: the total tells if one was lost."""
    rows = [[float(number) for number in range(1000)] for _ in range(200)]
    body = request(rows)
    assert len(body) > 1_000_000
    status, answer = infer(stoker, body)
    assert (status, answer["outputs"][0]["data"]) == (200, [499_500.0] * 200)


def test_mistakes_are_the_server_s_to_explain(stoker: Running) -> None:
    """A body that is no inference request: MLServer's own 422."""
    status, answer = infer(stoker, b'{"inputs": "none"}')
    assert status == 422
    assert answer["detail"]


def test_an_unknown_model_gets_an_error_as_v2_clients_read_it(stoker: Running) -> None:
    """404 from Stoker with one error text, nobody asked."""
    status, text, headers = stoker.request("/v2/models/ghost/infer", body=b"{}")
    assert status == 404
    assert "server" not in headers
    assert "ghost" in json.loads(text)["error"]
