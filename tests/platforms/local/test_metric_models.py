"""How many models have cold-start series."""

from __future__ import annotations

import pytest

from stoker.platforms.local import platform
from stoker.telemetry import COLD_START_SECONDS
from stoker.vocabulary import ModelKey
from tests.platforms.local.conftest import KEY, World, echo_spec


async def test_cold_start_series_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the models that started first are shown, in all phases."""
    other = ModelKey.parse("other")
    world.platform.apply([echo_spec(), echo_spec(key=other)])

    def shown() -> set[tuple[str, ...]]:
        readings = world.platform.readings()
        return {reading.labels for reading in readings if reading.spec is COLD_START_SECONDS}

    await world.scale(1)
    first = shown()
    await world.platform.scale(other, 1)
    await world.until(lambda: len(world.ready()) == 2)
    assert {model for model, _ in shown()} == {str(KEY), str(other)}
    monkeypatch.setattr(platform, "METRIC_MODELS", 1)
    assert shown() == first != set()
