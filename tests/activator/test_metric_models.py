"""How many models have series of their own."""

from __future__ import annotations

import pytest

from activator import server
from stoker import telemetry
from stoker.vocabulary import ModelKey
from tests.activator.world import World, get, spec


def shown(world: World) -> list[str]:
    """The models that have series, in order."""
    readings = world.activator.readings()
    return [labels[0] for each, labels, _ in readings if each is telemetry.QUEUED]


async def test_models_with_traffic_are_shown_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the bound idle models have no series; those asked for have, whenever they came."""
    monkeypatch.setattr(server, "METRIC_MODELS", 3)
    keys = [ModelKey.parse(name) for name in ("a", "b", "digits", "c", "words")]
    await world.start(*(spec(key) for key in keys[:3]))
    assert shown(world) == [str(key) for key in keys[:3]]
    for key in keys[3:]:
        world.platform.add_model(spec(key))
    assert shown(world) == [str(key) for key in keys[:3]]
    await world.held(get())
    assert shown(world) == ["default/digits", "default/a", "default/b"]
    world.activator.models[keys[4]].count(200, 0.1)
    assert shown(world) == ["default/digits", "default/words", "default/a"]
