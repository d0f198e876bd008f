"""What every test needs."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings

from tests.properties import USUAL

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("stoker", max_examples=USUAL, deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("stoker"), max_examples=4 * USUAL)
settings.load_profile("stoker")


def pytest_configure() -> None:
    """Say that there is no event loop outside of async tests.

    looptime's plugin asks for one around synchronous tests too. Without this the loop
    would be made just for asking, and reported as never closed later on.
    """
    asyncio.set_event_loop(None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here and not in tests/kubernetes, so that they are known whatever is run."""
    group = parser.getgroup("kubernetes")
    group.addoption(
        "--kubeconfig",
        metavar="FILE",
        default="",
        help="run tests/kubernetes against this cluster instead of our own API server",
    )
    group.addoption(
        "--pod-addresses",
        metavar="CIDR",
        default="127.100.0.0/16",
        help="addresses of this machine for pods (real API servers refuse loopback ones)",
    )
