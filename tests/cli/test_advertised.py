"""Where others reach an activator: from the flag, or from what the downward API says."""

from __future__ import annotations

import pytest

from stoker.cli.advertised import advertised
from stoker.errors import SettingsError


def test_the_flag_goes_before_the_environment() -> None:
    """One address of each family; all of a pod's before its first alone."""
    environ = {"POD_IP": "10.0.0.1", "POD_IPS": "10.0.0.1,fd00::1"}
    assert advertised(None, {}) == {}
    assert advertised("", environ) == {}
    assert advertised(None, {"POD_IP": "10.0.0.1", "POD_IPS": ""}) == {"IPv4": "10.0.0.1"}
    assert advertised(None, environ) == {"IPv4": "10.0.0.1", "IPv6": "fd00::1"}
    assert advertised("10.0.0.2, ", environ) == {"IPv4": "10.0.0.2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.0.0.0", "POD_IP = 0.0.0.0: is no address that anybody could connect to"),
        ("my-host", "POD_IP = my-host: is no IP address; allowed: one IPv4 and one IPv6"),
        ("10.0.0.1,10.0.0.2", "POD_IP = 10.0.0.2: is a second address of IPv4"),
    ],
)
def test_what_is_no_address_is_said(text: str, said: str) -> None:
    """With the name of what was wrong, its value and what to do."""
    with pytest.raises(SettingsError, match="name the address at which pods") as caught:
        advertised(None, {"POD_IP": text})
    assert said in str(caught.value)
