"""The table of tunables: complete, consistent, and equal to the configurations' defaults."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stoker.reference import PAGES, main, metrics_page, settings_page
from stoker.settings import TUNABLES, ProcessConfig, Scope, Tunable, resolve
from stoker.settings.kinds import BadValueError
from stoker.settings.table import MODEL_TUNABLES, PROCESS_TUNABLES
from stoker.telemetry import METRICS
from stoker.vocabulary import LaunchConfig, ScalingConfig, ServingConfig

DOCS = Path(__file__).parents[2] / "docs"


def test_scaling_defaults_equal_the_table() -> None:
    """A ScalingConfig made from nothing is what the table says, derived values included."""
    assert resolve.scaling_config(resolve.model_values()) == ScalingConfig()


def test_serving_defaults_equal_the_table() -> None:
    """A ServingConfig made from nothing is what the table says."""
    assert resolve.serving_config(resolve.model_values()) == ServingConfig()


def test_launch_defaults_equal_the_table() -> None:
    """A LaunchConfig made from nothing but a command is what the table says."""
    values = resolve.model_values({"command": ("serve", "{port}")})
    assert resolve.launch_config(values, "") == LaunchConfig(command=("serve", "{port}"))


def test_process_defaults_equal_the_table() -> None:
    """A ProcessConfig made from nothing is what the table says."""
    assert resolve.process_config() == ProcessConfig()


def test_every_field_of_every_configuration_can_be_set() -> None:
    """No field is out of a user's reach, and no tunable is without effect."""
    derived = {
        "capacity": "container-concurrency-target-default",
        "panic_window": "panic-window-percentage",
        "panic_threshold": "panic-threshold-percentage",
        "readiness_path": "readiness",
    }
    fed_by_derivation = {
        *("container-concurrency-target-percentage", "target-utilization-percentage"),
        *("requests-per-second-target-default", *derived.values()),
        *("hosts", "aliases", "listeners", "namespace"),
    }
    fields = {
        derived.get(field.name, field.name.replace("_", "-"))
        for config in (ScalingConfig, ServingConfig, LaunchConfig)
        for field in dataclasses.fields(config)
    }
    assert fields | fed_by_derivation == set(MODEL_TUNABLES)
    process = {field.name for field in dataclasses.fields(ProcessConfig)}
    assert process == {tunable.field for tunable in PROCESS_TUNABLES.values()}


def test_names_are_unique_within_their_scope() -> None:
    """One key means one thing."""
    assert len(MODEL_TUNABLES) + len(PROCESS_TUNABLES) == len(TUNABLES)


@pytest.mark.parametrize("tunable", TUNABLES, ids=lambda t: f"{t.scope}-{t.name}")
def test_every_row_is_sound(tunable: Tunable) -> None:
    """The default is in range, bounds can be read, and the reason is a sentence."""
    assert tunable.name == tunable.name.lower()
    assert tunable.reason.endswith(".")
    assert tunable.allowed
    if tunable.default is not None:
        value = tunable.read(tunable.default)
        shown = tunable.kind.show(value)
        assert shown == "none" or tunable.read(shown) == value
    if tunable.low or tunable.above:
        assert tunable.read(tunable.high) == tunable.kind.read(tunable.high)
    if tunable.low:
        assert tunable.read(tunable.low) == tunable.kind.read(tunable.low)
    if tunable.above:
        with pytest.raises(BadValueError, match="out of range"):
            tunable.read(tunable.above)


def test_settings_page_is_up_to_date() -> None:
    """docs/settings.md is what the table prints (make docs writes it)."""
    assert (DOCS / "settings.md").read_text() == settings_page()


def test_metrics_page_is_up_to_date() -> None:
    """docs/metrics.md is what the metrics print (make docs writes it)."""
    assert (DOCS / "metrics.md").read_text() == metrics_page()


def test_every_setting_has_a_row_in_the_docs() -> None:
    """One row per tunable, by name, default and scope."""
    page = (DOCS / "settings.md").read_text()
    for tunable in TUNABLES:
        scope = "process" if tunable.scope is Scope.PROCESS else "model"
        rows = [line for line in page.splitlines() if line.startswith(f"| `{tunable.name}` |")]
        assert any(f"| {scope}" in row for row in rows), tunable.name
        assert any(f"`{tunable.default}`" in row for row in rows) or not tunable.default
        assert any(tunable.reason in row for row in rows)


def test_every_metric_has_a_row_in_the_docs() -> None:
    """One row per metric, with its help text."""
    page = (DOCS / "metrics.md").read_text()
    for spec in METRICS:
        assert f"| `{spec.name}" in page
        assert spec.help in page


def test_pages_are_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes every page into the directory it is given, and says so."""
    assert main([str(tmp_path)]) == 0
    for name, page in PAGES.items():
        assert (tmp_path / name).read_text() == page()
        assert str(tmp_path / name) in capsys.readouterr().out or name != "settings.md"
