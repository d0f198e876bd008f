"""A server that is up almost as soon as Python is: the hard case for waking from zero.

``python -S benchmarks/plain_server.py PORT``. Only the standard library; it answers every
POST with the same JSON.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ANSWER = b'{"outputs":[]}'


class Handler(BaseHTTPRequestHandler):
    """Reads the body, keeps the connection, logs nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(_ANSWER)))
        self.end_headers()
        self.wfile.write(_ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
