"""A model's settings from annotations: ours, Knative's, and what is wrong with them."""

from __future__ import annotations

import pytest

from stoker.errors import SettingsError
from stoker.settings.annotations import ANNOTATED, read_annotations
from stoker.vocabulary import Metric, ModelKey

KEY = ModelKey("ns", "m")


def problems(annotations: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_annotations(KEY, annotations)
    assert str(raised.value).startswith("ns/m:\n")
    return [str(problem) for problem in raised.value.problems]


def test_nothing_means_the_defaults() -> None:
    """Other people's annotations are none of ours."""
    found = read_annotations(KEY, {"kubectl.kubernetes.io/restartedAt": "x"})
    assert found.spec.key == KEY
    assert found.spec.scaling.stable_window == 60.0
    assert (found.drain_timeout, found.notices) == (45.0, ())


def test_ours_and_knative_s() -> None:
    """Every value as in a file; ours wins over Knative's, old spellings are read too."""
    found = read_annotations(
        KEY,
        {
            "stoker.dev/max-scale": "7",
            "autoscaling.knative.dev/max-scale": "9",
            "autoscaling.knative.dev/minScale": "2",
            "autoscaling.knative.dev/window": "30s",
            "autoscaling.knative.dev/metric": "rps",
            "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
            "stoker.dev/container-concurrency": "4",
            "stoker.dev/hosts": "m.example.org, m2.example.org",
            "stoker.dev/drain-timeout": "2m",
        },
    )
    scaling = found.spec.scaling
    assert (scaling.min_scale, scaling.max_scale, scaling.stable_window) == (2, 7, 30.0)
    assert scaling.metric is Metric.RPS
    assert found.spec.serving.container_concurrency == 4
    assert found.spec.hosts == ("m.example.org", "m2.example.org")
    assert found.drain_timeout == 120.0
    (notice,) = found.notices
    assert notice == "autoscaling.knative.dev/class has no effect: it means nothing here"


def test_every_problem_names_its_annotation() -> None:
    """All at once, with the value and what is allowed."""
    told = problems(
        {
            "stoker.dev/max-scale": "many",
            "autoscaling.knative.dev/window": "1s",
            "stoker.dev/max-scael": "3",
            "stoker.dev/command": "x {port}",
            "stoker.dev/namespace": "other",
        }
    )
    assert len(told) == 5
    text = "\n".join(told)
    assert "stoker.dev/max-scale = many: " in text
    assert "autoscaling.knative.dev/window = 1s: is out of range; allowed: [6s, 1h]" in text
    assert "stoker.dev/max-scael: is not a setting here; did you mean max-scale?" in text
    assert "stoker.dev/command: is not a setting here; it is no setting of annotations" in text
    assert "models.NAME" not in text


def test_contradictions_are_found() -> None:
    """Each in range, together impossible."""
    (told,) = problems({"stoker.dev/min-scale": "5", "stoker.dev/max-scale": "3"})
    assert told == (
        "stoker.dev/min-scale = 5: is above max-scale; allowed: [0, 3]; raise max-scale"
    )


def test_names_that_are_no_settings_are_left_to_others() -> None:
    """What the platform reads itself."""
    found = read_annotations(KEY, {"stoker.dev/port": "http"}, others=frozenset({"port"}))
    assert found.notices == ()


def test_how_processes_are_launched_is_no_annotation() -> None:
    """But for the time that a replica may take to finish."""
    assert "drain-timeout" in ANNOTATED
    assert not {"command", "env", "grace-period", "listeners", "namespace"} & set(ANNOTATED)
