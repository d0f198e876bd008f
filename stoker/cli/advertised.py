"""Where an activator is reached by others: the addresses that EndpointSlices name."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from stoker.errors import Problem, SettingsError

VARIABLES = ("POD_IPS", "POD_IP")


def advertised(text: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Addresses by family, ``IPv4`` and ``IPv6``, at most one of each; empty: none is known.

    ``text`` is the flag's value, addresses with commas between; else the environment is asked,
    which the downward API fills. Raises SettingsError.
    """
    where = "--advertise"
    if text is None:
        where = next((name for name in VARIABLES if environ.get(name)), "")
        text = environ.get(where, "")
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            address = ipaddress.ip_address(part)
        except ValueError:
            raise _wrong(where, part, "is no IP address") from None
        if address.is_unspecified or address.is_multicast:
            raise _wrong(where, part, "is no address that anybody could connect to")
        family = f"IPv{address.version}"
        if found.setdefault(family, part) != part:
            raise _wrong(where, part, f"is a second address of {family}")
    return found


def _wrong(where: str, value: str, why: str) -> SettingsError:
    allowed = "one IPv4 and one IPv6 address at most, with a comma between"
    hint = "name the address at which pods of the cluster reach this process"
    return SettingsError("environment", [Problem(where, value, why, allowed, hint)])
