"""Clients as Stoker's users have them: kept connections, one more try when one was stale."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.cli.running import PATIENCE

Answer = tuple[int, bytes]
STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class Client:
    """One kept connection. What fails on a connection that was used before, without a byte of
    an answer, is asked once more on a new one, as HTTP clients do; nothing else is.
    """

    def __init__(self, port: int, host: str) -> None:
        self._port, self._host = port, host
        self._connection: http.client.HTTPConnection | None = None
        self.stale = 0

    def ask(self, path: str, body: bytes | None = None) -> Answer:
        used = self._connection is not None
        try:
            return self._ask(path, body)
        except STALE:
            self.close()
            if not used:
                raise
            self.stale += 1
            return self._ask(path, body)

    def _ask(self, path: str, body: bytes | None) -> Answer:
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            self._connection = connection
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Host": self._host})
        answer = connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, content

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Load:
    """Clients that ask one after the other until told to stop, or until nobody listens any
    more (``refused``); every answer is counted.
    """

    def __init__(self, clients: list[Client], path: Callable[[int], str]) -> None:
        self.clients = clients
        self.statuses: Counter[int] = Counter()
        self.errors: list[str] = []
        self.refused = 0
        self.wrong: list[str] = []
        self._path = path
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, client))
            for number, client in enumerate(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        for client in self.clients:
            client.close()

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def _run(self, number: int, client: Client) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            body = f"{number}/{count}".encode()
            try:
                status, content = client.ask(self._path(count), body)
            except ConnectionRefusedError:
                with self._lock:
                    self.refused += 1
                return
            except (OSError, http.client.HTTPException) as caught:
                client.close()
                with self._lock:
                    self.errors.append(repr(caught))
                continue
            with self._lock:
                self.statuses[status] += 1
                if status == 200 and self._path(count) == "/echo" and content != body:
                    self.wrong.append(f"{content!r} for {body!r}")
