"""A server that sleeps: its times are known, and it needs next to no CPU for them.

``python -S sleeper.py PORT START END``. It listens after START seconds, whatever of them its
imports take; GET /0.25 is answered 0.25 s later, any number of them at once; it ends END
seconds after SIGTERM. Only the standard library, and of it what is quickly imported.
"""

from __future__ import annotations

import time

_BEGAN = time.monotonic()

import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"


def answer(connection: socket.socket) -> None:
    """One connection: its requests one after another."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as lines:
        while line := lines.readline():
            while lines.readline().strip():
                pass
            time.sleep(float(line.split()[1][1:]))
            connection.sendall(_ANSWER)


def main(port: int, start: float, end: float) -> None:
    """Start, serve until SIGTERM, end."""

    def leave(*_: object) -> None:
        time.sleep(end)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    time.sleep(max(0.0, _BEGAN + start - time.monotonic()))
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=[connection], daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
