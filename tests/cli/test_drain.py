"""SIGTERM to a real Stoker that is in use: what was accepted is answered."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import PATIENCE, Running, echo_command, wait_until

QUICK: dict[str, Any] = {
    "command": echo_command(),
    "stable-window": "6s",
    "readiness": "/ready",
    "min-scale": 1,
}


class Asker(threading.Thread):
    """Asks again and again on one kept-open connection, as pooling clients do: a connection
    that the server has closed before a byte of the answer came is replaced, once per request.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.answered = 0
        self.closed_by_answer = 0
        self.lost: list[str] = []
        self.refused = False

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.refused:
            fresh = connection is None
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused = True
                    break
            try:
                connection.request("POST", "/echo", b"hello", {"Host": "echo.localhost"})
                answer = connection.getresponse()
                body = answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as why:
                if fresh or isinstance(why, ConnectionResetError):
                    # Accepted and not answered, or cut off by a reset: that is a loss.
                    self.lost.append(repr(why))
                connection.close()
                connection = None
                continue
            if (answer.status, body) != (200, b"hello"):
                self.lost.append(f"{answer.status} {body!r}")
            self.answered += 1
            if answer.headers.get("Connection") == "close":
                self.closed_by_answer += 1
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_accepted_is_lost_under_load(tmp_path: Path, workers: str) -> None:
    """Clients that go on asking through SIGTERM get every answer, until connecting is refused;
    each answer has its line in the access log, whichever process gave it.
    """
    process = {"workers": workers, "access-log": "access.log"}
    with Running(tmp_path, {"stoker": process, "models": {"echo": QUICK}}) as stoker:
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready")
        askers = [Asker(stoker.port) for _ in range(16)]
        for asker in askers:
            asker.start()
        wait_until(lambda: all(asker.answered > 20 for asker in askers), why="traffic")
        stoker.process.send_signal(signal.SIGTERM)
        for asker in askers:
            asker.join(PATIENCE)
            assert not asker.is_alive()
        assert stoker.process.wait(PATIENCE) == 0
        assert [lost for asker in askers for lost in asker.lost] == [], stoker.log.read_text()
        assert all(asker.refused for asker in askers)
        # Whoever kept a connection open was told with an answer that it was the last.
        assert all(asker.closed_by_answer for asker in askers)
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert len(lines) == sum(asker.answered for asker in askers)
    assert all('"POST /echo HTTP/1.1" 200 ' in line for line in lines)


def test_connections_in_the_backlog_are_served(tmp_path: Path) -> None:
    """What the kernel had accepted and Stoker had not yet is answered all the same."""
    with Running(tmp_path, {"models": {"echo": QUICK}}) as stoker:
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready")
        # Stopped, it accepts nobody; the kernel goes on.
        stoker.process.send_signal(signal.SIGSTOP)
        with contextlib.ExitStack() as open_:
            clients = []
            for number in range(100):
                client = open_.enter_context(
                    socket.create_connection(("127.0.0.1", stoker.port), timeout=PATIENCE)
                )
                client.sendall(
                    b"POST /echo HTTP/1.1\r\nHost: echo.localhost\r\nContent-Length: 3\r\n\r\n%03d"
                    % number
                )
                clients.append(client)
            stoker.process.send_signal(signal.SIGTERM)
            stoker.process.send_signal(signal.SIGCONT)
            for number, client in enumerate(clients):
                answer = b""
                while piece := client.recv(4096):
                    answer += piece
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                assert answer.endswith(b"%03d" % number)
                assert b"Connection: close\r\n" in answer
        assert stoker.process.wait(PATIENCE) == 0


def test_readiness_turns_first_and_connections_are_taken_meanwhile(tmp_path: Path) -> None:
    """With drain-delay /readyz says 503 at once while new connections go on being served."""
    process = {"drain-delay": "3s"}
    with Running(tmp_path, {"stoker": process, "models": {"echo": QUICK}}) as stoker:
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready")
        stoker.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: stoker.request("/readyz", port=stoker.admin_port)[0] == 503,
            why="/readyz to say no",
        )
        status, body, headers = stoker.request("/echo", host="echo.localhost", body=b"late")
        assert (status, body) == (200, b"late")
        # Nobody is sent away while others still send new ones here.
        assert headers.get("Connection") != "close"
        assert stoker.process.wait(PATIENCE) == 0


def test_streams_finish_and_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    """A stream under way is completed; a quiet connection is half-closed long before the end."""
    process = {"drain-timeout": "50s"}
    with Running(tmp_path, {"stoker": process, "models": {"echo": QUICK}}) as stoker:
        stoker.wait_for("echo", lambda m: m["phase"] == "ready", "ready")
        pieces: list[bytes] = []
        begun = threading.Event()

        def stream() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", stoker.port, timeout=PATIENCE)
            with contextlib.closing(connection):
                connection.request(
                    "GET", "/stream?chunks=6&seconds=0.5", headers={"Host": "echo.localhost"}
                )
                answer = connection.getresponse()
                pieces.append(answer.read(16))
                begun.set()
                pieces.append(answer.read())

        streaming = threading.Thread(target=stream)
        streaming.start()
        assert begun.wait(PATIENCE)
        with socket.create_connection(("127.0.0.1", stoker.port), timeout=PATIENCE) as idle:
            idle.sendall(b"GET /pid HTTP/1.1\r\nHost: echo.localhost\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
            stopped_at = time.monotonic()
            stoker.process.send_signal(signal.SIGTERM)
            assert idle.recv(4096) == b""
        streaming.join(PATIENCE)
        assert b"".join(pieces).count(b"chunk") == 6
        assert stoker.process.wait(PATIENCE) == 0
        assert time.monotonic() - stopped_at < 50
