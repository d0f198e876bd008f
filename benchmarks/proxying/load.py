"""What is sent and answered: one request of an inference client, and checks of the answer."""

from __future__ import annotations

import contextlib
import http.client
import json

from benchmarks.contenders import Contender
from benchmarks.wrk import Request

PATH = "/v2/models/bench/infer"
HEADERS = {
    "Host": "bench.localhost",
    "User-Agent": "wrk",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
    "Authorization": "Bearer 0123456789abcdef0123456789abcdef",
    "X-Request-Id": "6f1c2a4e-90b7-4d0c-8f55-0c6f7a1e2b3d",
}


def inference_request() -> Request:
    """A POST of 300 bytes of JSON; with Host and Content-Length it has 8 headers."""
    empty = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [""]}]}
    padding = "x" * (300 - len(json.dumps(empty)))
    empty["inputs"][0]["data"] = [padding]
    return Request(PATH, "POST", HEADERS, json.dumps(empty))


def inference_answer() -> str:
    """600 bytes of JSON."""
    empty = {"model_name": "bench", "outputs": [{"name": "text", "shape": [1], "data": [""]}]}
    return json.dumps(empty).replace('""', f'"{"y" * (600 - len(json.dumps(empty)))}"')


def check_answer(contender: Contender, request: Request, expected: bytes) -> None:
    """Raises RuntimeError unless the backend's own answer comes through."""
    connection = http.client.HTTPConnection("127.0.0.1", contender.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(request.method, request.path, request.body, dict(request.headers or {}))
        response = connection.getresponse()
        status, body = response.status, response.read()
    if (status, body) != (200, expected):
        raise RuntimeError(f"{contender.name} answers {status} {body[:200]!r}")
