"""Choosing loopback ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stoker.errors import PlatformError
from stoker.platforms.local.ports import LOWEST, Ports, replica_ports


def test_never_the_same_while_used_and_not_soon_after() -> None:
    """Used ports are left out, and what was given out is not given out again at once."""
    ports = Ports()
    used: set[int] = set()
    for _ in range(50):
        port = ports.take(used)
        assert port not in used
        used.add(port)
    assert ports.take(()) not in used


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_passed_over(address: str) -> None:
    """Whoever listens, on whichever address, keeps the port."""
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PlatformError, match=f"no free loopback port in \\[{port}, {port}\\]"):
            Ports(range(port, port + 1)).take(())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("32768\t60999\n", range(LOWEST, 32768)),
        ("1024\t65535\n", range(LOWEST, 61000)),
        ("nonsense", range(LOWEST, 32768)),
        (None, range(LOWEST, 32768)),
    ],
)
def test_stays_below_the_ephemeral_range(
    tmp_path: Path, content: str | None, expected: range
) -> None:
    """Where that can be found out, and leaves enough."""
    file = tmp_path / "ip_local_port_range"
    if content is not None:
        file.write_text(content)
    assert replica_ports(file) == expected
