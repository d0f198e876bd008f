"""ConfigMaps with settings for all models."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from stoker.check import run_check
from stoker.errors import SettingsError
from stoker.settings import resolve
from stoker.settings.configmap import (
    ClusterSettings,
    is_configmap,
    load_configmap,
    process_config,
    read_data,
)
from stoker.settings.table import IGNORED_KNATIVE_KEYS
from stoker.vocabulary import Address

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
    found = load_configmap(GOOD, "cm.yaml")
    assert (found.models, found.processes) == ({"stable_window": 90.0}, {})
    ignored = ("data.pod-autoscaler-class has no effect: there is one autoscaler here",)
    assert found.notices == ignored
    assert load_configmap("kind: ConfigMap\nmetadata: {name: x}\n", "cm") == ClusterSettings()


# Every key that Knative's own example names (serving v1.18), at other values than its defaults.
KNATIVE = {
    "_example": "################################\ncontainer-concurrency-target-default: '1'\n",
    "container-concurrency-target-percentage": "0.8",
    "container-concurrency-target-default": "50",
    "requests-per-second-target-default": "150.0",
    "target-burst-capacity": "-1",
    "stable-window": "1m30s",
    "panic-window-percentage": "20.0",
    "panic-threshold-percentage": "300.0",
    "max-scale-up-rate": "10.0",
    "max-scale-down-rate": "1.5",
    "enable-scale-to-zero": "false",
    "scale-to-zero-grace-period": "40s",
    "scale-to-zero-pod-retention-period": "1m5s",
    "pod-autoscaler-class": "kpa.autoscaling.knative.dev",
    "activator-capacity": "100.0",
    "initial-scale": "0",
    "allow-zero-initial-scale": "true",
    "min-scale": "1",
    "max-scale": "7",
    "scale-down-delay": "15m",
    "max-scale-limit": "100",
}


def test_knative_s_configmap_can_be_pasted_in() -> None:
    """Every key is taken, or listed as ignored; each value means what Knative means by it."""
    found = read_data(KNATIVE, "config-autoscaler")
    ignored = {notice.partition(" ")[0].removeprefix("data.") for notice in found.notices}
    assert ignored == set(IGNORED_KNATIVE_KEYS)
    assert {key.replace("-", "_") for key in KNATIVE if key not in ignored} == set(found.models)
    scaling = resolve.scaling_config(resolve.model_values(found.models))
    assert (scaling.target, scaling.capacity) == (40.0, 50.0)
    assert (scaling.stable_window, scaling.panic_window) == (90.0, 18.0)
    assert (scaling.panic_threshold, scaling.max_scale_up_rate) == (3.0, 10.0)
    assert (scaling.max_scale_down_rate, scaling.scale_down_delay) == (1.5, 900.0)
    assert (scaling.min_scale, scaling.max_scale, scaling.initial_scale) == (1, 7, 0)
    assert not scaling.enable_scale_to_zero
    assert scaling.scale_to_zero_grace_period == 40.0
    assert scaling.scale_to_zero_pod_retention_period == 65.0
    assert scaling.target_burst_capacity == -1


def test_settings_of_processes_are_under_variables_and_command_line() -> None:
    """What changes while a process runs may stand there; who starts it has the last word."""
    found = read_data({"max-queued-requests": "7", "drain-delay": "3s", "drain-timeout": "9s"}, "")
    assert found.processes == {"max-queued-requests": "7", "drain-delay": "3s"}
    assert found.models == {"drain_timeout": 9.0}
    process = process_config(
        found.processes, "", environ={"STOKER_DRAIN_DELAY": "5s"}, overrides={"listen": "[::1]:1"}
    )
    assert (process.max_queued_requests, process.drain_delay) == (7, 5.0)
    assert (process.listen, process.drain_timeout) == (Address("::1", 1), 30.0)


def test_settings_for_commands_have_no_effect_in_a_cluster() -> None:
    """They are told of, since a settings file's defaults may be pasted in."""
    (notice,) = read_data({"grace-period": "3s"}, "").notices
    assert (
        notice == "data.grace-period has no effect: it is about commands that Stoker starts itself"
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "listen",
            "0.0.0.0:80",
            "is not a setting here; set STOKER_LISTEN where Stoker is started",
        ),
        ("peers", "a=1.2.3.4:5", "is not a setting here; set STOKER_PEERS where Stoker is started"),
        ("hosts", "m.test", "is not a setting here; annotate a Deployment with stoker.dev/hosts"),
        ("command", "x", "is not a setting here; it has no meaning in a cluster"),
        ("stable-windows", "9s", "is not a setting here; did you mean stable-window?"),
        ("stable-window", "5s", "= 5s: is out of range; allowed: [6s, 1h]"),
        ("max-queued-requests", "-1", "= -1: is out of range"),
        ("tenant-weights", "a=2", "= a: is of no use with tenancy: off"),
    ],
)
def test_what_cannot_stand_there_is_refused(key: str, value: str, said: str) -> None:
    """With where it belongs; no line, since there is no file."""
    with pytest.raises(SettingsError) as caught:
        read_data({key: value, "min-scale": "1"}, "there")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"data.{key}")
    assert said in str(problem)
    assert problem.line == 0


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
        (
            '"90s"',
            '"90s"\n  min-scale: "3"\n  max-scale: "2"',
            "line 7: data.min-scale = 3: is above",
        ),
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
