"""A relayed platform behaves as the platform it relays: the suite, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stoker.platform import Platform
from stoker.platforms.relay.feed import Feed
from stoker.platforms.relay.platform import RelayedPlatform
from stoker.testing import CHECKS, FakePlatform, Subject
from stoker.vocabulary import ModelKey, ModelSpec, Phase
from tests.platforms.relay.pairs import End, connected, until

KEY = ModelKey.parse("digits")


class Closing(RelayedPlatform):
    """Ends the real platform with itself: the suite wants to see replicas end."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end

    async def close(self) -> None:
        await self.end.ask("close", timeout=10)
        await super().close()


@asynccontextmanager
async def relayed(real: FakePlatform) -> AsyncIterator[Platform]:
    feed = Feed(real)
    feed.start()
    parent = End({**feed.handlers(), "close": real.close}, lambda m: feed.take(1, m))
    worker = End(take=lambda m: platform.take(m))
    platform = Closing(worker)
    async with connected(parent, worker):
        platform.begin(feed.join(1, parent))
        yield platform
        feed.leave(1)
        feed.close()


@pytest.mark.parametrize("name", CHECKS)
async def test_a_relayed_platform_conforms(name: str) -> None:
    """One check at a time, so that a failure names itself."""
    real = FakePlatform([ModelSpec(KEY)], start_up=((Phase.STARTING, 1.0),))

    async def drive(platform: Platform, condition: Callable[[], bool]) -> None:
        def moved() -> bool:
            real.advance(0.5)
            return condition()

        await until(moved)

    async with relayed(real) as platform:
        await CHECKS[name](Subject(platform, KEY, drive))
