"""ConfigMaps with settings for all models."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from stoker.check import run_check
from stoker.errors import SettingsError
from stoker.settings.configmap import is_configmap, load_configmap

GOOD = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: stoker-config
data:
  stable-window: "90s"
  pod-autoscaler-class: "kpa.autoscaling.knative.dev"
"""


def test_a_configmap_sets_what_defaults_may() -> None:
    """Values by field; Knative's keys without effect here are told of."""
    assert is_configmap(GOOD)
    values, notices = load_configmap(GOOD, "cm.yaml")
    assert values == {"stable_window": 90.0}
    assert notices == ("data.pod-autoscaler-class has no effect: there is one autoscaler here",)
    assert load_configmap("kind: ConfigMap\nmetadata: {name: x}\n", "cm")[0] == {}


def test_other_files_are_none() -> None:
    """A settings file is not taken for one, nor is what cannot be parsed."""
    assert not is_configmap("models: {}\n")
    assert not is_configmap("kind: [\n")
    with pytest.raises(SettingsError, match="kind: is not ConfigMap; allowed: ConfigMap"):
        load_configmap("models: {}\n", "cm")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"90s"', '"90"', "line 6: data.stable-window = 90: has no unit"),
        ("stable-window", "command", "line 6: data.command: is not a setting here"),
        ("  name: stoker-config\n", "", "metadata.name: is missing; for example stoker-config"),
        (GOOD[GOOD.index("\ndata:") :], "\ndata: 3\n", "data = 3: is not a mapping of settings"),
        ('"90s"', '"90s"\n  min-scale: "3"\n  max-scale: "2"', "data.min-scale = 3: is above"),
    ],
)
def test_what_is_wrong_is_told(before: str, after: str, said: str, tmp_path: Path) -> None:
    """With its line, as for a settings file; the exit code says that it is wrong."""
    file = tmp_path / "cm.yaml"
    file.write_text(GOOD.replace(before, after))
    out = io.StringIO()
    assert run_check(str(file), out, {}) == 1
    assert said in out.getvalue()


def test_a_right_one_passes_the_check(tmp_path: Path) -> None:
    """How many settings, and what has no effect."""
    file = tmp_path / "cm.yaml"
    file.write_text(GOOD)
    out = io.StringIO()
    assert run_check(str(file), out, {}) == 0
    assert out.getvalue().splitlines() == [
        f"{file}: a ConfigMap with 1 setting, nothing wrong",
        "note: data.pod-autoscaler-class has no effect: there is one autoscaler here",
    ]
