"""Whom to believe, and what replicas are told of where a request came from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

UNIX = "unix"


class TrustedPeers:
    """The networks whose word is taken. ``unix`` among them: peers on Unix sockets."""

    __slots__ = ("_networks", "_unix")

    def __init__(self, peers: Iterable[str]) -> None:
        """``peers`` as in the setting trusted-peers. Raises ValueError for what is none."""
        names = tuple(peers)
        self._unix = UNIX in names
        self._networks = tuple(ipaddress.ip_network(name) for name in names if name != UNIX)

    def trusts(self, peer: str) -> bool:
        """Whether the peer with this address, or ``unix``, is one of them."""
        if peer == UNIX:
            return self._unix
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        # On a socket for both families an IPv4 peer shows as ::ffff:192.0.2.1.
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def forwarded_lines(
    said: Sequence[tuple[bytes, bytes]], peer: str, scheme: bytes, host: bytes
) -> bytes:
    """Header lines about a request's way, for a replica.

    ``said`` are the lower-case names and values of what a trusted proxy sent: passed on, with
    ``peer`` (the proxy itself) added to the lists of addresses; what it did not say is filled
    in from what is known.
    """
    hops = [value for name, value in said if name == b"x-forwarded-for" and value]
    if peer:
        hops.append(peer.encode())
    lines = [b"X-Forwarded-For: ", b", ".join(hops), b"\r\n"]
    standard = [value for name, value in said if name == b"forwarded" and value]
    if standard:
        node = f'"[{peer}]"' if ":" in peer else peer
        if peer:
            standard.append(b"for=%b;proto=%b" % (node.encode(), scheme))
        lines += (b"Forwarded: ", b", ".join(standard), b"\r\n")
    known = {b"x-forwarded-proto": scheme, b"x-forwarded-host": host}
    for name, value in said:
        if name not in (b"x-forwarded-for", b"forwarded"):
            known.pop(name, None)
            lines += (_SPELLED.get(name, name), b": ", value, b"\r\n")
    for name, value in known.items():
        lines += (_SPELLED[name], b": ", value, b"\r\n")
    return b"".join(lines)


_SPELLED = {b"x-forwarded-proto": b"X-Forwarded-Proto", b"x-forwarded-host": b"X-Forwarded-Host"}
