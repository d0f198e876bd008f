"""Listening sockets and the error that names the setting."""

from __future__ import annotations

import socket

import pytest

from stoker.errors import ListenError
from stoker.sockets import bind
from stoker.vocabulary import Address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_bound_socket_listens(host: str) -> None:
    """IPv4 and IPv6: clients get through, and a port of 0 is any."""
    with bind(Address(host, 0), "listen") as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port), timeout=10):
            pass
        assert not listening.getblocking()


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
