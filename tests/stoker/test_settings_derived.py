"""Target, capacity and panic window come out as Knative computes them."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.settings import load
from stoker.vocabulary import PolicyName, ScalingConfig


def scaling(**settings: object) -> ScalingConfig:
    """The ScalingConfig of a model with ``settings`` (underscores for dashes)."""
    lines = [f"    {key.replace('_', '-')}: {value}\n" for key, value in settings.items()]
    text = "models:\n  m:\n    command: serve {port}\n" + "".join(lines)
    return load(text, "test").models[0].scaling


@pytest.mark.parametrize(
    ("settings", "target", "capacity"),
    [
        ({}, 70, 100),
        ({"container_concurrency": 10}, 7, 10),
        ({"container_concurrency": 1}, 0.7, 1),
        ({"target": 50}, 35, 50),
        ({"target": 500, "container_concurrency": 10}, 7, 10),
        ({"target": 4, "container_concurrency": 10}, 2.8, 4),
        ({"container_concurrency_target_percentage": 80}, 80, 100),
        ({"container_concurrency_target_percentage": 0.5}, 50, 100),
        ({"container_concurrency_target_percentage": 1}, 100, 100),
        ({"container_concurrency_target_default": 12, "target_utilization_percentage": 75}, 9, 12),
        ({"metric": "rps"}, 140, 200),
        ({"metric": "rps", "container_concurrency": 1}, 140, 200),
        ({"metric": "rps", "target": 300, "container_concurrency": 10}, 210, 300),
        ({"metric": "rps", "container_concurrency_target_percentage": 90}, 140, 200),
        ({"metric": "rps", "target_utilization_percentage": 75}, 150, 200),
        ({"metric": "rps", "requests_per_second_target_default": 10}, 7, 10),
        ({"target": 0.01, "container_concurrency_target_percentage": 10}, 0.01, 0.01),
    ],
)
def test_target_and_capacity(settings: dict[str, Any], target: float, capacity: float) -> None:
    """The annotation, the limit, the defaults and the percentages weigh as in Knative."""
    config = scaling(**settings)
    assert config.target == pytest.approx(target)
    assert config.capacity == capacity


@pytest.mark.parametrize(
    ("window", "percentage", "seconds"),
    [("60s", 10, 6), ("6s", 1, 1), ("30s", 15, 5), ("29s", 50, 15), ("1h", 100, 3600)],
)
def test_panic_window(window: str, percentage: float, seconds: float) -> None:
    """A share of the stable window in whole seconds, halves up, at least one."""
    config = scaling(stable_window=window, panic_window_percentage=percentage)
    assert config.panic_window == seconds


def test_policies_and_their_settings() -> None:
    """For all models as in a ConfigMap, for one as it likes."""
    text = """
defaults: {policy: seasonal, season: 168h, season-quantile: "75"}
models:
  a: {command: "serve {port}"}
  b: {command: "serve {port}", policy: erlang-c, slo-wait: 250ms, slo-quantile: 99.9}
"""
    a, b = (spec.scaling for spec in load(text, "test").models)
    assert (a.policy, a.season, a.season_quantile) == (PolicyName.SEASONAL, 604800.0, 75.0)
    assert (b.policy, b.slo_wait, b.slo_quantile) == (PolicyName.ERLANG_C, 0.25, 99.9)


def test_panic_threshold_is_a_factor() -> None:
    """The decider compares with a factor, people write a percentage."""
    assert scaling(panic_threshold_percentage=150).panic_threshold == 1.5
