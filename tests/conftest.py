"""What every test needs."""

from __future__ import annotations

import asyncio

from hypothesis import settings

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("stoker", deadline=None, print_blob=True)
settings.load_profile("stoker")


def pytest_configure() -> None:
    """Say that there is no event loop outside of async tests.

    looptime's plugin asks for one around synchronous tests too. Without this the loop
    would be made just for asking, and reported as never closed later on.
    """
    asyncio.set_event_loop(None)
