"""The activator's tests run on both event loops: production uses uvloop, embedders asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.activator.world import World, make_world


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An activator that is yet to be started; nothing may be left of it after the test."""
    async with make_world(monkeypatch) as made:
        yield made
