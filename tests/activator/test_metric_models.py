"""How many models have series of their own."""

from __future__ import annotations

import pytest

from activator import server
from activator.tickets import Reason
from stoker import telemetry
from stoker.exposition import Exposition
from stoker.telemetry import Histogram
from stoker.vocabulary import PHASES_BEFORE_READY, ModelKey
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


async def test_one_model_has_so_many_series_and_no_more(world: World) -> None:
    """Whatever befell it: classes of codes, reasons and phases are few, and nobody adds any."""
    await world.start()
    model = world.model
    for status in (101, 200, 301, 404, 503, 999):
        model.count(status, 0.1)
    for reason in Reason:
        model.refusals[reason] += 1
    for phase in ("deciding", "its-turn", "total", *PHASES_BEFORE_READY):
        model.activations[phase] = Histogram(telemetry.COLD_START_BOUNDS)
    model.bytes_in = model.bytes_out = model.probes = model.retries = 1
    model.hold_seconds.add(1.0)
    lines = Exposition([model.readings]).render().decode().splitlines()
    series = [line for line in lines if not line.startswith("#")]
    # Refusals by reason, two histograms of 20, seven of 16, and some thirty single ones.
    assert len(series) <= len(Reason) + 2 * 20 + 7 * 16 + 30
    assert len(series) == len({line.rpartition(" ")[0] for line in series})
