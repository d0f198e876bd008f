"""Listening sockets and the error that names the setting."""

from __future__ import annotations

import contextlib
import socket

import pytest

from stoker import sockets
from stoker.errors import ListenError
from stoker.sockets import SO_BUF_LOCK, bind, bind_queues
from stoker.vocabulary import Address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_bound_socket_listens(host: str) -> None:
    """IPv4 and IPv6: clients get through, and a port of 0 is any."""
    with bind(Address(host, 0), "listen") as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port), timeout=10):
            pass
        assert not listening.getblocking()


def test_connections_begin_with_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is inherited, and not fixed; where the kernel could not let it grow nothing is done."""
    with bind(Address("127.0.0.1", 0), "listen") as listening:
        assert accepted(listening) == (2 * sockets.FIRST_BUFFER, 0)
    monkeypatch.setattr(sockets, "SO_BUF_LOCK", 9999)
    with bind(Address("127.0.0.1", 0), "listen") as listening:
        size, fixed = accepted(listening)
    assert size > 2 * sockets.FIRST_BUFFER
    assert not fixed


def accepted(listening: socket.socket) -> tuple[int, int]:
    """The receive buffer of a new connection, and whether it is fixed."""
    listening.setblocking(True)
    with socket.create_connection(listening.getsockname()), listening.accept()[0] as sock:
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size, sock.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK) & 2


def test_a_taken_port_names_the_setting() -> None:
    """What was wrong, its value and what to do."""
    with bind(Address("127.0.0.1", 0), "listen") as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            bind(Address("127.0.0.1", port), "listeners.llm")
    assert str(caught.value) == (
        f"listeners.llm = 127.0.0.1:{port}: Address already in use;"
        " stop what uses it or set another listeners.llm"
    )


def test_queues_of_one_address_take_turns() -> None:
    """Several listening sockets, one port: connections arrive in all; free ports count too."""
    queues = bind_queues(Address("127.0.0.1", 0), "listen", 3)
    clients = []
    try:
        ports = {sock.getsockname()[1] for sock in queues}
        assert len(ports) == 1
        (port,) = ports
        # Each of 64 goes to one of 3 by a hash: a queue without any is out of the question.
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
        taken = []
        for sock in queues:
            count = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.accept()[0].close()
                    count += 1
            taken.append(count)
        assert sum(taken) == 64
        assert min(taken) > 0
        # A second group of the same user's is refused: the kernel would let it in.
        with pytest.raises(ListenError, match=r"listen = .*already in use"):
            bind_queues(Address("127.0.0.1", port), "listen", 2)
    finally:
        for sock in (*queues, *clients):
            sock.close()


def test_queues_that_cannot_all_be_had_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays open behind the refusal."""
    made: list[socket.socket] = []
    real = sockets.bind

    def fail_third(address: Address, setting: str, *, shared: bool = False) -> socket.socket:
        if len(made) == 3:
            raise ListenError("listen: no more")
        made.append(real(address, setting, shared=shared))
        return made[-1]

    monkeypatch.setattr(sockets, "bind", fail_third)
    with pytest.raises(ListenError, match="no more"):
        bind_queues(Address("127.0.0.1", 0), "listen", 4)
    assert [sock.fileno() for sock in made] == [-1, -1, -1]
