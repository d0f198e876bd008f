"""Free loopback ports for replicas."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from stoker.errors import PlatformError

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def replica_ports(ephemeral: Path = EPHEMERAL) -> range:
    """From LOWEST up to the ports that the kernel gives to outgoing connections.

    Where those leave less than 1,000, as some tune it, they have to be shared.
    """
    first = 32_768
    with suppress(OSError, ValueError, IndexError):
        first = int(ephemeral.read_text().split()[0])
    return range(LOWEST, first if first >= LOWEST + 1_000 else 61_000)


class Ports:
    """Hands out ports below the ephemeral range, each as late as possible a second time.

    Below, because in that range any outgoing connection may take the port before the
    replica does, and a probe's own connection to it may meet itself (TCP simultaneous
    open) and pass. The start is random so that two Stokers on one machine rarely meet.
    """

    def __init__(self, ports: range | None = None) -> None:
        self._ports = replica_ports() if ports is None else ports
        self._next = random.randrange(len(self._ports))

    def take(self, used: Collection[int]) -> int:
        """A port that nobody listens on now and that is not in ``used``.

        Raises PlatformError if there is none.
        """
        for _ in self._ports:
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            if port not in used and _is_free(port):
                return port
        raise PlatformError(
            f"no free loopback port in [{self._ports[0]}, {self._ports[-1]}]; "
            "stop what occupies them"
        )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("0.0.0.0", port))  # conflicts with a listener on any address
        except OSError:
            return False
    return True
