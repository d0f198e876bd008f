"""A stand-in model server: standard library only, quick to start, with faults to order.

    python echo.py --port 8000 [--start-delay 0.5] [--exit-code 3] ...

GET or POST on any path answers 200 with JSON of what was asked, except:

    /echo             the request's body, as it came, same content type
    /pid              the process id, as text
    /slow?seconds=S   as any path, after S seconds
    /stream?chunks=N&seconds=S&size=B   N chunks of B bytes (default 16), S seconds apart
    /status?code=C    an empty answer with that status
    /die              the process exits before the first byte of an answer
    /die-mid-response ... after the head and half of the body

One thread per connection, HTTP/1.1 with keep-alive, Content-Length and chunked bodies.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

REASONS = {200: "OK", 400: "Bad Request", 500: "Internal Server Error", 503: "Unavailable"}
SLEEPER = "import time; time.sleep(3600)"


class Handler(socketserver.StreamRequestHandler):
    """One connection. Requests on it are answered in order."""

    disable_nagle_algorithm = True
    inside = False
    server: Server

    def handle(self) -> None:
        while self.one():
            pass

    def one(self) -> bool:
        line = self.rfile.readline(65537)
        if not line.strip():
            return False
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(65537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = read_body(self.rfile, headers)
        keep = headers.get("connection", "").lower() != "close"
        if not self.server.enter(self):
            self.answer(500, b"more requests at once than the limit\n", "text/plain")
            return keep
        self.inside = True
        try:
            self.route(method, target, headers, body)
        finally:
            self.leave()
        return keep

    def leave(self) -> None:
        """The request's place is free: before its caller can know that it is over, and come
        with the next.
        """
        if self.inside:
            self.inside = False
            self.server.leave(self)

    def is_waited_for(self) -> bool:
        """Whether the other end of the connection is still there."""
        try:
            peeked: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return peeked != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def route(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        seconds = float(options.get("seconds", "0"))
        if path == "/stream":
            self.stream(int(options.get("chunks", "3")), seconds, int(options.get("size", "16")))
            return
        if path == "/die":
            os._exit(9)
        if path == "/die-mid-response":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
            self.wfile.flush()
            os._exit(9)
        if path == "/slow":
            time.sleep(seconds)
        if path == "/echo":
            self.answer(200, body, headers.get("content-type", "application/octet-stream"))
        elif path == "/pid":
            self.answer(200, str(os.getpid()).encode(), "text/plain")
        elif path == "/status":
            self.answer(int(options["code"]), b"", "text/plain")
        else:
            told = {
                "method": method,
                "path": target,
                "headers": headers,
                "body_bytes": len(body),
                "pid": os.getpid(),
            }
            status = 503 if self.server.never_ready else 200
            content = b"" if method == "HEAD" else json.dumps(told).encode()
            self.answer(status, content, "application/json")

    def answer(self, status: int, content: bytes, kind: str) -> None:
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.leave()
        self.wfile.write(head.encode("latin-1") + content)

    def stream(self, chunks: int, seconds: float, size: int) -> None:
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(chunks):
            if number:
                time.sleep(seconds)
            chunk = f"chunk {number} ".encode().ljust(size, b".")
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.leave()
        self.wfile.write(b"0\r\n\r\n")


def read_body(file: io.BufferedIOBase, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return file.read(int(headers.get("content-length", "0")))
    body = b""
    while size := int(file.readline().partition(b";")[0], 16):
        body += file.read(size)
        file.readline()
    while file.readline() not in (b"\r\n", b"\n", b""):
        pass
    return body


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], limit: int, never_ready: bool) -> None:
        self.never_ready = never_ready
        self._limit = limit
        self._inside: dict[Handler, None] = {}
        self._lock = threading.Lock()
        super().__init__(address, Handler)

    def enter(self, handler: Handler) -> bool:
        """Take a place for one request; False if the limit is exceeded.

        A request whose caller has left has given up its place, though nobody may have told
        its thread yet.
        """
        with self._lock:
            if self._limit and len(self._inside) >= self._limit:
                self._inside = {h: None for h in self._inside if h.is_waited_for()}
            if self._limit and len(self._inside) >= self._limit:
                return False
            self._inside[handler] = None
            return True

    def leave(self, handler: Handler) -> None:
        with self._lock:
            self._inside.pop(handler, None)

    def handle_error(self, *_: object) -> None:
        """Clients that leave are no news."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--start-delay", type=float, default=0.0, help="seconds before it listens")
    parser.add_argument("--exit-code", type=int, help="print a line and exit at once with this")
    parser.add_argument("--exit-while", metavar="FILE", help="... with 1, while FILE exists")
    parser.add_argument("--hang-on-sigterm", action="store_true")
    parser.add_argument("--never-ready", action="store_true", help="readiness answers 503")
    parser.add_argument("--silent", action="store_true", help="accept connections, never answer")
    parser.add_argument("--spawn-grandchild", metavar="FILE", help="write its pid to FILE")
    parser.add_argument("--setsid", action="store_true", help="... in a session of its own")
    parser.add_argument("--flood", action="store_true", help="print without end")
    parser.add_argument("--say", action="append", default=[], help="print a line at the start")
    parser.add_argument("--concurrency-limit", type=int, default=0, help="500 beyond it")
    return parser.parse_args(argv)


def flood() -> None:
    line = b"flood " * 1000 + b"\n"
    while True:
        os.write(1, line)


def main() -> None:
    options = parse()
    for line in options.say:
        print(line, flush=True)
    if options.hang_on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if options.spawn_grandchild:
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", SLEEPER], start_new_session=options.setsid
        )
        with open(options.spawn_grandchild + ".part", "w") as file:
            file.write(str(child.pid))
        os.rename(options.spawn_grandchild + ".part", options.spawn_grandchild)
    if options.exit_while and os.path.exists(options.exit_while):
        options.exit_code = 1
    if options.exit_code is not None:
        print("cannot go on", file=sys.stderr, flush=True)
        sys.exit(options.exit_code)
    if options.flood:
        threading.Thread(target=flood, daemon=True).start()
    if options.start_delay:
        time.sleep(options.start_delay)
    server = Server(("127.0.0.1", options.port), options.concurrency_limit, options.never_ready)
    if options.silent:
        signal.pause()
    server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
