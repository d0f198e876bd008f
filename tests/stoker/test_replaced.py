"""Other settings for what a journal knows of a model, checked as in a settings file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import SettingsError
from stoker.settings.replaced import read_settings, replaced
from stoker.settings.resolve import model_values, scaling_config
from stoker.vocabulary import Metric, ModelKey, ScalingConfig
from tests.autoscaler.driving import configs

A = ModelKey.parse("a")


def changed(config: ScalingConfig, *assignments: str) -> ScalingConfig:
    return replaced(A, config, read_settings(assignments, "--set"), "--set")


@given(configs.map(lambda config: replace(config, activation_scale=1, min_scale=0)))
def test_what_is_not_set_stays_bit_for_bit(config: ScalingConfig) -> None:
    """Also what had to be worked out, with its roundings."""
    assert replaced(A, config, {}, "--set") == config
    assert changed(config, "scale-down-delay=90s") == replace(config, scale_down_delay=90.0)


@given(
    st.sampled_from([1, 8, 100]),
    st.sampled_from([0.5, 70.0, 100.0]),
    st.sampled_from([6.0, 60.0]),
    st.sampled_from(list(Metric)),
    st.sampled_from(
        [
            ("target", 3.0),
            ("container_concurrency_target_percentage", 50.0),
            ("target_utilization_percentage", 35.0),
            ("stable_window", 30.0),
            ("panic_window_percentage", 50.0),
            ("panic_threshold_percentage", 300.0),
        ]
    ),
)
def test_it_comes_to_what_a_settings_file_would(
    capacity: int, percentage: float, window: float, metric: Metric, own: tuple[str, float]
) -> None:
    """Where capacity came from the default of the metric."""
    before: dict[str, Any] = {
        "metric": metric,
        "container_concurrency_target_default": float(capacity),
        "requests_per_second_target_default": float(capacity),
        "container_concurrency_target_percentage": percentage,
        "stable_window": window,
    }
    name, value = own
    known = scaling_config(model_values(before))
    expected = scaling_config(model_values(before, {name: value}))
    found = replaced(A, known, {name: value}, "--set")
    assert found.target == pytest.approx(expected.target)
    assert replace(found, target=0.0) == replace(expected, target=0.0)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stable-window=2s", ("stable-window = 2s", "[6s, 1h]")),
        ("stable-windw=9s", ("did you mean stable-window",)),
        ("max-scale", ("is not key=value", "stable-window=30s")),
        ("=3", ("is not key=value",)),
        ("metric=rps", ("metric = rps", "cannot be replayed")),
        ("container-concurrency=3", ("set target", "Scaling in docs/settings.md")),
        ("hold-timeout=3s", ("is no setting that decisions are made by",)),
        ("min-scale=-1", ("min-scale = -1", "[0, ")),
    ],
)
def test_a_wrong_one_is_refused(assignment: str, words: tuple[str, ...]) -> None:
    """Key, value, what is allowed and what to do."""
    with pytest.raises(SettingsError) as caught:
        read_settings([assignment], "--set")
    assert [word for word in words if word not in str(caught.value)] == []


def test_all_problems_are_told_at_once() -> None:
    """And a setting may be set once."""
    with pytest.raises(SettingsError) as caught:
        read_settings(["max-scale=x", "min-scale=1", "min-scale=2", "nonsense=1"], "--set")
    assert len(caught.value.problems) == 3
    assert "min-scale = 2: is set twice" in str(caught.value)


def test_contradictions_name_the_model() -> None:
    """Each in range, but not together with what the model has."""
    with pytest.raises(SettingsError, match=r"default/a\.min-scale = 3: is above max-scale"):
        changed(ScalingConfig(min_scale=3), "max-scale=2")
