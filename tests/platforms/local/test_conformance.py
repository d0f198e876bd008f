"""The local platform passes the suite that every world must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from stoker.platforms.local import LocalPlatform
from stoker.testing import CHECKS, Subject, check_platform, poll_until
from tests.platforms.local.conftest import KEY, echo_spec


@asynccontextmanager
async def local_world() -> AsyncIterator[LocalPlatform]:
    async with LocalPlatform() as platform:
        platform.apply([echo_spec()])
        yield platform


@pytest.mark.parametrize("name", CHECKS)
async def test_local_platform_conforms(name: str) -> None:
    """One check at a time, so that a failure names itself."""
    async with local_world() as platform:
        await CHECKS[name](Subject(platform, KEY, poll_until))


def test_local_platform_conforms_on_uvloop() -> None:
    """The whole suite again on the loop that Stoker runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check_platform(local_world, KEY))
