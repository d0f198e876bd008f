"""A model server of your own, with nothing but Python: what Stoker asks of one is little.

    python -m examples.plain.server --port 8000

    POST /predict                 {"numbers": [1, 2, 3]} → {"total": 6}
    POST /v1/models/plain:predict {"instances": [[1, 2], [3, 4]]} → {"predictions": [3, 7]}
    GET  /countdown?from=N        server-sent events N, N-1 ... 0
    POST /upload                  any body → its length and SHA-256
    GET  /health                  200 once it may be asked

It counts down as fast as it is read, ends at SIGTERM, and knows no other limits than its
thread for each connection: ``container-concurrency`` in stoker.yaml sets one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BLOCK = 64 * 1024


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        if target.path == "/health":
            self.answer(200, {"ready": True})
        elif target.path == "/countdown":
            self.count_down(int(parse_qs(target.query).get("from", ["3"])[0]))
        else:
            self.answer(404, {"error": f"nothing at {target.path}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        if self.path == "/upload":
            digest, size = hashlib.sha256(), 0
            for block in self.body():
                digest.update(block)
                size += len(block)
            self.answer(200, {"bytes": size, "sha256": digest.hexdigest()})
            return
        raw = b"".join(self.body())
        try:
            if self.path == "/predict":
                self.answer(200, {"total": sum(json.loads(raw)["numbers"])})
            elif self.path.endswith(":predict"):
                rows = json.loads(raw)["instances"]
                self.answer(200, {"predictions": [sum(row) for row in rows]})
            else:
                self.answer(404, {"error": f"nothing at {self.path}"})
        except (KeyError, TypeError, ValueError) as caught:
            self.answer(400, {"error": f"cannot add that up: {caught!r}"})

    def body(self) -> Iterator[bytes]:
        """The request's body in blocks, however it is framed."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            left = int(self.headers.get("Content-Length", "0"))
            while left and (block := self.rfile.read(min(left, BLOCK))):
                left -= len(block)
                yield block
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers

    def answer(self, status: int, content: Any) -> None:
        raw = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def count_down(self, start: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(start, -1, -1) if self.command != "HEAD" else ():
            event = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()
        if self.command != "HEAD":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Stoker counts requests; a line for each would only fill its memory of this output."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, address: object) -> None:
        """A client that left is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, address)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description="A small model server.")
    parser.add_argument("--port", type=int, required=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(("127.0.0.1", parser.parse_args().port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
