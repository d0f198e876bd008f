"""Waiting for the thing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Until ``condition`` holds. Raises AssertionError if it does not within ``timeout`` s."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"not within {timeout:g} s")
        await asyncio.sleep(0.005)
